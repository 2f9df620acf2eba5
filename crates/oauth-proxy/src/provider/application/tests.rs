use std::{collections::HashMap, time::Duration};

use secrecy::{ExposeSecret, SecretString};
use url::Url;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_string, body_string_contains, header, method, path},
};

use super::*;

/// A secret in which every character matters to some encoding.
const SECRET: &str = "s+/:% ü";

fn request() -> AuthorizeRequest {
    AuthorizeRequest::new("https://mcp.example/auth/callback", "the-state", "the-nonce", "chall")
}

fn exchange() -> ExchangeRequest {
    ExchangeRequest::new("the-code".into(), "https://mcp.example/cb", "the-verifier".into())
}

fn query(url: &str) -> HashMap<String, String> {
    Url::parse(url).unwrap().query_pairs().into_owned().collect()
}

async fn server(answer: ResponseTemplate) -> (MockServer, String) {
    let server = MockServer::start().await;
    Mock::given(method("POST")).and(path("/token")).respond_with(answer).mount(&server).await;
    let url = format!("{}/token", server.uri());
    (server, url)
}

fn fine() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_raw(r#"{"access_token":"at"}"#, "application/json")
}

fn at(url: &str) -> TokenEndpoint<'_> {
    TokenEndpoint { url, auth_methods_supported: &[] }
}

/// Body and `Authorization` header of the only request that arrived.
async fn received(server: &MockServer) -> (String, Option<String>) {
    let requests = server.received_requests().await.unwrap();
    assert_eq!(requests.len(), 1);
    let body = String::from_utf8(requests[0].body.clone()).unwrap();
    let authorization = requests[0].headers.get("authorization");
    (body, authorization.map(|value| value.to_str().unwrap().to_owned()))
}

#[test]
fn the_authorization_url_carries_pkce_and_state_and_keeps_the_endpoints_query() {
    let application = Application::builder("my client")
        .scopes(["openid", "email"])
        .audience("https://api.example")
        .extra_authorize_params([("prompt", "select_account")])
        .build()
        .unwrap();
    let url = application
        .authorize_url("https://idp.example/authorize?p=B2C_1_x&x=a%2Fb#top", &request())
        .unwrap();
    assert!(url.starts_with("https://idp.example/authorize?p=B2C_1_x&x=a%2Fb&response_type=code&"));
    let query = query(&url);
    let expected = [
        ("p", "B2C_1_x"),
        ("client_id", "my client"),
        ("redirect_uri", "https://mcp.example/auth/callback"),
        ("state", "the-state"),
        ("nonce", "the-nonce"),
        ("code_challenge", "chall"),
        ("code_challenge_method", "S256"),
        ("scope", "openid email"),
        ("audience", "https://api.example"),
        ("prompt", "select_account"),
    ];
    for (name, value) in expected {
        assert_eq!(query[name], value, "{name}");
    }
}

#[test]
fn without_openid_no_nonce_and_without_scopes_no_scope() {
    let application = Application::builder("id").build().unwrap();
    for endpoint in ["https://idp.example/a", "https://idp.example/a?", "https://idp.example/a?b&"]
    {
        let url = application.authorize_url(endpoint, &request()).unwrap();
        assert!(!url.contains("&&") && !url.contains("?&"), "{url}");
        let query = query(&url);
        assert_eq!(query["response_type"], "code");
        assert!(!query.contains_key("nonce") && !query.contains_key("scope"));
    }
    for endpoint in ["javascript:alert(1)", "/authorize", ""] {
        let error = application.authorize_url(endpoint, &request()).unwrap_err();
        assert!(matches!(error, ProviderError::Refused { .. }), "{endpoint}");
    }
}

#[test]
fn our_side_of_the_protocol_cannot_be_overridden() {
    for name in ["state", "nonce", "redirect_uri", "code_challenge", "scope", "request_uri"] {
        let built = Application::builder("id").extra_authorize_params([(name, "x")]).build();
        let error = built.unwrap_err().to_string();
        assert!(error.contains("extra_authorize_params") && error.contains(name), "{error}");
    }
    for name in ["grant_type", "code", "code_verifier", "client_secret"] {
        assert!(Application::builder("id").extra_token_params([(name, "x")]).build().is_err());
    }
}

#[test]
fn contradictory_settings_are_named() {
    let cases = [
        (Application::builder(""), "client_id"),
        (Application::builder("id").client_secret("".into()), "client_secret"),
        (
            Application::builder("id").auth_method(ClientAuthMethod::ClientSecretPost),
            "client_secret",
        ),
        (
            Application::builder("id")
                .client_secret("s".into())
                .auth_method(ClientAuthMethod::None),
            "token_endpoint_auth_method",
        ),
    ];
    for (builder, setting) in cases {
        assert_eq!(builder.build().unwrap_err().setting, setting);
    }
    assert!("private_key_jwt".parse::<ClientAuthMethod>().is_err());
    assert_eq!("none".parse::<ClientAuthMethod>().unwrap(), ClientAuthMethod::None);
}

#[tokio::test]
async fn basic_form_encodes_both_parts() {
    let (server, url) = server(fine()).await;
    let application =
        Application::builder("client:1").client_secret(SECRET.into()).build().unwrap();
    let tokens = application.exchange(at(&url), &exchange()).await.unwrap();
    assert_eq!(tokens.access_token.expose_secret(), "at");
    let (body, authorization) = received(&server).await;
    let authorization = authorization.unwrap();
    let pair = STANDARD.decode(authorization.strip_prefix("Basic ").unwrap()).unwrap();
    assert_eq!(String::from_utf8(pair).unwrap(), "client%3A1:s%2B%2F%3A%25+%C3%BC");
    assert_eq!(
        body,
        "grant_type=authorization_code&code=the-code\
         &redirect_uri=https%3A%2F%2Fmcp.example%2Fcb&code_verifier=the-verifier"
    );
}

#[tokio::test]
async fn the_method_comes_from_the_metadata_unless_set() {
    let basic = "client_secret_basic".to_owned();
    let post = "client_secret_post".to_owned();
    let jwt = "private_key_jwt".to_owned();
    let cases: [(&[String], Option<ClientAuthMethod>, bool); 6] = [
        (&[], None, true),
        (&[post.clone(), basic.clone()], None, true),
        (&[jwt.clone(), post.clone()], None, false),
        (&[jwt], None, true),
        (&[basic], Some(ClientAuthMethod::ClientSecretPost), false),
        (&[post], Some(ClientAuthMethod::ClientSecretBasic), true),
    ];
    for (supported, configured, expect_basic) in cases {
        let (server, url) = server(fine()).await;
        let mut builder = Application::builder("id").client_secret("s3cret".into());
        if let Some(method) = configured {
            builder = builder.auth_method(method);
        }
        let endpoint = TokenEndpoint { url: &url, auth_methods_supported: supported };
        builder.build().unwrap().refresh(endpoint, &"rt".into()).await.unwrap();
        let (body, authorization) = received(&server).await;
        assert_eq!(authorization.is_some(), expect_basic, "{supported:?}");
        assert_eq!(body.contains("client_id=id&client_secret=s3cret"), !expect_basic, "{body}");
    }
}

#[tokio::test]
async fn a_public_client_names_itself_and_extra_parameters_go_along() {
    let (server, url) = server(fine()).await;
    let application = Application::builder("id")
        .audience("default")
        .extra_token_params([("audience", "mine"), ("x", "y")])
        .build()
        .unwrap();
    application.refresh(at(&url), &"r t".into()).await.unwrap();
    let (body, authorization) = received(&server).await;
    assert_eq!(authorization, None);
    assert_eq!(body, "grant_type=refresh_token&refresh_token=r+t&audience=mine&x=y&client_id=id");
}

#[tokio::test]
async fn no_answer_is_an_outage() {
    let unreachable = Application::builder("id").build().unwrap();
    let error = unreachable.refresh(at("http://127.0.0.1:1/t"), &"rt".into()).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");

    // Not from wiremock's pool: a request that arrives after its sender gave up must not be
    // counted by the next test.
    let server_of_its_own = MockServer::builder().start().await;
    Mock::given(method("POST"))
        .respond_with(fine().set_delay(Duration::from_secs(30)))
        .mount(&server_of_its_own)
        .await;
    let url = server_of_its_own.uri();
    let http = Client::builder().timeout(Duration::from_millis(100)).build().unwrap();
    let slow = Application::builder("id").http(http).build().unwrap();
    let error = slow.refresh(at(&url), &"rt".into()).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");

    let huge = format!(r#"{{"access_token":"{}"}}"#, "a".repeat(4096));
    let (_server, url) =
        server(ResponseTemplate::new(200).set_body_raw(huge, "application/json")).await;
    let http = Client::builder().max_body(1024).build().unwrap();
    let small = Application::builder("id").http(http).build().unwrap();
    let error = small.refresh(at(&url), &"rt".into()).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn a_redirecting_token_endpoint_gets_nothing_twice() {
    let (server, url) =
        server(ResponseTemplate::new(307).insert_header("location", "/elsewhere")).await;
    let application = Application::builder("id").build().unwrap();
    let error = application.refresh(at(&url), &"rt".into()).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_cloud_metadata_address_is_refused() {
    let application = Application::builder("id").build().unwrap();
    let error =
        application.refresh(at("http://169.254.169.254/token"), &"rt".into()).await.unwrap_err();
    assert!(matches!(error, ProviderError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn revocation_of_a_token_that_is_gone_is_done() {
    let cases = [
        (ResponseTemplate::new(200), true),
        (ResponseTemplate::new(200).set_body_raw("<p>bye", "text/html"), true),
        (json(400, r#"{"error":"invalid_token"}"#), true),
        (json(400, r#"{"error":"unsupported_token_type"}"#), false),
        (json(401, r#"{"error":"invalid_client"}"#), false),
        (json(503, "{}"), false),
    ];
    for (answer, done) in cases {
        let server = MockServer::start().await;
        Mock::given(path("/revoke"))
            .and(body_string("token=rt&client_id=id"))
            .respond_with(answer)
            .mount(&server)
            .await;
        let url = format!("{}/revoke", server.uri());
        let application =
            Application::builder("id").extra_token_params([("x", "y")]).build().unwrap();
        assert_eq!(application.revoke(at(&url), &"rt".into()).await.is_ok(), done);
    }
}

#[tokio::test]
async fn userinfo_sends_the_token_in_the_header_only() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/userinfo"))
        .and(header("authorization", "Bearer at"))
        .and(body_string(""))
        .respond_with(json(200, r#"{"sub":"alice"}"#))
        .mount(&server)
        .await;
    Mock::given(path("/jwt"))
        .respond_with(ResponseTemplate::new(200).set_body_raw("a.b.c", "application/jwt"))
        .mount(&server)
        .await;
    let challenged = ResponseTemplate::new(401).insert_header("www-authenticate", "Bearer");
    Mock::given(path("/denied")).respond_with(challenged).mount(&server).await;
    let page = ResponseTemplate::new(403).set_body_raw("<h1>Blocked</h1>", "text/html");
    Mock::given(path("/firewall")).respond_with(page).mount(&server).await;
    let application = Application::builder("id").build().unwrap();
    let token = SecretString::from("at");
    let claims = application.userinfo(&format!("{}/userinfo", server.uri()), &token).await.unwrap();
    assert_eq!(claims["sub"], "alice");
    for page in ["jwt", "denied"] {
        let url = format!("{}/{page}", server.uri());
        let error = application.userinfo(&url, &token).await.unwrap_err();
        assert!(matches!(error, ProviderError::Refused { .. }), "{page}: {error}");
    }
    let url = format!("{}/firewall", server.uri());
    let error = application.userinfo(&url, &token).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn debug_and_errors_show_no_secret() {
    let server = MockServer::start().await;
    let echo = r#"{"error":"invalid_client","error_description":"bad s3cret, code the-code, the-verifier"}"#;
    Mock::given(body_string_contains("the-code"))
        .respond_with(json(401, echo))
        .mount(&server)
        .await;
    let application = Application::builder("id")
        .client_secret("s3cret".into())
        .extra_token_params([("k", "p4ram")])
        .build()
        .unwrap();
    let url = server.uri();
    let error = application.exchange(at(&url), &exchange()).await.unwrap_err();
    let text = format!("{application:?} {error:?} {error}");
    for secret in ["s3cret", "the-code", "the-verifier", "p4ram"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

fn json(status: u16, body: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_raw(body.to_owned(), "application/json")
}
