//! `open`: from a URL to a working store, and what is wrong with places.

use std::path::Path;

use kv_storage::{Error, ErrorKind, KeyValue, Sqlite, Ttl, open};

async fn error(path: &Path) -> Error {
    let error = open(&format!("sqlite://{}", path.display())).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains(path.to_str().unwrap()), "{message}");
    assert!(message.ends_with("; the URL's form is sqlite:///path/to/file"), "{message}");
    error
}

#[tokio::test]
async fn memory_works() {
    let store = open("memory:").await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    assert_eq!(store.get("c", "k").await.unwrap().unwrap().value, "value");
    let another = open("memory:").await.unwrap();
    assert_eq!(another.get("c", "k").await.unwrap(), None, "each has its own");
}

#[tokio::test]
async fn sqlite_is_made_and_found_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a file.sqlite");
    for name in ["a%20file.sqlite", "a file.sqlite"] {
        let url = format!("sqlite://{}/{name}", directory.path().display());
        let store = open(&url).await.unwrap();
        store.put_if_absent("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    }
    let store = Sqlite::open(path).await.unwrap();
    assert_eq!(store.get("c", "k").await.unwrap().unwrap().value, "value");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3, "the file, -wal and -shm");
}

#[tokio::test]
async fn what_is_wrong_with_a_url_is_said() {
    for (url, part) in [
        ("redis:hunter2", "the redis storage URL is wrong"),
        ("mysql://host", "give one of memory:"),
        ("sqlite:kv.sqlite", "the URL's form is sqlite:///path/to/file"),
    ] {
        let error = open(url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_missing_directory_is_named_and_not_made() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let error = error(&missing.join("kv.sqlite")).await;
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("its directory must exist; make it first"), "{error}");
    assert!(!missing.exists());
}

#[tokio::test]
async fn a_file_in_the_directory_s_place_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let error = error(&file.join("kv.sqlite")).await;
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("what should be its directory is a file"), "{error}");
}

#[tokio::test]
async fn a_directory_and_a_foreign_file_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(error(directory.path()).await.kind(), ErrorKind::Misconfigured);
    let file = directory.path().join("notes.txt");
    let text = "a text file that is longer than the header of a database. ".repeat(20);
    std::fs::write(&file, &text).unwrap();
    let error = error(&file).await;
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("not made by kv-storage; give another path"), "{error}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_read_only_directory_is_named() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv.sqlite");
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o555)).unwrap();
    // Permissions do not bind root, but no one may make a file in /sys.
    let bound = std::fs::write(directory.path().join("probe"), "").is_err();
    let path = if bound { path } else { "/sys/kv.sqlite".into() };
    let error = error(&path).await;
    assert_eq!(error.kind(), ErrorKind::Misconfigured);
    assert!(error.to_string().contains("must be allowed to write to its directory"), "{error}");
}
