use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use super::*;

async fn provider(userinfo: &str) -> (MockServer, OAuth2Provider) {
    let server = MockServer::start().await;
    Mock::given(path("/user"))
        .respond_with(
            ResponseTemplate::new(200).set_body_raw(userinfo.to_owned(), "application/json"),
        )
        .mount(&server)
        .await;
    let uri = server.uri();
    let endpoints =
        Endpoints::new(format!("{uri}/authorize"), format!("{uri}/token"), format!("{uri}/user"));
    let provider =
        OAuth2Provider::new(Application::builder("id").build().unwrap(), endpoints).unwrap();
    (server, provider)
}

fn tokens() -> ProviderTokens {
    ProviderTokens {
        access_token: "at".into(),
        refresh_token: None,
        id_token: None,
        expires_in: None,
        scope: None,
    }
}

#[tokio::test]
async fn the_subject_is_a_stable_member_of_userinfo() {
    let (server, provider) = provider(r#"{"id":583231,"login":"octocat"}"#).await;
    let provider = provider.with_subject_field("id");
    for nonce in [Some("n"), None] {
        let identity = provider.identify(&tokens(), nonce).await.unwrap().unwrap();
        assert_eq!(identity.subject, "583231");
        assert_eq!(identity.issuer, server.uri());
        assert_eq!(identity.claims["login"], "octocat");
    }
}

#[tokio::test]
async fn a_missing_or_odd_subject_is_refused() {
    let long = format!(r#"{{"sub":"{}"}}"#, "a".repeat(MAX_SUBJECT + 1));
    for body in
        [r"{}", r#"{"sub":""}"#, r#"{"sub":null}"#, r#"{"sub":1.5}"#, r#"{"sub":"a\n"}"#, &long]
    {
        let (_server, provider) = provider(body).await;
        let error = provider.identify(&tokens(), Some("n")).await.unwrap_err();
        assert!(matches!(error, ProviderError::Refused { .. }), "{body}: {error}");
    }
}

#[tokio::test]
async fn a_refused_token_is_a_verdict_at_login_only() {
    let server = MockServer::start().await;
    let denied = ResponseTemplate::new(403).set_body_raw(r#"{"message":"no"}"#, "application/json");
    Mock::given(path("/user")).respond_with(denied).mount(&server).await;
    let url = format!("{}/user", server.uri());
    let application = Application::builder("id").build().unwrap();
    let provider = OAuth2Provider::new(application, Endpoints::new(&url, &url, &url)).unwrap();
    let at_login = provider.identify(&tokens(), Some("n")).await.unwrap_err();
    assert!(matches!(at_login, ProviderError::Refused { .. }), "{at_login}");
    let at_refresh = provider.identify(&tokens(), None).await.unwrap_err();
    assert!(matches!(at_refresh, ProviderError::Unavailable { .. }), "{at_refresh}");
}

#[tokio::test]
async fn the_response_issuer_is_compared_when_known() {
    let (_server, provider) = provider("{}").await;
    assert!(provider.check_response_issuer(Some("https://any.example")).await.is_ok());
    let provider = provider.with_issuer("https://idp.example");
    assert!(provider.check_response_issuer(Some("https://idp.example")).await.is_ok());
    assert!(provider.check_response_issuer(None).await.is_ok());
    for other in ["https://idp.example/", "https://evil.example", ""] {
        assert!(provider.check_response_issuer(Some(other)).await.is_err(), "{other}");
    }
}

#[tokio::test]
async fn a_provider_without_revocation_is_fine() {
    let (server, provider) = provider("{}").await;
    provider.revoke(&"rt".into()).await.unwrap();
    assert!(server.received_requests().await.unwrap().is_empty());
}

#[test]
fn endpoints_are_https_except_on_loopback() {
    let new = |url: &str| {
        let application = Application::builder("id").build().unwrap();
        OAuth2Provider::new(application, Endpoints::new(url, url, url))
    };
    for url in ["https://idp.example/x", "http://localhost:9000/x", "http://[::1]/x"] {
        assert!(new(url).is_ok(), "{url}");
    }
    for url in ["http://idp.example/x", "http://localhost.evil.example/x", "ftp://localhost/x", "x"]
    {
        assert!(new(url).unwrap_err().to_string().contains("authorization_endpoint"), "{url}");
    }
}
