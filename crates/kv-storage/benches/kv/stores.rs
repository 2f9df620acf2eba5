//! The stores that are measured, each with what it is measured beside.

use std::sync::Arc;

use kv_storage::{
    Aes256Gcm, Disk, Encrypted, Fernet, KeyValue, Limited, Memory, Metered, Postgres, Prefixed,
    Redis, Sqlite, limits,
};
use tempfile::TempDir;
use test_servers::redis::RedisOptions;

use crate::{operation::Subject, raw::Raw};

pub(crate) struct Pair {
    /// `backend` or `wrapper`.
    pub(crate) kind: &'static str,
    pub(crate) store: &'static str,
    pub(crate) beside: &'static str,
    pub(crate) ours: Subject,
    pub(crate) raw: Subject,
}

pub(crate) struct Stores {
    pub(crate) pairs: Vec<Pair>,
    /// Backends whose server is not installed, and what is said of it.
    pub(crate) left_out: Vec<(&'static str, String)>,
    /// Ended and removed last.
    _servers: (Option<test_servers::Redis>, Option<test_servers::Postgres>),
    _directory: TempDir,
}

impl Stores {
    pub(crate) async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let disk = Disk::open(path("disk")).await.unwrap();
        let sqlite = Sqlite::open(path("kv.sqlite")).await.unwrap();
        let mut pairs = vec![
            backend("memory", Memory::new(), "a sharded map", Raw::map()),
            backend("disk", disk, "redb", Raw::redb(&path("raw.redb"))),
            backend("sqlite", sqlite, "sqlx", Raw::sqlite(&path("raw.sqlite")).await),
        ];
        let mut left_out = Vec::new();
        // Without its append-only file: the disk would hide what the client costs.
        let redis = match test_servers::Redis::with(RedisOptions::default()) {
            Ok(server) => {
                let ours = Redis::open(&server.url()).await.unwrap();
                // In another database: a scan passes over the keys of both otherwise.
                let raw = Raw::redis(&format!("{}/1", server.url())).await;
                pairs.push(backend("redis", ours, "redis", raw));
                Some(server)
            }
            Err(error) => {
                left_out.push(("redis", error.to_string()));
                None
            }
        };
        let postgres = match test_servers::Postgres::start_new() {
            Ok(server) => {
                let ours = Postgres::open(&server.url()).await.unwrap();
                pairs.push(backend("postgres", ours, "sqlx", Raw::postgres(&server.url()).await));
                Some(server)
            }
            Err(error) => {
                left_out.push(("postgres", error.to_string()));
                None
            }
        };
        pairs.extend(wrappers());
        Self { pairs, left_out, _servers: (redis, postgres), _directory: directory }
    }

    pub(crate) async fn close(self) {
        for pair in &self.pairs {
            if let Subject::Ours(store) = &pair.ours {
                store.close().await;
            }
        }
    }
}

fn backend(store: &'static str, ours: impl KeyValue, beside: &'static str, raw: Raw) -> Pair {
    Pair {
        kind: "backend",
        store,
        beside,
        ours: Subject::Ours(Arc::new(ours)),
        raw: Subject::Raw(raw),
    }
}

fn wrappers() -> Vec<Pair> {
    let keys = [Aes256Gcm::generate_key()];
    let deployment = "https://issuer.example";
    let aes_gcm = Aes256Gcm::new(&keys).unwrap();
    let fernet = Fernet::new(&keys).unwrap();
    vec![
        wrapper("aes-gcm", Encrypted::new(Memory::new(), aes_gcm, deployment)),
        wrapper("fernet", Encrypted::new(Memory::new(), fernet, deployment)),
        wrapper("prefix", Prefixed::new(Memory::new(), "prefix").unwrap()),
        wrapper("size limit", Limited::new(Memory::new(), limits::MAX_STORED_BYTES).unwrap()),
        wrapper("metrics", Metered::new(Memory::new()).unwrap()),
    ]
}

/// Around the fastest store, and beside the same without it.
fn wrapper(name: &'static str, ours: impl KeyValue) -> Pair {
    Pair {
        kind: "wrapper",
        store: name,
        beside: "bare memory",
        ours: Subject::Ours(Arc::new(ours)),
        raw: Subject::Ours(Arc::new(Memory::new())),
    }
}
