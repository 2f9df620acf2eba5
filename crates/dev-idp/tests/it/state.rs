//! What a state directory keeps over a restart.

use std::{fs, path::Path, sync::Arc, time::Duration};

use dev_idp::{DevIdp, Error, User};
use http::StatusCode;

use crate::support::{CALLBACK, CONFIDENTIAL, ISSUER, SECRET, World, authorize, base, claims};

fn at(directory: &Path) -> World {
    World::with(|builder| builder.state_dir(directory).single_sign_on(true))
}

#[tokio::test]
async fn refresh_tokens_and_sessions_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let world = at(directory.path());
    let mut browser = world.browser();
    let page = browser.get(&authorize(&[])).await;
    let code = browser.log_in(&page, "alice", "wonderland").await.param("code").unwrap();
    let tokens = world.redeem(&code, &[]).await.json();
    let first = tokens["refresh_token"].as_str().unwrap();
    let second = world.refresh(first).await.json();
    drop(world);

    let world = at(directory.path());
    let mut again = world.browser();
    again.cookies = browser.cookies;
    assert!(again.get(&authorize(&[])).await.param("code").is_some(), "still logged in");
    let access_token = tokens["access_token"].as_str().unwrap();
    assert_eq!(world.userinfo(access_token).await.status, StatusCode::OK);
    let third = world.refresh(second["refresh_token"].as_str().unwrap()).await;
    assert_eq!(third.status, StatusCode::OK);
    assert_eq!(claims(&third.json()["id_token"])["sub"], "user-alice");
    drop(world);

    let world = at(directory.path());
    assert_eq!(world.refresh(first).await.error(), "invalid_grant");
    assert_eq!(world.idp.stats().refresh_token_reuses, 1, "reuse is known over restarts");
}

#[tokio::test]
async fn a_revoked_grant_stays_revoked_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let world = at(directory.path());
    let tokens = world.tokens(&[]).await;
    let token = tokens["refresh_token"].as_str().unwrap();
    world.post("/revoke", &[("token", token)]).await;
    drop(world);
    assert_eq!(at(directory.path()).refresh(token).await.error(), "invalid_grant");
}

#[tokio::test]
async fn a_user_who_is_gone_gets_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = at(directory.path()).tokens(&[]).await;
    let world = World::with(|builder| builder.state_dir(directory.path()).user(User::bob()));
    let refreshed = world.refresh(tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(refreshed.error(), "invalid_grant");
    let userinfo = world.userinfo(tokens["access_token"].as_str().unwrap()).await;
    assert_eq!(userinfo.status, StatusCode::UNAUTHORIZED);
}

#[test]
fn the_signing_key_is_made_once_and_kept() {
    let directory = tempfile::tempdir().unwrap();
    let build = || {
        DevIdp::builder()
            .issuer(ISSUER)
            .client(dev_idp::ClientConfig {
                client_id: CONFIDENTIAL.to_owned(),
                client_secret: Some(SECRET.to_owned()),
                redirect_uris: vec![CALLBACK.to_owned()],
            })
            .state_dir(directory.path().join("below"))
            .build()
            .unwrap()
    };
    build();
    let path = directory.path().join("below/signing-key.p8");
    let key = fs::read(&path).unwrap();
    build();
    assert_eq!(fs::read(&path).unwrap(), key);
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_for_their_owner_only_and_hold_no_token() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let world = at(directory.path());
    let tokens = world.tokens(&[]).await;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
        let content = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
        assert!(!content.contains(tokens["refresh_token"].as_str().unwrap()));
    }
}

#[test]
fn a_foreign_state_file_is_an_error_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state.json");
    let newer = r#"{"format":2,"mac_key":"","grants":{},"sessions":{}}"#;
    for content in ["no JSON", newer] {
        fs::write(&path, content).unwrap();
        let outcome = base(ISSUER).state_dir(directory.path()).build();
        assert!(matches!(outcome, Err(Error::State { .. })), "{outcome:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn an_unusable_directory_is_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let outcome = base(ISSUER).state_dir(&file).build();
    assert!(matches!(outcome, Err(Error::File { .. })), "{outcome:?}");
}

#[tokio::test]
async fn expired_records_are_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let world = at(directory.path());
    world.tokens(&[]).await;
    drop(world);
    let path = directory.path().join("state.json");
    let before = fs::read_to_string(&path).unwrap();
    assert!(before.contains("user-alice"));
    let late = std::time::UNIX_EPOCH + Duration::from_secs(crate::support::START + 40 * 24 * 3600);
    base(ISSUER).state_dir(directory.path()).clock(Arc::new(move || late)).build().unwrap();
    assert!(!fs::read_to_string(&path).unwrap().contains("user-alice"));
}
