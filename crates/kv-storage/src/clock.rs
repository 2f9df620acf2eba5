use std::{sync::Arc, time::SystemTime};

/// Tells the time to a store that judges expiry itself.
///
/// The default is the system's clock; tests give one that they can turn.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The clock that stores use unless they were given another.
#[expect(clippy::disallowed_methods, reason = "the default clock")]
pub(crate) fn system_clock() -> Clock {
    Arc::new(SystemTime::now)
}

/// The given clock's time in milliseconds since the Unix epoch; zero before it.
pub(crate) fn unix_millis(clock: &Clock) -> i64 {
    let since_epoch = clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
