//! What an answer of Redis, or none, means for the caller.

use redis::{ErrorKind as RedisErrorKind, RedisError, Value};

use super::settings::Address;
use crate::{Error, ErrorKind};

/// A command that failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server answered with an error: it did nothing.
    Refused(Refusal),
    /// There was no answer: the server may have done it or not.
    Lost(RedisError),
}

/// An error that a server answered with.
#[derive(Debug)]
pub(super) struct Refusal {
    /// The first word, such as `MOVED`.
    pub(super) code: String,
    /// What follows; it may quote keys.
    pub(super) detail: String,
}

/// Codes that Redis 6 hides in the text when a script met the error.
const CODES_IN_SCRIPTS: [&str; 7] =
    ["READONLY", "OOM", "WRONGTYPE", "MISCONF", "NOREPLICAS", "MASTERDOWN", "NOPERM"];

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            RedisErrorKind::Server(_) | RedisErrorKind::Extension => {
                let detail = error.detail().unwrap_or_default().to_owned();
                let code = match error.code() {
                    Some("ERR") | None => CODES_IN_SCRIPTS
                        .into_iter()
                        .find(|&code| detail.contains(&format!("{code} ")))
                        .unwrap_or("ERR"),
                    Some(code) => code,
                };
                Self::Refused(Refusal { code: code.to_owned(), detail })
            }
            _ => Self::Lost(error),
        }
    }
}

impl Refusal {
    /// What the caller is told; `command` is what was asked.
    pub(super) fn into_error(self, address: &Address, command: &str) -> Error {
        let (kind, meaning) = match self.code.as_str() {
            "NOAUTH" | "WRONGPASS" => (
                ErrorKind::Misconfigured,
                "the user or the password in the storage URL is wrong or missing",
            ),
            "NOPERM" => (
                ErrorKind::Misconfigured,
                "the user in the storage URL may not run this command, or not on the keys of \
                 the prefix; docs/storage.md has the ACL rule that it needs",
            ),
            "WRONGTYPE" => (ErrorKind::Corrupt, "what lies under the key is no string"),
            "OOM" => (
                ErrorKind::Unavailable,
                "it is out of memory: raise its maxmemory or give other data a place elsewhere",
            ),
            "READONLY" => (ErrorKind::Unavailable, "it is a replica by now"),
            "LOADING" => (ErrorKind::Unavailable, "it is still loading its data"),
            "MASTERDOWN" => (ErrorKind::Unavailable, "its master is gone"),
            "CLUSTERDOWN" => (ErrorKind::Unavailable, "the cluster is down"),
            "TRYAGAIN" | "MOVED" | "ASK" => {
                (ErrorKind::Unavailable, "the cluster is moving the key")
            }
            "MISCONF" => {
                (ErrorKind::Unavailable, "it cannot write to its disk and takes no more writes")
            }
            "NOREPLICAS" => (
                ErrorKind::Unavailable,
                "it has fewer replicas than its min-replicas-to-write asks for",
            ),
            "BUSY" => (ErrorKind::Unavailable, "it is busy with somebody's script"),
            "ERR" if self.detail.contains("unknown command") => (
                ErrorKind::Misconfigured,
                "it does not know this command: is it older than 6.2, or was it renamed?",
            ),
            "ERR" if self.detail.contains("DB index") => {
                (ErrorKind::Misconfigured, "it has no database of the number in the storage URL")
            }
            "ERR" if self.detail.contains("AUTH") || self.detail.contains("password") => (
                ErrorKind::Misconfigured,
                "it knows no user or password, but the storage URL gives one",
            ),
            _ => (ErrorKind::Unavailable, "it answered with an error"),
        };
        Error::new(kind, format!("redis at {address} refused {command} ({}): {meaning}", self.code))
    }
}

/// A read that got no answer.
pub(super) fn lost_read(address: &Address, error: RedisError) -> Error {
    Error::new(ErrorKind::Unavailable, format!("redis at {address} did not answer"))
        .with_source(error)
}

/// A write that got no answer.
pub(super) fn lost_write(address: &Address, error: RedisError) -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        format!("redis at {address} did not answer: the write may have been done or not"),
    )
    .with_source(error)
}

/// An answer in a form that the command does not have.
pub(super) fn unexpected(command: &str) -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        format!("redis answered {command} in a form that it does not have"),
    )
}

/// Something under our prefix is not in the form that this crate writes.
pub(super) fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what} in redis has a wrong form"))
}

/// The number that a command is answered with.
pub(super) fn integer(command: &str, value: &Value) -> Result<i64, Error> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(unexpected(command)),
    }
}
