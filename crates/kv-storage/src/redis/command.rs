//! The commands that the operations are made of. Each is about one key and changes it in one step.

use std::{io::Write, sync::LazyLock, time::Duration};

use bytes::{Buf, Bytes};
use redis::{Arg, Cmd, RedisWrite, Script, ToRedisArgs, Value};

use super::error;
use crate::{Entry, Error, Result, Ttl, Version};

/// More milliseconds than Redis can add to its clock.
const ENDLESS_MILLIS: u128 = 1 << 62;

/// The most arguments that a command of ours has: those of a swap that sets an expiry.
const ARGUMENTS: usize = 8;

/// What the arguments take beside key and value: names, numbers, the hash of a script, versions.
const OVERHEAD: usize = 128;

// Scripts have one key and change it in one step: what fails in the middle has changed nothing.

/// The record is of version `ARGV[1]`: it becomes `ARGV[2]`, with the expiry that follows.
static COMPARE_AND_SWAP: LazyLock<Source> = LazyLock::new(|| {
    Source::new(
        "if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then return 0 end \
         redis.call('SET', KEYS[1], ARGV[2], unpack(ARGV, 3)) \
         return 1",
    )
});

/// The record is of version `ARGV[1]`: it goes.
static COMPARE_AND_DELETE: LazyLock<Source> = LazyLock::new(|| {
    Source::new(
        "if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then return 0 end \
         return redis.call('DEL', KEYS[1])",
    )
});

/// There is a record: it gets version `ARGV[1]`, with the expiry that follows. What is too short for
/// a version is none.
static EXPIRE: LazyLock<Source> = LazyLock::new(|| {
    Source::new(
        "local stored = redis.call('GET', KEYS[1]) \
         if not stored then return 0 end \
         if #stored < 16 then return -1 end \
         redis.call('SET', KEYS[1], ARGV[1] .. string.sub(stored, 17), unpack(ARGV, 2)) \
         return 1",
    )
});

/// Whatever there is, or is not, stays as it is, and the replicas hear of it once more.
///
/// A key is written and removed before anybody sees it, and replicas do both in one step.
static REAFFIRM: LazyLock<Source> = LazyLock::new(|| {
    Source::new(
        "local stored = redis.call('GET', KEYS[1]) \
         redis.call('SET', KEYS[1], stored or '', 'KEEPTTL') \
         if not stored then redis.call('DEL', KEYS[1]) end \
         return 1",
    )
});

/// A script, and the hash by which a server knows it.
struct Source {
    text: &'static str,
    hash: String,
}

impl Source {
    fn new(text: &'static str) -> Self {
        Self { text, hash: Script::new(text).get_hash().to_owned() }
    }
}

/// A command about one key.
pub(super) struct Command {
    /// For errors.
    pub(super) name: &'static str,
    pub(super) sent: Cmd,
    source: Option<&'static Source>,
}

/// An expiry that Redis can hold.
enum Expiry {
    Keep,
    Never,
    /// The record is absent at once.
    Now,
    Millis(u64),
}

impl From<Ttl> for Expiry {
    fn from(ttl: Ttl) -> Self {
        match ttl {
            Ttl::Keep => Self::Keep,
            Ttl::Forever => Self::Never,
            Ttl::After(Duration::ZERO) => Self::Now,
            Ttl::After(duration) => match duration.as_nanos().div_ceil(1_000_000) {
                ENDLESS_MILLIS.. => Self::Never,
                millis => u64::try_from(millis).map_or(Self::Never, Self::Millis),
            },
        }
    }
}

/// What `SET` takes.
impl ToRedisArgs for Expiry {
    fn write_redis_args<W: RedisWrite + ?Sized>(&self, out: &mut W) {
        match self {
            Self::Keep => out.write_arg(b"KEEPTTL"),
            Self::Millis(millis) => {
                out.write_arg(b"PX");
                millis.write_redis_args(out);
            }
            Self::Never | Self::Now => {}
        }
    }
}

/// What lies in Redis: the version, then the value.
struct Stored<'a> {
    version: Version,
    value: &'a [u8],
}

impl ToRedisArgs for Stored<'_> {
    fn write_redis_args<W: RedisWrite + ?Sized>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        // Writing to memory cannot fail.
        let _ = argument.write_all(self.version.as_bytes());
        let _ = argument.write_all(self.value);
    }
}

impl Command {
    /// A command with room for a value of so many bytes.
    fn new(name: &'static str, key: &[u8], value: usize) -> Self {
        let mut sent = Cmd::with_capacity(ARGUMENTS, OVERHEAD + key.len() + value);
        sent.arg(name).arg(key);
        Self { name, sent, source: None }
    }

    fn scripted(source: &'static Source, key: &[u8], value: usize) -> Self {
        let mut sent = Cmd::with_capacity(ARGUMENTS, OVERHEAD + key.len() + value);
        sent.arg("EVALSHA").arg(&source.hash).arg(1).arg(key);
        Self { name: "EVALSHA", sent, source: Some(source) }
    }

    /// The key in Redis.
    pub(super) fn key(&self) -> &[u8] {
        let position = if self.source.is_some() { 3 } else { 1 };
        match self.sent.args_iter().nth(position) {
            Some(Arg::Simple(key)) => key,
            _ => b"",
        }
    }

    /// The same with the script's text, for a server that has not seen it yet; `None` if there is
    /// no script.
    pub(super) fn with_source(&self) -> Option<Cmd> {
        let mut command = redis::cmd("EVAL");
        command.arg(self.source?.text);
        for argument in self.sent.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                command.arg(argument);
            }
        }
        Some(command)
    }

    pub(super) fn get(key: &[u8]) -> Self {
        Self::new("GET", key, 0)
    }

    pub(super) fn delete(key: &[u8]) -> Self {
        Self::new("DEL", key, 0)
    }

    pub(super) fn take(key: &[u8]) -> Self {
        Self::new("GETDEL", key, 0)
    }

    pub(super) fn put(key: &[u8], version: Version, value: &[u8], ttl: Ttl) -> Self {
        let expiry = Expiry::from(ttl);
        if matches!(expiry, Expiry::Now) {
            return Self::delete(key);
        }
        let mut command = Self::new("SET", key, value.len());
        command.sent.arg(Stored { version, value }).arg(expiry);
        command
    }

    pub(super) fn put_if_absent(key: &[u8], version: Version, value: &[u8], ttl: Ttl) -> Self {
        // A new record has no expiry that could be kept.
        let expiry = match Expiry::from(ttl) {
            Expiry::Keep => Expiry::Never,
            expiry => expiry,
        };
        if matches!(expiry, Expiry::Now) {
            return Self::new("EXISTS", key, 0);
        }
        let mut command = Self::new("SET", key, value.len());
        command.sent.arg(Stored { version, value }).arg("NX").arg(expiry);
        command
    }

    pub(super) fn compare_and_swap(
        key: &[u8],
        expected: Version,
        version: Version,
        value: &[u8],
        ttl: Ttl,
    ) -> Self {
        let expiry = Expiry::from(ttl);
        if matches!(expiry, Expiry::Now) {
            return Self::compare_and_delete(key, expected);
        }
        let mut command = Self::scripted(&COMPARE_AND_SWAP, key, value.len());
        command.sent.arg(expected.as_bytes().as_slice()).arg(Stored { version, value }).arg(expiry);
        command
    }

    pub(super) fn compare_and_delete(key: &[u8], expected: Version) -> Self {
        let mut command = Self::scripted(&COMPARE_AND_DELETE, key, 0);
        command.sent.arg(expected.as_bytes().as_slice());
        command
    }

    pub(super) fn expire(key: &[u8], version: Version, ttl: Ttl) -> Self {
        let expiry = Expiry::from(ttl);
        if matches!(expiry, Expiry::Now) {
            return Self::delete(key);
        }
        let mut command = Self::scripted(&EXPIRE, key, 0);
        command.sent.arg(version.as_bytes().as_slice()).arg(expiry);
        command
    }

    /// A write that changes nothing, for `WAIT` to speak of.
    pub(super) fn reaffirm(key: &[u8]) -> Self {
        Self::scripted(&REAFFIRM, key, 0)
    }
}

/// What a read found.
pub(super) fn read_entry(value: Value) -> Result<Option<Entry>> {
    entry(value, || error::odd_answer("GET"))
}

/// What a removal found.
pub(super) fn taken_entry(value: Value) -> Result<Option<Entry>> {
    entry(value, || error::odd_answer_to_write("GETDEL"))
}

fn entry(value: Value, odd: impl FnOnce() -> Error) -> Result<Option<Entry>> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(stored) => match stored.first_chunk() {
            Some(version) => {
                let version = Version::from_bytes(*version);
                let mut value = Bytes::from(stored);
                value.advance(Version::LENGTH);
                Ok(Some(Entry { value, version }))
            }
            None => Err(error::corrupt("a record")),
        },
        _ => Err(odd()),
    }
}

/// Whether a write happened: `SET` says `OK` or nothing, the others how many records changed, and a
/// script -1 if it met what is no record.
pub(super) fn changed(name: &str, value: &Value) -> Result<bool> {
    match value {
        Value::Okay => Ok(true),
        Value::Nil => Ok(false),
        Value::Int(-1) => Err(error::corrupt("a record")),
        value => Ok(error::integer(name, value)? > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    /// Only who wrote must find out whether it was done.
    #[test]
    fn odd_answers_are_told_apart_by_what_was_asked() {
        let kind = |outcome: Result<Option<Entry>>| outcome.unwrap_err().kind();
        assert_eq!(kind(read_entry(Value::Int(1))), ErrorKind::Unavailable);
        assert_eq!(kind(taken_entry(Value::Int(1))), ErrorKind::OutcomeUnknown);
        let odd = changed("SET", &Value::BulkString(b"OK".to_vec())).unwrap_err();
        assert_eq!(odd.kind(), ErrorKind::OutcomeUnknown);
        let short = || Value::BulkString(vec![0; 15]);
        assert_eq!(kind(read_entry(short())), ErrorKind::Corrupt);
        assert_eq!(kind(taken_entry(short())), ErrorKind::Corrupt);
        assert_eq!(changed("EVALSHA", &Value::Int(-1)).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
