//! Dates for people and for files.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_SECONDS: u64 = 24 * 60 * 60;

/// The present moment, since 1970.
#[expect(clippy::disallowed_methods, reason = "the default clock")]
pub(crate) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO)
}

/// A moment as RFC 3339 in UTC, to the millisecond.
pub(crate) fn precise(since_1970: Duration) -> String {
    let whole = to_the_second(since_1970.as_secs());
    format!("{}.{:03}Z", whole.trim_end_matches('Z'), since_1970.subsec_millis())
}

/// Unix seconds as RFC 3339 in UTC.
pub(crate) fn to_the_second(unix: u64) -> String {
    let (year, month, day) = civil(unix / DAY_SECONDS);
    let second = unix % DAY_SECONDS;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day since 1970, by counting in eras of 400 years that begin in March,
/// so that a leap day is the last of its year.
fn civil(day: u64) -> (u64, u64, u64) {
    const DAYS_PER_ERA: u64 = 146_097;
    /// From March 1st of the year 0 to 1970.
    const TO_1970: u64 = 719_468;
    let day = day.saturating_add(TO_1970);
    let (era, day) = (day / DAYS_PER_ERA, day % DAYS_PER_ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march_month = (5 * day + 2) / 153;
    let day = day - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_calendars_get_wrong() {
        for (unix, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (4_107_456_000, "2100-02-28T00:00:00Z"),
        ] {
            assert_eq!(to_the_second(unix), expected);
        }
        assert_eq!(precise(Duration::from_millis(1_007)), "1970-01-01T00:00:01.007Z");
    }
}
