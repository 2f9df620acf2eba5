//! TLS: to the right server only.

use std::{fs, path::PathBuf};

use kv_storage::{ErrorKind, KeyValue, Postgres, Ttl};
use test_servers::Postgres as Server;

use super::refused;

fn certificate(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/storage/postgres/tls").join(name)
}

#[tokio::test]
async fn a_server_proves_who_it_is() {
    let mut server = Server::start_new().unwrap();
    server.stop().unwrap();
    for (from, to) in [("server.pem", "server.crt"), ("server-key.pem", "server.key")] {
        server.install(&fs::read(certificate(from)).unwrap(), to).unwrap();
    }
    server.install(b"ssl = on\n", "postgresql.auto.conf").unwrap();
    server.install(b"hostssl all all 127.0.0.1/32 trust\n", "pg_hba.conf").unwrap();
    server.start().unwrap();

    let authority = certificate("ca.pem").display().to_string();
    let url = server.url().replace("127.0.0.1", "localhost");
    let trusted = |mode| format!("{url}?sslmode={mode}&sslrootcert={authority}");
    let store = Postgres::open(&trusted("verify-full")).await.unwrap();
    store.put("c", "k", "value".into(), Ttl::Forever).await.unwrap();
    store.close().await;
    let part = "no TLS connection as the storage URL's sslmode demands; give the certificate";
    let unknown = format!("{url}?sslmode=verify-full");
    refused(&unknown, ErrorKind::Misconfigured, part).await;
    let other_name = trusted("verify-full").replace("localhost", "127.0.0.1");
    refused(&other_name, ErrorKind::Misconfigured, part).await;

    // Who asks for less gets less.
    for url in
        [trusted("verify-ca").replace("localhost", "127.0.0.1"), format!("{url}?sslmode=require")]
    {
        let store = Postgres::open(&url).await.unwrap();
        assert_eq!(store.get("c", "k").await.unwrap().unwrap().value, "value", "{url}");
    }
    let bare = format!("{url}?sslmode=disable");
    refused(&bare, ErrorKind::Misconfigured, "the server refused the user").await;
}
