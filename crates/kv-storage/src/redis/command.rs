//! The commands that the operations are made of. Each is about one key and changes it in one step.

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use redis::{Cmd, Script, Value};

use super::error;
use crate::{Entry, Result, Ttl, Version};

/// More milliseconds than Redis can add to its clock.
const ENDLESS_MILLIS: u128 = 1 << 62;

// Scripts have one key and at most one write each, so that what fails in the middle has changed
// nothing.

/// The record is of version `ARGV[1]`: it becomes `ARGV[2]`, with the expiry that follows.
const COMPARE_AND_SWAP: &str = "\
    if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then return 0 end \
    redis.call('SET', KEYS[1], ARGV[2], unpack(ARGV, 3)) \
    return 1";

/// The record is of version `ARGV[1]`: it goes.
const COMPARE_AND_DELETE: &str = "\
    if redis.call('GETRANGE', KEYS[1], 0, 15) ~= ARGV[1] then return 0 end \
    return redis.call('DEL', KEYS[1])";

/// There is a record: it gets version `ARGV[1]`, with the expiry that follows.
const EXPIRE: &str = "\
    local stored = redis.call('GET', KEYS[1]) \
    if not stored then return 0 end \
    redis.call('SET', KEYS[1], ARGV[1] .. string.sub(stored, 17), unpack(ARGV, 2)) \
    return 1";

static COMPARE_AND_SWAP_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(COMPARE_AND_SWAP));
static COMPARE_AND_DELETE_SCRIPT: LazyLock<Script> =
    LazyLock::new(|| Script::new(COMPARE_AND_DELETE));
static EXPIRE_SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(EXPIRE));

/// A command about one key.
pub(super) struct Command {
    /// For errors.
    pub(super) name: &'static str,
    pub(super) key: Vec<u8>,
    pub(super) sent: Cmd,
    /// The same with the script's text, for a server that has not seen it yet.
    pub(super) with_source: Option<Cmd>,
}

/// An expiry that Redis can hold.
enum Expiry {
    Keep,
    Never,
    /// The record is absent at once.
    Now,
    Millis(String),
}

impl From<Ttl> for Expiry {
    fn from(ttl: Ttl) -> Self {
        match ttl {
            Ttl::Keep => Self::Keep,
            Ttl::Forever => Self::Never,
            Ttl::After(Duration::ZERO) => Self::Now,
            Ttl::After(duration) => match duration.as_nanos().div_ceil(1_000_000) {
                ENDLESS_MILLIS.. => Self::Never,
                millis => Self::Millis(millis.to_string()),
            },
        }
    }
}

impl Expiry {
    /// Adds what `SET` takes.
    fn add_to(&self, command: &mut Cmd) {
        match self {
            Self::Keep => {
                command.arg("KEEPTTL");
            }
            Self::Millis(millis) => {
                command.arg("PX").arg(millis);
            }
            Self::Never | Self::Now => {}
        }
    }
}

impl Command {
    fn new(name: &'static str, key: Vec<u8>) -> Self {
        let mut command = redis::cmd(name);
        command.arg(&key);
        Self { name, key, sent: command, with_source: None }
    }

    fn scripted(script: &Script, source: &str, key: Vec<u8>, arguments: impl Fn(&mut Cmd)) -> Self {
        let build = |name: &str, script: &str| {
            let mut command = redis::cmd(name);
            command.arg(script).arg(1).arg(&key);
            arguments(&mut command);
            command
        };
        let sent = build("EVALSHA", script.get_hash());
        let with_source = Some(build("EVAL", source));
        Self { name: "EVALSHA", key, sent, with_source }
    }

    pub(super) fn get(key: Vec<u8>) -> Self {
        Self::new("GET", key)
    }

    pub(super) fn delete(key: Vec<u8>) -> Self {
        Self::new("DEL", key)
    }

    pub(super) fn take(key: Vec<u8>) -> Self {
        Self::new("GETDEL", key)
    }

    pub(super) fn put(key: Vec<u8>, version: Version, value: &[u8], ttl: Ttl) -> Self {
        let expiry = Expiry::from(ttl);
        if matches!(expiry, Expiry::Now) {
            return Self::delete(key);
        }
        let mut command = Self::new("SET", key);
        command.sent.arg(stored(version, value));
        expiry.add_to(&mut command.sent);
        command
    }

    pub(super) fn put_if_absent(key: Vec<u8>, version: Version, value: &[u8], ttl: Ttl) -> Self {
        // A new record has no expiry that could be kept.
        let expiry = match Expiry::from(ttl) {
            Expiry::Keep => Expiry::Never,
            expiry => expiry,
        };
        if matches!(expiry, Expiry::Now) {
            return Self::new("EXISTS", key);
        }
        let mut command = Self::new("SET", key);
        command.sent.arg(stored(version, value)).arg("NX");
        expiry.add_to(&mut command.sent);
        command
    }

    pub(super) fn compare_and_swap(
        key: Vec<u8>,
        expected: Version,
        version: Version,
        value: &[u8],
        ttl: Ttl,
    ) -> Self {
        let expiry = Expiry::from(ttl);
        if matches!(expiry, Expiry::Now) {
            return Self::compare_and_delete(key, expected);
        }
        let stored = stored(version, value);
        Self::scripted(&COMPARE_AND_SWAP_SCRIPT, COMPARE_AND_SWAP, key, |command| {
            command.arg(expected.as_bytes().as_slice()).arg(&stored);
            expiry.add_to(command);
        })
    }

    pub(super) fn compare_and_delete(key: Vec<u8>, expected: Version) -> Self {
        Self::scripted(&COMPARE_AND_DELETE_SCRIPT, COMPARE_AND_DELETE, key, |command| {
            command.arg(expected.as_bytes().as_slice());
        })
    }

    pub(super) fn expire(key: Vec<u8>, version: Version, ttl: Ttl) -> Self {
        let expiry = Expiry::from(ttl);
        if matches!(expiry, Expiry::Now) {
            return Self::delete(key);
        }
        Self::scripted(&EXPIRE_SCRIPT, EXPIRE, key, |command| {
            command.arg(version.as_bytes().as_slice());
            expiry.add_to(command);
        })
    }
}

/// What lies in Redis: the version, then the value.
fn stored(version: Version, value: &[u8]) -> Vec<u8> {
    [version.as_bytes(), value].concat()
}

/// Reads what lies in Redis.
pub(super) fn entry(value: Value) -> Result<Option<Entry>> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(stored) => match stored.first_chunk() {
            Some(version) => {
                let version = Version::from_bytes(*version);
                let value = Bytes::from(stored).slice(Version::LENGTH..);
                Ok(Some(Entry { value, version }))
            }
            None => Err(error::corrupt("a record")),
        },
        _ => Err(error::unexpected("GET")),
    }
}

/// Whether a write happened: `SET` says `OK` or nothing, the others how many records changed.
pub(super) fn changed(name: &str, value: &Value) -> Result<bool> {
    match value {
        Value::Okay => Ok(true),
        Value::Nil => Ok(false),
        value => Ok(error::integer(name, value)? > 0),
    }
}
