//! What is particular to `Sqlite`: the file, several handles on it, and what is wrong with files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kv_storage::{Encrypted, Entry, ErrorKind, Fernet, KeyValue, Sqlite, Ttl, testing::TestClock};
use sqlx::{ConnectOptions, Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use tokio::task::JoinSet;

struct Place {
    directory: TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.sqlite");
    Place { directory, path }
}

async fn raw(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.connect().await.unwrap()
}

async fn raw_execute(path: &Path, sql: &'static str) {
    let mut connection = raw(path).await;
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn raw_number(path: &Path, sql: &'static str) -> i64 {
    let mut connection = raw(path).await;
    let number = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    number
}

#[tokio::test]
async fn everything_survives_reopening() {
    let place = place();
    let clock = TestClock::new();
    let keys = [Fernet::generate_key()];
    let open = async || Sqlite::builder(&place.path).clock(clock.clock()).open().await.unwrap();
    let encrypt = |store| {
        let cipher = Fernet::new(&keys).unwrap();
        Encrypted::new(store, cipher, "https://issuer.example").with_clock(clock.clock())
    };
    let ttl = Ttl::After(Duration::from_mins(1));
    let store = Arc::new(open().await);
    let plain = store.put("c", "plain", "value".into(), ttl).await.unwrap();
    let encrypted = encrypt(Arc::clone(&store));
    encrypted.check_keys().await.unwrap();
    let sealed = encrypted.put("c", "sealed", "value".into(), Ttl::Forever).await.unwrap();
    store.put("c", "deleted", "value".into(), Ttl::Forever).await.unwrap();
    store.delete("c", "deleted").await.unwrap();
    store.close().await;
    let log = place.path.with_extension("sqlite-wal");
    assert!(std::fs::metadata(&log).map_or(0, |log| log.len()) == 0, "the file has everything");
    assert_eq!(store.get("c", "plain").await.unwrap_err().kind(), ErrorKind::Unavailable);
    let closed = store.put("c", "plain", "value".into(), ttl).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Unavailable);

    let store = Arc::new(open().await);
    let entry = |version| Some(Entry { value: "value".into(), version });
    assert_eq!(store.get("c", "plain").await.unwrap(), entry(plain));
    assert_eq!(store.get("c", "deleted").await.unwrap(), None);
    let encrypted = encrypt(Arc::clone(&store));
    encrypted.check_keys().await.unwrap();
    assert_eq!(encrypted.get("c", "sealed").await.unwrap(), entry(sealed));
    clock.advance(Duration::from_mins(1));
    assert_eq!(store.get("c", "plain").await.unwrap(), None);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_without_closing() {
    let place = place();
    let store = Sqlite::open(&place.path).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    let other = Sqlite::open(&place.path).await.unwrap();
    assert!(other.get("c", "k").await.unwrap().is_some());
    drop(store);
    assert!(other.get("c", "k").await.unwrap().is_some());
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let place = place();
    let store = Sqlite::open(&place.path).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(place.directory.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.path().display());
        files += 1;
    }
    assert_eq!(files, 3, "the file, its log and the log's index");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn handles_that_race_have_one_winner() {
    let place = place();
    let mut opening = JoinSet::new();
    for _ in 0..8 {
        // All of them at once, while there is no file yet.
        let path = place.path.clone();
        opening.spawn(async move { Sqlite::open(path).await.unwrap() });
    }
    let handles: Vec<_> = opening.join_all().await.into_iter().map(Arc::new).collect();
    for round in 0..test_servers::rounds_of_wrapped(5) {
        let key = round.to_string();
        let absent = race(&handles, &key, |store, key| async move {
            store.put_if_absent("c", &key, "value".into(), Ttl::Forever).await.unwrap().is_some()
        });
        assert_eq!(absent.await, 1);
        let version = handles[0].get("c", &key).await.unwrap().unwrap().version;
        let swapped = race(&handles, &key, move |store, key| async move {
            let swap = store.compare_and_swap("c", &key, version, "new".into(), Ttl::Keep);
            swap.await.unwrap().is_some()
        });
        assert_eq!(swapped.await, 1);
        let taken =
            race(&handles, &key, async |store, key| store.take("c", &key).await.unwrap().is_some());
        assert_eq!(taken.await, 1);
    }
}

/// Runs `operation` on every handle at once, four times each; how many succeeded.
async fn race<F>(
    handles: &[Arc<Sqlite>],
    key: &str,
    operation: impl Fn(Arc<Sqlite>, String) -> F,
) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for handle in handles.iter().cycle().take(4 * handles.len()) {
        tasks.spawn(operation(Arc::clone(handle), key.to_owned()));
    }
    tasks.join_all().await.into_iter().filter(|&won| won).count()
}

#[tokio::test]
async fn expired_rows_are_deleted_in_the_course_of_writing() {
    let place = place();
    let clock = TestClock::new();
    let store = Sqlite::builder(&place.path).clock(clock.clock()).open().await.unwrap();
    let ttl = Ttl::After(Duration::from_secs(1));
    for index in 0..100 {
        store.put("c", &format!("short/{index}"), "value".into(), ttl).await.unwrap();
    }
    clock.advance(Duration::from_secs(1));
    for index in 0..64 {
        store.put("c", &format!("long/{index}"), "value".into(), Ttl::Forever).await.unwrap();
    }
    let rows = "SELECT count(*) FROM entries";
    assert_eq!(raw_number(&place.path, rows).await, 64);
}

#[tokio::test]
async fn the_file_says_what_it_is() {
    let place = place();
    Sqlite::open(&place.path).await.unwrap().close().await;
    assert_eq!(raw_number(&place.path, "PRAGMA application_id").await, 0x4B56_5354);
    assert_eq!(raw_number(&place.path, "PRAGMA user_version").await, 1);
}

#[tokio::test]
async fn other_databases_are_left_alone() {
    let place = place();
    raw_execute(&place.path, "CREATE TABLE precious (id); INSERT INTO precious VALUES (1)").await;
    let before = std::fs::read(&place.path).unwrap();
    assert_misconfigured(&place.path, "not made by kv-storage").await;
    assert_eq!(std::fs::read(&place.path).unwrap(), before);
}

#[tokio::test]
async fn other_files_are_left_alone() {
    let place = place();
    let text = "a text file that happens to be longer than the header of a database. ".repeat(20);
    std::fs::write(&place.path, &text).unwrap();
    assert_misconfigured(&place.path, "not made by kv-storage").await;
    assert_eq!(std::fs::read_to_string(&place.path).unwrap(), text);
}

#[tokio::test]
async fn a_file_of_a_later_version_is_left_alone() {
    let place = place();
    Sqlite::open(&place.path).await.unwrap().close().await;
    raw_execute(&place.path, "PRAGMA user_version = 2").await;
    assert_misconfigured(&place.path, "has format 2 and was written by a later version").await;
    raw_execute(&place.path, "PRAGMA user_version = 1").await;
    Sqlite::open(&place.path).await.unwrap();
}

#[tokio::test]
async fn paths_that_cannot_be_files_are_named() {
    let place = place();
    assert_misconfigured(&place.directory.path().join("absent/kv.sqlite"), "cannot make").await;
    assert_misconfigured(place.directory.path(), "must be a file").await;
    if cfg!(target_os = "linux") {
        assert_misconfigured(Path::new("/proc/kv.sqlite"), "cannot make").await;
    }
}

async fn assert_misconfigured(path: &Path, part: &str) {
    let error = Sqlite::open(path).await.unwrap_err();
    let message = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{message}");
    assert!(message.contains(part), "{message}");
    assert!(message.contains(path.to_str().unwrap()), "{message}");
}

#[tokio::test]
async fn rows_in_a_wrong_form_are_corrupt() {
    let place = place();
    let store = Sqlite::open(&place.path).await.unwrap();
    raw_execute(
        &place.path,
        "INSERT INTO entries (collection, key, version, value) \
         VALUES ('c', CAST('short' AS BLOB), x'00', x''), ('d', x'c3', zeroblob(16), x'')",
    )
    .await;
    assert_eq!(store.get("c", "short").await.unwrap_err().kind(), ErrorKind::Corrupt);
    let many = store.get_many("c", &["k", "short"]).await;
    assert_eq!(many.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.scan("c", "", None, 10).await.unwrap().keys, ["short"]);
    let scanned = store.scan("d", "", None, 10).await;
    assert_eq!(scanned.unwrap_err().kind(), ErrorKind::Corrupt);
    store.put("d", "k", "value".into(), Ttl::Forever).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_read_is_removed_by_taking_it() {
    let place = place();
    let store = Sqlite::open(&place.path).await.unwrap();
    let mut connection = raw(&place.path).await;
    for key in crate::corrupt::KEYS {
        let plant = "INSERT INTO entries (collection, key, version, value) \
             VALUES ('c', ?, x'00', x'')";
        sqlx::query(plant).bind(key.as_bytes()).execute(&mut connection).await.unwrap();
    }
    crate::corrupt::go_when_they_are_taken(&store).await;
}

#[tokio::test]
async fn health_notices_that_the_file_was_removed_or_replaced() {
    let place = place();
    let store = Sqlite::open(&place.path).await.unwrap();
    store.health().await.unwrap();
    let moved = place.directory.path().join("moved");
    std::fs::rename(&place.path, &moved).unwrap();
    assert_eq!(store.health().await.unwrap_err().kind(), ErrorKind::Misconfigured);
    std::fs::copy(&moved, &place.path).unwrap();
    assert_eq!(store.health().await.unwrap_err().kind(), ErrorKind::Misconfigured);
}

#[cfg(unix)]
#[tokio::test]
async fn a_symbolic_link_leads_to_the_file_itself() {
    let place = place();
    let link = place.directory.path().join("link.sqlite");
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    assert_misconfigured(&link, "cannot make the file").await;
    let store = Sqlite::open(&place.path).await.unwrap();
    let linked = Sqlite::open(&link).await.unwrap();
    let version = linked.put_if_absent("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    assert_eq!(store.get("c", "k").await.unwrap().unwrap().version, version.unwrap());
    assert!(store.put_if_absent("c", "k", "new".into(), Ttl::Forever).await.unwrap().is_none());
    linked.health().await.unwrap();
    let names: Vec<_> = std::fs::read_dir(place.directory.path())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.contains(&"link.sqlite-wal".to_owned()), "{names:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_with_two_names_is_refused() {
    let place = place();
    Sqlite::open(&place.path).await.unwrap().close().await;
    let second = place.directory.path().join("second.sqlite");
    std::fs::hard_link(&place.path, &second).unwrap();
    assert_misconfigured(&second, "has 2 names (hard links)").await;
    assert_misconfigured(&place.path, "has 2 names (hard links)").await;
    std::fs::remove_file(&second).unwrap();
    Sqlite::open(&place.path).await.unwrap().health().await.unwrap();
}

/// What the present version wrote, to open for ever: a new format gets a file of its own beside
/// it.
const FORMAT_1: &[u8] = include_bytes!("../fixtures/sqlite-format-1.sqlite");

#[tokio::test]
async fn a_file_of_format_1_opens() {
    let place = place();
    std::fs::write(&place.path, FORMAT_1).unwrap();
    assert_eq!(raw_number(&place.path, "PRAGMA user_version").await, 1);
    // The records were written in the first second of this clock.
    let clock = TestClock::new();
    let store = Sqlite::builder(&place.path).clock(clock.clock()).open().await.unwrap();
    let keys = store.scan("records", "", None, 10).await.unwrap().keys;
    assert_eq!(keys, ["", "key\0with\u{1f511}", "plain"]);
    let plain = store.get("records", "plain").await.unwrap().unwrap();
    assert_eq!(plain.value, "value");
    assert_eq!(store.get("records", "").await.unwrap().unwrap().value, "");
    let bytes = store.get("records", "key\0with\u{1f511}").await.unwrap().unwrap();
    assert_eq!(bytes.value, [0, 0xff, 0x27, 0x5c][..]);
    let swapped =
        store.compare_and_swap("records", "plain", plain.version, "new".into(), Ttl::Keep);
    assert!(swapped.await.unwrap().is_some());
    clock.advance(Duration::from_mins(1));
    assert_eq!(store.get("records", "").await.unwrap(), None, "it had a minute to live");
    assert_eq!(store.get("records", "plain").await.unwrap().unwrap().value, "new");
}
