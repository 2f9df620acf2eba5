//! Nothing secret in the logs, nor in the clear in what is kept.

use std::collections::BTreeSet;

use end_to_end::{
    browser::Browser,
    client::{Client, query},
    process::{Launch, Signal},
};
use http::StatusCode;
use serde_json::json;

use crate::{alice, files};

/// How a JWT of anybody's begins: `{"alg":` or `{"typ":` in base64url.
const JWT_BEGINNINGS: [&str; 2] = ["eyJhbGciOi", "eyJ0eXAiOi"];

/// Query parameters that are secret, or lead to one.
const SECRET_PARAMETERS: [&str; 5] = ["code", "state", "nonce", "request", "error_description"];

#[tokio::test]
async fn nothing_secret_is_logged_or_kept_in_the_clear() -> anyhow::Result<()> {
    let state = tempfile::tempdir()?;
    // As much as our own crates ever say.
    let ours = "warn,dev_idp=trace,dev_mcp=trace,forwarder=trace,jwt_issuer=trace,\
        kv_storage=trace,oauth_proxy=trace,oidc_discovery=trace,\
        oidc_proxy=trace,outbound_http=trace,token_verifier=trace";
    let demo = Launch::new().keep(state.path()).env("RUST_LOG", ours).start().await?;
    let client = Client::register(&demo.mcp_endpoint).await?;
    let mut browser = Browser::new()?;
    let mut secrets = BTreeSet::new();

    // Everything that ends badly is logged too: a wrong password, a wrong verifier, a replay, a
    // revocation.
    let authorized = client.authorize(&mut browser, &alice(&demo)).await?;
    client
        .redeem(
            &authorized,
            &[("code_verifier", Some("wrong-verifier-of-at-least-43-characters-in-all"))],
        )
        .await?;
    let tokens = client.redeem(&authorized, &[]).await?.tokens()?;
    assert_eq!(client.status_with(&tokens.access).await?, StatusCode::OK);
    let who = client.call(&tokens.access, "whoami", json!({})).await?.text().await?;
    assert!(who.contains("alice@example.com"), "{who}");
    let renewed = client.refresh(&tokens.refresh).await?.tokens()?;
    client.redeem(&authorized, &[]).await?;
    client.refresh(&renewed.refresh).await?;
    let second = client.log_in(&mut browser, &alice(&demo)).await?;
    client.revoke(&second.refresh).await?;

    for tokens in [&tokens, &renewed, &second] {
        secrets.extend([tokens.access.clone(), tokens.refresh.clone()]);
    }
    secrets.extend([authorized.code.clone(), authorized.pkce.verifier.clone()]);
    secrets.extend(browser.jar.values().into_iter().map(Into::into));
    for url in &browser.visited {
        secrets.extend(SECRET_PARAMETERS.iter().filter_map(|name| query(url, name)));
    }
    secrets.extend(
        demo.users
            .iter()
            .flat_map(|user| [user.password.clone(), format!("{}@example.com", user.name)]),
    );
    secrets.extend(JWT_BEGINNINGS.map(Into::into));
    assert!(secrets.len() > 15, "too few secrets were collected");

    let password = demo.user("alice").password;
    let stopped = demo.stop(Signal::Terminate).await?;
    assert!(stopped.stderr.contains("oauth_proxy"), "nothing was logged:\n{}", stopped.stderr);
    // The search finds what is there: the guide shows the passwords on purpose.
    assert!(position(stopped.stdout.as_bytes(), &password).is_some());
    absent("the log", stopped.stderr.as_bytes(), &secrets);
    let mut databases = 0;
    for path in files(state.path())? {
        let content = std::fs::read(&path)?;
        if content.starts_with(b"SQLite format 3\0") || path.to_string_lossy().ends_with("-wal") {
            databases += 1;
            absent(&path.display().to_string(), &content, &secrets);
        }
    }
    assert!(databases > 0, "no database was kept");
    Ok(())
}

/// None of `secrets` is in `content`. Does not repeat the secret, only how it begins.
fn absent(place: &str, content: &[u8], secrets: &BTreeSet<String>) {
    for secret in secrets.iter().filter(|secret| secret.len() >= 8) {
        if let Some(at) = position(content, secret) {
            let line =
                content[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let before = String::from_utf8_lossy(&content[line.max(at.saturating_sub(300))..at]);
            panic!("{place} has {}… after: {before}", &secret[..6]);
        }
    }
}

/// Where `secret` begins in `content`.
fn position(content: &[u8], secret: &str) -> Option<usize> {
    content.windows(secret.len()).position(|window| window == secret.as_bytes())
}
