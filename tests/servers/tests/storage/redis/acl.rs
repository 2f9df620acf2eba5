//! The ACL rules that the manual gives are enough, and give nothing else.

use std::time::Duration;

use kv_storage::{ErrorKind, KeyValue, Redis, Ttl};
use test_servers::{Redis as Server, RedisCluster, RedisSentinel};

const STORAGE_PAGE: &str = include_str!("../../../../../docs/storage.md");

/// Makes the user of that name as the manual says.
fn allow(server: &Server, user: &str) {
    let start = format!("ACL SETUSER {user} ");
    let command = STORAGE_PAGE.lines().find(|line| line.starts_with(&start)).unwrap();
    server.command(&command.split(' ').collect::<Vec<_>>()).unwrap();
}

/// The storage URL with the user that the manual makes.
fn as_proxy(url: &str) -> String {
    url.replacen("://", "://proxy:secret@", 1)
}

/// Does everything that a store does.
async fn use_everything(store: &Redis) {
    store.health().await.unwrap();
    let value = || "value".into();
    for ttl in [Ttl::Keep, Ttl::Forever, Ttl::After(Duration::from_mins(1))] {
        store.put("c", "k", value(), ttl).await.unwrap();
        store.put_if_absent("c", "new", value(), ttl).await.unwrap().unwrap();
        assert!(store.get_many("c", &["k", "new"]).await.unwrap().iter().all(Option::is_some));
        let version = store.expire("c", "k", ttl).await.unwrap().unwrap();
        let swap = store.compare_and_swap("c", "k", version, value(), ttl).await;
        let version = swap.unwrap().unwrap();
        assert!(store.compare_and_delete("c", "k", version).await.unwrap());
        assert!(store.take("c", "new").await.unwrap().is_some());
        // What finds nothing is confirmed by replicas too.
        assert!(!store.delete("c", "k").await.unwrap());
        assert!(store.take("c", "new").await.unwrap().is_none());
        assert!(!store.compare_and_delete("c", "k", version).await.unwrap());
    }
    let zero = Ttl::After(Duration::ZERO);
    store.put_if_absent("c", "new", value(), zero).await.unwrap().unwrap();
    let mut page = store.scan("c", "", None, 10).await.unwrap();
    while let Some(next) = page.next {
        page = store.scan("c", "", Some(next), 10).await.unwrap();
    }
}

#[tokio::test]
async fn the_documented_acl_rule_is_enough_for_a_single_server() {
    let server = Server::start().unwrap();
    allow(&server, "proxy");
    let url = as_proxy(&server.url());
    let store = Redis::open(&url).await.unwrap();
    use_everything(&store).await;

    let value = || "value".into();
    let other = Redis::open(&format!("{url}?prefix=other")).await.unwrap();
    let error = other.put("c", "k", value(), Ttl::Forever).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    server.command(&["ACL", "SETUSER", "proxy", "-getdel"]).unwrap();
    let error = store.take("c", "k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    assert!(error.to_string().contains("GETDEL (NOPERM)"), "{error}");
    store.put("c", "k", value(), Ttl::Forever).await.unwrap();
    server.command(&["ACL", "SETUSER", "proxy", "-set"]).unwrap();
    let error = store.expire("c", "k", Ttl::Forever).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "within a script: {error}");
}

#[tokio::test]
async fn the_documented_acl_rules_are_enough_with_sentinels() {
    let mut servers = RedisSentinel::start().unwrap();
    for position in 0..servers.servers() {
        allow(servers.server(position), "proxy");
    }
    for sentinel in servers.sentinels() {
        allow(sentinel, "watcher");
        // Whoever gives no password is nobody.
        sentinel.command(&["ACL", "SETUSER", "default", "-sentinel"]).unwrap();
    }
    let url = as_proxy(&servers.url());
    let error = Redis::open(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    let credentials = "sentinel_user=watcher&sentinel_password=secret";
    let store = Redis::open(&format!("{url}?{credentials}")).await.unwrap();
    use_everything(&store).await;
}

#[tokio::test]
async fn the_documented_acl_rule_is_enough_on_a_cluster() {
    let mut cluster = RedisCluster::start().unwrap();
    for position in 0..2 * cluster.masters() {
        allow(cluster.node(position), "proxy");
    }
    let url = as_proxy(&cluster.url());
    let store = Redis::open(&url).await.unwrap();
    use_everything(&store).await;
    // A slot on its way, so that the store is sent on with `ASK`.
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    let slot = super::slot(cluster.node(0), "kv:c:k");
    let to = (cluster.master_of(slot) + 1) % cluster.masters();
    cluster.begin_move(slot, to).unwrap();
    cluster.move_keys(slot, to, 1).unwrap();
    assert!(store.get("c", "k").await.unwrap().is_some());
    assert!(store.take("c", "k").await.unwrap().is_some());
    use_everything(&store).await;

    cluster.node(0).command(&["ACL", "SETUSER", "proxy", "-cluster|nodes"]).unwrap();
    let error = Redis::open(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Misconfigured, "heard at once: {error}");
    assert!(error.to_string().contains("CLUSTER NODES (NOPERM)"), "{error}");
}
