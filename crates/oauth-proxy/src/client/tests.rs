use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;

fn register(body: &Value) -> Result<Accepted, OAuthError> {
    let supported = ScopeSet::parse("tools:read tools:write offline_access");
    accept(body.to_string().as_bytes(), &RedirectPolicy::default(), &supported, NOW)
}

fn accepted(body: &Value) -> (ClientRecord, Value) {
    let accepted = register(body).unwrap();
    let response = serde_json::to_value(accepted.response("https://proxy.example")).unwrap();
    (accepted.record, response)
}

fn refused(body: &Value) -> ErrorCode {
    register(body).unwrap_err().code()
}

fn minimal() -> Value {
    json!({"redirect_uris": ["http://localhost:3118/callback"]})
}

fn with(member: &str, value: Value) -> Value {
    let mut body = minimal();
    body[member] = value;
    body
}

/// Every value in the tree.
fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(members) => members.values().any(has_null),
        _ => false,
    }
}

#[test]
fn the_least_that_a_client_can_say_makes_a_public_client() {
    let (record, mut response) = accepted(&minimal());
    assert_eq!(record.secret_hash, None);
    assert!(record.client().snapshot.refreshes);
    assert_eq!(response["client_id"], json!(record.client_id));
    for member in ["client_id", "registration_access_token", "registration_client_uri"] {
        response[member] = json!("[id]");
    }
    assert_eq!(
        response,
        json!({
            "client_id": "[id]",
            "client_id_issued_at": NOW,
            "registration_access_token": "[id]",
            "registration_client_uri": "[id]",
            "redirect_uris": ["http://localhost:3118/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
        })
    );
}

#[test]
fn every_accepted_member_is_echoed_and_what_we_do_not_know_is_not() {
    let body = json!({
        "client_name": " Claude Code ",
        "client_uri": "https://claude.ai",
        "logo_uri": "https://claude.ai/logo.png",
        "tos_uri": "https://claude.ai/tos",
        "policy_uri": "https://claude.ai/policy",
        "contacts": ["a@example.com", 5],
        "software_id": "sid",
        "software_version": "1.2",
        "application_type": "native",
        "redirect_uris": ["http://127.0.0.1/", "https://vscode.dev/redirect", "http://127.0.0.1/"],
        "grant_types": ["refresh_token", "authorization_code",
                        "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code", "token"],
        "scope": "tools:write openid tools:read",
        "token_endpoint_auth_method": "none",
        "client_id": "chosen-by-the-client",
        "client_secret": "chosen-by-the-client",
        "jwks_uri": "http://169.254.169.254/",
        "x_unknown": {"a": 1},
    });
    let (record, mut response) = accepted(&body);
    assert!(record.client_id.starts_with("mcp_"));
    for member in ["client_id", "registration_access_token", "registration_client_uri"] {
        response[member] = json!("[id]");
    }
    insta::assert_json_snapshot!(response, @r#"
    {
      "application_type": "native",
      "client_id": "[id]",
      "client_id_issued_at": 1800000000,
      "client_name": "Claude Code",
      "client_uri": "https://claude.ai",
      "contacts": [
        "a@example.com"
      ],
      "grant_types": [
        "authorization_code",
        "refresh_token"
      ],
      "logo_uri": "https://claude.ai/logo.png",
      "policy_uri": "https://claude.ai/policy",
      "redirect_uris": [
        "http://127.0.0.1/",
        "https://vscode.dev/redirect"
      ],
      "registration_access_token": "[id]",
      "registration_client_uri": "[id]",
      "response_types": [
        "code"
      ],
      "scope": "tools:write tools:read",
      "software_id": "sid",
      "software_version": "1.2",
      "token_endpoint_auth_method": "none",
      "tos_uri": "https://claude.ai/tos"
    }
    "#);
}

#[test]
fn a_secret_is_given_only_to_whom_asks_and_stored_as_a_hash() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let (record, response) = accepted(&with("token_endpoint_auth_method", json!(method)));
        let secret = response["client_secret"].as_str().unwrap();
        assert_eq!(response["client_secret_expires_at"], json!(0));
        assert_eq!(response["token_endpoint_auth_method"], json!(method));
        assert_eq!(record.secret_hash, Some(sha256_base64url(secret.as_bytes())));
        assert!(!serde_json::to_string(&record).unwrap().contains(secret));
        assert!(secret.len() >= 43);
    }
    let (_, response) = accepted(&with("token_endpoint_auth_method", Value::Null));
    assert_eq!(response["token_endpoint_auth_method"], "none");
    for method in [json!("private_key_jwt"), json!("client_secret_jwt"), json!(""), json!(7)] {
        let body = with("token_endpoint_auth_method", method);
        assert_eq!(refused(&body), ErrorCode::InvalidClientMetadata, "{body}");
    }
}

#[test]
fn ids_and_secrets_are_unreserved_and_never_repeat() {
    let body = with("token_endpoint_auth_method", json!("client_secret_post"));
    let (first, first_response) = accepted(&body);
    let (second, second_response) = accepted(&body);
    assert_ne!(first.client_id, second.client_id);
    assert_ne!(first_response["client_secret"], second_response["client_secret"]);
    let secret = first_response["client_secret"].as_str().unwrap();
    for text in [first.client_id.as_str(), secret] {
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    }
    assert!(first.client_id.len() >= "mcp_".len() + 22, "128 bits");
}

#[test]
fn one_bad_redirect_uri_does_not_fail_the_others() {
    let accepted = register(&json!({
        "application_type": "web",
        "redirect_uris": [
            "javascript:alert(1)",
            "cursor://anysphere.cursor-mcp/oauth/callback",
            5,
            "http://evil.example/cb",
            "https://www.cursor.com/agents/mcp/oauth/callback",
        ],
    }))
    .unwrap();
    assert_eq!(
        accepted.record.redirect_uris,
        [
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "https://www.cursor.com/agents/mcp/oauth/callback",
        ]
    );
    assert_eq!(accepted.dropped_redirect_uris, 3);
}

#[test]
fn without_a_redirect_uri_there_is_no_client() {
    for uris in [
        json!(["javascript:alert(1)"]),
        json!(["http://evil.example/cb", null]),
        json!([]),
        json!("https://a.example/cb"),
        Value::Null,
    ] {
        assert_eq!(refused(&json!({"redirect_uris": uris})), ErrorCode::InvalidRedirectUri);
    }
    assert_eq!(refused(&json!({})), ErrorCode::InvalidRedirectUri);
}

#[test]
fn grant_and_response_types_are_reduced_but_the_code_flow_must_be_there() {
    let (record, _) = accepted(&with("grant_types", json!(["authorization_code"])));
    assert!(!record.client().snapshot.refreshes);
    for empty in [json!([]), Value::Null] {
        assert!(accepted(&with("grant_types", empty)).0.client().snapshot.refreshes);
    }
    for (member, value) in [
        ("grant_types", json!(["client_credentials"])),
        ("grant_types", json!(["refresh_token"])),
        ("response_types", json!(["token"])),
        ("response_types", json!(["code id_token"])),
    ] {
        assert_eq!(refused(&with(member, value)), ErrorCode::InvalidClientMetadata);
    }
}

#[test]
fn unknown_scopes_do_not_leave_a_client_with_nothing() {
    for scope in [json!("openid email profile"), json!(""), json!(5), Value::Null] {
        let (record, response) = accepted(&with("scope", scope));
        assert_eq!(record.scope, None);
        assert!(response.get("scope").is_none());
    }
}

#[test]
fn members_of_the_wrong_type_count_as_absent_and_no_null_comes_back() {
    let body = json!({
        "redirect_uris": ["https://a.example/cb"],
        "client_name": 5,
        "client_uri": null,
        "logo_uri": {"x": 1},
        "contacts": "me@example.com",
        "software_id": [],
        "application_type": "toaster",
        "grant_types": "authorization_code",
    });
    let (record, response) = accepted(&body);
    assert_eq!(record.client_name, None);
    assert!(!has_null(&response), "{response}");
}

#[test]
fn what_is_not_a_json_object_is_refused() {
    let supported = ScopeSet::default();
    for body in ["", "[]", "null", "{", "redirect_uris=x", "\u{feff}{}"] {
        let error =
            accept(body.as_bytes(), &RedirectPolicy::default(), &supported, NOW).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidClientMetadata, "{body}");
    }
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(accept(deep.as_bytes(), &RedirectPolicy::default(), &supported, NOW).is_err());
}

#[test]
fn limits_hold() {
    let uris = |count: usize| -> Value {
        (0..count).map(|n| json!(format!("https://a.example/{n}"))).collect()
    };
    let most = json!({"redirect_uris": uris(MAX_REDIRECT_URIS)});
    assert_eq!(accepted(&most).0.redirect_uris.len(), MAX_REDIRECT_URIS);
    let more = json!({"redirect_uris": uris(MAX_REDIRECT_URIS + 1)});
    assert_eq!(refused(&more), ErrorCode::InvalidRedirectUri);

    let name = "\u{1f980}".repeat(MAX_NAME_CHARS + 1);
    let (record, _) = accepted(&with("client_name", json!(name)));
    assert_eq!(record.client_name.unwrap().chars().count(), MAX_NAME_CHARS);

    let longest = "a".repeat(MAX_TEXT_CHARS);
    assert!(accepted(&with("client_uri", json!(longest))).0.about.client_uri.is_some());
    let longer = format!("{longest}a");
    assert!(accepted(&with("client_uri", json!(longer))).0.about.client_uri.is_none());

    let contacts: Value = (0..=MAX_CONTACTS).map(|n| json!(n.to_string())).collect();
    assert_eq!(accepted(&with("contacts", contacts)).0.about.contacts.len(), MAX_CONTACTS);
}

#[test]
fn a_stored_record_reads_back() {
    for body in [minimal(), with("token_endpoint_auth_method", json!("client_secret_basic"))] {
        let (record, _) = accepted(&body);
        let stored = serde_json::to_vec(&record).unwrap();
        assert_eq!(serde_json::from_slice::<ClientRecord>(&stored).unwrap(), record);
    }
}

#[test]
fn the_secret_is_not_in_debug_output() {
    let accepted =
        register(&with("token_endpoint_auth_method", json!("client_secret_post"))).unwrap();
    let secret = accepted.secret.as_ref().unwrap().expose_secret();
    assert!(!format!("{accepted:?}").contains(secret));
}
