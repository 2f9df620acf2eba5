use http::HeaderName;
use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::Identity;

const NAME: HeaderName = HeaderName::from_static("x-forwarded-user");

#[test]
fn ordinary_subjects_stay_readable() {
    for value in ["auth0|123", "alice@example.com", "https://issuer/x?y=z&a", "a.b-c_d+e~f"] {
        assert_eq!(Identity::new().claim(NAME, value).headers[0].1, value);
    }
}

#[test]
fn what_could_mislead_is_encoded() {
    for (value, encoded) in [
        ("a,b", "a%2Cb"),
        (" a ", "%20a%20"),
        ("a\r\nx-forwarded-user: root", "a%0D%0Ax-forwarded-user:%20root"),
        ("100%", "100%25"),
        ("Zoë", "Zo%C3%AB"),
        ("a;b\"c\\d", "a%3Bb%22c%5Cd"),
        ("", ""),
    ] {
        assert_eq!(Identity::new().claim(NAME, value).headers[0].1, encoded, "{value:?}");
    }
}

#[test]
fn debug_output_tells_nobodys_name() {
    let shown = format!("{:?}", Identity::new().claim(NAME, "alice"));
    assert!(shown.contains("x-forwarded-user") && !shown.contains("alice"), "{shown}");
}

proptest! {
    #[test]
    fn every_list_can_be_read_back(values in prop::collection::vec(any::<String>(), 1..5)) {
        let identity = Identity::new().list(NAME, values.iter().map(String::as_str));
        let line = identity.headers[0].1.to_str().unwrap();
        let read: Vec<_> = line
            .split(',')
            .map(|value| percent_decode_str(value).decode_utf8().unwrap().into_owned())
            .collect();
        prop_assert_eq!(read, values);
    }
}
