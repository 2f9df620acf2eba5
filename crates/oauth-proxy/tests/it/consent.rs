//! The consent page (D9): nothing is stored before a person approves, and only that person's
//! browser can approve.

use std::time::Duration;

use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::json;

use crate::support::{
    Answer, Browser, CHALLENGE, Deployment, REDIRECT, authorize_path, encoded, form_request, param,
};

#[tokio::test]
async fn asking_stores_nothing_and_sets_no_transaction_cookie() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let page = deployment.get(&authorize_path(&client, &[])).await;
    assert_eq!(page.status, StatusCode::OK);
    for collection in ["transactions", "codes", "grants", "by_subject", "once"] {
        assert!(deployment.storage.keys(collection).await.is_empty(), "{collection}");
    }
    let cookies: Vec<_> =
        page.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    assert!(cookies[0].starts_with("__Host-oidc-proxy-csrf="), "{cookies:?}");
    for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/"] {
        assert!(cookies[0].contains(attribute), "{cookies:?}");
    }
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("form-action"), "{policy}");
    assert_eq!(page.headers["x-frame-options"], "DENY");
    assert_eq!(page.headers["cache-control"], "no-store");
    assert!(page.body.contains("Test client") && page.body.contains("127.0.0.1:7777"));
}

#[tokio::test]
async fn approval_creates_what_the_provider_leg_needs() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let answer = browser.answer_consent(&deployment, &client, "approve").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let location = answer.location();
    assert!(location.starts_with("https://idp.example/authorize?"));
    let redirect_uri = param(location, "redirect_uri").unwrap();
    assert_eq!(redirect_uri, "https://proxy.example/auth/callback");
    assert_ne!(param(location, "code_challenge").unwrap(), CHALLENGE, "our own PKCE");
    assert_ne!(param(location, "state").unwrap(), "the client's state");
    assert!(param(location, "nonce").is_some());
    assert_eq!(deployment.storage.keys("transactions").await.len(), 1);
    assert!(browser.cookies.keys().any(|name| name.starts_with("__Host-oidc-proxy-tx-")));
}

#[tokio::test]
async fn denial_goes_back_to_the_client() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let answer = browser.answer_consent(&deployment, &client, "deny").await;
    let location = answer.location();
    assert!(location.starts_with(REDIRECT), "{location}");
    assert_eq!(param(location, "error").unwrap(), "access_denied");
    assert_eq!(param(location, "state").unwrap(), "the client's state");
    assert_eq!(param(location, "iss").unwrap(), "https://proxy.example");
    assert!(deployment.storage.keys("transactions").await.is_empty());
}

#[tokio::test]
async fn a_forged_answer_is_refused() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let page = browser.get(&deployment, &authorize_path(&client, &[])).await;
    let (request, csrf) = (page.field("request"), page.field("csrf"));
    let honest = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];

    // Without the cookie: the page of another browser, submitted in this one.
    let mut victim = Browser::default();
    let answer = victim.post(&deployment, "/consent", &honest).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // With the victim's own cookie, but the attacker's sealed request.
    victim.get(&deployment, &authorize_path(&client, &[])).await;
    let own = victim.cookies["__Host-oidc-proxy-csrf"].clone();
    for csrf in [&*csrf, &*own] {
        let form = [("request", &*request), ("csrf", csrf), ("action", "approve")];
        let answer = victim.post(&deployment, "/consent", &form).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
    }
    // Without the field.
    let answer = browser.post(&deployment, "/consent", &[honest[0], honest[2]]).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    // From another site's page, with everything else right.
    let cookie = format!("__Host-oidc-proxy-csrf={}", browser.cookies["__Host-oidc-proxy-csrf"]);
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "https://proxy.exampl"),
        ("origin", "https://proxy.example.evil.test"),
    ] {
        let request = form_request("/consent", &honest)
            .header("cookie", &cookie)
            .header(name, value)
            .body(encoded(&honest))
            .unwrap();
        assert_eq!(deployment.send(request).await.status, StatusCode::FORBIDDEN, "{value}");
    }
    assert!(deployment.storage.keys("transactions").await.is_empty());
    // None of that hurt the honest browser.
    let answer = browser.post(&deployment, "/consent", &honest).await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_page_is_answered_once_and_in_time() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let page = browser.get(&deployment, &authorize_path(&client, &[])).await;
    let (request, csrf) = (page.field("request"), page.field("csrf"));
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    assert_eq!(browser.post(&deployment, "/consent", &form).await.status, StatusCode::SEE_OTHER);
    let again = browser.post(&deployment, "/consent", &form).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST);
    assert!(again.body.contains("answered already"));
    assert_eq!(deployment.storage.keys("transactions").await.len(), 1);

    let page = browser.get(&deployment, &authorize_path(&client, &[])).await;
    let request = page.field("request");
    deployment.clock.advance(Duration::from_secs(901));
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    let late = browser.post(&deployment, "/consent", &form).await;
    assert_eq!(late.status, StatusCode::BAD_REQUEST);
    assert!(late.body.contains("expired"), "{}", late.body);
}

#[tokio::test]
async fn an_answer_is_remembered_as_long_as_its_page_is_good() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let page = browser.get(&deployment, &authorize_path(&client, &[])).await;
    let (request, csrf) = (page.field("request"), page.field("csrf"));
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    browser.post(&deployment, "/consent", &form).await;
    // The last second in which the page itself is still accepted.
    deployment.clock.advance(Duration::from_mins(15));
    let again = browser.post(&deployment, "/consent", &form).await;
    assert!(again.body.contains("answered already"), "{}", again.body);
}

#[tokio::test]
async fn a_page_that_is_opened_again_is_the_same_request() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let page = browser.get(&deployment, &authorize_path(&client, &[])).await;
    let reopened = format!("/consent?request={}", page.field("request"));
    deployment.clock.advance(Duration::from_mins(10));
    let again = browser.get(&deployment, &reopened).await;
    let (request, csrf) = (again.field("request"), again.field("csrf"));
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    let approved = browser.post(&deployment, "/consent", &form).await;
    assert_eq!(approved.status, StatusCode::SEE_OTHER);
    // Answered once, however often it is opened, and its end stays where it was.
    let third = browser.get(&deployment, &reopened).await;
    let request = third.field("request");
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    let answer = browser.post(&deployment, "/consent", &form).await;
    assert!(answer.body.contains("answered already"), "{}", answer.body);
    deployment.clock.advance(Duration::from_mins(6));
    let late = browser.get(&deployment, &reopened).await;
    assert!(late.body.contains("expired"), "{}", late.body);
}

#[tokio::test]
async fn an_older_page_is_worth_nothing_when_the_client_is_gone() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let page = browser.get(&deployment, &authorize_path(&client, &[])).await;
    assert!(deployment.storage.inner().delete("clients", &client).await.unwrap());
    let (request, csrf) = (page.field("request"), page.field("csrf"));
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    let answer = browser.post(&deployment, "/consent", &form).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(deployment.storage.keys("transactions").await.is_empty());
}

#[tokio::test]
async fn a_link_alone_sends_no_browser_to_a_strange_site_and_starts_no_program() {
    for redirect_uri in ["https://evil.example/", "vscode://evil.example/run", "cursor:run"] {
        let deployment = Deployment::new();
        let metadata = json!({"redirect_uris": [redirect_uri]});
        let registered = deployment.register_with(&metadata).await.json();
        let client = registered["client_id"].as_str().unwrap();
        let path = format!("/authorize?client_id={client}&response_type=nonsense&state=s");
        let page = visit(&deployment, &path).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert!(!page.headers.contains_key("location"));
        assert!(page.body.contains(&format!("href=\"{redirect_uri}?error=")), "{}", page.body);
        // A program that follows links is told as the RFC says.
        let answer = deployment.get(&path).await;
        assert_eq!(param(answer.location(), "error").unwrap(), "unsupported_response_type");
    }
}

/// It waits there, and any link leads there without us.
#[tokio::test]
async fn a_program_that_listens_on_this_machine_hears_of_the_error() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let path = authorize_path(&client, &[]).replace("response_type=code", "response_type=nonsense");
    let answer = visit(&deployment, &path).await;
    assert_eq!(answer.status, StatusCode::FOUND);
    assert!(answer.location().starts_with(REDIRECT), "{}", answer.location());
    assert_eq!(param(answer.location(), "error").unwrap(), "unsupported_response_type");
}

/// From a browser.
async fn visit(deployment: &Deployment, path: &str) -> Answer {
    let request = Request::get(path).header("accept", "text/html").body(Body::empty()).unwrap();
    deployment.send(request).await
}

#[tokio::test]
async fn a_second_tab_leaves_the_first_page_usable() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let first = browser.get(&deployment, &authorize_path(&client, &[])).await;
    let second = browser.get(&deployment, &authorize_path(&client, &[])).await;
    for page in [first, second] {
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
        let answer = browser.post(&deployment, "/consent", &form).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
    }
}

#[tokio::test]
async fn a_tampered_request_is_refused() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let page = browser.get(&deployment, &authorize_path(&client, &[])).await;
    let (mut request, csrf) = (page.field("request"), page.field("csrf"));
    let middle = request.len() / 2;
    let other = if &request[middle..=middle] == "A" { "B" } else { "A" };
    request.replace_range(middle..=middle, other);
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    let answer = browser.post(&deployment, "/consent", &form).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = browser.get(&deployment, "/consent").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_browser_keeps_ten_logins_in_flight() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let mut states = Vec::new();
    for _ in 0..12 {
        states.push(browser.approve(&deployment, &client).await);
        deployment.clock.advance(Duration::from_secs(1));
    }
    let transactions =
        browser.cookies.keys().filter(|name| name.starts_with("__Host-oidc-proxy-tx-")).count();
    assert_eq!(transactions, 10);
    let newest = browser.return_with_code(&deployment, &states[11]).await;
    assert!(param(newest.location(), "code").is_some());
    let oldest = browser.return_with_code(&deployment, &states[0]).await;
    assert_eq!(oldest.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_goes_where_it_may_go() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    // Nothing proves the redirect URI: the answer stays here.
    for (name, value) in [("client_id", "nobody"), ("redirect_uri", "https://evil.example/cb")] {
        let path = authorize_path(&client, &[]).replace(
            &format!(
                "{name}={}",
                if name == "client_id" { client.clone() } else { escaped(REDIRECT) }
            ),
            &format!("{name}={}", escaped(value)),
        );
        let answer = deployment.get(&path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}");
        assert!(!answer.headers.contains_key("location"));
    }
    // The client hears of the rest, with `state` and `iss`.
    let base = format!("/authorize?client_id={client}&redirect_uri={}&state=s", escaped(REDIRECT));
    let pkce = format!("&code_challenge={CHALLENGE}&code_challenge_method=S256");
    for (rest, error) in [
        (format!("&response_type=token{pkce}"), "unsupported_response_type"),
        (pkce.clone(), "invalid_request"),
        ("&response_type=code".to_owned(), "invalid_request"),
        (format!("&response_type=code&code_challenge={CHALLENGE}"), "invalid_request"),
        (
            format!("&response_type=code&code_challenge={CHALLENGE}&code_challenge_method=plain"),
            "invalid_request",
        ),
        (
            "&response_type=code&code_challenge=short&code_challenge_method=S256".to_owned(),
            "invalid_request",
        ),
        (format!("&response_type=code{pkce}&resource=https://other.example/mcp"), "invalid_target"),
        (
            format!("&response_type=code{pkce}&resource=https://proxy.example/mcp&resource=x"),
            "invalid_target",
        ),
        (format!("&response_type=code{pkce}&scope=a&scope=b"), "invalid_request"),
        (format!("&response_type=code{pkce}&response_mode=fragment"), "invalid_request"),
        (format!("&response_type=code{pkce}&response_mode=form_post"), "invalid_request"),
        (format!("&response_type=code{pkce}&response_mode=query.jwt"), "invalid_request"),
        (format!("&response_type=code{pkce}&prompt=none"), "interaction_required"),
        (format!("&response_type=code{pkce}&prompt=login+none"), "interaction_required"),
        (format!("&response_type=code{pkce}&request=e30.e30."), "request_not_supported"),
        ("&request=e30.e30.".to_owned(), "request_not_supported"),
        (
            format!("&response_type=code{pkce}&request_uri=https://app.example/r"),
            "request_uri_not_supported",
        ),
    ] {
        let answer = deployment.get(&format!("{base}{rest}")).await;
        let location = answer.location();
        assert!(location.starts_with(REDIRECT), "{location}");
        assert_eq!(param(location, "error").as_deref(), Some(error), "{rest}");
        assert_eq!(param(location, "state").as_deref(), Some("s"));
        assert_eq!(param(location, "iss").as_deref(), Some("https://proxy.example"));
    }
}

/// What clients send without need, and what changes nothing.
#[tokio::test]
async fn what_is_the_case_anyway_may_be_asked_for() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    for (name, value) in [
        ("prompt", "consent"),
        ("prompt", "login consent"),
        ("prompt", "select_account"),
        ("response_mode", "query"),
        ("max_age", "0"),
        ("login_hint", "alice"),
        ("nonce", "n"),
    ] {
        let answer = deployment.get(&authorize_path(&client, &[(name, value)])).await;
        assert_eq!(answer.status, StatusCode::OK, "{name}={value}: {}", answer.body);
    }
    let twice = [("prompt", "consent"), ("prompt", "consent")];
    let answer = deployment.get(&authorize_path(&client, &twice)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
}

#[tokio::test]
async fn an_unknown_client_is_told_how_to_register() {
    let deployment = Deployment::new();
    let path = authorize_path("nobody", &[]);
    let answer = deployment.get(&path).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_client");
    let json = answer.json();
    assert_eq!(json["registration_endpoint"], "https://proxy.example/register");
    assert!(json["error_description"].as_str().unwrap().contains("is not registered"));
    assert!(answer.headers["link"].to_str().unwrap().contains("#registration"));
    let page = Request::get(&path).header("accept", "text/html").body(Body::empty()).unwrap();
    let page = deployment.send(page).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
}

#[tokio::test]
async fn a_loopback_client_may_use_any_port() {
    let deployment = Deployment::new();
    let metadata = json!({"redirect_uris": ["http://localhost/callback"]});
    let registered = deployment.register_with(&metadata).await.json();
    let client = registered["client_id"].as_str().unwrap();
    let path = authorize_path(client, &[])
        .replace(&escaped(REDIRECT), &escaped("http://localhost:3118/callback"));
    assert_eq!(deployment.get(&path).await.status, StatusCode::OK);
}

fn escaped(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
