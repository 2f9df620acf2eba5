#![doc = include_str!("../README.md")]

mod clock;
mod contract;
#[cfg(feature = "disk")]
mod disk;
mod encrypted;
mod error;
mod limited;
pub mod limits;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "metrics")]
mod metered;
mod open;
#[cfg(any(feature = "metrics", feature = "testing"))]
mod operation;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod page;
#[cfg(feature = "postgres")]
mod postgres;
mod prefixed;
mod random;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
mod wiped;

#[cfg(feature = "disk")]
pub use crate::disk::{Disk, DiskBuilder};
#[cfg(feature = "aes-gcm")]
pub use crate::encrypted::Aes256Gcm;
#[cfg(feature = "fernet")]
pub use crate::encrypted::Fernet;
#[cfg(feature = "memory")]
pub use crate::memory::{Memory, MemoryBuilder};
#[cfg(feature = "metrics")]
pub use crate::metered::Metered;
#[cfg(any(feature = "metrics", feature = "testing"))]
pub use crate::operation::Operation;
#[cfg(feature = "postgres")]
pub use crate::postgres::Postgres;
#[cfg(feature = "redis")]
pub use crate::redis::Redis;
#[cfg(feature = "sqlite")]
pub use crate::sqlite::{Sqlite, SqliteBuilder};
pub use crate::{
    clock::Clock,
    contract::{Cursor, Entry, KeyValue, Page, Protected, Ttl, Version},
    encrypted::{Cipher, Encrypted, SealedWith},
    error::{Error, ErrorKind, Result},
    limited::Limited,
    open::open,
    prefixed::Prefixed,
    wiped::Wiped,
};
