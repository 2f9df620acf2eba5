//! The authorization endpoint, consent, and the way back from the provider.

use anyhow::Context as _;
use end_to_end::{
    browser::{Browser, Intent, Page},
    client::{Client, Pkce, REDIRECT_URI, query},
    process::{Demo, Launch},
};
use http::{StatusCode, header};
use url::Url;

use crate::alice;

/// A client, and the consent page that its first request leads to.
async fn consent_page(demo: &Demo, browser: &mut Browser) -> anyhow::Result<(Client, Page)> {
    let client = Client::register(&demo.mcp_endpoint).await?;
    let mut page = browser.open(client.authorization_request(&Pkce::new(), &[])?).await?;
    while let Some(target) = page.redirect()? {
        page = browser.open(target).await?;
    }
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    Ok((client, page))
}

#[tokio::test]
async fn every_response_says_who_sent_it() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let client = Client::register(&demo.mcp_endpoint).await?;
    let authorized = client.authorize(&mut Browser::new()?, &alice(&demo)).await?;
    assert_eq!(query(&authorized.response, "iss").as_deref(), Some(demo.issuer()));

    for refusal in [Intent::RefuseConsent, Intent::RefuseLogin] {
        let url = client.authorization_request(&Pkce::new(), &[])?;
        let state = query(&url, "state");
        let response = Browser::new()?.authorize(url, REDIRECT_URI, &refusal).await?;
        assert_eq!(query(&response, "error").as_deref(), Some("access_denied"), "{refusal:?}");
        assert_eq!(query(&response, "iss").as_deref(), Some(demo.issuer()), "{refusal:?}");
        assert_eq!(query(&response, "state"), state, "{refusal:?}");
        assert_eq!(query(&response, "code"), None, "{refusal:?}");
    }
    Ok(())
}

#[tokio::test]
async fn who_cannot_be_trusted_is_not_redirected_to() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let client = Client::register(&demo.mcp_endpoint).await?;
    let unknown = client.authorization_request(&Pkce::new(), &[("client_id", Some("nobody"))])?;
    let nameless = client.authorization_request(&Pkce::new(), &[("client_id", None)])?;
    let mut requests = vec![unknown, nameless];
    for elsewhere in [
        "https://evil.example/callback",
        "http://127.0.0.1:51999/callback/",
        "http://127.0.0.1:51999/callback?x=1",
        "http://127.0.0.1:51999/other",
        "http://localhost:51999/callback",
    ] {
        requests.push(
            client.authorization_request(&Pkce::new(), &[("redirect_uri", Some(elsewhere))])?,
        );
    }
    for url in requests {
        let page = Browser::new()?.open(url.clone()).await?;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{url}");
        assert_eq!(page.header(header::LOCATION), None, "{url}");
        assert!(!page.body.contains("href=\"https://evil.example"), "{url}");
    }
    Ok(())
}

#[tokio::test]
async fn a_loopback_port_is_free() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let client = Client::register(&demo.mcp_endpoint).await?;
    let moved = "http://127.0.0.1:40404/callback";
    let pkce = Pkce::new();
    let url = client.authorization_request(&pkce, &[("redirect_uri", Some(moved))])?;
    let response = Browser::new()?.authorize(url, moved, &alice(&demo)).await?;
    assert!(query(&response, "code").is_some(), "{response}");
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_to_its_client() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let client = Client::register(&demo.mcp_endpoint).await?;
    let elsewhere = format!("{}/elsewhere", demo.issuer());
    for (parameter, value, error) in [
        ("code_challenge", None, "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        ("code_challenge_method", None, "invalid_request"),
        ("response_type", Some("token"), "unsupported_response_type"),
        ("resource", Some(elsewhere.as_str()), "invalid_target"),
    ] {
        let url = client.authorization_request(&Pkce::new(), &[(parameter, value)])?;
        let state = query(&url, "state");
        let mut browser = Browser::new()?;
        let response = browser.authorize(url, REDIRECT_URI, &Intent::RefuseConsent).await;
        let response = response.with_context(|| format!("{parameter} = {value:?}"))?;
        assert_eq!(query(&response, "error").as_deref(), Some(error), "{parameter} = {value:?}");
        assert_eq!(query(&response, "state"), state, "{parameter} = {value:?}");
        assert_eq!(
            query(&response, "iss").as_deref(),
            Some(demo.issuer()),
            "{parameter} = {value:?}"
        );
        assert_eq!(browser.visited.len(), 1, "{parameter} = {value:?}: {:?}", browser.visited);
    }
    Ok(())
}

#[tokio::test]
async fn the_consent_page_names_who_asks_and_cannot_be_framed() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let mut browser = Browser::new()?;
    let (client, page) = consent_page(&demo, &mut browser).await?;
    let policy = page.header(header::CONTENT_SECURITY_POLICY).unwrap_or_default();
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    // Chromium applies it to the whole chain of redirects that follows.
    assert!(!policy.contains("form-action 'self'"), "{policy}");
    assert!(page.header(header::CACHE_CONTROL).unwrap_or_default().contains("no-store"));
    for shown in ["End to end", "127.0.0.1", REDIRECT_URI, client.id()] {
        assert!(page.body.contains(shown), "the page does not show {shown}");
    }
    // Nothing ties this browser to a transaction before it approves one (MCP best practices).
    let bound: Vec<&str> =
        browser.jar.names().into_iter().filter(|name| name.contains("tx")).collect();
    assert_eq!(bound, Vec::<&str>::new());
    Ok(())
}

#[tokio::test]
async fn names_of_clients_are_text() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let mut client = Client::register(&demo.mcp_endpoint).await?;
    let name = "<script>alert(1)</script>\"'&";
    let body = serde_json::json!({"client_name": name, "redirect_uris": [REDIRECT_URI]});
    client.registration = client.register_with(&body).await?.json;
    let mut browser = Browser::new()?;
    let page = browser.open(client.authorization_request(&Pkce::new(), &[])?).await?;
    assert_eq!(page.status, StatusCode::OK, "{}", page.body);
    assert!(!page.body.contains("<script>alert"), "{}", page.body);
    Ok(())
}

#[tokio::test]
async fn consent_cannot_be_forged() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let mut browser = Browser::new()?;
    let (_, page) = consent_page(&demo, &mut browser).await?;
    let form = page.form()?;
    let yes = form.approval().context("no way to approve")?;

    // An attacker's own page, posted by a browser that never saw it.
    let mut victim = Browser::new()?;
    let refused = victim.submit(&page, &form, yes, &[]).await?;
    assert!(refused.status.is_client_error(), "{}", refused.status);
    // A changed request, a changed CSRF token.
    for name in ["request", "csrf"] {
        let refused = browser.submit(&page, &form, yes, &[(name, "tampered")]).await?;
        assert!(refused.status.is_client_error(), "{name}: {}", refused.status);
    }
    // The page itself is good.
    let onward = browser.submit(&page, &form, yes, &[]).await?;
    let target = onward.redirect()?.context("no redirect to the provider")?;
    assert!(target.as_str().starts_with(&demo.provider), "{target}");
    Ok(())
}

#[tokio::test]
async fn a_consent_page_is_approved_once() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let mut browser = Browser::new()?;
    let (_, page) = consent_page(&demo, &mut browser).await?;
    let form = page.form()?;
    let yes = form.approval().context("no way to approve")?;
    let first = browser.submit(&page, &form, yes, &[]).await?;
    assert!(first.redirect()?.is_some());
    let second = browser.submit(&page, &form, yes, &[]).await?;
    let leads_on =
        second.redirect()?.is_some_and(|target| target.as_str().starts_with(&demo.provider));
    assert!(!leads_on, "one approval began two transactions");
    Ok(())
}

/// Approves and logs in, and stops before the callback is opened.
async fn until_callback(demo: &Demo, browser: &mut Browser) -> anyhow::Result<Url> {
    let (_, page) = consent_page(demo, browser).await?;
    let form = page.form()?;
    let yes = form.approval().context("no way to approve")?;
    let onward = browser.submit(&page, &form, yes, &[]).await?;
    let target = onward.redirect()?.context("no redirect to the provider")?;
    browser.authorize(target, &format!("{}/auth/callback", demo.issuer()), &alice(demo)).await
}

#[tokio::test]
async fn the_callback_is_for_the_browser_that_approved() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let mut browser = Browser::new()?;
    let callback = until_callback(&demo, &mut browser).await?;
    let mut error = callback.clone();
    error.query_pairs_mut().clear().extend_pairs([("error", "access_denied")]);
    error.query_pairs_mut().extend_pairs(query(&callback, "state").map(|state| ("state", state)));

    // Somebody else's browser: neither the code nor an error reaches the client.
    for url in [&error, &callback] {
        let page = Browser::new()?.open(url.clone()).await?;
        assert!(page.status.is_client_error(), "{url}: {}", page.status);
        assert_eq!(page.header(header::LOCATION), None, "{url}");
    }
    // That was no one's business but the other browser's: the right one goes on.
    let page = browser.open(callback.clone()).await?;
    let target = page.redirect()?.context("no redirect to the client")?;
    assert!(query(&target, "code").is_some(), "{target}");
    // And once.
    let again = browser.open(callback).await?;
    let code = again.redirect()?.and_then(|target| query(&target, "code"));
    assert_eq!(code, None, "a second code for one login");
    Ok(())
}

#[tokio::test]
async fn the_callback_checks_what_the_provider_says() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let mut browser = Browser::new()?;
    let callback = until_callback(&demo, &mut browser).await?;
    let with = |name: &str, value: &str| {
        let others = callback.query_pairs().filter(|(found, _)| found != name).collect::<Vec<_>>();
        let mut url = callback.clone();
        url.query_pairs_mut().clear().extend_pairs(others).append_pair(name, value);
        url
    };
    let page = browser.open(with("state", "no-state-of-ours")).await?;
    assert!(page.status.is_client_error(), "{}", page.status);
    // Mix-up (RFC 9207 §2.4): another issuer's response is nobody's login.
    let page = browser.open(with("iss", "https://evil.example")).await?;
    let code = page.redirect()?.and_then(|target| query(&target, "code"));
    assert_eq!(code, None, "a response of another issuer was accepted");
    Ok(())
}
