//! Tokens known beforehand.

use token_verifier::{Principal, StaticVerifier, TokenVerifier, VerifyError};

const RESOURCE: &str = "https://mcp.example/mcp";

#[tokio::test]
async fn knows_its_tokens_and_no_others() {
    let verifier = StaticVerifier::danger_new()
        .with_token("one", Principal::builder("ada").build())
        .with_token("two", Principal::builder("bob").build());
    for (token, subject) in [("one", "ada"), ("two", "bob")] {
        let principal = verifier.verify(token, RESOURCE).await.expect(token);
        assert_eq!(principal.subject(), subject);
    }
    for token in ["", "on", "onee", "ONE", "three"] {
        let outcome = verifier.verify(token, RESOURCE).await;
        assert!(matches!(outcome, Err(VerifyError::Invalid(_))), "{token}: {outcome:?}");
    }
}

#[tokio::test]
async fn an_audience_is_kept_to() {
    let principal = Principal::builder("ada").audience(RESOURCE).build();
    let verifier = StaticVerifier::danger_new().with_token("one", principal);
    assert!(verifier.verify("one", RESOURCE).await.is_ok());
    let outcome = verifier.verify("one", "https://other.example").await;
    assert!(matches!(outcome, Err(VerifyError::Invalid(_))), "{outcome:?}");
}

#[test]
fn debug_shows_no_token() {
    let verifier =
        StaticVerifier::danger_new().with_token("very-secret", Principal::builder("ada").build());
    assert!(!format!("{verifier:?}").contains("very-secret"));
}
