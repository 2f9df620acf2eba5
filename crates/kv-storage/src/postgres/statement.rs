//! The statements: each is one operation, atomic by itself.

use std::fmt::Write;

use sqlx::{AssertSqlSafe, Postgres, SqlSafeStr, SqlStr, postgres::PgArguments, query::Query};

// `{entries}` stands for the table, and `{live}` for what makes a record present. The time is
// the server's, and asked for each row: an operation that waited for another one's lock judges
// by the time when it got it.
const LIVE: &str = "(entries.expires_at IS NULL OR entries.expires_at > clock_timestamp())";

const GET: &str = "SELECT entries.version, entries.value FROM {entries} AS entries \
     WHERE entries.collection = $1 AND entries.key = $2 AND {live}";

const GET_MANY: &str = "SELECT entries.key, entries.version, entries.value \
     FROM {entries} AS entries \
     WHERE entries.collection = $1 AND entries.key = ANY ($2) AND {live}";

// An expired record is absent, so it has no expiry that could be kept.
const PUT: &str = "INSERT INTO {entries} AS entries (collection, key, version, value, expires_at) \
     VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 millisecond') \
     ON CONFLICT (collection, key) DO UPDATE \
     SET version = excluded.version, value = excluded.value, expires_at = \
     CASE WHEN $6 AND {live} THEN entries.expires_at ELSE excluded.expires_at END";

const PUT_IF_ABSENT: &str = "INSERT INTO {entries} AS entries \
     (collection, key, version, value, expires_at) \
     VALUES ($1, $2, $3, $4, clock_timestamp() + $5 * interval '1 millisecond') \
     ON CONFLICT (collection, key) DO UPDATE \
     SET version = excluded.version, value = excluded.value, expires_at = excluded.expires_at \
     WHERE NOT {live} RETURNING true";

const COMPARE_AND_SWAP: &str = "UPDATE {entries} AS entries SET version = $3, value = $4, \
     expires_at = CASE WHEN $6 THEN entries.expires_at \
     ELSE clock_timestamp() + $5 * interval '1 millisecond' END \
     WHERE entries.collection = $1 AND entries.key = $2 AND entries.version = $7 AND {live} \
     RETURNING true";

const COMPARE_AND_DELETE: &str = "DELETE FROM {entries} AS entries \
     WHERE entries.collection = $1 AND entries.key = $2 AND entries.version = $3 AND {live} \
     RETURNING true";

// A new version must not make whole what cannot be read.
const EXPIRE: &str = "UPDATE {entries} AS entries SET version = $3, \
     expires_at = CASE WHEN $5 THEN entries.expires_at \
     ELSE clock_timestamp() + $4 * interval '1 millisecond' END \
     WHERE entries.collection = $1 AND entries.key = $2 \
     AND octet_length(entries.version) = 16 AND {live} RETURNING true";

const DELETE: &str = "DELETE FROM {entries} AS entries \
     WHERE entries.collection = $1 AND entries.key = $2 AND {live} RETURNING true";

const TAKE: &str = "DELETE FROM {entries} AS entries \
     WHERE entries.collection = $1 AND entries.key = $2 AND {live} \
     RETURNING entries.version, entries.value";

const SCAN: &str = "SELECT entries.key FROM {entries} AS entries \
     WHERE entries.collection = $1 AND entries.key >= $2 AND entries.key < $3 AND {live} \
     ORDER BY entries.key LIMIT $4";

// Rows that somebody else is about to change, or to sweep, are left to them.
const SWEEP: &str = "DELETE FROM {entries} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {entries} \
     WHERE expires_at <= statement_timestamp() LIMIT $1 FOR UPDATE SKIP LOCKED))";

const HEALTH: &str = "SELECT current_setting('transaction_read_only')::boolean, \
     EXISTS (SELECT FROM {entries})";

/// The statements for one schema.
pub(super) struct Statements {
    pub(super) get: Sql,
    pub(super) get_many: Sql,
    pub(super) put: Sql,
    pub(super) put_if_absent: Sql,
    pub(super) compare_and_swap: Sql,
    pub(super) compare_and_delete: Sql,
    pub(super) expire: Sql,
    pub(super) delete: Sql,
    pub(super) take: Sql,
    pub(super) scan: Sql,
    pub(super) sweep: Sql,
    pub(super) health: Sql,
}

impl Statements {
    /// The statements for `table`, which is quoted already.
    pub(super) fn new(table: &str) -> Self {
        let sql = |template: &str| Sql::new(template, table);
        Self {
            get: sql(GET),
            get_many: sql(GET_MANY),
            put: sql(PUT),
            put_if_absent: sql(PUT_IF_ABSENT),
            compare_and_swap: sql(COMPARE_AND_SWAP),
            compare_and_delete: sql(COMPARE_AND_DELETE),
            expire: sql(EXPIRE),
            delete: sql(DELETE),
            take: sql(TAKE),
            scan: sql(SCAN),
            sweep: sql(SWEEP),
            health: sql(HEALTH),
        }
    }
}

/// The text of a statement, with `$1` and so on for its arguments.
pub(super) struct Sql(SqlStr);

impl Sql {
    fn new(template: &str, table: &str) -> Self {
        // Of what is not constant, there is the table only, made of a checked name.
        let sql = template.replace("{live}", LIVE).replace("{entries}", table);
        Self(AssertSqlSafe(sql).into_sql_str())
    }

    pub(super) fn with<'a>(&'a self, arguments: impl Into<Vec<Argument<'a>>>) -> Statement<'a> {
        Statement { sql: &self.0, arguments: arguments.into() }
    }
}

/// One argument of a statement.
#[derive(Clone, Copy)]
pub(super) enum Argument<'a> {
    /// The name of a collection, checked.
    Collection(&'a str),
    Bytes(&'a [u8]),
    Keys(&'a [&'a [u8]]),
    /// A time to live in milliseconds; `None` for ever.
    Millis(Option<i64>),
    Flag(bool),
    Count(i64),
}

/// A statement with its arguments, which can be run any number of times.
pub(super) struct Statement<'a> {
    sql: &'a SqlStr,
    arguments: Vec<Argument<'a>>,
}

impl<'a> Statement<'a> {
    /// The statement to be prepared on the server, once for each connection.
    pub(super) fn prepared(&self) -> Query<'a, Postgres, PgArguments> {
        self.arguments.iter().fold(sqlx::query(self.sql.clone()), |query, argument| match *argument
        {
            Argument::Collection(name) => query.bind(name),
            Argument::Bytes(bytes) => query.bind(bytes),
            Argument::Keys(keys) => query.bind(keys),
            Argument::Millis(millis) => query.bind(millis),
            Argument::Flag(flag) => query.bind(flag),
            Argument::Count(count) => query.bind(count),
        })
    }

    /// The statement with its arguments inside.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(self.sql.as_str().len());
        let mut parts = self.sql.as_str().split('$');
        text.extend(parts.next());
        for part in parts {
            // At most nine arguments: one digit.
            let (number, rest) = part.split_at(1);
            let argument = number
                .parse()
                .ok()
                .and_then(|number: usize| self.arguments.get(number.checked_sub(1)?));
            if let Some(argument) = argument {
                argument.write_to(&mut text);
            }
            text.push_str(rest);
        }
        text
    }
}

impl Argument<'_> {
    /// Writes a literal. Bytes are in hexadecimal, so nothing can end it before its end.
    fn write_to(self, text: &mut String) {
        match self {
            Self::Collection(name) => {
                text.push_str("convert_from(");
                Argument::Bytes(name.as_bytes()).write_to(text);
                text.push_str(", 'UTF8')");
            }
            Self::Bytes(bytes) => {
                text.reserve(2 * bytes.len() + 24);
                text.push_str("decode('");
                for byte in bytes {
                    // Writing to a string cannot fail.
                    let _ = write!(text, "{byte:02x}");
                }
                text.push_str("', 'hex')");
            }
            Self::Keys(keys) => {
                text.push_str("ARRAY[");
                for (index, key) in keys.iter().enumerate() {
                    text.push_str(if index == 0 { "" } else { ", " });
                    Argument::Bytes(key).write_to(text);
                }
                text.push_str("]::bytea[]");
            }
            Self::Millis(Some(number)) | Self::Count(number) => {
                let _ = write!(text, "({number})::bigint");
            }
            Self::Millis(None) => text.push_str("NULL::bigint"),
            Self::Flag(flag) => text.push_str(if flag { "true" } else { "false" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Argument, Sql, Statements};

    #[test]
    fn literals_cannot_be_left() {
        let sql = Sql::new("SELECT $1, $2, $3, $4, $5, $6, $1 FROM {entries}", "t");
        let keys: [&[u8]; 2] = [b"'", b""];
        let text = sql
            .with([
                Argument::Collection("it's"),
                Argument::Bytes(b"\0'); DROP TABLE t; --\xff"),
                Argument::Keys(&keys),
                Argument::Millis(None),
                Argument::Millis(Some(-1)),
                Argument::Flag(true),
            ])
            .text();
        assert_eq!(
            text,
            "SELECT convert_from(decode('69742773', 'hex'), 'UTF8'), \
             decode('0027293b2044524f50205441424c4520743b202d2dff', 'hex'), \
             ARRAY[decode('27', 'hex'), decode('', 'hex')]::bytea[], NULL::bigint, (-1)::bigint, \
             true, convert_from(decode('69742773', 'hex'), 'UTF8') FROM t"
        );
    }

    #[test]
    fn statements_name_the_table_only() {
        let statements = Statements::new("\"s\".kv_entries");
        let text = statements.sweep.with([Argument::Count(5)]).text();
        assert!(text.starts_with("DELETE FROM \"s\".kv_entries WHERE"), "{text}");
        assert!(text.contains("LIMIT (5)::bigint FOR UPDATE SKIP LOCKED"), "{text}");
    }
}
