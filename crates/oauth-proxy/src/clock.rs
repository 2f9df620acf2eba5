//! Time as an argument.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Where the present moment comes from; tests give one that they move themselves.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A [`Clock`] that speaks Unix seconds.
#[derive(Clone)]
pub(crate) struct UnixClock(Clock);

impl UnixClock {
    pub(crate) fn new(clock: Clock) -> Self {
        Self(clock)
    }

    #[expect(clippy::disallowed_methods, reason = "the default clock")]
    pub(crate) fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// Unix seconds; a clock before 1970 reads as 0.
    pub(crate) fn now(&self) -> u64 {
        (self.0)().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
    }
}

impl fmt::Debug for UnixClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnixClock")
    }
}
