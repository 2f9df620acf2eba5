use sqlx::postgres::PgSslMode;

use super::Target;
use crate::ErrorKind;

fn parse(url: &str) -> Target {
    Target::parse(url).unwrap()
}

fn refusal(url: &str) -> String {
    let Err(error) = Target::parse(url) else { panic!("{url} is accepted") };
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{url}");
    let text = format!("{error} {error:?}");
    assert!(!text.contains("hunter2"), "{url}: {text}");
    error.to_string()
}

#[test]
fn urls_name_servers() {
    let target = parse("postgres://user:hunter2@db.example.com/name");
    assert_eq!(target.place, "db.example.com:5432/name");
    assert_eq!(target.schema, "kv_storage");
    assert_eq!(target.connections, 10);
    assert!(target.prepared);
    assert_eq!(target.options.get_username(), "user");
    assert_eq!(target.options.get_database(), Some("name"));

    let target = parse(
        "PostgreSQL://us%40er:p%3A%2F%40@[::1]:6000/a%20b?schema=own_1&connections=3&prepared=false",
    );
    assert_eq!(target.place, "[::1]:6000/a b");
    assert_eq!(target.schema, "own_1");
    assert_eq!(target.connections, 3);
    assert!(!target.prepared);
    assert_eq!(target.options.get_username(), "us@er");
    assert_eq!(target.options.get_host(), "::1");

    for url in ["postgres://user@/name?host=/run/pg", "postgres://user@%2Frun%2Fpg/name"] {
        assert_eq!(parse(url).place, "/run/pg:5432/name");
    }
}

#[test]
fn connections_that_others_can_hear_are_encrypted() {
    let same = |url: &str, expected: PgSslMode| {
        let mode = parse(url).options.get_ssl_mode();
        assert_eq!(format!("{mode:?}"), format!("{expected:?}"), "{url}");
    };
    for near in ["localhost", "127.0.0.1:1", "[::1]", "127.3.2.1", "%2Frun"] {
        same(&format!("postgres://u@{near}/d"), PgSslMode::Disable);
    }
    for far in ["db", "10.0.0.1", "localhost.example.com", "[fe80::1]"] {
        same(&format!("postgres://u@{far}/d"), PgSslMode::VerifyFull);
    }
    same("postgres://u@db/d?sslmode=disable", PgSslMode::Disable);
    same("postgres://u@db/d?sslmode=require", PgSslMode::Require);
    same("postgres://u@db/d?sslmode=verify-ca", PgSslMode::VerifyCa);
    same("postgres://u@localhost/d?sslmode=verify-full", PgSslMode::VerifyFull);
}

#[test]
fn wrong_forms_name_the_right_one() {
    for (url, reason) in [
        ("postgres:", "two slashes"),
        ("postgres:/db", "two slashes"),
        ("mysql://u:hunter2@h/d", "its scheme is"),
        ("postgres://", "must name a database"),
        ("postgres://u:hunter2@h", "must name a database"),
        ("postgres://u:hunter2@h/", "must name one database"),
        ("postgres://u:hunter2@h/a/b", "must name one database"),
        ("postgres://h/d", "must name a user"),
        ("postgres://@h/d", "must name a user"),
        ("postgres://:hunter2@h/d", "must name a user"),
        ("postgres://u:hun/ter2@h/d", "must name one database"),
        ("postgres://u:hun/ter2@h", "a / or ? in the password is written"),
        ("postgres://u:hunter2?x@h/d", "a name, = and a value"),
        ("postgres://u:hunter2@x@h/d", "written %40"),
        ("postgres://u:hunter2#@h/d", "written %23"),
        ("postgres://u:hunter2%@h/d", "written %25"),
        ("postgres://u:hunter2%00@h/d", "written %25"),
        ("postgres://u:hunter2@/d", "must name a host"),
        ("postgres://u:hunter2@h:0/d", "a port is"),
        ("postgres://u:hunter2@h:/d", "a port is"),
        ("postgres://u:hunter2@h:65536/d", "a port is"),
        ("postgres://u:hunter2@a:1,b:2/d", "on one host only"),
        ("postgres://u:hunter2@a,b/d", "must name one host"),
        ("postgres://u:hunter2@[::1/d", "not closed"),
        ("postgres://u:hunter2@[localhost]/d", "IPv6"),
        ("postgres://u:hunter2@h/d?host=/run", "no other host"),
        ("postgres://u:hunter2@/d?host=run", "full path"),
        ("postgres://u:hunter2@h/d?password=hunter2", "unknown option; the options are schema"),
        ("postgres://u:p@h/d?hunter2", "a name, = and a value"),
        ("postgres://u:p@h/d?schema=a&schema=b", "twice"),
        ("postgres://u:p@h/d?sslkey=/a&sslkey=/b", "twice"),
        ("postgres://u:p@h/d?sslkey=/a", "given together"),
        ("postgres://u:p@h/d?schema=", "schema is up to 63"),
        ("postgres://u:p@h/d?schema=1a", "schema is up to 63"),
        ("postgres://u:p@h/d?schema=A", "schema is up to 63"),
        ("postgres://u:p@h/d?schema=a%22%3B", "schema is up to 63"),
        ("postgres://u:p@h/d?schema=pg_catalog", "PostgreSQL's own"),
        ("postgres://u:p@h/d?sslmode=prefer", "protect from nobody"),
        ("postgres://u:p@h/d?sslmode=on", "sslmode is disable"),
        ("postgres://u:p@h/d?connections=0", "from 1 to 1000"),
        ("postgres://u:p@h/d?connections=1001", "from 1 to 1000"),
        ("postgres://u:p@h/d?prepared=no", "true or false"),
    ] {
        let message = refusal(url);
        assert!(message.contains(reason), "{url}: {message}");
        assert!(message.ends_with("/database?schema=kv_storage"), "{message}");
    }
    let longest = "s".repeat(63);
    assert_eq!(parse(&format!("postgres://u@h/d?schema={longest}")).schema, longest);
    assert!(refusal(&format!("postgres://u@h/d?schema={longest}s")).contains("up to 63"));
}
