use std::borrow::Cow;

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a storage operation failed.
///
/// Callers branch on [`kind`](Error::kind); the message is for people.
/// It names files, collections and settings, never a value or a key of an entry.
/// "Not there" is no error: operations answer it with `None` or `false`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store cannot be reached or is overloaded, and nothing happened: try again later.
    Unavailable,
    /// The write may or may not have happened: read again before deciding anything.
    ///
    /// Stores never repeat such a write in secret.
    OutcomeUnknown,
    /// What is stored cannot be what this crate wrote: an operator has to look.
    ///
    /// It is left as it is, except by a [`take`](crate::KeyValue::take), which removes it: what
    /// cannot be read can never be redeemed.
    Corrupt,
    /// Other writers kept getting in between: nothing happened, try again.
    Conflict,
    /// A key, a value or a whole collection is over a named limit; nothing happened.
    TooLarge,
    /// A setting is wrong: a path, a key, a name. Trying again will not help.
    Misconfigured,
}

impl Error {
    /// An error of `kind` saying which action failed: lower case, no period, no secret.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with its cause, which must not hold secrets either.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error with more help behind its message.
    pub(crate) fn with_hint(mut self, hint: &str) -> Self {
        self.message = format!("{}; {hint}", self.message).into();
        self
    }

    /// The error for one more caller; of its causes, the first one's text.
    #[cfg(any(feature = "disk", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn again(&self) -> Self {
        let again = Self::new(self.kind, self.message.clone());
        match &self.source {
            Some(source) => again.with_source(source.to_string()),
            None => again,
        }
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
