use secrecy::ExposeSecret;
use serde_json::json;

use super::*;

fn parse(answer: Value) -> Result<ProviderTokens, ProviderError> {
    let Value::Object(map) = answer else { panic!("not an object") };
    read(map)
}

fn with(name: &str, value: Value) -> Result<ProviderTokens, ProviderError> {
    let mut answer = json!({"access_token": "at"});
    answer[name] = value;
    parse(answer)
}

#[test]
fn the_shapes_that_providers_send() {
    // Google's and Entra's answers have more members than anybody asked for.
    let google = parse(json!({
        "access_token": "at", "expires_in": 3599, "refresh_token": "rt", "scope": "openid email",
        "token_type": "Bearer", "id_token": "a.b.c", "refresh_token_expires_in": 604_799
    }))
    .unwrap();
    assert_eq!(google.access_token.expose_secret(), "at");
    assert_eq!(google.refresh_token.unwrap().expose_secret(), "rt");
    assert_eq!(google.id_token.unwrap().expose_secret(), "a.b.c");
    assert_eq!(google.expires_in, Some(Duration::from_secs(3599)));
    assert_eq!(google.scope.as_deref(), Some("openid email"));

    // Salesforce says neither expires_in nor, in some versions, token_type.
    let salesforce =
        parse(json!({"access_token": "at", "issued_at": "1676372418560", "token_type": null}))
            .unwrap();
    assert!(salesforce.expires_in.is_none() && salesforce.refresh_token.is_none());

    // A refresh at Cognito brings no refresh token; Keycloak writes "bearer".
    let cognito = parse(json!({
        "access_token": "at", "token_type": "bearer", "refresh_token": null, "id_token": ""
    }))
    .unwrap();
    assert!(cognito.refresh_token.is_none() && cognito.id_token.is_none());
}

#[test]
fn expires_in_is_read_and_bounded() {
    let cases = [
        (json!(60), Some(60)),
        (json!(59.9), Some(59)),
        (json!("60"), Some(60)),
        (json!(" 60 "), Some(60)),
        (json!(0), Some(0)),
        (json!(-5), Some(0)),
        (json!("-5"), Some(0)),
        (json!(1e300), Some(MAX_EXPIRES_IN)),
        (json!("inf"), Some(MAX_EXPIRES_IN)),
        (json!(u64::MAX), Some(MAX_EXPIRES_IN)),
        (json!("NaN"), None),
        (json!("soon"), None),
        (json!(null), None),
        (json!([60]), None),
    ];
    for (value, expected) in cases {
        let tokens = with("expires_in", value.clone()).unwrap();
        assert_eq!(tokens.expires_in, expected.map(Duration::from_secs), "{value}");
    }
}

#[test]
fn scope_is_a_string_or_an_array() {
    let cases = [
        (json!("a b"), Some("a b")),
        (json!("  a   b "), Some("a b")),
        (json!(["a", "b"]), Some("a b")),
        (json!(""), None),
        (json!([]), None),
        (json!(["a", 1]), None),
        (json!("a\u{7}"), None),
        (json!(null), None),
    ];
    for (value, expected) in cases {
        assert_eq!(with("scope", value.clone()).unwrap().scope.as_deref(), expected, "{value}");
    }
}

#[test]
fn tokens_that_no_header_can_carry_are_refused() {
    let bad = ["a\nb", "a\0", "a\u{7f}", "tökén", "a\u{2028}b"];
    for name in ["access_token", "refresh_token", "id_token"] {
        for value in bad {
            let error = with(name, json!(value)).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains(value), "{error}");
        }
        assert!(with(name, json!("a".repeat(MAX_TOKEN + 1))).is_err(), "{name}");
        assert!(with(name, json!("a".repeat(MAX_TOKEN))).is_ok(), "{name}");
        assert!(with(name, json!(7)).is_err(), "{name}");
    }
}

#[test]
fn an_answer_without_a_usable_access_token_is_refused() {
    for answer in [
        json!({}),
        json!({"access_token": ""}),
        json!({"access_token": null}),
        json!({"id_token": "a.b.c"}),
        json!({"access_token": "at", "token_type": "DPoP"}),
    ] {
        let error = parse(answer.clone()).unwrap_err();
        assert!(matches!(error, ProviderError::Refused { .. }), "{answer}");
    }
}
