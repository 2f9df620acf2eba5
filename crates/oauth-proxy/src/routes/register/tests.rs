use http::HeaderValue;

use super::*;

#[test]
fn a_flood_shortens_lives_and_refuses_nobody() {
    const MONTH: Duration = Duration::from_hours(30 * 24);
    let quota = UnusedQuota::default();
    let noon = 20_000 * DAY_SECONDS + DAY_SECONDS / 2;
    for _ in 0..UNUSED_PER_DAY {
        assert_eq!(quota.lifetime(noon, MONTH), MONTH);
    }
    assert_eq!(quota.lifetime(noon, MONTH), PRESSED_LIFETIME);
    assert_eq!(quota.lifetime(noon, Duration::from_secs(2)), Duration::from_secs(2));
    assert_eq!(quota.lifetime(noon + DAY_SECONDS, MONTH), MONTH);
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
