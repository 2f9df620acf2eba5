//! The login page, and single sign-on.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{StatusCode, header};
use sha2::{Digest, Sha256};

use crate::support::{Browser, CALLBACK, ISSUER, World, authorize, base, form};

#[tokio::test]
async fn a_login_leads_back_with_code_state_and_issuer() {
    let world = World::new();
    let mut browser = world.browser();
    let page = browser.get(&authorize(&[("login_hint", "bob\"><script>")])).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.body.contains("http://localhost:9000/login"));
    assert!(!page.body.contains("<script>"), "what a client sends is escaped");
    let answer = browser.log_in(&page, "alice", "wonderland").await;
    assert!(answer.location().as_str().starts_with(CALLBACK));
    assert!(answer.param("code").is_some());
    assert_eq!(answer.param("state").as_deref(), Some("a state & more"));
    assert_eq!(answer.param("iss").as_deref(), Some(ISSUER));
    assert_eq!(world.idp.stats().logins, 1);
}

#[tokio::test]
async fn pages_cannot_be_framed_cached_or_scripted() {
    let page = World::new().get(&authorize(&[])).await;
    let policy = page.header(header::CONTENT_SECURITY_POLICY);
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
    assert_eq!(page.header(header::X_FRAME_OPTIONS), "DENY");
    assert_eq!(page.header(header::CACHE_CONTROL), "no-store");
    let cookie = page.header(header::SET_COOKIE);
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    assert!(!cookie.contains("Secure"), "on plain http: {cookie}");

    let world = World::with(|_| base("https://idp.example/tenant"));
    let page = world.get(&format!("/tenant{}", authorize(&[]))).await;
    let cookie = page.header(header::SET_COOKIE);
    assert!(cookie.contains("Secure") && cookie.contains("Path=/tenant"), "{cookie}");
}

#[tokio::test]
async fn the_policy_lets_the_style_of_the_page_through() {
    let page = World::new().get(&authorize(&[])).await;
    let (_, rest) = page.body.split_once("<style>").unwrap();
    let (style, _) = rest.split_once("</style>").unwrap();
    let source = format!("style-src 'sha256-{}'", STANDARD.encode(Sha256::digest(style)));
    assert!(page.header(header::CONTENT_SECURITY_POLICY).contains(&source));
}

#[tokio::test]
async fn a_wrong_password_shows_the_page_again() {
    let world = World::new();
    let mut browser = world.browser();
    let mut page = browser.get(&authorize(&[])).await;
    for (username, password) in [("alice", "can-we-fix-it"), ("nobody", ""), ("alice", "")] {
        page = browser.log_in(&page, username, password).await;
        assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(page.body.contains("password is wrong"));
        assert!(page.body.contains(&format!("value=\"{username}\"")), "the name stays");
    }
    assert_eq!(world.idp.stats().failed_logins, 3);
    let answer = browser.log_in(&page, "alice", "wonderland").await;
    assert!(answer.param("code").is_some());
}

#[tokio::test]
async fn deny_is_access_denied() {
    let world = World::new();
    let mut browser = world.browser();
    let page = browser.get(&authorize(&[])).await;
    let answer = browser.submit(&page, &[("action", "deny")]).await;
    assert_eq!(answer.error(), "access_denied");
    assert_eq!(answer.param("state").as_deref(), Some("a state & more"));
    assert_eq!(answer.param("iss").as_deref(), Some(ISSUER));
    assert_eq!(world.idp.stats().denials, 1);
}

/// Login CSRF: somebody else's page, submitted in the victim's browser.
#[tokio::test]
async fn a_page_is_good_in_its_own_browser_only() {
    let world = World::new();
    let mut attacker = world.browser();
    let page = attacker.get(&authorize(&[])).await;

    let mut victim = world.browser();
    let answer = victim.log_in(&page, "alice", "wonderland").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "no cookie");
    victim.get(&authorize(&[])).await;
    let answer = victim.log_in(&page, "alice", "wonderland").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "another cookie");
}

#[tokio::test]
async fn a_forged_or_old_page_is_refused() {
    let world = World::new();
    let mut browser = world.browser();
    let page = browser.get(&authorize(&[])).await;
    let sealed = page.form_field();
    let (payload, tag) = sealed.split_once('.').unwrap();
    for forged in [format!("x{payload}.{tag}"), format!("{payload}."), payload.to_owned()] {
        let fields = [("form", forged.as_str()), ("username", "alice"), ("password", "wonderland")];
        let answer = browser.visit(form("/login", None, &fields)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    world.advance(15 * 60);
    let answer = browser.log_in(&page, "alice", "wonderland").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn pages_in_two_tabs_are_both_good() {
    let world = World::new();
    let mut browser = world.browser();
    let first = browser.get(&authorize(&[])).await;
    let second = browser.get(&authorize(&[])).await;
    for page in [first, second] {
        assert!(browser.log_in(&page, "bob", "can-we-fix-it").await.param("code").is_some());
    }
}

#[tokio::test]
async fn without_single_sign_on_every_request_asks() {
    let world = World::new();
    let mut browser = logged_in(&world).await;
    assert_eq!(browser.get(&authorize(&[])).await.status, StatusCode::OK);
}

#[tokio::test]
async fn single_sign_on_asks_once_and_obeys_prompt() {
    let world = World::with(|builder| builder.single_sign_on(true));
    let mut browser = logged_in(&world).await;
    assert!(browser.get(&authorize(&[])).await.param("code").is_some());
    assert!(browser.get(&authorize(&[("prompt", "none")])).await.param("code").is_some());
    for prompt in ["login", "select_account"] {
        let page = browser.get(&authorize(&[("prompt", prompt)])).await;
        assert!(page.body.contains("Password"), "{prompt}");
    }
    let page = browser.get(&authorize(&[("prompt", "consent")])).await;
    assert!(page.body.contains("You are signed in as <strong>Alice Liddell</strong>"));
    assert!(!page.body.contains("Password"));
    let fields = [("signed_in", "yes"), ("action", "allow")];
    assert!(browser.submit(&page, &fields).await.param("code").is_some());
    assert_eq!(browser.submit(&page, &[("action", "deny")]).await.error(), "access_denied");

    // "Continue" without a session is no way around the password.
    browser.cookies.remove("dev_idp_session");
    let answer = browser.submit(&page, &fields).await;
    assert!(answer.body.contains("Password"));
}

#[tokio::test]
async fn single_sign_on_obeys_max_age_and_ends() {
    let world = World::with(|builder| builder.single_sign_on(true));
    let mut browser = logged_in(&world).await;
    assert_eq!(browser.get(&authorize(&[("max_age", "0")])).await.status, StatusCode::OK);
    world.advance(100);
    assert!(browser.get(&authorize(&[("max_age", "100")])).await.param("code").is_some());
    assert_eq!(browser.get(&authorize(&[("max_age", "99")])).await.status, StatusCode::OK);
    world.advance(8 * 60 * 60);
    assert_eq!(browser.get(&authorize(&[])).await.status, StatusCode::OK);
}

async fn logged_in(world: &World) -> Browser {
    let mut browser = world.browser();
    let page = browser.get(&authorize(&[])).await;
    browser.log_in(&page, "alice", "wonderland").await.location();
    browser
}
