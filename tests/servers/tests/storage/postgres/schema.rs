//! The tables: who may make them, who makes them first, and whose they are.

use std::time::Duration;

use kv_storage::{ErrorKind, KeyValue, Postgres, Ttl, open};
use tokio::task::JoinSet;

use super::{eventually, refused, schema};

/// What the present version wrote, as SQL; see the head of the file.
const FORMAT_1: &str = include_str!("../../fixtures/postgres-format-1.sql");

#[tokio::test]
async fn a_role_that_owns_nothing_but_the_schema_is_enough() {
    let (server, _) = schema();
    let make = "CREATE ROLE tenant LOGIN PASSWORD 'p@ss/word'; \
                CREATE SCHEMA tenant_store AUTHORIZATION tenant";
    server.execute("postgres", make).unwrap();
    let url = server.url_of("tenant:p%40ss%2Fword", "postgres");
    let store = open(&format!("{url}?schema=tenant_store")).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    assert!(store.take("c", "k").await.unwrap().is_some());
    store.health().await.unwrap();
    let part = "CREATE SCHEMA other AUTHORIZATION the user";
    refused(&format!("{url}?schema=other"), ErrorKind::Misconfigured, part).await;
}

#[tokio::test]
async fn a_role_that_owns_nothing_can_use_the_tables_of_another() {
    let (server, url) = schema();
    Postgres::open(&url).await.unwrap().close().await;
    let name = url.rsplit('=').next().unwrap();
    let grant = |what: &str| {
        let sql = format!("GRANT {what} TO guest").replace("{name}", name);
        server.execute("postgres", &sql).unwrap()
    };
    server.execute("postgres", "CREATE ROLE guest LOGIN PASSWORD 'p'").unwrap();
    let guest = format!("{}?schema={name}", server.url_of("guest:p", "postgres"));
    refused(&guest, ErrorKind::Misconfigured, "may not use it").await;
    grant("USAGE ON SCHEMA {name}");
    grant("SELECT ON {name}.kv_format");
    refused(&guest, ErrorKind::Misconfigured, "must be allowed to select, insert").await;
    grant("SELECT, INSERT, UPDATE, DELETE ON {name}.kv_entries");
    let store = Postgres::open(&guest).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    assert!(store.expire("c", "k", Ttl::Forever).await.unwrap().is_some());
    assert!(store.delete("c", "k").await.unwrap());
}

#[tokio::test]
async fn the_default_schema_is_made() {
    let (server, _) = schema();
    let url = server.create_database("fresh").unwrap();
    Postgres::open(&url).await.unwrap();
    let tables = "SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables \
                  WHERE schemaname = 'kv_storage'";
    assert_eq!(server.execute("fresh", tables).unwrap(), "kv_entries kv_format");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn handles_that_open_at_once_make_the_tables_once() {
    let (server, url) = schema();
    let mut opening = JoinSet::new();
    for number in 0..8 {
        let url = format!("{url}&connections=2&prepared={}", number % 2 == 0);
        opening.spawn(async move { Postgres::open(&url).await.unwrap() });
    }
    let stores = opening.join_all().await;
    stores[0].put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    for store in &stores {
        assert_eq!(store.get("c", "k").await.unwrap().unwrap().value, "value");
    }
    drop(server);
}

#[tokio::test]
async fn tables_of_a_later_version_are_left_alone() {
    let (server, url) = schema();
    let name = url.rsplit('=').next().unwrap();
    let store = Postgres::open(&url).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    let set = |format| format!("UPDATE {name}.kv_format SET format = {format}");
    server.execute("postgres", &set(2)).unwrap();
    let part = "its tables have format 2 and were written by a later version; this one knows \
                formats up to 1";
    refused(&url, ErrorKind::Misconfigured, part).await;
    server.execute("postgres", &set(1)).unwrap();
    let store = Postgres::open(&url).await.unwrap();
    assert_eq!(store.get("c", "k").await.unwrap().unwrap().value, "value");
}

#[tokio::test]
async fn tables_of_somebody_else_are_left_alone() {
    let (server, url) = schema();
    let name = url.rsplit('=').next().unwrap();
    let make = format!("CREATE SCHEMA {name}; CREATE TABLE {name}.kv_entries (precious text)");
    server.execute("postgres", &make).unwrap();
    refused(&url, ErrorKind::Misconfigured, "was not made by kv-storage").await;
    let count = format!("SELECT count(*) FROM {name}.kv_entries");
    assert_eq!(server.execute("postgres", &count).unwrap(), "0");
}

#[tokio::test]
async fn tables_of_format_1_open() {
    let (server, url) = schema();
    let name = url.rsplit('=').next().unwrap();
    server.execute("postgres", &FORMAT_1.replace("fixture", name)).unwrap();
    let store = Postgres::open(&url).await.unwrap();
    let keys = store.scan("records", "", None, 10).await.unwrap().keys;
    assert_eq!(keys, ["", "key\0with\u{1f511}", "plain"]);
    let plain = store.get("records", "plain").await.unwrap().unwrap();
    assert_eq!(plain.value, "value");
    assert_eq!(*plain.version.as_bytes(), *b"0123456789abcdef");
    let swapped =
        store.compare_and_swap("records", "plain", plain.version, "new".into(), Ttl::Keep);
    assert!(swapped.await.unwrap().is_some());
    assert_eq!(store.get("records", "").await.unwrap().unwrap().value, "");
    let bytes = store.take("records", "key\0with\u{1f511}").await.unwrap().unwrap();
    assert_eq!(bytes.value, [0, 0xff, 0x27, 0x5c][..]);
    assert_eq!(store.get("records", "expired").await.unwrap(), None);
}

#[tokio::test]
async fn tables_that_go_away_are_reported() {
    let (server, url) = schema();
    let name = url.rsplit('=').next().unwrap();
    let store = Postgres::open(&url).await.unwrap();
    server.execute("postgres", &format!("DROP SCHEMA {name} CASCADE")).unwrap();
    for outcome in
        [store.put("c", "k", "value".into(), Ttl::Forever).await.map(drop), store.health().await]
    {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured);
        assert!(error.to_string().contains("removed or changed while in use; restart"), "{error}");
    }
}

#[tokio::test]
async fn rows_in_a_wrong_form_are_corrupt() {
    let (server, url) = schema();
    let name = url.rsplit('=').next().unwrap();
    let store = Postgres::open(&url).await.unwrap();
    let insert = format!(
        "INSERT INTO {name}.kv_entries (collection, key, version, value) \
         VALUES ('c', 'short', '\\x00', ''), ('d', '\\xc3', decode(repeat('00', 16), 'hex'), '')"
    );
    let refused = server.execute("postgres", &insert).unwrap_err();
    assert!(refused.to_string().contains("kv_entries_version_check"), "{refused}");
    let lift = format!("ALTER TABLE {name}.kv_entries DROP CONSTRAINT kv_entries_version_check");
    server.execute("postgres", &lift).unwrap();
    server.execute("postgres", &insert).unwrap();
    assert_eq!(store.get("c", "short").await.unwrap_err().kind(), ErrorKind::Corrupt);
    let many = store.get_many("c", &["short"]).await;
    assert_eq!(many.unwrap_err().kind(), ErrorKind::Corrupt);
    let scanned = store.scan("d", "", None, 10).await;
    assert_eq!(scanned.unwrap_err().kind(), ErrorKind::Corrupt);
    // Only what removes or replaces it touches it, and taking is among that.
    let expired = store.expire("c", "short", Ttl::Forever).await;
    assert_eq!(expired.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.put_if_absent("c", "short", "".into(), Ttl::Forever).await.unwrap(), None);
    assert_eq!(store.get("c", "short").await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.take("c", "short").await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.take("c", "short").await.unwrap(), None, "it can be redeemed by nobody");
    let again = insert.replace("'d', ", "'e', ");
    server.execute("postgres", &again).unwrap();
    assert!(store.delete("c", "short").await.unwrap());
    let third = insert.replace("'d', ", "'f', ");
    server.execute("postgres", &third).unwrap();
    let put = store.put("c", "short", "value".into(), Ttl::Keep).await.unwrap();
    assert_eq!(store.get("c", "short").await.unwrap().unwrap().version, put);
}

#[tokio::test]
async fn expired_rows_are_deleted_in_the_course_of_writing() {
    let (server, url) = schema();
    let name = url.rsplit('=').next().unwrap();
    let store = Postgres::open(&url).await.unwrap();
    let ttl = Ttl::After(Duration::from_millis(1));
    for index in 0..100 {
        store.put("c", &format!("short/{index}"), "value".into(), ttl).await.unwrap();
    }
    let count = format!("SELECT count(*) FROM {name}.kv_entries");
    eventually("everything expired is swept", async || {
        store.put("c", "long", "value".into(), Ttl::Forever).await.unwrap();
        (server.execute("postgres", &count).unwrap() == "1").then_some(())
    })
    .await;
}
