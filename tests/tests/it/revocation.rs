//! What ends with a grant, and how soon.

use std::time::Instant;

use anyhow::{Context as _, bail};
use end_to_end::{PATIENCE, eventually, process::Launch};
use http::StatusCode;
use serde_json::json;
use tokio::time::timeout;

use crate::logged_in;

#[tokio::test]
async fn an_open_stream_is_cut() -> anyhow::Result<()> {
    let demo = Launch::new().arg("--stream-check").arg("1s").start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let (_, bystander) = logged_in(&demo).await?;
    let countdown = json!({"steps": 600, "interval_ms": 200});
    let mut stream = client.call(&tokens.access, "countdown", countdown.clone()).await?;
    assert_eq!(stream.status(), StatusCode::OK);
    let mut other = client.call(&bystander.access, "countdown", countdown).await?;
    stream.chunk().await?.context("the stream ended at once")?;
    other.chunk().await?.context("the other stream ended at once")?;

    assert_eq!(client.revoke(&tokens.refresh).await?.status, StatusCode::OK);
    let revoked = Instant::now();
    let cut = async {
        loop {
            match stream.chunk().await {
                // Broken off, so that nobody takes it for a whole answer.
                Err(_) => return Ok(()),
                Ok(None) => bail!("the stream ended as if nothing had happened"),
                Ok(Some(chunk)) if String::from_utf8_lossy(&chunk).contains("Counted down") => {
                    bail!("the countdown came to its end")
                }
                Ok(Some(_)) => {}
            }
        }
    };
    timeout(PATIENCE, cut).await.context("the stream goes on")??;
    println!(
        "cut {:.1} s after the revocation, checked every 1 s",
        revoked.elapsed().as_secs_f64()
    );
    // Another grant's stream goes on.
    other.chunk().await?.context("the other stream was cut as well")?;
    Ok(())
}

#[tokio::test]
async fn every_token_of_the_grant_is_dead_and_no_other() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let (other_client, other) = logged_in(&demo).await?;
    let renewed = client.refresh(&tokens.refresh).await?.tokens()?;
    // An access token names its grant as well as a refresh token does (RFC 7009 §2.1).
    assert_eq!(client.revoke(&tokens.access).await?.status, StatusCode::OK);
    let revoked = Instant::now();
    for token in [&tokens.access, &renewed.access] {
        eventually("an access token to be refused", async || {
            client.status_with(token).await.is_ok_and(|status| status == StatusCode::UNAUTHORIZED)
        })
        .await?;
    }
    println!("refused {:.1} s after the revocation", revoked.elapsed().as_secs_f64());
    for token in [&tokens.refresh, &renewed.refresh] {
        let refused = client.refresh(token).await?;
        assert_eq!((refused.status, refused.error()), (StatusCode::BAD_REQUEST, "invalid_grant"));
    }
    assert_eq!(other_client.status_with(&other.access).await?, StatusCode::OK);
    other_client.refresh(&other.refresh).await?.tokens()?;
    Ok(())
}

#[tokio::test]
async fn another_client_cannot_revoke() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let (thief, _) = logged_in(&demo).await?;
    for token in [&tokens.access, &tokens.refresh] {
        // Whether it is an error or an empty 200 (RFC 7009 §2.2), nothing happens.
        thief.revoke(token).await?;
    }
    client.refresh(&tokens.refresh).await?.tokens()?;
    assert_eq!(client.status_with(&tokens.access).await?, StatusCode::OK);
    Ok(())
}

#[tokio::test]
async fn revoking_what_is_no_token_is_no_error() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    assert_eq!(client.revoke("no-token-of-ours").await?.status, StatusCode::OK);
    assert_eq!(client.revoke(&tokens.refresh).await?.status, StatusCode::OK);
    assert_eq!(client.revoke(&tokens.refresh).await?.status, StatusCode::OK);
    Ok(())
}
