//! An outage is not a bad token, and a refusal says where to fix it.

use std::time::Duration;

use dev_idp::{ExpiresInFault, RefreshTokenFault, TokenEndpointFault};
use http::StatusCode;
use oauth_proxy::provider::{Application, AuthorizeRequest, Provider, ProviderError};
use oidc_discovery::Discovery;
use oidc_proxy::OidcProvider;
use outbound_http::Client;

use crate::provider::{CLIENT_ID, Idp};

#[tokio::test]
async fn a_token_endpoint_that_is_down_spoils_nothing() {
    let idp = Idp::start().await;
    let provider = idp.client();
    let http = Client::builder().timeout(Duration::from_millis(300)).build().unwrap();
    let impatient = idp.client_with(|application| application.http(http), |d| d, |p| p);
    let (tokens, _) = idp.identify(&provider).await.unwrap();
    let refresh_token = tokens.refresh_token.unwrap();
    for (fault, expected) in [
        (TokenEndpointFault::InternalError, None),
        (TokenEndpointFault::Html, None),
        (TokenEndpointFault::Hang, None),
        (
            TokenEndpointFault::TooManyRequests { retry_after: Duration::from_secs(7) },
            Some(Duration::from_secs(7)),
        ),
    ] {
        idp.server.misbehave().set(|switches| switches.token_endpoint = Some(fault));
        let asking = if fault == TokenEndpointFault::Hang { &impatient } else { &provider };
        match asking.refresh(&refresh_token).await.unwrap_err() {
            ProviderError::Unavailable { retry_after, .. } => assert_eq!(retry_after, expected),
            other => panic!("{fault:?}: {other}"),
        }
    }
    idp.server.misbehave().reset();
    assert!(provider.refresh(&refresh_token).await.is_ok());
}

#[tokio::test]
async fn a_key_set_that_cannot_be_had_is_no_verdict_and_known_keys_go_on() {
    for (status, body) in [
        (StatusCode::INTERNAL_SERVER_ERROR, "{}"),
        (StatusCode::SERVICE_UNAVAILABLE, "<p>Maintenance"),
        (StatusCode::TOO_MANY_REQUESTS, ""),
        (StatusCode::NOT_FOUND, ""),
        (StatusCode::OK, "<!doctype html>"),
    ] {
        let idp = Idp::start().await;
        let acquainted = idp.client();
        let (tokens, alice) = idp.identify(&acquainted).await.unwrap();

        idp.set_broken(Some(("/jwks.json", status, body)));
        let stranger = idp.client();
        for login in [true, false] {
            let verdict = if login {
                idp.identify(&stranger).await.map(drop)
            } else {
                stranger.identify_again(&tokens, &alice).await.map(drop)
            };
            let error = verdict.unwrap_err();
            assert!(matches!(error, ProviderError::Unavailable { .. }), "{status}: {error}");
        }
        // Who knows the keys goes on with them, however old they are.
        idp.time.pass(3 * 24 * 60 * 60);
        let (tokens, _) = idp.identify(&acquainted).await.unwrap();
        let renewed = acquainted.refresh(&tokens.refresh_token.unwrap()).await.unwrap();
        let again = acquainted.identify_again(&renewed, &alice).await.unwrap();
        assert_eq!(again.unwrap().subject, alice.subject, "{status}");

        idp.set_broken(None);
        idp.time.pass(60);
        idp.identify(&stranger).await.unwrap();
    }
}

#[tokio::test]
async fn odd_token_responses_are_read() {
    let idp = Idp::start().await;
    let provider = idp.client();
    for (fault, expected) in [
        (ExpiresInFault::Absent, None),
        (ExpiresInFault::Negative, Some(0)),
        (ExpiresInFault::Text, Some(3600)),
    ] {
        idp.server.misbehave().set(|switches| switches.expires_in = Some(fault));
        let (tokens, _) = idp.identify(&provider).await.unwrap();
        assert_eq!(tokens.expires_in, expected.map(Duration::from_secs), "{fault:?}");
        let tokens = provider.refresh(&tokens.refresh_token.unwrap()).await.unwrap();
        assert_eq!(tokens.expires_in, expected.map(Duration::from_secs), "{fault:?}, renewed");
    }
    idp.server.misbehave().reset();
    let (tokens, _) = idp.identify(&provider).await.unwrap();
    idp.server.misbehave().set(|switches| {
        switches.refresh_token = Some(RefreshTokenFault::NotRotated);
    });
    let refresh_token = tokens.refresh_token.unwrap();
    for _ in 0..2 {
        let renewed = provider.refresh(&refresh_token).await.unwrap();
        assert!(renewed.refresh_token.is_none(), "the old one stays good");
    }
    idp.server.misbehave().set(|switches| {
        switches.refresh_token = Some(RefreshTokenFault::Absent);
    });
    let (tokens, _) = idp.identify(&provider).await.unwrap();
    assert!(tokens.refresh_token.is_none());
}

#[tokio::test]
async fn a_finished_refresh_token_is_told_apart_from_a_wrong_secret() {
    let idp = Idp::start().await;
    let provider = idp.client();
    let (tokens, _) = idp.identify(&provider).await.unwrap();
    let refresh_token = tokens.refresh_token.unwrap();

    let wrong = idp.client_with(
        |application| application.client_secret("another secret".into()),
        |discovery| discovery,
        |provider| provider,
    );
    match wrong.refresh(&refresh_token).await.unwrap_err() {
        ProviderError::Refused { reason } => {
            assert!(reason.contains("client_secret") && !reason.contains("another secret"));
        }
        other => panic!("{other}"),
    }

    provider.revoke(&refresh_token).await.unwrap();
    let error = provider.refresh(&refresh_token).await.unwrap_err();
    assert!(matches!(error, ProviderError::InvalidGrant { .. }), "{error}");
    // Revoking what is gone is done.
    provider.revoke(&refresh_token).await.unwrap();
}

#[tokio::test]
async fn a_provider_that_is_down_is_unavailable() {
    let application = Application::builder(CLIENT_ID).build().unwrap();
    let discovery = Discovery::new("http://127.0.0.1:1", application.http().clone()).unwrap();
    let provider = OidcProvider::builder(discovery, application).build().unwrap();
    let request = AuthorizeRequest::new("http://localhost:1/cb", "s", "n", "c");
    let error = provider.authorize_url(&request).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}
