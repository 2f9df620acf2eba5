//! Starting, stopping, and what is left.

use std::{net::TcpListener, path::Path};

use end_to_end::{
    browser::Browser,
    client::Client,
    process::{Launch, Signal},
};
use http::StatusCode;
use serde_json::json;

use crate::{alice, files, logged_in};

#[tokio::test]
async fn a_busy_port_is_a_sentence_with_its_flag() -> anyhow::Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    let flags = ["--port", "--idp-port", "--mcp-port"];
    for (index, flag) in flags.into_iter().enumerate() {
        let mut ports = [0; 3];
        ports[index] = port;
        let ended = Launch::new().ports(ports).run().await?;
        assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
        assert_eq!(ended.stdout, "", "it printed a guide to nothing");
        let lines: Vec<&str> = ended.stderr.lines().collect();
        let [line] = lines[..] else { panic!("one sentence, not {}", ended.stderr) };
        assert!(line.contains(&format!("port {port} is in use")), "{line}");
        assert!(line.ends_with(&format!("with {flag}")), "{line}");
        assert_eq!(ended.leftovers, Vec::<&Path>::new());
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_flag_is_an_error_of_usage() -> anyhow::Result<()> {
    let ended = Launch::new().arg("--keeep").run().await?;
    assert_eq!(ended.status.code(), Some(2));
    assert!(ended.stderr.contains("--keep"), "{}", ended.stderr);
    Ok(())
}

#[tokio::test]
async fn both_signals_stop_it_and_nothing_is_left() -> anyhow::Result<()> {
    for signal in [Signal::Interrupt, Signal::Terminate, Signal::HangUp] {
        let demo = Launch::new().start().await?;
        logged_in(&demo).await?;
        let stopped = demo.stop(signal).await?;
        assert!(stopped.status.success(), "{signal:?}: {}\n{}", stopped.status, stopped.stderr);
        assert_eq!(stopped.leftovers, Vec::<&Path>::new(), "{signal:?}");
    }
    Ok(())
}

#[tokio::test]
async fn open_streams_do_not_hold_it_up() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let countdown = json!({"steps": 600, "interval_ms": 200});
    let mut stream = client.call(&tokens.access, "countdown", countdown).await?;
    assert!(stream.chunk().await?.is_some());
    let stopped = demo.stop(Signal::Interrupt).await?;
    assert!(stopped.status.success(), "{}\n{}", stopped.status, stopped.stderr);
    Ok(())
}

#[tokio::test]
#[cfg(unix)]
async fn what_is_kept_is_for_its_owner_only() -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let state = tempfile::tempdir()?;
    let kept = state.path().join("kept");
    let demo = Launch::new().keep(&kept).start().await?;
    logged_in(&demo).await?;
    let stopped = demo.stop(Signal::Terminate).await?;
    assert_eq!(stopped.leftovers, Vec::<&Path>::new());
    let mode = |path: &Path| anyhow::Ok(std::fs::metadata(path)?.permissions().mode() & 0o077);
    assert_eq!(mode(&kept)?, 0, "others may look into {}", kept.display());
    let files = files(&kept)?;
    for path in &files {
        assert_eq!(mode(path)?, 0, "others may read {}", path.display());
    }
    assert!(!files.is_empty(), "nothing was kept");
    Ok(())
}

#[tokio::test]
async fn registrations_and_sessions_survive_a_restart() -> anyhow::Result<()> {
    let state = tempfile::tempdir()?;
    let demo = Launch::new().keep(state.path()).start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let mut browser = Browser::new()?;
    let authorized = client.authorize(&mut browser, &alice(&demo)).await?;

    let demo = demo.restart().await?;
    assert_eq!(client.status_with(&tokens.access).await?, StatusCode::OK);
    client.refresh(&tokens.refresh).await?.tokens()?;
    client.redeem(&authorized, &[]).await?.tokens()?;
    client.log_in(&mut browser, &alice(&demo)).await?;
    Ok(())
}

#[tokio::test]
async fn without_keep_everything_is_forgotten() -> anyhow::Result<()> {
    let demo = Launch::new().start().await?;
    let (client, tokens) = logged_in(&demo).await?;
    let demo = demo.restart().await?;
    assert_eq!(client.status_with(&tokens.access).await?, StatusCode::UNAUTHORIZED);
    let refused = client.refresh(&tokens.refresh).await?;
    assert_eq!((refused.status, refused.error()), (StatusCode::UNAUTHORIZED, "invalid_client"));
    Client::register(&demo.mcp_endpoint).await?;
    Ok(())
}
