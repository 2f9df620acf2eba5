//! The suite on each arrangement of servers, plain and encrypted.

use kv_storage::{Aes256Gcm, Encrypted, Fernet, Redis, conformance};
use test_servers::{Redis as Server, RedisCluster, RedisSentinel};

use super::with_prefix;
use crate::{fixture, wrapped};

/// Makes the three tests on servers that `$start` starts.
macro_rules! suite {
    ($arrangement:ident, $server:ty) => {
        mod $arrangement {
            use super::*;

            conformance!(together plain, {
                let servers = <$server>::start().unwrap();
                async move || {
                    fixture(Redis::open(&with_prefix(&servers.url())).await.unwrap())
                }
            });

            conformance!(together fernet, {
                let servers = <$server>::start().unwrap();
                async move || {
                    let store = Redis::open(&with_prefix(&servers.url())).await.unwrap();
                    let cipher = Fernet::new(&[Fernet::generate_key()]).unwrap();
                    wrapped(Encrypted::new(store, cipher, "https://issuer.example"))
                }
            });

            conformance!(together aes_gcm, {
                let servers = <$server>::start().unwrap();
                async move || {
                    let store = Redis::open(&with_prefix(&servers.url())).await.unwrap();
                    let cipher = Aes256Gcm::new(&[Aes256Gcm::generate_key()]).unwrap();
                    wrapped(Encrypted::new(store, cipher, "https://issuer.example"))
                }
            });
        }
    };
}

suite!(single, Server);
suite!(sentinel, RedisSentinel);
suite!(cluster, RedisCluster);
