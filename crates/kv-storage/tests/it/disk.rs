//! What is particular to `Disk`: the directory, its lock, its size, and what is wrong with places.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};

use kv_storage::{
    Aes256Gcm, Disk, Encrypted, Entry, Error, ErrorKind, KeyValue, Ttl, open, testing::TestClock,
};
use redb::{Database, TableDefinition};
use tokio::task::JoinSet;

use crate::processes::start;

async fn refusal(directory: &Path) -> Error {
    let error = Disk::open(directory).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains(directory.to_str().unwrap()), "{message}");
    error
}

#[tokio::test]
async fn everything_survives_reopening_and_moving() {
    let parent = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let keys = [Aes256Gcm::generate_key()];
    let open = async |name: &str| {
        let path = parent.path().join(name);
        Arc::new(Disk::builder(path).clock(clock.clock()).open().await.unwrap())
    };
    let encrypt = |store| {
        let cipher = Aes256Gcm::new(&keys).unwrap();
        Encrypted::new(store, cipher, "https://issuer.example").with_clock(clock.clock())
    };
    let ttl = Ttl::After(Duration::from_mins(1));
    let store = open("one").await;
    let plain = store.put("c", "plain", "value".into(), ttl).await.unwrap();
    let encrypted = encrypt(Arc::clone(&store));
    encrypted.check_keys().await.unwrap();
    let sealed = encrypted.put("c", "sealed", "value".into(), Ttl::Forever).await.unwrap();
    store.close().await;
    for outcome in [
        store.get("c", "plain").await.map(drop),
        store.put("c", "plain", "value".into(), ttl).await.map(drop),
        store.health().await,
    ] {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    std::fs::rename(parent.path().join("one"), parent.path().join("two")).unwrap();

    let store = open("two").await;
    let entry = |version| Some(Entry { value: "value".into(), version });
    assert_eq!(store.get("c", "plain").await.unwrap(), entry(plain));
    let encrypted = encrypt(Arc::clone(&store));
    encrypted.check_keys().await.unwrap();
    assert_eq!(encrypted.get("c", "sealed").await.unwrap(), entry(sealed));
    clock.advance(Duration::from_mins(1));
    assert_eq!(store.get("c", "plain").await.unwrap(), None);
}

#[tokio::test]
async fn the_second_process_is_refused_by_name() {
    let parent = tempfile::tempdir().unwrap();
    let mut child = start("crash disk", parent.path());
    let directory = parent.path().join("kv");
    // The child has it as soon as it has written something.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().starts_with("wrote ")));
    let error = refusal(&directory).await;
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    let holder = format!("process {} has it open", child.id());
    assert!(error.to_string().contains(&holder), "{error}");
    assert!(error.to_string().contains("give this one another directory"), "{error}");
    child.kill().unwrap();
    child.wait().unwrap();
    Disk::open(&directory).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_does_not_get_around_the_lock() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("kv");
    let store = Disk::open(&directory).await.unwrap();
    let link = parent.path().join("link");
    std::os::unix::fs::symlink(&directory, &link).unwrap();
    assert_eq!(refusal(&link).await.kind(), ErrorKind::Misconfigured);
    // Nor do a directory that links to the files, and one that links to the database alone.
    for names in [&["lock", "entries.redb"][..], &["entries.redb"]] {
        let other = parent.path().join(names.len().to_string());
        std::fs::create_dir(&other).unwrap();
        for name in names {
            std::os::unix::fs::symlink(directory.join(name), other.join(name)).unwrap();
        }
        assert_eq!(refusal(&other).await.kind(), ErrorKind::Misconfigured);
    }
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_directory() {
    use std::os::unix::fs::PermissionsExt;

    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("kv");
    let store = Disk::open(&directory).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    let mut names = Vec::new();
    for file in std::fs::read_dir(&directory).unwrap() {
        let file = file.unwrap();
        assert_eq!(mode(&file.path()), 0o600, "{}", file.path().display());
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["entries.redb", "lock"]);
}

#[tokio::test]
async fn expired_records_give_their_space_back() {
    const ROUNDS: usize = 12;
    const RECORDS: usize = 400;
    /// Files that are smaller are not made smaller still.
    const COMPACT_FROM_BYTES: u64 = 8 * 1024 * 1024;

    let directory = tempfile::tempdir().unwrap();
    let clock = TestClock::new();
    let store = Disk::builder(directory.path()).clock(clock.clock()).open().await.unwrap();
    let store = Arc::new(store);
    let length = || std::fs::metadata(directory.path().join("entries.redb")).unwrap().len();
    let mut lengths = Vec::new();
    for round in 0..ROUNDS {
        let mut writing = JoinSet::new();
        for index in 0..RECORDS {
            let store = Arc::clone(&store);
            writing.spawn(async move {
                let value = vec![u8::try_from(index % 256).unwrap(); 12_000].into();
                let ttl = Ttl::After(Duration::from_secs(10));
                store.put("c", &format!("{round}/{index}"), value, ttl).await.unwrap();
            });
        }
        writing.join_all().await;
        lengths.push(length());
        clock.advance(Duration::from_secs(10));
    }
    let (first, most) = (lengths[0], *lengths.iter().max().unwrap());
    assert!(most <= 4 * first, "{ROUNDS} times the records took {lengths:?} bytes");
    assert!(most > COMPACT_FROM_BYTES, "the records took only {lengths:?} bytes");
    // Once nothing is left, the file shrinks; each write sweeps, and looks at the file.
    for index in 0..2 * RECORDS {
        store.put("c", "only", index.to_string().into(), Ttl::Forever).await.unwrap();
        if length() < COMPACT_FROM_BYTES {
            return assert_eq!(store.scan("c", "", None, 10).await.unwrap().keys, ["only"]);
        }
    }
    panic!("the empty file has {} bytes still", length());
}

#[tokio::test]
async fn other_directories_are_left_alone() {
    const PRECIOUS: TableDefinition<'_, u64, u64> = TableDefinition::new("precious");

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("entries.redb");
    let text = "a text file that happens to be longer than a header. ".repeat(200);
    std::fs::write(&file, &text).unwrap();
    let error = refusal(directory.path()).await;
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("not made by kv-storage"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);

    std::fs::remove_file(&file).unwrap();
    let foreign = Database::create(&file).unwrap();
    let writing = foreign.begin_write().unwrap();
    writing.open_table(PRECIOUS).unwrap().insert(1, 1).unwrap();
    writing.commit().unwrap();
    drop(foreign);
    let error = refusal(directory.path()).await;
    assert!(error.to_string().contains("not made by kv-storage"), "{error}");
}

#[tokio::test]
async fn a_directory_of_a_later_version_is_left_alone() {
    const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("kv-storage");

    let directory = tempfile::tempdir().unwrap();
    Disk::open(directory.path()).await.unwrap().close().await;
    let set_format = |format: u8| {
        let database = Database::open(directory.path().join("entries.redb")).unwrap();
        let writing = database.begin_write().unwrap();
        writing.open_table(ABOUT).unwrap().insert("format", [format].as_slice()).unwrap();
        writing.commit().unwrap();
    };
    set_format(2);
    let error = refusal(directory.path()).await;
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("has format 2 and was written by a later"), "{error}");
    set_format(1);
    Disk::open(directory.path()).await.unwrap();
}

#[tokio::test]
async fn a_damaged_database_is_corrupt_and_not_made_anew() {
    let directory = tempfile::tempdir().unwrap();
    let store = Disk::open(directory.path()).await.unwrap();
    store.put("c", "k", vec![7; 5000].into(), Ttl::Forever).await.unwrap();
    store.close().await;
    let file = directory.path().join("entries.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    // All but the first pages, which say what it is.
    bytes[8192..].fill(0x5a);
    std::fs::write(&file, &bytes).unwrap();
    let error = match Disk::open(directory.path()).await {
        Err(error) => error,
        Ok(store) => store.get("c", "k").await.unwrap_err(),
    };
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn what_cannot_be_read_is_removed_by_taking_it() {
    const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");

    let directory = tempfile::tempdir().unwrap();
    Disk::open(directory.path()).await.unwrap().close().await;
    let database = Database::open(directory.path().join("entries.redb")).unwrap();
    let writing = database.begin_write().unwrap();
    for key in crate::corrupt::KEYS {
        let key = format!("c\0{key}");
        writing.open_table(ENTRIES).unwrap().insert(key.as_bytes(), &b"short"[..]).unwrap();
    }
    writing.commit().unwrap();
    drop(database);
    let store = Disk::open(directory.path()).await.unwrap();
    crate::corrupt::go_when_they_are_taken(&store).await;
    assert_eq!(store.scan("c", "", None, 9).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.take("c", "kept").await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.scan("c", "", None, 9).await.unwrap().keys, ["put"]);
}

#[tokio::test]
async fn places_that_cannot_be_directories_are_named() {
    let parent = tempfile::tempdir().unwrap();
    let missing = parent.path().join("missing");
    let error = refusal(&missing.join("kv")).await;
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("must exist; make it first"), "{error}");
    assert!(!missing.exists());
    let file = parent.path().join("file");
    std::fs::write(&file, "text").unwrap();
    for path in [file.clone(), file.join("kv")] {
        let error = refusal(&path).await;
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("it must be a directory"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_read_only_directory_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o555)).unwrap();
    // Permissions do not bind root, but no one may make a directory in /sys.
    let bound = std::fs::write(directory.path().join("probe"), "").is_err();
    let path = if bound { directory.path().to_owned() } else { "/sys/kv-storage".into() };
    let error = refusal(&path).await;
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("must belong to the user of this process"), "{error}");
}

#[tokio::test]
async fn health_notices_that_the_directory_was_moved_or_replaced() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("kv");
    let store = Disk::open(&directory).await.unwrap();
    store.health().await.unwrap();
    std::fs::rename(&directory, parent.path().join("moved")).unwrap();
    assert_eq!(store.health().await.unwrap_err().kind(), ErrorKind::Misconfigured);
    let _other = Disk::open(&directory).await.unwrap();
    assert_eq!(store.health().await.unwrap_err().kind(), ErrorKind::Misconfigured);
}

#[tokio::test]
async fn a_url_opens_it() {
    let parent = tempfile::tempdir().unwrap();
    let url = format!("disk://{}/a%20directory", parent.path().display());
    let store = open(&url).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    drop(store);
    let store = Disk::open(parent.path().join("a directory")).await.unwrap();
    assert_eq!(store.get("c", "k").await.unwrap().unwrap().value, "value");
    let error = open(&url).await.unwrap_err();
    assert!(error.to_string().ends_with("the URL's form is disk:///path/to/directory"), "{error}");
}

/// A directory as format 1 makes it, written with the engine alone so that it stays what it was.
fn write_format_1(directory: &Path) {
    const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
    const EXPIRING: TableDefinition<'_, (i64, &[u8]), ()> = TableDefinition::new("expiring");
    const ABOUT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("kv-storage");

    let database = Database::create(directory.join("entries.redb")).unwrap();
    let writing = database.begin_write().unwrap();
    {
        let mut about = writing.open_table(ABOUT).unwrap();
        about.insert("format", [1].as_slice()).unwrap();
        about.insert("batch", [9; 16].as_slice()).unwrap();
        let mut entries = writing.open_table(ENTRIES).unwrap();
        let mut expiring = writing.open_table(EXPIRING).unwrap();
        // The version, the expiry in milliseconds or the greatest number for never, the value.
        let records: [(&[u8], u8, i64, &[u8]); 4] = [
            (b"records\0", 1, 61_000, b""),
            (b"records\0key\0with\xf0\x9f\x94\x91", 2, i64::MAX, b"\0\xff\x27\x5c"),
            (b"records\0plain", 3, i64::MAX, b"value"),
            (b"records_\0other", 4, i64::MAX, b"other"),
        ];
        for (key, version, expires_at, value) in records {
            let stored = [&[version; 16], &expires_at.to_be_bytes()[..], value].concat();
            entries.insert(key, stored.as_slice()).unwrap();
            if expires_at != i64::MAX {
                expiring.insert((expires_at, key), ()).unwrap();
            }
        }
    }
    writing.commit().unwrap();
}

#[tokio::test]
async fn a_directory_of_format_1_opens() {
    let directory = tempfile::tempdir().unwrap();
    write_format_1(directory.path());
    let clock = Arc::new(AtomicU64::new(60));
    let now = Arc::clone(&clock);
    let tell = move || UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed));
    let store = Disk::builder(directory.path()).clock(Arc::new(tell)).open().await.unwrap();
    let keys = store.scan("records", "", None, 10).await.unwrap().keys;
    assert_eq!(keys, ["", "key\0with\u{1f511}", "plain"]);
    let plain = store.get("records", "plain").await.unwrap().unwrap();
    let version = kv_storage::Version::from_bytes([3; 16]);
    assert_eq!(plain, Entry { value: "value".into(), version });
    let bytes = store.get("records", "key\0with\u{1f511}").await.unwrap().unwrap();
    assert_eq!(bytes.value, [0, 0xff, 0x27, 0x5c][..]);
    assert_eq!(store.get("records", "").await.unwrap().unwrap().value, "");
    let swap = store.compare_and_swap("records", "plain", version, "new".into(), Ttl::Keep);
    assert!(swap.await.unwrap().is_some());
    clock.store(61, Ordering::Relaxed);
    assert_eq!(store.get("records", "").await.unwrap(), None, "its time was up");
    assert_eq!(store.get("records", "plain").await.unwrap().unwrap().value, "new");
}
