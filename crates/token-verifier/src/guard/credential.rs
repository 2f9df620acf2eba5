//! Reading the `Authorization` header (RFC 6750 §2.1).

use http::{HeaderMap, header::AUTHORIZATION};

/// Longer than any token in use; what is longer is a mistake or an attack, and is not hashed,
/// parsed or looked up.
const MAX_TOKEN_LENGTH: usize = 16 * 1024;

/// What a request says about its bearer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credential<'a> {
    /// No credentials, or credentials of another scheme.
    Absent,
    /// Something that looks like a token.
    Token(&'a str),
    /// A bearer token was meant, but this is none. Holds the reason for the client.
    Malformed(&'static str),
}

impl<'a> Credential<'a> {
    /// Reads the credential; the query and the body are not looked at.
    pub(super) fn of(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::Absent };
        if values.next().is_some() {
            return Self::Malformed("more than one Authorization header");
        }

        let value = value.as_bytes();
        let scheme_end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, rest) = value.split_at(scheme_end);
        if !scheme.eq_ignore_ascii_case(b"Bearer") {
            return Self::Absent;
        }

        let token = rest.trim_ascii();
        if token.is_empty() {
            return Self::Malformed("the Authorization header names the Bearer scheme only");
        }
        if token.len() > MAX_TOKEN_LENGTH {
            return Self::Malformed("the token is too long");
        }
        match std::str::from_utf8(token) {
            Ok(token) if is_b64token(token) => Self::Token(token),
            _ => Self::Malformed("the token has characters that no token has"),
        }
    }
}

/// `b64token` of RFC 6750 §2.1: letters, digits, `-._~+/`, then any number of `=`.
fn is_b64token(token: &str) -> bool {
    let body = token.trim_end_matches('=');
    !body.is_empty()
        && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        values
            .iter()
            .map(|value| (AUTHORIZATION, HeaderValue::from_bytes(value).expect("a header value")))
            .collect()
    }

    #[test]
    fn reads_a_token() {
        for (value, token) in [
            ("Bearer abc", "abc"),
            ("bearer abc", "abc"),
            ("BEARER abc", "abc"),
            ("Bearer   abc", "abc"),
            ("Bearer abc ", "abc"),
            ("Bearer a.b-c_d~e+f/g==", "a.b-c_d~e+f/g=="),
        ] {
            let headers = headers(&[value.as_bytes()]);
            assert_eq!(Credential::of(&headers), Credential::Token(token), "{value:?}");
        }
    }

    #[test]
    fn another_scheme_is_no_token() {
        for value in [
            "",
            "Basic YTpi",
            "DPoP abc",
            "Bearerabc",
            "Bear abc",
            "Bearer\tabc",
            "abc",
            "Basic YTpi, Bearer abc",
        ] {
            let headers = headers(&[value.as_bytes()]);
            assert_eq!(Credential::of(&headers), Credential::Absent, "{value:?}");
        }
        assert_eq!(Credential::of(&HeaderMap::new()), Credential::Absent);
    }

    #[test]
    fn a_malformed_header_is_told_from_none() {
        let too_long = format!("Bearer {}", "a".repeat(MAX_TOKEN_LENGTH + 1));
        let cases: [&[&[u8]]; 13] = [
            &[b"Bearer"],
            &[b"Bearer "],
            &[b"Bearer a b"],
            &[b"Bearer a,b"],
            &[b"Bearer a, Bearer b"],
            &[b"Bearer \"a\""],
            &[b"Bearer a=b"],
            &[b"Bearer =="],
            &[b"Bearer a\xffb"],
            &[b"Bearer a\tb"],
            &[too_long.as_bytes()],
            &[b"Bearer a", b"Bearer a"],
            &[b"Basic YTpi", b"Bearer a"],
        ];
        for values in cases {
            let headers = headers(values);
            let credential = Credential::of(&headers);
            assert!(matches!(credential, Credential::Malformed(_)), "{values:?}: {credential:?}");
        }
    }

    #[test]
    fn the_longest_token_passes() {
        let value = format!("Bearer {}", "a".repeat(MAX_TOKEN_LENGTH));
        let headers = headers(&[value.as_bytes()]);
        assert!(matches!(Credential::of(&headers), Credential::Token(_)));
    }
}
