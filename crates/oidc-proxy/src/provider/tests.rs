use serde_json::json;

use super::*;

/// The claims after userinfo was added to those of an ID token.
fn merged(id_token: &Value, userinfo: &Value) -> Result<Value, ProviderError> {
    let map = |value: &Value| value.as_object().unwrap().clone();
    let mut identity = Identity {
        issuer: "https://idp.example".to_owned(),
        subject: "alice".to_owned(),
        claims: map(id_token),
    };
    merge(&mut identity, map(userinfo))?;
    Ok(Value::Object(identity.claims))
}

#[test]
fn userinfo_adds_what_the_id_token_lacks_and_changes_nothing() {
    let id_token = json!({"sub": "alice", "groups": ["a"]});
    let userinfo = json!({"sub": "alice", "groups": ["b"], "name": "Alice"});
    assert_eq!(
        merged(&id_token, &userinfo).unwrap(),
        json!({"sub": "alice", "groups": ["a"], "name": "Alice"})
    );
}

#[test]
fn userinfo_about_somebody_else_is_refused() {
    for userinfo in [json!({"sub": "bob"}), json!({"name": "Alice"}), json!({"sub": ["alice"]})] {
        let error = merged(&json!({"sub": "alice"}), &userinfo).unwrap_err();
        assert!(matches!(error, ProviderError::Refused { .. }), "{userinfo}: {error}");
    }
}

#[test]
fn an_address_never_gets_the_verification_of_another() {
    let a = json!("a@example.com");
    let b = json!("b@example.com");
    let cases = [
        // ID token, userinfo, outcome
        (json!({"email": a}), json!({"email": b, "email_verified": true}), (&b, Some(true))),
        (json!({"email": a}), json!({"email": b}), (&b, None)),
        (json!({"email": a}), json!({"email_verified": true}), (&a, None)),
        (
            json!({"email": a, "email_verified": false}),
            json!({"email": b, "email_verified": true}),
            (&a, Some(false)),
        ),
        (json!({"email_verified": true}), json!({"email": b}), (&b, None)),
        (json!({}), json!({"email": b, "email_verified": true}), (&b, Some(true))),
    ];
    for (id_token, mut userinfo, (email, verified)) in cases {
        userinfo["sub"] = json!("alice");
        let claims = merged(&id_token, &userinfo).unwrap();
        assert_eq!(&claims["email"], email, "{id_token} {userinfo}");
        assert_eq!(claims["email_verified"].as_bool(), verified, "{id_token} {userinfo}");
    }
}

#[test]
fn what_our_copies_of_the_providers_documents_do_not_fit_is_no_verdict() {
    let is_verdict = |defect: Defect, at_login| {
        matches!(unbelievable(&defect, at_login), ProviderError::Refused { .. })
    };
    assert!(!is_verdict(Defect::NoKey, true) && !is_verdict(Defect::NoKey, false));
    assert!(is_verdict(Defect::Algorithm(String::new()), true));
    assert!(!is_verdict(Defect::Algorithm(String::new()), false));
    for at_login in [true, false] {
        assert!(is_verdict(Defect::Nonce, at_login));
        assert!(is_verdict(Defect::Signature(String::new()), at_login));
        assert!(is_verdict(Defect::Issuer(String::new()), at_login));
    }
}
