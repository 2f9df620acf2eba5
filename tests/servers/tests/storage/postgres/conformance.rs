//! The suite, plain and under each cipher.

use std::sync::Arc;

use kv_storage::{Aes256Gcm, Cipher, Encrypted, Fernet, Postgres, conformance, testing::Fixture};
use test_servers::Postgres as Server;

use super::schema;

async fn store() -> (Postgres, Arc<Server>) {
    let (server, url) = schema();
    (Postgres::open(&url).await.unwrap(), server)
}

async fn encrypted(cipher: impl Cipher) -> Fixture {
    let (store, server) = store().await;
    Fixture::new(Encrypted::new(store, cipher, "https://issuer.example")).with_guard(server)
}

conformance!(plain, async || {
    let (store, server) = store().await;
    Fixture::new(store).with_guard(server)
});

conformance!(fernet, async || { encrypted(Fernet::new(&[Fernet::generate_key()]).unwrap()).await });

conformance!(aes_gcm, async || {
    encrypted(Aes256Gcm::new(&[Aes256Gcm::generate_key()]).unwrap()).await
});
