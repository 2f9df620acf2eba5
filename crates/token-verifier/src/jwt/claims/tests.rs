use serde_json::json;

use super::*;

const ISSUER: &str = "https://op.example";
const RESOURCE: &str = "https://mcp.example/mcp";
const NOW: u64 = 1_700_000_000;
const TID: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// The claims of a good token, with changes; `null` removes a claim.
fn claims(changes: &Value) -> Claims {
    let mut claims = json!({
        "iss": ISSUER, "aud": RESOURCE, "sub": "ada", "exp": NOW + 300, "iat": NOW,
    });
    let claims = claims.as_object_mut().expect("an object");
    claims.extend(changes.as_object().expect("an object").clone());
    claims.retain(|_, value| !value.is_null());
    std::mem::take(claims)
}

fn check(changes: &Value) -> Result<(), Reason> {
    let checks = Checks {
        issuer: ISSUER,
        key_issuer: None,
        audiences: &[RESOURCE.to_owned()],
        clients: &[],
        now: NOW,
        leeway: 60,
        is_access_token: false,
    };
    checks.check(&claims(changes))
}

#[test]
fn good_claims_pass() {
    for changes in [
        json!({}),
        json!({"aud": ["https://other.example", RESOURCE]}),
        json!({"exp": NOW - 59}),
        json!({"exp": 1_700_000_300.5}),
        json!({"exp": u64::MAX}),
        json!({"iat": null}),
        json!({"iat": NOW + 60, "nbf": NOW + 60}),
        json!({"token_use": "access"}),
    ] {
        assert_eq!(check(&changes), Ok(()), "{changes}");
    }
}

#[test]
fn each_claim_is_required_and_compared_exactly() {
    for (changes, reason) in [
        (json!({"iss": null}), "the token has no issuer"),
        (json!({"iss": [ISSUER]}), "the token has no issuer"),
        (json!({"iss": "https://op.example/"}), "the token is of another issuer"),
        (json!({"iss": "https://OP.example"}), "the token is of another issuer"),
        (json!({"aud": null}), "the token has no audience"),
        (json!({"aud": []}), "the token has no audience"),
        (json!({"aud": [1]}), "the token has no audience"),
        (json!({"aud": "https://mcp.example"}), "the token is for another resource"),
        (json!({"aud": "https://mcp.example/mcp/"}), "the token is for another resource"),
        (json!({"aud": "https://mcp.example/mcp https://x"}), "the token is for another resource"),
        (json!({"exp": null}), "the token has no end"),
        (json!({"exp": "1700000300"}), "the token has no end"),
        (json!({"exp": -1}), "the token has no end"),
        (json!({"exp": NOW - 60}), "the token has expired"),
        (json!({"exp": 0}), "the token has expired"),
        (json!({"nbf": NOW + 61}), "the token is not valid yet"),
        (json!({"nbf": "soon"}), "the token is not valid yet"),
        (json!({"iat": NOW + 61}), "the token is not valid yet"),
        (json!({"at_hash": "x"}), "the token is not an access token"),
        (json!({"c_hash": "x"}), "the token is not an access token"),
        (json!({"events": {}}), "the token is not an access token"),
        (json!({"token_use": "id"}), "the token is not an access token"),
    ] {
        assert_eq!(check(&changes), Err(reason), "{changes}");
    }
}

#[test]
fn entras_placeholder_is_the_tenant_of_the_token() {
    let template = "https://login.example/{tenantid}/v2.0";
    let good = format!("https://login.example/{TID}/v2.0");
    let checks = |key_issuer| Checks {
        issuer: template,
        key_issuer,
        audiences: &[],
        clients: &[],
        now: NOW,
        leeway: 60,
        is_access_token: true,
    };
    let other_tenant = "https://login.example/00000000-0000-0000-0000-000000000000/v2.0";
    for (iss, tid, key_issuer, accepted) in [
        (good.as_str(), json!(TID), None, true),
        (&good, json!(TID), Some(template), true),
        (&good, json!(TID), Some(good.as_str()), true),
        (&good, json!(TID), Some(other_tenant), false),
        (&good, json!(null), None, false),
        (other_tenant, json!(TID), None, false),
        (template, json!("{tenantid}"), None, false),
        ("https://login.example/a/../evil/v2.0", json!("a/../evil"), None, false),
    ] {
        let claims = claims(&json!({"iss": iss, "tid": tid, "aud": null}));
        let outcome = checks(key_issuer).check(&claims);
        // The audience is checked next, so that is as far as a good issuer gets here.
        let expected =
            if accepted { "the token has no audience" } else { "the token is of another issuer" };
        assert_eq!(outcome, Err(expected), "{iss} {tid} {key_issuer:?}");
    }
}

#[test]
fn a_key_is_for_its_issuer_only() {
    let checks = Checks {
        issuer: ISSUER,
        key_issuer: Some("https://other.example"),
        audiences: &[RESOURCE.to_owned()],
        clients: &[],
        now: NOW,
        leeway: 60,
        is_access_token: true,
    };
    assert_eq!(checks.check(&claims(&json!({}))), Err("the token is of another issuer"));
}

#[test]
fn types_of_header() {
    for (typ, expected) in [
        (Some("at+jwt"), Ok(true)),
        (Some("AT+JWT"), Ok(true)),
        (Some("application/at+jwt"), Ok(true)),
        (Some("JWT"), Ok(false)),
        (Some("application/jwt"), Ok(false)),
        (None, Ok(false)),
    ] {
        assert_eq!(is_access_token_type(typ), expected, "{typ:?}");
    }
    for typ in ["", "dpop+jwt", "logout+jwt", "secevent+jwt", "JOSE", "id+jwt", "at+jwtx"] {
        assert!(is_access_token_type(Some(typ)).is_err(), "{typ}");
    }
}

#[test]
fn the_principal_is_what_the_claims_say() {
    let principal = principal(claims(&json!({"scope": "a b", "client_id": "c", "azp": "d"})))
        .expect("good claims");
    assert_eq!(principal.subject(), "ada");
    assert_eq!(principal.issuer(), Some(ISSUER));
    assert_eq!(principal.client_id(), Some("c"));
    assert_eq!(principal.scopes(), ["a", "b"]);
    assert_eq!(principal.audience(), [RESOURCE]);
    assert_eq!(principal.expires_at(), Some(NOW + 300));
    assert_eq!(principal.claim_str("azp"), Some("d"));
}

#[test]
fn scopes_and_client_have_several_spellings() {
    for (changes, scopes, client_id) in [
        (json!({"scp": ["a", "b"], "cid": "c"}), vec!["a", "b"], Some("c")),
        (json!({"scp": "a b", "appid": "c"}), vec!["a", "b"], Some("c")),
        (json!({"scope": ["a b", "c"], "azp": "d"}), vec!["a", "b", "c"], Some("d")),
        (json!({"scope": "", "scp": "x"}), vec![], None),
        (json!({}), vec![], None),
    ] {
        let principal = principal(claims(&changes)).expect("good claims");
        assert_eq!(principal.scopes(), scopes, "{changes}");
        assert_eq!(principal.client_id(), client_id, "{changes}");
    }
}

#[test]
fn a_subject_is_required() {
    for sub in [json!(null), json!(""), json!(7)] {
        assert!(principal(claims(&json!({"sub": sub}))).is_err(), "{sub}");
    }
}

#[test]
fn a_client_stands_in_for_the_audience_of_access_tokens_that_have_none() {
    /// As the guide of Amazon Cognito prints the claims of an access token.
    fn cognito(changes: &Value) -> Claims {
        let mut published = json!({
            "sub": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "cognito:groups": ["admin"],
            "token_use": "access", "scope": "openid email", "auth_time": NOW,
            "iss": ISSUER, "aud": null, "exp": NOW + 3600, "iat": NOW, "version": 2,
            "jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "client_id": "our-client",
            "username": "janedoe",
        });
        let changes = changes.as_object().expect("an object").clone();
        published.as_object_mut().expect("an object").extend(changes);
        claims(&published)
    }
    let check = |clients: &[&str], is_access_token: bool, changes: &Value| {
        let clients: Vec<String> = clients.iter().map(|&id| id.to_owned()).collect();
        let checks = Checks {
            issuer: ISSUER,
            key_issuer: None,
            audiences: &[RESOURCE.to_owned()],
            clients: &clients,
            now: NOW,
            leeway: 60,
            is_access_token,
        };
        checks.check(&cognito(changes))
    };
    let ours = ["our-client"];
    assert_eq!(check(&ours, false, &json!({})), Ok(()));
    assert_eq!(check(&ours, true, &json!({"token_use": null})), Ok(()), "typed by its header");
    assert_eq!(check(&[], false, &json!({})), Err("the token has no audience"), "only if wanted");
    for changes in [
        json!({"client_id": "another-client"}),
        json!({"client_id": null}),
        json!({"client_id": ["our-client"]}),
        json!({"client_id": null, "azp": "our-client"}),
        json!({"token_use": null}),
        json!({"aud": []}),
        json!({"aud": 7}),
    ] {
        assert_eq!(check(&ours, false, &changes), Err("the token has no audience"), "{changes}");
    }
    let elsewhere = json!({"aud": "https://other.example"});
    assert_eq!(check(&ours, false, &elsewhere), Err("the token is for another resource"));
    let id_token = json!({"aud": "our-client", "client_id": null, "token_use": "id"});
    assert_eq!(check(&ours, false, &id_token), Err("the token is not an access token"));
}
