use serde_json::json;

use super::*;

/// The claims after userinfo was added to those of an ID token.
fn merged(id_token: &Value, userinfo: &Value) -> Result<Value, ProviderError> {
    let map = |value: &Value| value.as_object().unwrap().clone();
    let mut identity = Identity::new("https://idp.example", "alice", map(id_token));
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

/// The claims after a login with ID token and userinfo, and a renewal with userinfo alone.
fn renewed(id_token: &Value, before: &Value, now: &Value) -> Result<Value, ProviderError> {
    let map = |value: &Value| value.as_object().unwrap().clone();
    let mut identity = Identity::new("https://idp.example", "alice", map(id_token));
    merge(&mut identity, map(before))?;
    replace(&mut identity, map(now))?;
    Ok(Value::Object(identity.claims))
}

#[test]
fn at_a_renewal_what_userinfo_says_now_counts() {
    let id_token = json!({"sub": "alice", "roles": ["r", "s"], "name": "Alice"});
    let before = json!({"sub": "alice", "groups": ["staff"], "name": "A.", "title": "Dr"});
    let now = json!({"sub": "alice", "groups": [], "name": "Alice B."});
    assert_eq!(
        renewed(&id_token, &before, &now).unwrap(),
        json!({"sub": "alice", "roles": ["r", "s"], "name": "Alice", "groups": []})
    );
    // What the ID token said of the person only shrinks, however often it is asked.
    for (now, roles) in
        [(json!(["s", "admin"]), json!(["s"])), (json!("s"), json!(["s"])), (json!([]), json!([]))]
    {
        let now = json!({"sub": "alice", "roles": now, "name": "Mallory"});
        let said = json!({"sub": "alice", "roles": roles, "name": "Alice"});
        assert_eq!(renewed(&id_token, &now, &now).unwrap(), said);
        assert_eq!(renewed(&said, &now, &now).unwrap(), said);
    }
    // Silence is no group either; what the ID token said of it nobody asked again.
    let silent = json!({"sub": "alice"});
    assert_eq!(renewed(&id_token, &before, &silent).unwrap(), id_token);
    for now in [json!({"sub": "bob"}), json!({"groups": ["staff"]}), json!({"sub": 7})] {
        let error = renewed(&id_token, &before, &now).unwrap_err();
        assert!(matches!(error, ProviderError::Refused { .. }), "{now}: {error}");
    }
}

#[test]
fn at_a_renewal_too_an_address_never_gets_the_verification_of_another() {
    let both = |email: &str, verified: bool| json!({"sub": "alice", "email": email, "email_verified": verified});
    let cases = [
        // ID token, userinfo at login, now, outcome
        (both("a@x", true), json!({}), json!({"email": "b@x"}), both("a@x", false)),
        (
            both("a@x", true),
            json!({}),
            json!({"email": "b@x", "email_verified": true}),
            both("a@x", false),
        ),
        // Some endpoints name the address and keep silent about the rest.
        (both("a@x", true), json!({}), json!({"email": "A@x"}), both("a@x", true)),
        (
            both("a@x", true),
            json!({}),
            json!({"email": "a@x", "email_verified": "true"}),
            both("a@x", true),
        ),
        (
            both("a@x", false),
            json!({}),
            json!({"email": "a@x", "email_verified": true}),
            both("a@x", false),
        ),
        (both("a@x", true), json!({}), json!({"email_verified": false}), both("a@x", false)),
        (
            both("a@x", true),
            json!({}),
            json!({"email": "a@x", "email_verified": false}),
            both("a@x", false),
        ),
        (
            json!({"sub": "alice", "email": "a@x"}),
            json!({}),
            json!({"email_verified": true}),
            json!({"email": "a@x"}),
        ),
        (
            json!({"sub": "alice"}),
            json!({"email": "a@x", "email_verified": true}),
            json!({"email": "b@x"}),
            json!({"email": "b@x"}),
        ),
        (
            json!({"sub": "alice"}),
            json!({"email": "a@x", "email_verified": true}),
            json!({}),
            json!({}),
        ),
    ];
    for (id_token, mut before, mut now, mut outcome) in cases {
        for value in [&mut before, &mut now, &mut outcome] {
            value["sub"] = json!("alice");
        }
        assert_eq!(renewed(&id_token, &before, &now).unwrap(), outcome, "{id_token} {now}");
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
