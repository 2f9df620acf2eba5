//! Several processes on one file: this test binary starts itself again.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use kv_storage::{KeyValue, Sqlite, Ttl, testing::processes};
use test_servers::rounds;

/// Tells a copy of this binary what it is to do, and where.
const ROLE: &str = "KV_STORAGE_TEST_ROLE";
const DIRECTORY: &str = "KV_STORAGE_TEST_DIRECTORY";

/// How often each race is run, unless `RACE_ROUNDS` says.
const ROUNDS: usize = 40;

/// This binary, to do what `role` says.
fn again(role: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "processes::child", "--nocapture"])
        .env(ROLE, role)
        .env(DIRECTORY, directory)
        .current_dir(directory);
    command
}

/// As [`again`], for a process whose writes fail beyond the first so many blocks of a file.
pub(crate) fn again_with_short_files(role: &str, directory: &Path, blocks: u32) -> Command {
    let itself = again(role, directory);
    let mut command = Command::new("sh");
    let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    command.arg("-c").arg(limit).arg(itself.get_program()).args(itself.get_args());
    for (name, value) in itself.get_envs() {
        command.env(name, value.unwrap());
    }
    command.current_dir(directory);
    command
}

pub(crate) fn start(role: &str, directory: &Path) -> Child {
    again(role, directory).stdout(Stdio::piped()).spawn().unwrap()
}

/// Not a test by itself: what the started processes do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(role) = std::env::var_os(ROLE) else { return };
    if role == "special name" {
        let store = Sqlite::open(":memory:").await.unwrap();
        store.put("names", "k", "value".into(), Ttl::Forever).await.unwrap();
        return store.close().await;
    }
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    if let Some(backend) = role.to_str().unwrap().strip_prefix("crash ") {
        return crate::crashes::write(backend, &directory).await;
    }
    if role == "commit" {
        return crate::group_commit::commit_beyond_a_limit(&directory).await;
    }
    let store = Sqlite::open(directory.join("kv.sqlite")).await.unwrap();
    if role == "write" {
        return write(&store).await;
    }
    processes::compete(&store).await;
}

#[expect(clippy::print_stdout, reason = "the parent reads it")]
async fn write(store: &Sqlite) {
    for index in 0_u32.. {
        store.put("writes", &index.to_string(), "value".into(), Ttl::Forever).await.unwrap();
        println!("wrote {index}");
    }
}

#[tokio::test]
async fn processes_that_race_have_one_winner() {
    let directory = tempfile::tempdir().unwrap();
    let store = Sqlite::open(directory.path().join("kv.sqlite")).await.unwrap();
    processes::race(&store, rounds(ROUNDS), || again("race", directory.path())).await;
}

#[tokio::test]
async fn a_killed_process_loses_no_acknowledged_write() {
    let directory = tempfile::tempdir().unwrap();
    for acknowledged in [1, 20, 75] {
        let mut child = start("write", directory.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let last = lines
            .by_ref()
            .filter_map(|line| line.unwrap().strip_prefix("wrote ")?.parse::<u32>().ok())
            .nth(acknowledged)
            .unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // More may have been written and acknowledged before the kill.
        let last = lines
            .map_while(Result::ok)
            .filter_map(|line| line.strip_prefix("wrote ")?.parse().ok())
            .last()
            .unwrap_or(last);
        let store = Sqlite::open(directory.path().join("kv.sqlite")).await.unwrap();
        for index in 0..=last {
            assert!(store.take("writes", &index.to_string()).await.unwrap().is_some(), "{index}");
        }
        store.delete("writes", &(last + 1).to_string()).await.unwrap();
        let rest = store.scan("writes", "", None, 10).await.unwrap();
        assert_eq!(rest.keys, Vec::<String>::new(), "nothing but what was written");
        store.close().await;
    }
}

#[tokio::test]
async fn sqlite_s_special_names_are_files_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    assert!(start("special name", directory.path()).wait().unwrap().success());
    let store = Sqlite::open(directory.path().join(":memory:")).await.unwrap();
    assert!(store.get("names", "k").await.unwrap().is_some());
}
