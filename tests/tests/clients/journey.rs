//! The whole journey of a client.

use anyhow::ensure;
use end_to_end::{User, browser::Intent, serve::Settings};
use serde_json::{Value, json};

use crate::{
    driver::{Driver, Kind},
    provider::{Provider, Tokens},
    rig::Rig,
};

/// What a client is told of the life of an access token, which is good for five seconds more.
pub(crate) const ACCESS_TOKEN: &str = "2s";

/// Alice, who may log in.
pub(crate) fn alice() -> Intent {
    Intent::LogIn(User { name: "alice".into(), password: "wonderland".into() })
}

/// Where the provider returns.
pub(crate) fn callback_url(settings: &Settings) -> String {
    format!("{}/auth/callback", settings.base_url())
}

/// With our own provider, whose claims are in the ID token.
pub(crate) async fn with_dev_idp(kind: Kind) -> anyhow::Result<()> {
    let settings = Settings::new()?;
    let provider = Provider::dev_idp(&callback_url(&settings)).await?;
    run(kind, settings, provider, "user-alice").await
}

/// With `oidc-provider`.
pub(crate) async fn with_oidc_provider(kind: Kind, tokens: Tokens) -> anyhow::Result<()> {
    let settings = Settings::new()?;
    let provider = Provider::certified(&callback_url(&settings), tokens).await?;
    let settings = match tokens {
        // It gives refresh tokens as the specification has it (OpenID Connect Core §11).
        Tokens::Rotating => settings
            .set("provider-scopes", "openid profile email offline_access")
            .set("extra-authorize-params", "prompt=consent"),
        // Its ID tokens say who it is, and nothing more (OpenID Connect Core §5.4).
        Tokens::Fixed => settings.set("userinfo", "true"),
    };
    run(kind, settings, provider, "alice").await
}

async fn run(
    kind: Kind,
    settings: Settings,
    provider: Provider,
    subject: &str,
) -> anyhow::Result<()> {
    let settings = settings.set("access-token-lifetime", ACCESS_TOKEN);
    let rig = Rig::start(settings, provider).await?;
    let mut driver = Driver::start(kind, alice())?;
    with(&mut driver, rig, subject).await
}

/// Discovery, registration, login, tools, calls, a stream, a refresh, a restart.
pub(crate) async fn with(driver: &mut Driver, mut rig: Rig, subject: &str) -> anyhow::Result<()> {
    driver.connect(&rig.serve.mcp_endpoint()).await?;
    ensure!(driver.person.logins == 1, "{} logins", driver.person.logins);
    ensure!(driver.tools().await? == ["countdown", "echo", "whoami"]);
    let identity: Value = serde_json::from_str(&driver.call("whoami", json!({})).await?.text)?;
    ensure!(identity["x-forwarded-user"] == subject, "{identity}");
    ensure!(identity["x-forwarded-email"] == "alice@example.com", "{identity}");
    let counted = driver.call("countdown", json!({"steps": 3, "interval_ms": 200})).await?;
    // With the result some stop listening to steps, and a busy machine delivers several at once.
    ensure!(!counted.progress.is_empty(), "{counted:?}");
    ensure!([1.0, 2.0, 3.0].starts_with(&counted.progress), "{counted:?}");
    ensure!(counted.text == "Counted down 3 steps.", "{counted:?}");

    // Some refresh as soon as their listening stream ends, without a call.
    let renewed = rig.provider.refreshes().await?;
    let old = driver.kept().await?;
    rig.until_refused(&old.access_token).await?;
    driver.echo("after a refresh").await?;
    let new = driver.kept().await?;
    ensure!(new.client_id == old.client_id, "it registered again");
    ensure!(new.access_token != old.access_token, "it has no new access token");
    ensure!(new.refresh_token != old.refresh_token, "it has no new refresh token");
    ensure!(rig.provider.refreshes().await? > renewed, "the provider's token was not renewed");

    let _rig = rig.restart().await?;
    driver.echo("after a restart").await?;
    ensure!(driver.person.logins == 1, "{} logins", driver.person.logins);
    Ok(())
}
