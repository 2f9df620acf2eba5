//! What follows from the provider's metadata.

use oauth_proxy::provider::{
    Application, AuthorizeRequest, ClientAuthMethod, Identity, Provider, ProviderError,
    ProviderTokens,
};
use oidc_discovery::Discovery;
use oidc_proxy::OidcProvider;
use serde_json::{Value, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use crate::provider::Idp;

/// A provider that is only its metadata document.
async fn described_by(more: Value) -> (MockServer, Discovery) {
    let server = MockServer::start().await;
    let issuer = server.uri();
    let mut document = json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/jwks"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
    });
    for (name, value) in more.as_object().unwrap() {
        document[name] = value.clone();
    }
    Mock::given(path("/.well-known/openid-configuration"))
        .respond_with(ResponseTemplate::new(200).set_body_json(document))
        .mount(&server)
        .await;
    Mock::given(path("/token"))
        .respond_with(ResponseTemplate::new(200).set_body_json(json!({"access_token": "at"})))
        .mount(&server)
        .await;
    let http = outbound_http::Client::builder().build().unwrap();
    (server, Discovery::new(&issuer, http).unwrap())
}

fn application() -> Application {
    Application::builder("id").client_secret("secret".into()).build().unwrap()
}

async fn scope(scopes_supported: Value, configured: &[&str]) -> String {
    let (_server, discovery) = described_by(json!({ "scopes_supported": scopes_supported })).await;
    let application =
        Application::builder("id").scopes(configured.iter().copied()).build().unwrap();
    let provider = OidcProvider::builder(discovery, application).build().unwrap();
    let request = AuthorizeRequest::new("http://localhost:1/cb", "s", "the-nonce", "c");
    let url = provider.authorize_url(&request).await.unwrap();
    let url = url::Url::parse(&url).unwrap();
    let value = |wanted: &str| {
        url.query_pairs().find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
    };
    assert_eq!(value("nonce").as_deref(), Some("the-nonce"));
    value("scope").unwrap()
}

#[tokio::test]
async fn openid_is_always_asked_for_and_the_default_is_what_the_provider_knows() {
    let cases: [(Value, &[&str], &str); 5] = [
        (json!(null), &[], "openid profile email"),
        // Azure AD B2C, and PingFederate.
        (json!(["openid"]), &[], "openid"),
        (json!(["address", "mail", "openid", "profile"]), &[], "openid profile"),
        (json!(["openid"]), &["email", "x"], "openid email x"),
        (json!(null), &["email", "openid"], "email openid"),
    ];
    for (supported, configured, expected) in cases {
        assert_eq!(scope(supported.clone(), configured).await, expected, "{supported}");
    }
}

#[tokio::test]
async fn client_authentication_follows_the_metadata_unless_set() {
    for (supported, configured, basic) in [
        (json!(["client_secret_post"]), None, false),
        (json!(["client_secret_post", "client_secret_basic"]), None, true),
        (json!(null), None, true),
        (json!(null), Some(ClientAuthMethod::ClientSecretPost), false),
    ] {
        let (server, discovery) =
            described_by(json!({ "token_endpoint_auth_methods_supported": supported })).await;
        let mut application = Application::builder("id").client_secret("secret".into());
        if let Some(method) = configured {
            application = application.auth_method(method);
        }
        let application = application.build().unwrap();
        let provider = OidcProvider::builder(discovery, application).build().unwrap();
        provider.refresh(&"rt".into()).await.unwrap();
        let requests = server.received_requests().await.unwrap();
        let token_request = requests.iter().find(|request| request.url.path() == "/token").unwrap();
        assert_eq!(token_request.headers.contains_key("authorization"), basic, "{supported}");
    }
}

#[tokio::test]
async fn iss_is_compared_when_present_and_demanded_when_promised() {
    for (promised, missing_is_fine) in [(json!(true), false), (json!(false), true)] {
        let (server, discovery) =
            described_by(json!({ "authorization_response_iss_parameter_supported": promised }))
                .await;
        let provider = OidcProvider::builder(discovery, application()).build().unwrap();
        assert!(provider.check_response_issuer(Some(&server.uri())).await.is_ok());
        assert!(provider.check_response_issuer(Some("https://other.example")).await.is_err());
        assert_eq!(provider.check_response_issuer(None).await.is_ok(), missing_is_fine);
    }
}

#[tokio::test]
async fn without_a_revocation_endpoint_nothing_is_sent() {
    let (server, discovery) = described_by(json!({})).await;
    let provider = OidcProvider::builder(discovery, application()).build().unwrap();
    provider.revoke(&"rt".into()).await.unwrap();
    assert_eq!(server.received_requests().await.unwrap().len(), 1, "the metadata only");
}

#[tokio::test]
async fn userinfo_is_asked_only_if_wanted_and_is_about_the_same_person() {
    let idp = Idp::start().await;
    let with_userinfo = idp.client_with(
        |application| application,
        |discovery| discovery,
        |provider| provider.userinfo(true),
    );
    let (tokens, identity) = idp.identify(&with_userinfo).await.unwrap();
    assert_eq!(identity.subject, "user-alice");

    let foreign = ProviderTokens { access_token: "another".into(), ..tokens.clone() };
    let nonce = Some(crate::provider::NONCE);
    let error = with_userinfo.identify(&foreign, nonce).await.unwrap_err();
    assert!(matches!(error, ProviderError::Refused { .. }), "{error}");
    assert!(idp.client().identify(&foreign, nonce).await.is_ok());

    // After a refresh a refusal would end the grant, and this one says nothing of the person.
    let refreshed = with_userinfo.refresh(&tokens.refresh_token.unwrap()).await.unwrap();
    let foreign = ProviderTokens { access_token: "another".into(), ..refreshed };
    let error = with_userinfo.identify(&foreign, None).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_renewal_without_an_id_token_asks_userinfo_if_wanted() {
    let groups = |groups: &[&str]| json!({"sub": "alice", "groups": groups});
    let person = |claims: Value| {
        let mut known = Identity::new("https://idp", "alice", claims.as_object().unwrap().clone());
        known.from_userinfo.insert("groups".to_owned());
        known
    };
    let known = person(json!({"sub": "alice", "groups": ["staff"], "roles": ["r"]}));
    let tokens = ProviderTokens {
        access_token: "at".into(),
        refresh_token: None,
        id_token: None,
        expires_in: None,
        scope: None,
    };
    let ask = async |answer: ResponseTemplate, wanted: bool| {
        let (server, discovery) = described_by(json!({})).await;
        Mock::given(path("/userinfo")).respond_with(answer).mount(&server).await;
        let provider = OidcProvider::builder(discovery, application()).userinfo(wanted);
        let found = provider.build().unwrap().identify_again(&tokens, &known).await;
        let asked = server.received_requests().await.unwrap();
        (found, asked.iter().any(|request| request.url.path() == "/userinfo"))
    };
    let says = |body: Value| ResponseTemplate::new(200).set_body_json(body);

    let (found, _) = ask(says(groups(&[])), true).await;
    let expected = person(json!({"sub": "alice", "groups": [], "roles": ["r"]}));
    assert!(found.unwrap() == Some(expected), "the groups of now, not those of the login");
    let (found, asked) = ask(says(groups(&[])), false).await;
    assert!(found.unwrap().is_none() && !asked, "only if wanted");
    let (found, _) = ask(says(json!({"sub": "bob"})), true).await;
    assert!(matches!(found, Err(ProviderError::Refused { .. })), "another person");
    // An endpoint that is down, or does not like our token, says nothing of the person.
    for outage in [
        ResponseTemplate::new(503),
        ResponseTemplate::new(429),
        ResponseTemplate::new(200).set_body_raw("<p>", "text/html"),
        ResponseTemplate::new(401).insert_header("www-authenticate", "Bearer"),
        ResponseTemplate::new(403).set_body_json(json!({"error": "insufficient_scope"})),
    ] {
        let (found, asked) = ask(outage, true).await;
        assert!(matches!(found, Err(ProviderError::Unavailable { .. })) && asked);
    }
}

#[tokio::test]
async fn the_keys_are_fetched_again_for_a_key_that_is_new() {
    let mut idp = Idp::start().await;
    let provider = idp.client();
    idp.identify(&provider).await.unwrap();
    idp.rotate_key();
    // Not at once: strangers must not be able to make us ask as often as they like.
    // Until then nothing is said of the person.
    let error = idp.identify(&provider).await.unwrap_err();
    assert!(matches!(&error, ProviderError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("no key"), "{error}");
    idp.time.pass(31);
    idp.identify(&provider).await.unwrap();
}

#[test]
fn an_algorithm_that_cannot_work_is_named() {
    let build = |secret: &str, algorithms: &[&str]| {
        let application = Application::builder("id").client_secret(secret.into()).build().unwrap();
        let discovery = Discovery::new("https://idp.example", application.http().clone()).unwrap();
        OidcProvider::builder(discovery, application)
            .id_token_algorithms(algorithms.iter().copied())
            .build()
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let long = "0123456789abcdef0123456789abcdef";
    assert!(build(long, &["HS256"]).is_ok());
    assert!(build("short", &["ES256", "RS256"]).is_ok());
    for (secret, algorithms) in
        [("short", vec!["HS256"]), (long, vec!["none"]), (long, vec!["HS512"]), (long, vec![])]
    {
        let error = build(secret, &algorithms).unwrap_err();
        assert!(error.starts_with("id_token_algorithms "), "{error}");
    }
}
