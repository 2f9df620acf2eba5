use std::path::PathBuf;

use super::{DISK, MEMORY, MemoryBounds, POSTGRES, Place, SQLITE, compiled_out, parse, redis};
use crate::ErrorKind;

fn refusal(url: &str) -> String {
    let error = parse(url).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}");
    error.to_string()
}

#[test]
fn urls_name_places() {
    let memory = |max_entries, max_bytes| Place::Memory(MemoryBounds { max_entries, max_bytes });
    assert_eq!(parse("memory:").unwrap(), memory(None, None));
    assert_eq!(parse("MEMORY:").unwrap(), memory(None, None));
    assert_eq!(parse("memory:?max_entries=7").unwrap(), memory(Some(7), None));
    assert_eq!(parse("memory:?max_bytes=8&max_entries=7").unwrap(), memory(Some(7), Some(8)));
    for url in ["postgres://user:hunter2@host/db", "PostgreSQL://", "postgres:"] {
        assert_eq!(parse(url).unwrap(), Place::Postgres, "{url}");
    }
    for (url, path) in [
        ("sqlite:///kv.sqlite", "/kv.sqlite"),
        ("SQLite:///var/lib/proxy/kv.sqlite", "/var/lib/proxy/kv.sqlite"),
        ("sqlite:///a b/\u{e9}", "/a b/\u{e9}"),
        ("sqlite:///a%20b/%C3%A9%3f%23%25", "/a b/\u{e9}?#%"),
        ("sqlite:///..//:memory:", "/..//:memory:"),
    ] {
        assert_eq!(parse(url).unwrap(), Place::Sqlite(PathBuf::from(path)), "{url}");
    }
    for (url, path) in [
        ("disk:///kv", "/kv"),
        ("DISK:///var/lib/proxy/", "/var/lib/proxy/"),
        ("disk:///a%20b/%C3%A9", "/a b/\u{e9}"),
    ] {
        assert_eq!(parse(url).unwrap(), Place::Disk(PathBuf::from(path)), "{url}");
    }
}

#[test]
fn wrong_forms_name_the_right_one() {
    let path = "it takes no path, only options";
    let options = "its options are max_entries and max_bytes";
    let numbers = "max_entries and max_bytes are whole numbers from 1 on";
    for (url, reason) in [
        ("memory:/", path),
        ("memory://", path),
        ("memory:///path", path),
        ("memory::", path),
        ("memory:max_entries=1", path),
        ("memory:?", options),
        ("memory:?x", options),
        ("memory:?max_entries", options),
        ("memory:?entries=1", options),
        ("memory:?max_entries=1&", options),
        ("memory:?max_entries=", numbers),
        ("memory:?max_entries=0", numbers),
        ("memory:?max_entries=-1", numbers),
        ("memory:?max_entries=+1", numbers),
        ("memory:?max_bytes=1M", numbers),
        ("memory:?max_bytes=99999999999999999999999", numbers),
        ("memory:?max_bytes=1&max_bytes=2", "an option is given twice"),
    ] {
        assert_eq!(
            refusal(url),
            format!("the memory storage URL is wrong: {reason}; the URL's form is memory:"),
            "{url}"
        );
    }
    let absolute = "absolute and follow three slashes";
    let file = "must name a file";
    let encoding = "written %25";
    for (url, reason) in [
        ("sqlite:", absolute),
        ("sqlite:kv.sqlite", absolute),
        ("sqlite:./kv.sqlite", absolute),
        ("sqlite:/var/kv.sqlite", absolute),
        ("sqlite://", "no host may stand before it"),
        ("sqlite://kv.sqlite", "no host may stand before it"),
        ("sqlite://localhost/kv.sqlite", "no host may stand before it"),
        ("sqlite:///", file),
        ("sqlite:///var/", file),
        ("sqlite:///kv.sqlite?mode=rw", "no options"),
        ("sqlite:///kv.sqlite#x", "no options"),
        ("sqlite::memory:", "give memory:"),
        ("sqlite:///100%", encoding),
        ("sqlite:///%2", encoding),
        ("sqlite:///%zz", encoding),
        ("sqlite:///%+1", encoding),
        ("sqlite:///%ff", encoding),
        ("sqlite:///kv%00", encoding),
        ("sqlite:///%\u{e9}", encoding),
    ] {
        let message = refusal(url);
        assert!(message.contains(reason), "{url}: {message}");
        assert!(message.ends_with("; the URL's form is sqlite:///path/to/file"), "{message}");
    }
}

#[test]
fn wrong_directories_name_the_right_form() {
    for (url, reason) in [
        ("disk:", "absolute and follow three slashes"),
        ("disk:kv", "absolute and follow three slashes"),
        ("disk://kv", "no host may stand before it"),
        ("disk://localhost/kv", "no host may stand before it"),
        ("disk:///", "a directory of its own"),
        ("disk:///..", "a directory of its own"),
        ("disk:///kv?sync=off", "no options"),
        ("disk:///kv%00", "written %25"),
    ] {
        let message = refusal(url);
        assert!(message.contains(reason), "{url}: {message}");
        assert!(message.ends_with("; the URL's form is disk:///path/to/directory"), "{message}");
    }
}

#[test]
fn redis_is_recognized_in_every_arrangement() {
    for scheme in ["redis", "rediss", "REDIS+Sentinel", "rediss+sentinel", "redis+cluster"] {
        assert_eq!(parse(&format!("{scheme}://user:hunter2@host")).unwrap(), Place::Redis);
    }
}

#[test]
fn unknown_schemes_get_the_known_ones() {
    let known = "give one of memory: (feature memory), disk:///path/to/directory (feature disk), \
                 sqlite:///path/to/file (feature sqlite), \
                 postgres://user:password@host:port/database?schema=kv_storage (feature postgres), \
                 redis://… (feature redis), rediss://… (feature redis), \
                 redis+sentinel://… (feature redis), rediss+sentinel://… (feature redis), \
                 redis+cluster://… (feature redis), rediss+cluster://… (feature redis)";
    assert_eq!(
        refusal("mysql://user:hunter2@host/db"),
        format!("storage URLs with scheme \"mysql\" are unknown: {known}")
    );
    for url in ["", "memory", "/var/kv.sqlite", "./kv", ":", "C:\\kv", " sqlite:///kv.sqlite"] {
        assert!(refusal(url).contains(known), "{url:?}");
    }
}

#[test]
fn no_error_shows_a_password() {
    for url in [
        "hunter2",
        "user:hunter2@host",
        "hunter2:x",
        "memory://user:hunter2@host",
        "memory:hunter2",
        "memory:?max_entries=hunter2",
        "memory:?hunter2=1",
        "sqlite:hunter2",
        "sqlite://user:hunter2@host/kv.sqlite",
        "sqlite:///kv.sqlite?password=hunter2",
        "sqlite:///%zzhunter2",
        "mysql://user:hunter2@host/db",
    ] {
        let error = parse(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{url}: {error}");
    }
}

#[test]
fn compiled_out_backends_name_their_feature() {
    for (scheme, message) in [
        (
            MEMORY,
            "storage memory: is not compiled into this build: \
             turn on feature memory of kv-storage",
        ),
        (
            DISK,
            "storage disk:///path/to/directory is not compiled into this build: \
             turn on feature disk of kv-storage",
        ),
        (
            SQLITE,
            "storage sqlite:///path/to/file is not compiled into this build: \
             turn on feature sqlite of kv-storage",
        ),
        (
            POSTGRES,
            "storage postgres://user:password@host:port/database?schema=kv_storage is not \
             compiled into this build: turn on feature postgres of kv-storage",
        ),
        (
            redis("redis", "redis://…"),
            "storage redis://… is not compiled into this build: \
             turn on feature redis of kv-storage",
        ),
    ] {
        let error = compiled_out(&scheme);
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Misconfigured, message));
    }
}
