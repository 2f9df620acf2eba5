use std::sync::Arc;

use kv_storage::{Aes256Gcm, Fernet, KeyValue, Memory, SealedWith, Ttl};

use super::{encrypted, encrypted_with};

const ISSUER: &str = "https://issuer.example";

#[tokio::test]
async fn a_new_storage_gets_aes_gcm_and_what_is_written_stays_as_it_is() {
    let keys = [Fernet::generate_key()];
    for (first, written) in [
        (None, SealedWith::Aes256Gcm),
        (Some(SealedWith::Aes256Gcm), SealedWith::Aes256Gcm),
        (Some(SealedWith::Fernet), SealedWith::Fernet),
    ] {
        let database = Arc::new(Memory::new());
        let open = async |cipher| {
            encrypted(Arc::clone(&database), &keys, cipher, ISSUER, "the database").await
        };
        let store = open(first).await.unwrap();
        store.put("codes", "a", "secret".into(), Ttl::Forever).await.unwrap();
        assert_eq!(SealedWith::detect(&database, ISSUER).await.unwrap(), Some(written));
        for again in [None, Some(written)] {
            let store = open(again).await.unwrap();
            assert!(store.get("codes", "a").await.unwrap().is_some(), "{again:?}");
        }
    }
}

#[tokio::test]
async fn another_cipher_is_refused_with_the_way_out() {
    let keys = [Aes256Gcm::generate_key()];
    for (first, then) in
        [(SealedWith::Fernet, SealedWith::Aes256Gcm), (SealedWith::Aes256Gcm, SealedWith::Fernet)]
    {
        let database = Arc::new(Memory::new());
        let open = async |cipher| {
            encrypted(Arc::clone(&database), &keys, Some(cipher), ISSUER, "/kv.sqlite").await
        };
        open(first).await.unwrap();
        let complaint = open(then).await.unwrap_err().to_string();
        assert_eq!(
            complaint,
            format!(
                "the state in /kv.sqlite is encrypted with {first}, not with {then}; \
                 say --storage-cipher {first}, or use another place"
            )
        );
        open(first).await.unwrap();
    }
}

#[tokio::test]
async fn other_keys_are_refused_whatever_the_cipher() {
    for cipher in [None, Some(SealedWith::Fernet)] {
        let database = Arc::new(Memory::new());
        let open = async |keys| {
            encrypted(Arc::clone(&database), &[keys], cipher, ISSUER, "the database").await
        };
        open(Fernet::generate_key()).await.unwrap();
        let complaint = open(Fernet::generate_key()).await.unwrap_err().to_string();
        assert!(complaint.contains("was encrypted with other storage keys"), "{complaint}");
    }
}

/// Of two replicas on an empty storage, both find nothing, and one writes first.
#[tokio::test]
async fn the_second_of_two_ciphers_that_begin_at_once_is_told_of_the_first() {
    let keys = [Aes256Gcm::generate_key()];
    let database = Arc::new(Memory::new());
    let begin =
        async |kind| encrypted_with(kind, Arc::clone(&database), &keys, ISSUER, "redis").await;
    begin(SealedWith::Fernet).await.unwrap();
    let complaint = begin(SealedWith::Aes256Gcm).await.unwrap_err().to_string();
    assert_eq!(
        complaint,
        "another process has begun to encrypt the state in redis with fernet while this one was \
         about to with aes-gcm; give all of them the same --storage-cipher"
    );
    begin(SealedWith::Fernet).await.unwrap();
}
