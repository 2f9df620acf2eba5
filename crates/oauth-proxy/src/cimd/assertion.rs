//! `private_key_jwt`: a client proves who it is with a JWT that it signs (RFC 7523, OpenID Connect
//! Core §9).

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// The name of the method.
pub(crate) const PRIVATE_KEY_JWT: &str = "private_key_jwt";

/// What assertions may be signed with; the client's keys decide which of them.
pub(crate) const ASSERTION_ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// By how much a client's clock may differ from ours, in seconds.
const SKEW: u64 = 60;

/// How far ahead an assertion may end, in seconds: for so long it has to be remembered. SDKs say
/// five minutes.
const LONGEST: u64 = 10 * 60;

/// The longest `jti` in bytes.
const MAX_JTI_BYTES: usize = 512;

/// Whom an assertion may be for, below the issuer: us, as it should be, or our token endpoint, which
/// `ChatGPT` and older SDKs name (RFC 7523 §3).
const AUDIENCES: [&str; 2] = ["", "/token"];

/// An assertion that was good, and must not be again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Assertion {
    /// Unique for the client.
    pub(crate) jti: String,
    /// For how many seconds it could be used again.
    pub(crate) remember_for: u64,
}

/// Whose assertion this is, as far as it says itself.
pub(crate) fn client_id(assertion: &str) -> Option<String> {
    let payload = assertion.split('.').nth(1)?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    Some(claims.get("sub")?.as_str()?.to_owned())
}

/// Whether the claims of a signed assertion are those of this client, for us, and of now.
///
/// `aud` is for us and for nobody else: an assertion with a second audience, or one that another
/// server could have named to the client, may have been meant for that other server, which would
/// use it here (CVE-2025-27370, draft-ietf-oauth-rfc7523bis).
pub(super) fn check(
    claims: &Map<String, Value>,
    client: &str,
    issuer: &str,
    now: u64,
) -> Result<Assertion, &'static str> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if text("iss") != Some(client) || text("sub") != Some(client) {
        return Err("`iss` and `sub` of the client assertion must be the client id");
    }
    let audience = match claims.get("aud") {
        Some(Value::Array(audiences)) => match audiences.as_slice() {
            [only] => only.as_str(),
            _ => None,
        },
        Some(audience) => audience.as_str(),
        None => None,
    };
    let place = audience.and_then(|audience| audience.strip_prefix(issuer));
    if !place.is_some_and(|place| AUDIENCES.contains(&place)) {
        return Err("`aud` of the client assertion must be the issuer of this server and nothing \
                    else");
    }
    let Some(exp) = claims.get("exp").and_then(seconds) else {
        return Err("the client assertion has no `exp`");
    };
    if now >= exp.saturating_add(SKEW) {
        return Err("the client assertion has expired");
    }
    if exp > now.saturating_add(LONGEST + SKEW) {
        return Err("the client assertion may end ten minutes from now at most");
    }
    for name in ["iat", "nbf"] {
        match claims.get(name).map(seconds) {
            Some(Some(at)) if at > now.saturating_add(SKEW) => {
                return Err("the client assertion is of the future; is the clock right?");
            }
            Some(None) => return Err("`iat` and `nbf` of a client assertion are numbers"),
            _ => {}
        }
    }
    match text("jti") {
        Some(jti) if !jti.is_empty() && jti.len() <= MAX_JTI_BYTES => {
            // Another process, whose clock is behind ours, takes it for that much longer.
            let remember_for = exp.saturating_add(2 * SKEW) - now;
            Ok(Assertion { jti: jti.to_owned(), remember_for })
        }
        _ => Err("the client assertion has no `jti` of at most 512 bytes"),
    }
}

/// RFC 7519 §2 allows fractions.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is below 0 or far beyond is cut to the bounds"
)]
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().map(|seconds| seconds as u64))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CLIENT: &str = "https://app.example/client";
    const ISSUER: &str = "https://proxy.example";
    const NOW: u64 = 1_800_000_000;

    fn with(member: &str, value: Value) -> Result<Assertion, &'static str> {
        let mut claims = json!({
            "iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "jti": "one",
            "iat": NOW, "exp": NOW + 300,
        });
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(member);
        } else {
            claims[member] = value;
        }
        check(claims.as_object().unwrap(), CLIENT, ISSUER, NOW)
    }

    #[test]
    fn what_sdks_send_is_good_and_remembered_until_it_has_expired_by_every_clock() {
        let good = Assertion { jti: "one".to_owned(), remember_for: 300 + 2 * SKEW };
        assert_eq!(with("iat", json!(NOW)).as_ref(), Ok(&good));
        for (member, value) in [
            ("aud", json!([ISSUER])),
            ("aud", json!("https://proxy.example/token")),
            ("aud", json!(["https://proxy.example/token"])),
            ("iat", Value::Null),
            ("iat", json!(NOW + SKEW)),
            ("nbf", json!(1_799_999_999.5)),
            ("exp", json!(NOW - SKEW + 1)),
            ("exp", json!(NOW + LONGEST + SKEW)),
        ] {
            assert!(with(member, value.clone()).is_ok(), "{member}: {value}");
        }
    }

    #[test]
    fn each_defect_of_an_assertion_is_named() {
        for (member, value, why) in [
            ("iss", Value::Null, "`iss`"),
            ("iss", json!("https://other.example/client"), "`iss`"),
            ("sub", Value::Null, "`sub`"),
            ("sub", json!("alice"), "`sub`"),
            ("aud", Value::Null, "`aud`"),
            ("aud", json!([]), "`aud`"),
            ("aud", json!("https://other.example"), "`aud`"),
            ("aud", json!("https://proxy.example/"), "`aud`"),
            ("aud", json!("https://proxy.example/token/x"), "`aud`"),
            ("exp", Value::Null, "`exp`"),
            ("exp", json!("soon"), "`exp`"),
            ("exp", json!(NOW - SKEW), "expired"),
            ("exp", json!(0), "expired"),
            ("exp", json!(-1.5), "expired"),
            ("exp", json!(NOW + LONGEST + SKEW + 1), "ten minutes"),
            ("exp", json!(u64::MAX), "ten minutes"),
            ("iat", json!(NOW + SKEW + 1), "future"),
            ("nbf", json!(NOW + SKEW + 1), "future"),
            ("iat", json!("now"), "numbers"),
            ("jti", Value::Null, "`jti`"),
            ("jti", json!(""), "`jti`"),
            ("jti", json!(7), "`jti`"),
            ("jti", json!("x".repeat(MAX_JTI_BYTES + 1)), "`jti`"),
        ] {
            let complaint = with(member, value.clone()).expect_err(why);
            assert!(complaint.contains(why), "{member}: {value}: {complaint}");
        }
    }

    #[test]
    fn an_assertion_says_whose_it_is() {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(json!({"sub": CLIENT}).to_string());
        assert_eq!(client_id(&format!("e30.{payload}.x")).as_deref(), Some(CLIENT));
        for text in ["", "a", "a.b.c", "a.e30.c", "..", &format!("{payload}.{payload}")[..40]] {
            assert_eq!(client_id(text), None, "{text}");
        }
    }
}
