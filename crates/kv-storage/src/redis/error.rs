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

/// How Redis 6 begins when a script met an error, whose code follows somewhere.
const SCRIPT_FAILED: &str = "Error running script";

/// The codes that a script of ours can meet.
const CODES_IN_SCRIPTS: [&str; 6] =
    ["READONLY", "OOM", "WRONGTYPE", "MISCONF", "NOREPLICAS", "MASTERDOWN"];

/// What stands for `NOPERM` when a script met it: in Redis up to 7.0, and in later ones and Valkey.
const NO_PERMISSION_IN_SCRIPTS: [&str; 2] =
    ["The user executing the script can't", "ACL failure in script"];

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        match error.kind() {
            RedisErrorKind::Server(_) | RedisErrorKind::Extension => {
                let detail = error.detail().unwrap_or_default().to_owned();
                let code = match error.code() {
                    Some("ERR") | None => code_in_script(&detail).unwrap_or("ERR"),
                    Some(code) => code,
                };
                Self::Refused(Refusal { code: code.to_owned(), detail })
            }
            _ => Self::Lost(error),
        }
    }
}

fn code_in_script(detail: &str) -> Option<&'static str> {
    if NO_PERMISSION_IN_SCRIPTS.into_iter().any(|text| detail.contains(text)) {
        return Some("NOPERM");
    }
    let detail = detail.strip_prefix(SCRIPT_FAILED)?;
    CODES_IN_SCRIPTS.into_iter().find(|code| detail.contains(&format!("{code} ")))
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

/// A command that changes nothing was answered in a form that Redis does not have.
pub(super) fn odd_answer(command: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{command} was answered as redis does not: is there something else in its place?"),
    )
}

/// A write was answered in a form that Redis does not have.
pub(super) fn odd_answer_to_write(command: &str) -> Error {
    Error::new(
        ErrorKind::OutcomeUnknown,
        format!("{command} was answered as redis does not: it may have been done or not"),
    )
}

/// Something under our prefix is not in the form that this crate writes.
pub(super) fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("{what} in redis has a wrong form"))
}

/// The number that a write is answered with.
pub(super) fn integer(command: &str, value: &Value) -> Result<i64, Error> {
    match value {
        Value::Int(number) => Ok(*number),
        _ => Err(odd_answer_to_write(command)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the line of a server means.
    fn told(line: &str) -> (String, ErrorKind) {
        let Ok(Value::ServerError(error)) = redis::parse_redis_value(line.as_bytes()) else {
            panic!("{line} is no error");
        };
        let Failure::Refused(refusal) = Failure::from(RedisError::from(error)) else {
            panic!("{line} is an answer");
        };
        let address = Address { host: "localhost".into(), port: 1 };
        (refusal.code.clone(), refusal.into_error(&address, "EVALSHA").kind())
    }

    /// As Redis 6.2, Redis 7.0, and Redis 7.2 or Valkey write them.
    #[test]
    fn errors_within_scripts_are_what_they_are_outside() {
        let (unavailable, misconfigured) = (ErrorKind::Unavailable, ErrorKind::Misconfigured);
        for (text, code, kind) in [
            (
                "ERR Error running script (call to f_8a70): @user_script:1: @user_script: 1: \
                 -READONLY You can't write against a read only replica. ",
                "READONLY",
                unavailable,
            ),
            (
                "ERR Error running script (call to f_8a70): @user_script:1: @user_script: 1: \
                 -OOM command not allowed when used memory > 'maxmemory'. ",
                "OOM",
                unavailable,
            ),
            (
                "ERR Error running script (call to f_8a70): @user_script:1: WRONGTYPE Operation \
                 against a key holding the wrong kind of value ",
                "WRONGTYPE",
                ErrorKind::Corrupt,
            ),
            (
                "ERR Error running script (call to f_8a70): @user_script:1: @user_script: 1: The \
                 user executing the script can't run this command or subcommand ",
                "NOPERM",
                misconfigured,
            ),
            (
                "ERR Error running script (call to f_8a70): @user_script:1: @user_script: 1: The \
                 user executing the script can't access at least one of the keys mentioned in the \
                 command arguments ",
                "NOPERM",
                misconfigured,
            ),
            (
                "ERR The user executing the script can't run this command or subcommand script: \
                 104a, on @user_script:1.",
                "NOPERM",
                misconfigured,
            ),
            (
                "ERR ACL failure in script: User proxy has no permissions to run the 'set' command \
                 script: 8a2f, on @user_script:1.",
                "NOPERM",
                misconfigured,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'. script: 8a2f, on \
                 @user_script:1.",
                "OOM",
                unavailable,
            ),
            ("READONLY You can't write against a read only replica.", "READONLY", unavailable),
            ("ERR an error that names the key kv:c:OOM and more", "ERR", unavailable),
        ] {
            assert_eq!(told(&format!("-{text}\r\n")), (code.to_owned(), kind), "{text}");
        }
    }

    #[test]
    fn only_writes_may_have_been_done() {
        assert_eq!(odd_answer("GET").kind(), ErrorKind::Unavailable);
        assert_eq!(integer("DEL", &Value::Nil).unwrap_err().kind(), ErrorKind::OutcomeUnknown);
    }
}
