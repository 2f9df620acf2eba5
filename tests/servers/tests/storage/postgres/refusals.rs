//! What is wrong with a server, a URL or a role is said, and how to mend it.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use kv_storage::{ErrorKind, KeyValue, Postgres, Ttl};
use test_servers::Postgres as Server;

use super::{chain, eventually, refused, schema};

#[tokio::test]
async fn a_wrong_password_names_the_setting() {
    let (server, _) = schema();
    server.execute("postgres", "CREATE ROLE secretive LOGIN PASSWORD 'correct horse'").unwrap();
    let part = "the server refused the user; check user and password of the storage URL";
    for login in ["secretive:hunter2", "secretive", "nobody_here:hunter2"] {
        refused(&server.url_of(login, "postgres"), ErrorKind::Misconfigured, part).await;
    }
    let right = server.url_of("secretive:correct%20horse", "postgres");
    refused(&right, ErrorKind::Misconfigured, "CREATE SCHEMA kv_storage AUTHORIZATION").await;
}

#[tokio::test]
async fn a_missing_database_is_named() {
    let (server, _) = schema();
    let url = server.url_of("postgres", "absent");
    refused(&url, ErrorKind::Misconfigured, "/absent: there is no such database; create it").await;
}

#[tokio::test]
async fn an_unreachable_server_is_named() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://user:hunter2@127.0.0.1:{port}/db");
    let part = format!("127.0.0.1:{port}/db: the server cannot be reached; check host and port");
    refused(&url, ErrorKind::Unavailable, &part).await;
    let directory = tempfile::tempdir().unwrap();
    let url = format!("postgres://user:hunter2@/db?host={}", directory.path().display());
    refused(&url, ErrorKind::Unavailable, "the server cannot be reached").await;
}

#[tokio::test]
async fn a_server_of_another_kind_is_recognized() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let url = format!("postgres://user:hunter2@127.0.0.1:{port}/db?sslmode=require");
    refused(&url, ErrorKind::Misconfigured, "does not speak PostgreSQL's protocol").await;
}

#[tokio::test]
async fn encryption_that_is_demanded_is_not_left_out() {
    let (server, url) = schema();
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = format!("{url}&sslmode={mode}");
        refused(&url, ErrorKind::Misconfigured, "as the storage URL's sslmode demands").await;
    }
    let missing = format!("{url}&sslmode=verify-full&sslrootcert=/absent.pem");
    let part = "read /absent.pem, the sslrootcert of the storage URL";
    refused(&missing, ErrorKind::Misconfigured, part).await;
    drop(server);
}

#[tokio::test]
async fn a_standby_is_refused_until_it_is_promoted() {
    let mut server = Server::start_new().unwrap();
    let url = server.url();
    Postgres::open(&url).await.unwrap().close().await;
    server.stop().unwrap();
    std::fs::write(server.data().join("standby.signal"), "").unwrap();
    server.start().unwrap();
    for prepared in [true, false] {
        let url = format!("{url}?prepared={prepared}");
        refused(&url, ErrorKind::Unavailable, "must lead to the primary server").await;
    }
    server.execute("postgres", "SELECT pg_promote()").unwrap();
    let store = eventually("the standby is promoted", async || Postgres::open(&url).await.ok());
    let store = store.await;
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
}

#[tokio::test]
async fn a_store_that_came_to_be_read_only_is_unavailable() {
    let (server, url) = schema();
    let reader = "CREATE ROLE reader SUPERUSER LOGIN";
    server.execute("postgres", reader).unwrap();
    let url = url.replace("postgres@", "reader@").replace(
        "127.0.0.1:",
        &format!("{}:", server.socket_directory().display()).replace('/', "%2F"),
    );
    let store = Postgres::open(&url).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    let only_reads = "ALTER ROLE reader SET default_transaction_read_only = on";
    server.execute("postgres", only_reads).unwrap();
    refused(&url, ErrorKind::Unavailable, "default_transaction_read_only is on").await;
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE usename = 'reader'";
    server.execute("postgres", end).unwrap();
    for outcome in [
        store.put("c", "k", "new".into(), Ttl::Forever).await.map(drop),
        store.get("c", "k").await.map(drop),
        store.health().await,
    ] {
        let error = outcome.unwrap_err();
        // The first write may have met a connection that had just ended.
        assert!(
            [ErrorKind::Unavailable, ErrorKind::OutcomeUnknown].contains(&error.kind()),
            "{}",
            chain(&error)
        );
    }
    server.execute("postgres", "ALTER ROLE reader RESET default_transaction_read_only").unwrap();
    assert_eq!(store.get("c", "k").await.unwrap().unwrap().value, "value");
}

#[tokio::test]
async fn a_server_without_a_connection_left_is_unavailable() {
    let server =
        Server::start_with("max_connections = 4\nsuperuser_reserved_connections = 0").unwrap();
    server.execute("postgres", "CREATE ROLE small SUPERUSER LOGIN CONNECTION LIMIT 2").unwrap();
    let socket = server.socket_directory().display().to_string().replace('/', "%2F");
    let url = format!("postgres://small@{socket}:{}/postgres", server.port());
    let first = Postgres::open(&format!("{url}?connections=1")).await.unwrap();
    let second = Postgres::open(&format!("{url}?connections=1")).await.unwrap();
    // The limit of a role does not bind superusers, that of the server does.
    let third = Postgres::open(&format!("{url}?connections=1")).await.unwrap();
    let fourth = Postgres::open(&format!("{url}?connections=1")).await.unwrap();
    refused(&url, ErrorKind::Unavailable, "raise its max_connections or lower ?connections=").await;
    for store in [first, second, third, fourth] {
        store.close().await;
    }
    let again = eventually("the connections are gone", async || Postgres::open(&url).await.ok());
    again.await.health().await.unwrap();
}

#[tokio::test]
async fn nothing_shows_the_password() {
    let (server, _) = schema();
    let make =
        "CREATE ROLE owner LOGIN PASSWORD 'hunter2'; CREATE SCHEMA owned AUTHORIZATION owner";
    server.execute("postgres", make).unwrap();
    let url = format!("{}?schema=owned", server.url_of("owner:hunter2", "postgres"));
    let store = Postgres::open(&url).await.unwrap();
    assert!(!format!("{store:?}").contains("hunter2"));
    assert!(format!("{store:?}").contains("owned"));
    let error = store.get("NO", "k").await.unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"));
}
