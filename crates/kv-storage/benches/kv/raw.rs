//! What one would write with the raw library: a table or map of values, as durable as ours.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::{Arc, LazyLock, Mutex},
};

use bytes::Bytes;
use redb::{Database, ReadableDatabase, TableDefinition};
use sqlx::{
    ConnectOptions, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub(crate) const SHARDS: usize = 16;

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("raw");

type Shards = Vec<Mutex<HashMap<String, Bytes>>>;

#[derive(Clone)]
pub(crate) enum Raw {
    /// As many shards as `Memory` has, each behind a lock.
    Map(Arc<Shards>),
    /// A transaction for every write.
    Redb(Arc<Database>),
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
}

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn shard<'a>(shards: &'a Shards, key: &str) -> &'a Mutex<HashMap<String, Bytes>> {
    &shards[usize::try_from(HASHER.hash_one(key) % 16).unwrap()]
}

impl Raw {
    pub(crate) async fn sqlite(path: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new().test_before_acquire(false);
        let writer = pool.clone().max_connections(1).connect_lazy_with(options.clone());
        let readers = pool.max_connections(4).connect_lazy_with(options);
        sqlx::raw_sql(
            "CREATE TABLE raw (key TEXT NOT NULL, value BLOB NOT NULL) STRICT; \
             CREATE UNIQUE INDEX raw_by_key ON raw (key)",
        )
        .execute(&writer)
        .await
        .unwrap();
        Self::Sqlite { writer, readers }
    }

    /// The length of what was found.
    pub(crate) async fn get(&self, key: &str) -> usize {
        match self {
            Self::Map(shards) => shard(shards, key).lock().unwrap()[key].clone().len(),
            Self::Redb(database) => {
                let (database, key) = (Arc::clone(database), key.to_owned());
                let reading = tokio::task::spawn_blocking(move || {
                    let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
                    table.get(key.as_str()).unwrap().unwrap().value().to_vec()
                });
                reading.await.unwrap().len()
            }
            Self::Sqlite { readers, .. } => {
                let query = sqlx::query_as("SELECT value FROM raw WHERE key = ?1").bind(key);
                let (value,): (Vec<u8>,) = query.fetch_one(readers).await.unwrap();
                value.len()
            }
        }
    }

    pub(crate) async fn put(&self, key: &str, value: Bytes) {
        match self {
            // Ours copies values in, so that it alone holds them.
            Self::Map(shards) => {
                let value = Bytes::copy_from_slice(&value);
                shard(shards, key).lock().unwrap().insert(key.to_owned(), value);
            }
            Self::Redb(database) => {
                let (database, key) = (Arc::clone(database), key.to_owned());
                let writing = tokio::task::spawn_blocking(move || {
                    let transaction = database.begin_write().unwrap();
                    let mut table = transaction.open_table(TABLE).unwrap();
                    table.insert(key.as_str(), &*value).unwrap();
                    drop(table);
                    transaction.commit().unwrap();
                });
                writing.await.unwrap();
            }
            Self::Sqlite { writer, .. } => {
                let put = sqlx::query(
                    "INSERT INTO raw (key, value) VALUES (?1, ?2) \
                     ON CONFLICT (key) DO UPDATE SET value = ?2",
                );
                put.bind(key).bind(&*value).execute(writer).await.unwrap();
            }
        }
    }
}
