//! What a client makes of a no.

use anyhow::{Context as _, ensure};
use end_to_end::{User, browser::Intent, serve::Settings};

use crate::{
    driver::{Driver, Kind},
    journey::{alice, callback_url},
    provider::Provider,
    rig::Rig,
};

/// Somebody whom the provider knows and the proxy does not let in.
fn bob() -> Intent {
    Intent::LogIn(User { name: "bob".into(), password: "can-we-fix-it".into() })
}

async fn rig() -> anyhow::Result<Rig> {
    let settings = Settings::new()?;
    let provider = Provider::dev_idp(&callback_url(&settings)).await?;
    Rig::start(settings, provider).await
}

/// The client is told, once, and does not ask again.
pub(crate) async fn of_a_person(kind: Kind) -> anyhow::Result<()> {
    let rig = rig().await?;
    let mut driver = Driver::start(kind, bob())?;
    let refused = driver.connect(&rig.serve.mcp_endpoint()).await;
    let error = refused.err().context("somebody got in who must not")?;
    let why = match kind {
        // It does not look at the error of an authorization response, only for a code.
        Kind::Rmcp => "missing code",
        _ => "access_denied",
    };
    ensure!(format!("{error:#}").contains(why), "it does not say why: {error:#}");
    ensure!(driver.person.logins == 1, "it asked {} times", driver.person.logins);
    Ok(())
}

/// The client has its user log in again, and goes on.
pub(crate) async fn of_a_grant(kind: Kind) -> anyhow::Result<()> {
    let rig = rig().await?;
    let mut driver = Driver::start(kind, alice())?;
    driver.connect(&rig.serve.mcp_endpoint()).await?;
    driver.echo("before").await?;

    let kept = driver.kept().await?;
    let revoked = end_to_end::http()?
        .post(format!("{}/revoke", rig.serve.settings().base_url()))
        .form(&[("token", &kept.refresh_token), ("client_id", &kept.client_id)])
        .send()
        .await?;
    ensure!(revoked.status() == 200, "{revoked:?}");
    rig.until_refused(&kept.access_token).await?;

    driver.echo("after").await?;
    ensure!(driver.person.logins == 2, "{} logins", driver.person.logins);
    Ok(())
}
