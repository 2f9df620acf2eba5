//! What of `Redis` needs no server; the rest is in `tests/servers`.

use kv_storage::{ErrorKind, Redis};

#[tokio::test]
async fn wrong_urls_are_refused_without_their_password() {
    for url in [
        "redis:hunter2",
        "redis://hunter2@host",
        "redis://user:hunter2@",
        "redis://user:hunter2@host:hunter2",
        "redis://user:hunter2@host/hunter2",
        "redis://user:hunter2@host?password=hunter2",
        "redis://user:hun/ter2@host",
        "redis+sentinel://user:hunter2@host",
        "redis+cluster://user:hunter2@host/1",
    ] {
        for error in [Redis::open(url).await.err(), kv_storage::open(url).await.err()] {
            let error = error.unwrap();
            assert_eq!(error.kind(), ErrorKind::Misconfigured, "{error}");
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("storage URL is wrong"), "{shown}");
            assert!(!shown.contains("hunter2") && !shown.contains("ter2"), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    // Nothing listens any more on a port that was free a moment ago.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    for url in [
        format!("redis://:hunter2@127.0.0.1:{port}"),
        format!("redis+sentinel://:hunter2@127.0.0.1:{port}/main"),
        format!("redis+cluster://:hunter2@127.0.0.1:{port}"),
    ] {
        let error = Redis::open(&url).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(&format!("127.0.0.1:{port}")), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("redis://{address}?connect_timeout=50ms");
    let error = Redis::open(&url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("connect_timeout"), "{error}");
}
