//! Who may do what, and servers that are refused.

use std::path::{Path, PathBuf};

use kv_storage::{ErrorKind, KeyValue, Redis, Ttl};
use test_servers::{
    Redis as Server, RedisCluster, RedisSentinel,
    redis::{RedisOptions, resp::Reply},
};

async fn refusal(url: &str) -> (ErrorKind, String) {
    let error = Redis::open(url).await.unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains("hunter"), "{shown}");
    (error.kind(), error.to_string())
}

async fn assert_refused(url: &str, kind: ErrorKind, part: &str) {
    let (found, message) = refusal(url).await;
    assert_eq!(found, kind, "{message}");
    assert!(message.contains(part), "{message}");
}

#[tokio::test]
async fn passwords_are_needed_and_checked() {
    let server = Server::with(RedisOptions::default().password("hunter2")).unwrap();
    let store = Redis::open(&server.url()).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    assert!(!format!("{store:?}").contains("hunter"), "{store:?}");
    let without = format!("redis://127.0.0.1:{}", server.port());
    let wrong = format!("redis://:hunter3@127.0.0.1:{}", server.port());
    let unknown = format!("redis://somebody:hunter2@127.0.0.1:{}", server.port());
    for url in [without, wrong, unknown] {
        assert_refused(&url, ErrorKind::Misconfigured, "the user or the password").await;
    }
    let open = Server::start().unwrap();
    let needless = format!("redis://:hunter2@127.0.0.1:{}", open.port());
    assert_refused(&needless, ErrorKind::Misconfigured, "it knows no user or password").await;
    let database = format!("{}/999", open.url());
    assert_refused(&database, ErrorKind::Misconfigured, "no database of the number").await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_the_way_out() {
    let mut server = Server::start().unwrap();
    server.kill();
    for url in [server.url(), server.url().replace("redis:", "redis+cluster:")] {
        let (kind, message) = refusal(&url).await;
        assert_eq!(kind, ErrorKind::Unavailable, "{message}");
        for part in [&format!("127.0.0.1:{}", server.port()), "is it running", "`--storage`"] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[tokio::test]
async fn servers_that_throw_records_away_are_refused() {
    for policy in ["allkeys-lru", "volatile-ttl"] {
        let server =
            Server::with(RedisOptions::default().line(format!("maxmemory-policy {policy}")))
                .unwrap();
        assert_refused(&server.url(), ErrorKind::Misconfigured, "set maxmemory-policy noeviction")
            .await;
        server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).unwrap();
        let store = Redis::open(&server.url()).await.unwrap();
        store.health().await.unwrap();
        server.command(&["CONFIG", "SET", "maxmemory-policy", policy]).unwrap();
        let error = store.health().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
        // Now every connection is made anew, and refused.
        let error = store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
    }
}

#[tokio::test]
async fn a_full_server_is_unavailable_and_keeps_what_it_has() {
    let server = Server::start().unwrap();
    let store = Redis::open(&server.url()).await.unwrap();
    let version = store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    server.command(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    for error in [
        store.put("c", "new", "value".into(), Ttl::Forever).await.unwrap_err(),
        store.compare_and_swap("c", "k", version, "new".into(), Ttl::Keep).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("maxmemory"), "{error}");
    }
    assert_eq!(store.get("c", "k").await.unwrap().unwrap().version, version);
    assert!(store.take("c", "k").await.unwrap().is_some(), "removing is possible");
}

#[tokio::test]
async fn the_scheme_must_fit_the_servers() {
    let cluster = RedisCluster::start().unwrap();
    let sentinels = RedisSentinel::start().unwrap();
    let single = Server::start().unwrap();
    let node = cluster.url().replace("+cluster", "");
    let node = node.split(',').next().unwrap();
    assert_refused(node, ErrorKind::Misconfigured, "with +cluster").await;
    let sentinel = sentinels.url().replace("+sentinel", "");
    let sentinel = sentinel.split(',').next().unwrap();
    assert_refused(sentinel, ErrorKind::Misconfigured, "with +sentinel").await;
    let alone = single.url().replace("redis:", "redis+cluster:");
    assert_refused(&alone, ErrorKind::Misconfigured, "without +cluster").await;
    let unknown = sentinels.url().replace("/main", "/other");
    assert_refused(&unknown, ErrorKind::Misconfigured, "no master named \"other\"").await;
}

#[tokio::test]
async fn replicas_are_refused_and_needed() {
    let server = Server::start().unwrap();
    let needing = format!("{}?wait_replicas=1", server.url());
    assert_refused(&needing, ErrorKind::Unavailable, "set wait_replicas=0").await;
    let store = Redis::open(&server.url()).await.unwrap();
    server.command(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    let error = store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("replica"), "{error}");
    assert_eq!(store.get("c", "k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_refused(&server.url(), ErrorKind::Unavailable, "is a replica").await;
    server.command(&["REPLICAOF", "NO", "ONE"]).unwrap();
    super::write_until_it_works(&store, &["k".into()]).await;
}

/// The certificates in `tls/` are for `localhost` and good for a century; the keys of both
/// authorities are gone.
fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/storage/redis/tls").join(name)
}

fn tls_options() -> RedisOptions {
    RedisOptions::default().tls(&tls_file("server.pem"), &tls_file("server.key"))
}

#[tokio::test]
async fn tls_is_checked() {
    let server = Server::with(tls_options()).unwrap();
    let url = |ca: &str| format!("{}?ca_file={}", server.tls_url(), tls_file(ca).display());
    let store = Redis::open(&url("ca.pem")).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    assert!(matches!(server.command(&["GET", "kv:c:k"]).unwrap(), Reply::Bytes(_)));

    assert_refused(&url("other.pem"), ErrorKind::Unavailable, "the TLS handshake failed").await;
    assert_refused(&url("absent.pem"), ErrorKind::Misconfigured, "the file cannot be read").await;
    assert_refused(&url("server.key"), ErrorKind::Misconfigured, "there is none in it").await;
    let elsewhere = url("ca.pem").replace("localhost", "127.0.0.2");
    assert_eq!(refusal(&elsewhere).await.0, ErrorKind::Unavailable);
    let plain =
        url("ca.pem").replace(&server.second_port().to_string(), &server.port().to_string());
    assert_eq!(refusal(&plain).await.0, ErrorKind::Unavailable);
    let unprotected = format!("redis://localhost:{}", server.second_port());
    assert_eq!(refusal(&unprotected).await.0, ErrorKind::Unavailable);
}

/// Both the sentinel and the master that it names are asked with TLS.
#[tokio::test]
async fn tls_reaches_the_master_that_a_sentinel_names() {
    let server = Server::with(tls_options()).unwrap();
    let monitor = format!("sentinel monitor main 127.0.0.1 {} 1", server.second_port());
    let sentinel = Server::with(tls_options().sentinel().line(monitor)).unwrap();
    let url = |port, ca| {
        let ca = tls_file(ca);
        let options = format!("wait_replicas=0&ca_file={}", ca.display());
        format!("rediss+sentinel://127.0.0.1:{port}/main?{options}")
    };
    let store = Redis::open(&url(sentinel.second_port(), "ca.pem")).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    assert!(matches!(server.command(&["GET", "kv:c:k"]).unwrap(), Reply::Bytes(_)));
    let (kind, message) = refusal(&url(sentinel.second_port(), "other.pem")).await;
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(message.contains("the TLS handshake failed"), "{message}");
    let plain = refusal(&url(sentinel.port(), "ca.pem")).await;
    assert_eq!(plain.0, ErrorKind::Unavailable, "{}", plain.1);
}

#[tokio::test]
async fn tls_reaches_the_nodes_of_a_cluster() {
    let options = tls_options().cluster().line("tls-cluster yes");
    let node = Server::with(options).unwrap();
    node.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).unwrap();
    let url = |ca| {
        let ca = tls_file(ca);
        let options = format!("wait_replicas=0&ca_file={}", ca.display());
        format!("rediss+cluster://127.0.0.1:{}?{options}", node.second_port())
    };
    let store = Redis::open(&url("ca.pem")).await.unwrap();
    let keys: Vec<String> = (0..10).map(|index| index.to_string()).collect();
    super::write_until_it_works(&store, &keys).await;
    assert_eq!(store.scan("afterwards", "", None, 100).await.unwrap().keys.len(), keys.len());
    let (kind, message) = refusal(&url("other.pem")).await;
    assert_eq!(kind, ErrorKind::Unavailable);
    assert!(message.contains("the TLS handshake failed"), "{message}");
}
