//! For how long a document is believed without asking again (RFC 9111).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};

/// The least, whatever the document's host says: one login asks for the document twice, and nobody
/// decides that we ask for it at every request.
const SHORTEST: Duration = Duration::from_mins(5);

/// What is taken for a document that says nothing.
const USUAL: Duration = Duration::from_hours(1);

/// The most (SEP-991): a redirect URI that was lost to somebody else is not good for longer.
const LONGEST: Duration = Duration::from_hours(24);

/// The most for keys, in seconds: a key that was stolen is not good for longer after its owner took
/// it back.
pub(super) const LONGEST_OF_KEYS: u64 = 60 * 60;

/// How many seconds an answer with these headers is fresh.
///
/// `s-maxage` goes before `max-age`, since many people share what we keep; `Age` counts.
pub(super) fn fresh_for(headers: &HeaderMap) -> u64 {
    let directives: Vec<_> =
        headers.get_all(header::CACHE_CONTROL).iter().flat_map(directives).collect();
    let says = |name: &str| directives.iter().find(|(known, _)| known == name);
    let seconds = |name: &str| says(name).and_then(|(_, value)| value.parse::<u64>().ok());
    let stated = if says("no-store").is_some() || says("no-cache").is_some() {
        Some(0)
    } else {
        seconds("s-maxage").or_else(|| seconds("max-age"))
    };
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    let left = stated.map_or(USUAL.as_secs(), |stated| stated.saturating_sub(age.unwrap_or(0)));
    left.clamp(SHORTEST.as_secs(), LONGEST.as_secs())
}

/// Names in lower case, and values without quotes.
fn directives(value: &HeaderValue) -> Vec<(String, String)> {
    let text = value.to_str().unwrap_or_default();
    let directive = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned())
    };
    text.split(',').map(directive).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_decides_within_bounds() {
        let hour = 60 * 60;
        let cases: [(&[&str], Option<&str>, u64); 14] = [
            (&[], None, hour),
            (&["public"], None, hour),
            (&["max-age=1800"], None, hour / 2),
            (&["public, Max-Age=\"1800\""], None, hour / 2),
            (&["public", "max-age=1800"], None, hour / 2),
            (&["max-age=1800"], Some("600"), 1200),
            (&["max-age=1800"], Some("nonsense"), hour / 2),
            (&["max-age=1800, s-maxage=7200"], None, 2 * hour),
            (&["max-age=0"], None, 300),
            (&["no-store"], None, 300),
            (&["no-cache, max-age=7200"], None, 300),
            (&["max-age=31536000"], None, 24 * hour),
            (&["max-age=99999999999999999999999"], None, hour),
            (&["max-age=-1"], None, hour),
        ];
        for (values, age, expected) in cases {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CACHE_CONTROL, HeaderValue::from_static(value));
            }
            if let Some(age) = age {
                headers.insert(header::AGE, HeaderValue::from_static(age));
            }
            assert_eq!(fresh_for(&headers), expected, "{values:?}");
        }
    }
}
