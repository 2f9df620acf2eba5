//! Each defect of an ID token, and of the answer that leads to it, is refused.

use dev_idp::{IdTokenFault, IssParameterFault};
use oauth_proxy::provider::{Provider, ProviderError};

use crate::provider::{CLIENT_ID, Idp, NONCE};

/// Logs in while the provider makes this mistake; returns why it was refused.
async fn refusal(fault: IdTokenFault) -> String {
    let idp = Idp::start().await;
    idp.server.misbehave().set(|switches| switches.id_token = Some(fault));
    match idp.identify(&idp.client()).await {
        Err(ProviderError::Refused { reason }) => reason,
        other => panic!("{fault:?} was not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_good_one_says_who_logged_in() {
    let idp = Idp::start().await;
    let (tokens, identity) = idp.identify(&idp.client()).await.unwrap();
    assert_eq!(identity.issuer, idp.server.issuer());
    assert_eq!(identity.subject, "user-alice");
    assert_eq!(identity.claims["email"], "alice@example.com");
    assert_eq!(identity.claims["email_verified"], true);
    assert_eq!(identity.claims["groups"][0], "staff");
    assert!(tokens.refresh_token.is_some() && tokens.expires_in.is_some());
    for secret in ["nonce", "at_hash", "aud"] {
        assert!(!identity.claims.contains_key(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_missing_one_is_refused() {
    assert!(refusal(IdTokenFault::Absent).await.contains("no ID token"));
}

#[tokio::test]
async fn a_wrong_signature_is_refused() {
    assert!(refusal(IdTokenFault::WrongSignature).await.contains("signature"));
}

#[tokio::test]
async fn an_unsigned_one_is_refused() {
    assert!(refusal(IdTokenFault::UnsignedAlgNone).await.contains("algorithm"));
}

#[tokio::test]
async fn the_public_key_is_no_hmac_secret() {
    assert!(refusal(IdTokenFault::Hs256WithPublicKey).await.contains("algorithm"));
}

#[tokio::test]
async fn another_issuer_is_refused() {
    assert!(refusal(IdTokenFault::WrongIssuer).await.contains("`iss`"));
}

#[tokio::test]
async fn another_audience_is_refused() {
    let reason = refusal(IdTokenFault::WrongAudience).await;
    assert!(reason.contains("`aud`") && reason.contains(CLIENT_ID), "{reason}");
}

#[tokio::test]
async fn several_audiences_without_azp_are_refused() {
    assert!(refusal(IdTokenFault::MissingAuthorizedParty).await.contains("no `azp`"));
}

#[tokio::test]
async fn another_authorized_party_is_refused() {
    assert!(refusal(IdTokenFault::ForeignAuthorizedParty).await.contains("`azp` is another"));
}

#[tokio::test]
async fn an_expired_one_is_refused() {
    assert!(refusal(IdTokenFault::Expired).await.contains("expired"));
}

#[tokio::test]
async fn one_from_the_future_is_refused() {
    assert!(refusal(IdTokenFault::IssuedInFuture).await.contains("`iat`"));
}

#[tokio::test]
async fn another_nonce_is_refused() {
    assert!(refusal(IdTokenFault::WrongNonce).await.contains("`nonce`"));
}

#[tokio::test]
async fn a_missing_nonce_is_refused() {
    assert!(refusal(IdTokenFault::MissingNonce).await.contains("`nonce`"));
}

#[tokio::test]
async fn a_missing_subject_is_refused() {
    assert!(refusal(IdTokenFault::MissingSubject).await.contains("`sub`"));
}

#[tokio::test]
async fn an_old_one_is_refused_however_long_it_lives() {
    let idp = Idp::start().await;
    let provider = idp.client();
    let (tokens, _) = idp.identify(&provider).await.unwrap();
    idp.time.pass(20 * 60);
    let error = provider.identify(&tokens, Some(NONCE)).await.unwrap_err().to_string();
    assert!(error.contains("`iat`"), "{error}");
}

#[tokio::test]
async fn an_authorization_response_without_the_promised_iss_is_refused() {
    let idp = Idp::start().await;
    idp.server.misbehave().set(|switches| {
        switches.iss_parameter = Some(IssParameterFault::Missing);
    });
    let error = idp.identify(&idp.client()).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("no `iss`"), "{error}");
}

#[tokio::test]
async fn an_authorization_response_of_another_issuer_is_refused() {
    let idp = Idp::start().await;
    idp.server.misbehave().set(|switches| {
        switches.iss_parameter = Some(IssParameterFault::Wrong);
    });
    let error = idp.identify(&idp.client()).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("another provider"), "{error}");
}

#[tokio::test]
async fn a_refresh_brings_an_identity_without_nonce_or_none_at_all() {
    let idp = Idp::start().await;
    let provider = idp.client();
    let (tokens, _) = idp.identify(&provider).await.unwrap();
    idp.time.pass(60 * 60);
    let tokens = provider.refresh(&tokens.refresh_token.unwrap()).await.unwrap();
    let identity = provider.identify(&tokens, None).await.unwrap().unwrap();
    assert_eq!(identity.subject, "user-alice");

    // Google sends none.
    idp.server.misbehave().set(|switches| switches.id_token = Some(IdTokenFault::Absent));
    let tokens = provider.refresh(&tokens.refresh_token.unwrap()).await.unwrap();
    assert_eq!(provider.identify(&tokens, None).await.unwrap().map(|found| found.subject), None);
}

#[tokio::test]
async fn a_refreshed_one_is_checked_like_the_first() {
    let idp = Idp::start().await;
    let provider = idp.client();
    let (tokens, _) = idp.identify(&provider).await.unwrap();
    let mut refresh_token = tokens.refresh_token.unwrap();
    for fault in [
        IdTokenFault::WrongIssuer,
        IdTokenFault::WrongAudience,
        IdTokenFault::WrongSignature,
        IdTokenFault::Expired,
        IdTokenFault::MissingSubject,
    ] {
        idp.server.misbehave().set(|switches| switches.id_token = Some(fault));
        let tokens = provider.refresh(&refresh_token).await.unwrap();
        let error = provider.identify(&tokens, None).await.unwrap_err();
        assert!(matches!(error, ProviderError::Refused { .. }), "{fault:?}: {error}");
        refresh_token = tokens.refresh_token.unwrap();
    }
    // Whether it is the same person is for the owner of the grant to compare.
    idp.server.misbehave().set(|switches| {
        switches.id_token = Some(IdTokenFault::OtherSubjectOnRefresh);
    });
    let tokens = provider.refresh(&refresh_token).await.unwrap();
    let identity = provider.identify(&tokens, None).await.unwrap().unwrap();
    assert_ne!(identity.subject, "user-alice");
}
