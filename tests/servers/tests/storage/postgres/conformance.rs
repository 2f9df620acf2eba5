//! The suite, plain and under each cipher.

use std::sync::Arc;

use kv_storage::{Aes256Gcm, Cipher, Encrypted, Fernet, Postgres, conformance, testing::Fixture};
use test_servers::Postgres as Server;

use super::schema;
use crate::{fixture, wrapped};

/// A store in a schema of its own; few connections each, for many share a server.
async fn store() -> (Postgres, Arc<Server>) {
    let (server, url) = schema();
    (Postgres::open(&format!("{url}&connections=4")).await.unwrap(), server)
}

async fn encrypted(cipher: impl Cipher) -> Fixture {
    let (store, server) = store().await;
    wrapped(Encrypted::new(store, cipher, "https://issuer.example")).with_guard(server)
}

conformance!(together plain, async || {
    let (store, server) = store().await;
    fixture(store).with_guard(server)
});

conformance!(together fernet, async || {
    encrypted(Fernet::new(&[Fernet::generate_key()]).unwrap()).await
});

conformance!(together aes_gcm, async || {
    encrypted(Aes256Gcm::new(&[Aes256Gcm::generate_key()]).unwrap()).await
});
