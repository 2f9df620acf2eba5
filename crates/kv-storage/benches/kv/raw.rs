//! What one would write with the raw library: a table or map of values, as durable as ours.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::{Arc, LazyLock, Mutex},
};

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use redis::aio::MultiplexedConnection;
use sqlx::{
    ConnectOptions, PgPool, SqlitePool,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// As many as `Memory` has.
const SHARDS: usize = 16;

/// As many as `Postgres` opens.
const CONNECTIONS: u32 = 10;

const TABLE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("raw");

const GET: &str = "SELECT value FROM raw WHERE key = $1";
const PUT: &str = "INSERT INTO raw (key, value) VALUES ($1, $2) \
                   ON CONFLICT (key) DO UPDATE SET value = $2";
const DELETE: &str = "DELETE FROM raw WHERE key = $1";
const LIST: &str = "SELECT key FROM raw ORDER BY key LIMIT $1";

type Shards = Vec<Mutex<HashMap<String, Bytes>>>;

#[derive(Clone)]
pub(crate) enum Raw {
    /// Shards, each behind a lock.
    Map(Arc<Shards>),
    /// A transaction for every write.
    Redb(Arc<Database>),
    Sqlite {
        writer: SqlitePool,
        readers: SqlitePool,
    },
    Postgres(PgPool),
    /// One connection for all, as ours.
    Redis(MultiplexedConnection),
}

static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

fn shard<'a>(shards: &'a Shards, key: &str) -> &'a Mutex<HashMap<String, Bytes>> {
    &shards[usize::try_from(HASHER.hash_one(key) % 16).unwrap()]
}

impl Raw {
    pub(crate) fn map() -> Self {
        Self::Map(Arc::new((0..SHARDS).map(|_| Mutex::new(HashMap::new())).collect()))
    }

    pub(crate) fn redb(path: &Path) -> Self {
        Self::Redb(Arc::new(Database::create(path).unwrap()))
    }

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

    pub(crate) async fn postgres(url: &str) -> Self {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).test_before_acquire(false);
        let pool = pool.connect(url).await.unwrap();
        sqlx::raw_sql("CREATE TABLE raw (key text PRIMARY KEY, value bytea NOT NULL)")
            .execute(&pool)
            .await
            .unwrap();
        Self::Postgres(pool)
    }

    pub(crate) async fn redis(url: &str) -> Self {
        let client = redis::Client::open(url).unwrap();
        Self::Redis(client.get_multiplexed_async_connection().await.unwrap())
    }

    /// The length of what was found.
    pub(crate) async fn get(&self, key: &str) -> usize {
        match self {
            Self::Map(shards) => shard(shards, key).lock().unwrap()[key].clone().len(),
            Self::Redb(database) => {
                let key = key.to_owned();
                blocking(database, move |database| {
                    let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
                    table.get(key.as_str()).unwrap().unwrap().value().to_vec()
                })
                .await
                .len()
            }
            Self::Sqlite { readers, .. } => {
                let query = sqlx::query_as(GET).bind(key);
                let (value,): (Vec<u8>,) = query.fetch_one(readers).await.unwrap();
                value.len()
            }
            Self::Postgres(pool) => {
                let query = sqlx::query_as(GET).bind(key);
                let (value,): (Vec<u8>,) = query.fetch_one(pool).await.unwrap();
                value.len()
            }
            Self::Redis(connection) => {
                let value: Vec<u8> =
                    redis::cmd("GET").arg(key).query_async(&mut connection.clone()).await.unwrap();
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
                let key = key.to_owned();
                blocking(database, move |database| {
                    let transaction = database.begin_write().unwrap();
                    let mut table = transaction.open_table(TABLE).unwrap();
                    table.insert(key.as_str(), &*value).unwrap();
                    drop(table);
                    transaction.commit().unwrap();
                })
                .await;
            }
            Self::Sqlite { writer, .. } => {
                sqlx::query(PUT).bind(key).bind(&*value).execute(writer).await.unwrap();
            }
            Self::Postgres(pool) => {
                sqlx::query(PUT).bind(key).bind(&*value).execute(pool).await.unwrap();
            }
            Self::Redis(connection) => {
                let mut put = redis::cmd("SET");
                put.arg(key).arg(&*value).arg("PX").arg(3_600_000);
                let () = put.query_async(&mut connection.clone()).await.unwrap();
            }
        }
    }

    /// Reads a record and replaces what was read; where the library has no such operation, whatever
    /// is there by then.
    pub(crate) async fn swap(&self, key: &str, value: Bytes) {
        let Self::Redis(connection) = self else {
            assert!(self.get(key).await > 0);
            return self.put(key, value).await;
        };
        let mut connection = connection.clone();
        let found: Vec<u8> = redis::cmd("GET").arg(key).query_async(&mut connection).await.unwrap();
        let mut swap = scripts::SWAP.key(key);
        swap.arg(&found[..scripts::VERSION]).arg(&*value).arg("PX").arg(3_600_000);
        let swapped: bool = swap.invoke_async(&mut connection).await.unwrap();
        assert!(swapped);
    }

    /// Removes the record if it is the one that was written; where the library has no such
    /// operation, in any case.
    pub(crate) async fn delete_version(&self, key: &str, written: &[u8]) {
        let Self::Redis(connection) = self else { return self.delete(key).await };
        let mut delete = scripts::DELETE.key(key);
        delete.arg(&written[..scripts::VERSION]);
        let deleted: bool = delete.invoke_async(&mut connection.clone()).await.unwrap();
        assert!(deleted);
    }

    /// Changes version and expiry of a record; where the library has no such operation, it is
    /// written.
    pub(crate) async fn expire(&self, key: &str, value: Bytes) {
        let Self::Redis(connection) = self else { return self.put(key, value).await };
        let mut expire = scripts::EXPIRE.key(key);
        expire.arg(&value[..scripts::VERSION]).arg("PX").arg(3_600_000);
        let expired: bool = expire.invoke_async(&mut connection.clone()).await.unwrap();
        assert!(expired);
    }

    pub(crate) async fn delete(&self, key: &str) {
        match self {
            Self::Map(shards) => drop(shard(shards, key).lock().unwrap().remove(key)),
            Self::Redb(database) => {
                let key = key.to_owned();
                blocking(database, move |database| {
                    let transaction = database.begin_write().unwrap();
                    let mut table = transaction.open_table(TABLE).unwrap();
                    table.remove(key.as_str()).unwrap();
                    drop(table);
                    transaction.commit().unwrap();
                })
                .await;
            }
            Self::Sqlite { writer, .. } => {
                sqlx::query(DELETE).bind(key).execute(writer).await.unwrap();
            }
            Self::Postgres(pool) => {
                sqlx::query(DELETE).bind(key).execute(pool).await.unwrap();
            }
            Self::Redis(connection) => {
                let mut delete = redis::cmd("DEL");
                let () = delete.arg(key).query_async(&mut connection.clone()).await.unwrap();
            }
        }
    }

    /// How many keys were listed, about `limit`.
    pub(crate) async fn list(&self, limit: usize) -> usize {
        let keys: Vec<String> = match self {
            Self::Map(shards) => {
                let keys = |shard: &Mutex<HashMap<String, Bytes>>| {
                    shard.lock().unwrap().keys().take(limit).cloned().collect::<Vec<_>>()
                };
                shards.iter().flat_map(keys).take(limit).collect()
            }
            Self::Redb(database) => {
                blocking(database, move |database| {
                    let table = database.begin_read().unwrap().open_table(TABLE).unwrap();
                    let records = table.iter().unwrap().take(limit);
                    records.map(|record| record.unwrap().0.value().to_owned()).collect()
                })
                .await
            }
            Self::Sqlite { readers, .. } => {
                let query = sqlx::query_scalar(LIST).bind(i64::try_from(limit).unwrap());
                query.fetch_all(readers).await.unwrap()
            }
            Self::Postgres(pool) => {
                let query = sqlx::query_scalar(LIST).bind(i64::try_from(limit).unwrap());
                query.fetch_all(pool).await.unwrap()
            }
            Self::Redis(connection) => {
                let mut scan = redis::cmd("SCAN");
                scan.arg(0).arg("COUNT").arg(limit);
                let (_, keys): (u64, Vec<String>) =
                    scan.query_async(&mut connection.clone()).await.unwrap();
                keys
            }
        };
        keys.len()
    }
}

/// On a thread that may wait.
async fn blocking<T: Send + 'static>(
    database: &Arc<Database>,
    work: impl FnOnce(&Database) -> T + Send + 'static,
) -> T {
    let database = Arc::clone(database);
    tokio::task::spawn_blocking(move || work(&database)).await.unwrap()
}

/// What the contract asks of Redis takes a script, whoever writes it: the version is the beginning
/// of the value.
mod scripts {
    use std::sync::LazyLock;

    use redis::Script;

    pub(super) const VERSION: usize = 16;

    pub(super) static SWAP: LazyLock<Script> = LazyLock::new(|| {
        Script::new(
            "if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then return 0 end \
             redis.call('SET', KEYS[1], ARGV[2], ARGV[3], ARGV[4]) return 1",
        )
    });

    pub(super) static DELETE: LazyLock<Script> = LazyLock::new(|| {
        Script::new(
            "if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then return 0 end \
             return redis.call('DEL', KEYS[1])",
        )
    });

    pub(super) static EXPIRE: LazyLock<Script> = LazyLock::new(|| {
        Script::new(
            "local stored = redis.call('GET', KEYS[1]) \
             if not stored then return 0 end \
             redis.call('SET', KEYS[1], ARGV[1] .. string.sub(stored, 17), ARGV[2], ARGV[3]) \
             return 1",
        )
    });
}
