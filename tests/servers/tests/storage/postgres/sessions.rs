//! How each session is set up, whatever the defaults of server and role are.

use std::{thread, time::Duration};

use kv_storage::{
    ErrorKind, KeyValue, Postgres, Ttl,
    testing::{Fixture, races},
};
use test_servers::{PgBouncer, PoolMode, Postgres as Server};

use super::{chain, eventually, schema};

/// Has the table note the settings that each write runs with.
const SPY: &str = "CREATE TABLE {name}.spied (setting text); \
     CREATE FUNCTION {name}.spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
     INSERT INTO {name}.spied VALUES (concat_ws(' ', current_setting('synchronous_commit'), \
     current_setting('lock_timeout'), current_setting('statement_timeout'))); \
     RETURN NEW; END $$; \
     CREATE TRIGGER spy BEFORE INSERT ON {name}.kv_entries FOR EACH ROW EXECUTE FUNCTION {name}.spy()";

#[tokio::test]
async fn an_acknowledged_write_is_on_disk_whatever_the_default_is() {
    let (server, url) = schema();
    let name = url.rsplit('=').next().unwrap().to_owned();
    server.execute("postgres", "CREATE ROLE hasty SUPERUSER LOGIN PASSWORD 'p'").unwrap();
    let url = url.replace("postgres@", "hasty:p@");
    Postgres::open(&url).await.unwrap().close().await;
    server.execute("postgres", &SPY.replace("{name}", &name)).unwrap();
    let spied = format!("SELECT string_agg(DISTINCT setting, ',') FROM {name}.spied");
    for (default, expected) in
        [("off", "on"), ("local", "on"), ("remote_write", "on"), ("remote_apply", "remote_apply")]
    {
        let set = format!(
            "ALTER ROLE hasty SET synchronous_commit = {default}; \
                           ALTER ROLE hasty SET statement_timeout = '1h'"
        );
        server.execute("postgres", &set).unwrap();
        for prepared in [true, false] {
            let store = Postgres::open(&format!("{url}&prepared={prepared}")).await.unwrap();
            store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
            let said = server.execute("postgres", &spied).unwrap();
            assert_eq!(said, format!("{expected} 5s 0"), "{default}, prepared={prepared}");
            server.execute("postgres", &format!("TRUNCATE {name}.spied")).unwrap();
        }
    }
}

/// With the default, they would collide time and again.
async fn nothing_collides(url: &str) {
    let fixture = Fixture::new(Postgres::open(url).await.unwrap());
    races::counting_by_compare_and_swap_loses_nothing(&fixture).await;
    races::writers_that_keep_the_expiry_all_succeed(&fixture).await;
}

#[tokio::test]
async fn a_stricter_default_isolation_changes_nothing() {
    let (server, url) = schema();
    let strict = "CREATE ROLE strict SUPERUSER LOGIN PASSWORD 'p'; \
                  ALTER ROLE strict SET default_transaction_isolation = serializable";
    server.execute("postgres", strict).unwrap();
    let url = url.replace("postgres@", "strict:p@");
    for prepared in [true, false] {
        nothing_collides(&format!("{url}&prepared={prepared}")).await;
    }
}

#[tokio::test]
async fn a_stricter_default_isolation_changes_nothing_behind_a_pooler() {
    let strict = "default_transaction_isolation = serializable";
    let server = Server::start_with(strict).unwrap();
    let pooler = PgBouncer::start(&server, PoolMode::Transaction).unwrap();
    nothing_collides(&format!("{}?prepared=false", pooler.url_of("postgres"))).await;
}

#[tokio::test]
async fn a_record_that_somebody_keeps_locked_is_unavailable_and_unchanged() {
    let (server, url) = schema();
    let name = url.rsplit('=').next().unwrap();
    let store = Postgres::open(&url).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    let lock = format!(
        "BEGIN; SELECT FROM {name}.kv_entries FOR UPDATE; SELECT pg_sleep(60) /* locked */"
    );
    let holder = std::sync::Arc::clone(&server);
    let holding = thread::spawn(move || holder.execute("postgres", &lock));
    let locked = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%/* locked */' AND \
                  wait_event = 'PgSleep' AND pid <> pg_backend_pid()";
    eventually("the record is locked", async || {
        (server.execute("postgres", locked).unwrap() == "1").then_some(())
    })
    .await;
    let error = store.put("c", "k", "new".into(), Ttl::Forever).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", chain(&error));
    assert!(error.to_string().contains("keeps the record locked"), "{error}");
    assert_eq!(store.get("c", "k").await.unwrap().unwrap().value, "value", "reads do not wait");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE wait_event = 'PgSleep'";
    server.execute("postgres", end).unwrap();
    holding.join().unwrap().unwrap_err();
    store.put("c", "k", "new".into(), Ttl::Forever).await.unwrap();
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_a_working_store() {
    let (_server, url) = schema();
    let store = Postgres::open(&format!("{url}&connections=2")).await.unwrap();
    for index in 0..50_u64 {
        let value = index.to_string();
        let put = store.put("c", "k", value.clone().into(), Ttl::Forever);
        let given_up = tokio::time::timeout(Duration::from_micros(index * 40), put).await.is_err();
        let read = store.get("c", "k").await.unwrap();
        if !given_up {
            assert_eq!(read.unwrap().value, value);
        }
    }
    store.put("c", "k", "last".into(), Ttl::Forever).await.unwrap();
    assert_eq!(store.get("c", "k").await.unwrap().unwrap().value, "last");
    store.close().await;
    let closed = store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Unavailable);
}
