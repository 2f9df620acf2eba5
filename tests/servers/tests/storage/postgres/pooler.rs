//! Behind a real pooler.

use std::sync::Arc;

use kv_storage::{ErrorKind, KeyValue, Postgres, Ttl, conformance};
use test_servers::{PgBouncer, PoolMode, Postgres as Server};
use tokio::task::JoinSet;

use super::{chain, eventually, refused, schema};
use crate::wrapped;

/// A pooler before the server that others use as well, and the URL of a schema of one's own.
fn pooled(mode: PoolMode) -> (Arc<Server>, Arc<PgBouncer>, String) {
    let (server, url) = schema();
    let pooler = PgBouncer::start(&server, mode).unwrap();
    let (_, options) = url.split_once('?').unwrap();
    let url = format!("{}?{options}", pooler.url_of("postgres"));
    (server, Arc::new(pooler), url)
}

conformance!(together in_transaction_mode, {
    let (server, pooler, _) = pooled(PoolMode::Transaction);
    async move || {
        let (_, url) = schema();
        let (_, options) = url.split_once('?').unwrap();
        let url = format!("{}?{options}&prepared=false", pooler.url_of("postgres"));
        wrapped(Postgres::open(&url).await.unwrap()).with_guard(Arc::clone(&server))
    }
});

/// More tasks than the pooler has sessions, and every one of them counts.
async fn count_together(url: &str) {
    let store = Arc::new(Postgres::open(url).await.unwrap());
    store.put("counts", "k", "0".into(), Ttl::Forever).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..8 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for _ in 0..5 {
                loop {
                    let entry = store.get("counts", "k").await.unwrap().unwrap();
                    let count: u32 = std::str::from_utf8(&entry.value).unwrap().parse().unwrap();
                    let next = (count + 1).to_string().into();
                    let swap =
                        store.compare_and_swap("counts", "k", entry.version, next, Ttl::Keep);
                    if swap.await.unwrap().is_some() {
                        break;
                    }
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(store.get("counts", "k").await.unwrap().unwrap().value, "40");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_share_few_sessions_lose_nothing() {
    let (_server, _pooler, url) = pooled(PoolMode::Transaction);
    count_together(&format!("{url}&prepared=false")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_session_mode_nothing_is_to_be_done() {
    let (_server, _pooler, url) = pooled(PoolMode::Session);
    // As many connections as the pooler has sessions: the others would wait for theirs.
    for _ in 0..3 {
        let store = eventually("the sessions of the last store are free", async || {
            Postgres::open(&format!("{url}&connections=2")).await.ok()
        });
        store.await.close().await;
    }
    count_together(&format!("{url}&connections=3")).await;
}

#[tokio::test]
async fn shared_sessions_are_refused_where_statements_are_prepared() {
    let (server, _pooler, url) = pooled(PoolMode::Transaction);
    let part = "add prepared=false to the storage URL";
    refused(&url, ErrorKind::Misconfigured, part).await;
    // Nor does it go well for somebody who has a single connection.
    refused(&format!("{url}&connections=1"), ErrorKind::Misconfigured, part).await;
    let store = Postgres::open(&format!("{url}&prepared=false")).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    assert_eq!(store.get("c", "k").await.unwrap().unwrap().value, "value");
    drop(server);
}

/// What a session's settings see to is seen to in every request.
#[tokio::test]
async fn an_acknowledged_write_is_on_disk_behind_a_pooler_as_well() {
    let server = Server::start_with("synchronous_commit = off").unwrap();
    let pooler = PgBouncer::start(&server, PoolMode::Transaction).unwrap();
    let url = format!("{}?prepared=false", pooler.url_of("postgres"));
    let store = Postgres::open(&url).await.unwrap();
    let spy = "CREATE TABLE spied (setting text); \
         CREATE FUNCTION spy() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         INSERT INTO public.spied VALUES (current_setting('synchronous_commit')); \
         RETURN NEW; END $$; \
         CREATE TRIGGER spy BEFORE INSERT ON kv_storage.kv_entries \
         FOR EACH ROW EXECUTE FUNCTION spy()";
    server.execute("postgres", spy).unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    let said = server.execute("postgres", "SELECT string_agg(setting, ',') FROM spied").unwrap();
    assert_eq!(said, "on");
}

#[tokio::test]
async fn a_pooler_that_lost_its_server_is_an_outage() {
    let mut server = Server::start_new().unwrap();
    // Or it has its clients wait for minutes.
    let patience = "query_wait_timeout = 1\nserver_login_retry = 1";
    let pooler = PgBouncer::start_with(&server, PoolMode::Transaction, patience).unwrap();
    let url = format!("{}?prepared=false", pooler.url_of("postgres"));
    let store = Postgres::open(&url).await.unwrap();
    let version = store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    server.kill().unwrap();
    let error = store.get("c", "k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", chain(&error));
    server.start().unwrap();
    let entry =
        eventually("the pooler finds its server", async || match store.get("c", "k").await {
            Ok(entry) => Some(entry),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", chain(&error));
                None
            }
        });
    assert_eq!(entry.await.unwrap().version, version);
    store.put("c", "k", "new".into(), Ttl::Forever).await.unwrap();
}
