use super::*;

fn response(status: u16, content_type: &str, body: &str) -> Response<Vec<u8>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .body(body.as_bytes().to_vec())
        .unwrap()
}

fn read(response: &Response<Vec<u8>>) -> Result<Map<String, Value>, ProviderError> {
    let secret = SecretString::from("s3cret/1");
    let sent = Sent::new(std::iter::once(&secret));
    Answer::new("token endpoint", response, &sent).with_redirect_uri("https://a.example/cb").json()
}

fn error(status: u16, body: &str) -> ProviderError {
    read(&response(status, "application/json;charset=UTF-8", body)).unwrap_err()
}

#[test]
fn only_invalid_grant_finishes_a_grant() {
    // Cognito and Google answer 400, Auth0 403, Okta and Keycloak sometimes 401.
    for status in [200, 400, 401, 403] {
        let error = error(status, r#"{"error":"invalid_grant"}"#);
        assert!(matches!(error, ProviderError::InvalidGrant { .. }), "{status}: {error}");
    }
    for code in ["invalid_client", "bad_verification_code", "interaction_required", "mfa_required"]
    {
        let error = error(400, &format!(r#"{{"error":"{code}"}}"#));
        assert!(matches!(error, ProviderError::Refused { .. }), "{code}: {error}");
    }
}

#[test]
fn later_is_an_outage_whatever_the_body_says() {
    for status in [408, 429, 500, 502, 503, 504] {
        for body in ["{}", "<html>", r#"{"error":"invalid_grant"}"#] {
            let error = error(status, body);
            assert!(matches!(error, ProviderError::Unavailable { .. }), "{status} {body}");
        }
    }
    for code in ["temporarily_unavailable", "server_error", "slow_down"] {
        let error = error(400, &format!(r#"{{"error":"{code}"}}"#));
        assert!(matches!(error, ProviderError::Unavailable { .. }), "{code}");
    }
}

#[test]
fn what_is_not_json_is_an_outage() {
    for status in [200, 302, 400, 401, 403, 404] {
        for body in ["<html>Access denied</html>", "", "[]", "\"invalid_grant\"", "{\"error\":"] {
            let error = read(&response(status, "text/html", body)).unwrap_err();
            assert!(matches!(error, ProviderError::Unavailable { .. }), "{status} {body}");
        }
    }
}

#[test]
fn json_without_an_error_code_is_refused_unless_it_succeeded() {
    assert!(read(&response(200, "application/json", "{}")).is_ok());
    assert!(read(&response(200, "text/plain", r#"{"error":null,"error_description":""}"#)).is_ok());
    assert!(matches!(error(404, r#"{"message":"no route"}"#), ProviderError::Refused { .. }));
    // Slack's form.
    assert!(matches!(
        error(200, r#"{"ok":false,"error":"invalid_code"}"#),
        ProviderError::Refused { .. }
    ));
}

#[test]
fn retry_after_is_obeyed_within_bounds() {
    let cases = [
        ("7", Some(7)),
        (" 8 ", Some(8)),
        ("99999999", Some(3600)),
        ("-1", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
    ];
    for (value, expected) in cases {
        let mut response = response(429, "text/plain", "slow down");
        response.headers_mut().insert(header::RETRY_AFTER, value.parse().unwrap());
        let ProviderError::Unavailable { retry_after, .. } = read(&response).unwrap_err() else {
            panic!("not an outage");
        };
        assert_eq!(retry_after, expected.map(Duration::from_secs), "{value}");
    }
}

#[test]
fn a_refusal_says_where_to_fix_it() {
    let cases = [
        ("invalid_client", "client_secret"),
        ("invalid_client", "token_endpoint_auth_method"),
        ("unauthorized_client", "console"),
        ("redirect_uri_mismatch", "https://a.example/cb"),
        ("invalid_scope", "scopes"),
        ("invalid_target", "audience"),
    ];
    for (code, hint) in cases {
        let text = error(400, &format!(r#"{{"error":"{code}"}}"#)).to_string();
        assert!(text.contains(code) && text.contains(hint), "{text}");
    }
}

#[test]
fn the_providers_words_are_one_short_line_without_our_secrets() {
    let words = format!(
        "AADSTS700082\\r\\nTrace ID: s3cret/1 s3cret%2F1 \\u001b[31m{}",
        "x".repeat(MAX_DESCRIPTION)
    );
    let body = format!(r#"{{"error":"invalid_grant","error_description":"{words}"}}"#);
    let text = error(400, &body).to_string();
    assert!(text.contains("AADSTS700082  Trace ID: [secret] [secret]"), "{text}");
    assert!(!text.chars().any(char::is_control) && !text.contains("s3cret"), "{text}");
    assert!(text.chars().count() < MAX_DESCRIPTION + 120 && text.contains('…'), "{text}");
}
