use http::HeaderValue;

use super::*;

const NOON: u64 = 20_000 * DAY_SECONDS + DAY_SECONDS / 2;

#[test]
fn a_flood_shortens_lives() {
    let quota = UnusedQuota::default();
    let lifetimes = Lifetimes::default();
    for _ in 0..UNUSED_PER_DAY {
        assert_eq!(quota.lifetime(NOON, &lifetimes).unwrap(), lifetimes.unused_client);
    }
    assert_eq!(quota.lifetime(NOON, &lifetimes).unwrap(), lifetimes.pressed_client);
    let short = Lifetimes { unused_client: Duration::from_secs(2), ..Lifetimes::default() };
    assert_eq!(quota.lifetime(NOON, &short).unwrap(), short.unused_client);
    let tomorrow = quota.lifetime(NOON + DAY_SECONDS, &lifetimes).unwrap();
    assert_eq!(tomorrow, lifetimes.unused_client);
}

#[test]
fn a_greater_flood_waits_for_the_next_hour() {
    let (quota, lifetimes) = (UnusedQuota::default(), Lifetimes::default());
    for _ in 0..REGISTRATIONS_PER_HOUR {
        quota.lifetime(NOON + 60, &lifetimes).unwrap();
    }
    let error = quota.lifetime(NOON + 60, &lifetimes).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TemporarilyUnavailable);
    quota.lifetime(NOON + HOUR_SECONDS, &lifetimes).unwrap();
}

#[test]
fn only_json_is_read() {
    let with = |value| HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
    assert!(require_json(&HeaderMap::new()).is_ok());
    for fine in ["application/json", "Application/JSON; charset=utf-8", "application/x+json"] {
        assert!(require_json(&with(HeaderValue::from_static(fine))).is_ok(), "{fine}");
    }
    for other in ["text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"] {
        assert!(require_json(&with(HeaderValue::from_static(other))).is_err(), "{other}");
    }
}
