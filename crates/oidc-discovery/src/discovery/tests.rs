use http::{HeaderValue, header::CACHE_CONTROL};

use super::*;

fn fresh_for(values: &[&'static str]) -> u64 {
    let client = Client::builder().build().expect("a client");
    let builder = Discovery::builder("https://op.example", client);
    let headers = values
        .iter()
        .map(|value| (CACHE_CONTROL, HeaderValue::from_static(value)))
        .collect::<HeaderMap>();
    builder.settings.fresh_for(&headers).as_secs()
}

#[test]
fn cache_control_counts_within_bounds() {
    for (values, seconds) in [
        (&[][..], 3600),
        (&["public, max-age=300"], 300),
        (&["max-age=\"300\""], 300),
        (&["Max-Age = 300"], 300),
        (&["public", "max-age=300"], 300),
        (&["max-age=900, max-age=300"], 300),
        (&["max-age=86400"], 3600),
        (&["max-age=1"], 30),
        (&["no-store"], 30),
        (&["no-cache, max-age=600"], 30),
        (&["max-age=soon"], 3600),
        (&["max-age=-1"], 3600),
        (&["max-age=99999999999999999999999"], 3600),
        (&["s-maxage=10, immutable"], 3600),
    ] {
        assert_eq!(fresh_for(values), seconds, "{values:?}");
    }
}
