//! The stores that are measured.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use kv_storage::{
    Aes256Gcm, Disk, Encrypted, Fernet, KeyValue, Limited, Memory, Metered, Prefixed, Sqlite,
    limits,
};
use redb::Database;
use tempfile::TempDir;

use crate::raw::{self, Raw};

pub(crate) struct Stores {
    all: Vec<(&'static str, Arc<dyn KeyValue>)>,
    raw: Vec<(&'static str, Raw)>,
    /// Removed at the end.
    _directory: TempDir,
}

impl Stores {
    pub(crate) async fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let keys = [Aes256Gcm::generate_key()];
        let deployment = "https://issuer.example";
        let aes_gcm = || Aes256Gcm::new(&keys).unwrap();
        let fernet = || Fernet::new(&keys).unwrap();
        let all: Vec<(&'static str, Arc<dyn KeyValue>)> = vec![
            ("memory", Arc::new(Memory::new())),
            ("memory + aes-gcm", Arc::new(Encrypted::new(Memory::new(), aes_gcm(), deployment))),
            ("memory + fernet", Arc::new(Encrypted::new(Memory::new(), fernet(), deployment))),
            ("memory + prefix", Arc::new(Prefixed::new(Memory::new(), "prefix").unwrap())),
            (
                "memory + limit",
                Arc::new(Limited::new(Memory::new(), limits::MAX_STORED_BYTES).unwrap()),
            ),
            ("memory + metrics", Arc::new(Metered::new(Memory::new()).unwrap())),
            ("disk", Arc::new(Disk::open(path("disk")).await.unwrap())),
            ("sqlite", Arc::new(Sqlite::open(path("kv.sqlite")).await.unwrap())),
        ];
        let shards = (0..raw::SHARDS).map(|_| Mutex::new(HashMap::new())).collect();
        let raw = vec![
            ("raw map", Raw::Map(Arc::new(shards))),
            ("raw redb", Raw::Redb(Arc::new(Database::create(path("raw.redb")).unwrap()))),
            ("raw sqlx sqlite", Raw::sqlite(&path("raw.sqlite")).await),
        ];
        Self { all, raw, _directory: directory }
    }

    pub(crate) fn all(&self) -> &[(&'static str, Arc<dyn KeyValue>)] {
        &self.all
    }

    pub(crate) fn raw(&self) -> &[(&'static str, Raw)] {
        &self.raw
    }

    pub(crate) async fn close(self) {
        for (_, store) in &self.all {
            store.close().await;
        }
    }
}
