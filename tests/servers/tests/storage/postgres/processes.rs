//! Several processes on one server: this test binary starts itself again.

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use kv_storage::{KeyValue, Postgres, Ttl};

use super::{DEADLINE, eventually, schema};

/// Tells a copy of this binary where to find the server, and where to wait for the others.
const URL: &str = "STORAGE_TEST_POSTGRES_URL";
const DIRECTORY: &str = "STORAGE_TEST_DIRECTORY";

const PROCESSES: usize = 3;
const COUNTS: usize = 25;

/// How often each race is run: `RACE_ROUNDS`, else few enough for every day.
fn rounds() -> usize {
    env::var("RACE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(40)
}

fn start(url: &str, directory: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "postgres::processes::child", "--nocapture"])
        .env(URL, url)
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Not a test by itself: what the started processes do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Ok(url), Some(directory)) = (env::var(URL), env::var_os(DIRECTORY)) else { return };
    let directory = PathBuf::from(directory);
    println!("ready");
    let deadline = Instant::now() + DEADLINE;
    while !directory.join("go").exists() {
        assert!(Instant::now() < deadline, "nobody says go");
        std::thread::yield_now();
    }
    // All at once, while there are no tables yet.
    let store = Postgres::open(&url).await.unwrap();
    println!("opened");
    eventually("the parent puts the gifts there", async || store.get("counts", "k").await.unwrap())
        .await;
    let mut claimed = 0;
    for index in 0..rounds() {
        let key = index.to_string();
        let claim = store.put_if_absent("claims", &key, "mine".into(), Ttl::Forever).await;
        claimed += usize::from(claim.unwrap().is_some());
        claimed += usize::from(store.take("gifts", &key).await.unwrap().is_some());
        let version = store.get("removed", &key).await.unwrap().map(|entry| entry.version);
        if let Some(version) = version {
            let removed = store.compare_and_delete("removed", &key, version).await.unwrap();
            claimed += usize::from(removed);
        }
    }
    for _ in 0..COUNTS {
        count_up(&store).await;
    }
    println!("claimed {claimed}");
}

async fn count_up(store: &Postgres) {
    loop {
        let entry = store.get("counts", "k").await.unwrap().unwrap();
        let count: usize = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
        let next = (count + 1).to_string().into();
        let swap = store.compare_and_swap("counts", "k", entry.version, next, Ttl::Keep);
        if swap.await.unwrap().is_some() {
            return;
        }
    }
}

#[tokio::test]
async fn processes_that_race_have_one_winner() {
    let (_server, url) = schema();
    let directory = tempfile::tempdir().unwrap();
    let mut children: Vec<_> = (0..PROCESSES).map(|_| start(&url, directory.path())).collect();
    let mut lines: Vec<_> = children
        .iter_mut()
        .map(|child| BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap))
        .collect();
    let mut all_say = |word: &str| {
        for lines in &mut lines {
            assert!(lines.any(|line| line.ends_with(word)), "a process ended before {word}");
        }
    };
    all_say("ready");
    std::fs::write(directory.path().join("go"), "").unwrap();
    all_say("opened");
    let store = Postgres::open(&url).await.unwrap();
    for index in 0..rounds() {
        store.put("gifts", &index.to_string(), "gift".into(), Ttl::Forever).await.unwrap();
        store.put("removed", &index.to_string(), "gone".into(), Ttl::Forever).await.unwrap();
    }
    store.put("counts", "k", "0".into(), Ttl::Forever).await.unwrap();
    let claimed: usize = lines
        .iter_mut()
        .map(|lines| {
            let claimed = lines.find_map(|line| Some(line.strip_prefix("claimed ")?.to_owned()));
            claimed.unwrap().parse::<usize>().unwrap()
        })
        .sum();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(claimed, 3 * rounds(), "each claim, gift and removal had one winner");
    let count = store.get("counts", "k").await.unwrap().unwrap().value;
    assert_eq!(count, (PROCESSES * COUNTS).to_string());
}
