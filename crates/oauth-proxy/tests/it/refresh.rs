//! Refresh tokens (D5): a lost answer logs nobody out, a stolen token does not work for long.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::StatusCode;
use kv_storage::{Sqlite, Ttl};

use crate::support::{Deployment, Fault, TestClock, Tokens};

#[tokio::test]
async fn each_use_rotates() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let mut tokens = deployment.login(&client).await;
    let mut seen = BTreeSet::from([tokens.refresh.clone()]);
    for _ in 0..5 {
        tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        assert!(seen.insert(tokens.refresh.clone()), "a refresh token came twice");
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
        deployment.clock.advance(Duration::from_mins(3));
    }
    assert_eq!(deployment.provider.refreshes(), 0, "our rotation does not need the provider");
}

#[tokio::test]
async fn a_retired_token_leads_to_the_current_one_inside_the_window() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let first = deployment.login(&client).await;
    let second = Tokens::of(&deployment.refresh(&client, &first.refresh).await);
    deployment.clock.advance(Duration::from_secs(119));
    let again = Tokens::of(&deployment.refresh(&client, &first.refresh).await);
    assert_eq!(again.refresh, second.refresh, "the same successor");
    assert_ne!(again.access, second.access, "a fresh access token");
    Tokens::of(&deployment.refresh(&client, &second.refresh).await);
}

#[tokio::test]
async fn a_token_that_was_retired_earlier_is_a_replay_and_ends_everything() {
    let deployment = Deployment::with_lifetimes(|lifetimes| {
        lifetimes.revocation_delay = Duration::ZERO;
    });
    let client = deployment.register().await;
    let first = deployment.login(&client).await;
    let second = Tokens::of(&deployment.refresh(&client, &first.refresh).await);
    deployment.clock.advance(Duration::from_secs(121));
    for stolen in [&first.refresh, &second.refresh] {
        let answer = deployment.refresh(&client, stolen).await;
        answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    }
    assert_eq!(deployment.call(&second.access).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_is_not_ours_never_changes_the_grant() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let other = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let parts: Vec<&str> = tokens.refresh.split('.').collect();
    let forged = [
        // A later and an earlier generation without the MAC for it.
        format!("{}.{}.{}.{}.{}", parts[0], parts[1], parts[2], 7, parts[4]),
        format!("{}.{}.{}.0{}.{}", parts[0], parts[1], parts[2], parts[3], parts[4]),
        format!("{}.{}.{}.{}.", parts[0], parts[1], parts[2], parts[3]),
        format!("{}.{}.{}.{}.{}", parts[0], "otherkey", parts[2], parts[3], parts[4]),
        format!("{}.x", tokens.refresh),
        tokens.refresh.replace("r1.", "r2."),
        "nonsense".to_owned(),
        "r1....".to_owned(),
        format!("r1.{}", "a".repeat(10_000)),
    ];
    for token in forged {
        let answer = deployment.refresh(&client, &token).await;
        answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    }
    let answer = deployment.refresh(&other, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
}

#[tokio::test]
async fn scope_and_resource_of_a_refresh() {
    let deployment = Deployment::with(|builder| builder.extra_scopes(["files", "mail"]));
    let client = deployment.register().await;
    let mut browser = crate::support::Browser::default();
    let path = crate::support::authorize_path(&client, &[("scope", "openid files mail")]);
    let page = browser.get(&deployment, &path).await;
    let (request, csrf) = (page.field("request"), page.field("csrf"));
    let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
    let sent = browser.post(&deployment, "/consent", &form).await;
    let state = crate::support::param(sent.location(), "state").unwrap();
    let back = browser.return_with_code(&deployment, &state).await;
    let code = crate::support::param(back.location(), "code").unwrap();
    let mut token = Tokens::of(&deployment.redeem(&client, &code).await).refresh;
    let all = "openid files mail";
    let scopes = [
        (None, all),
        (Some("mail files openid"), all),
        (Some("openid files"), "openid files"),
        // Narrowing did not shrink the grant.
        (None, all),
        // What was not granted is left out; if that leaves nothing, it is as if nothing was asked.
        (Some("mail openid admin offline_access"), "openid mail"),
        (Some("admin"), all),
        (Some(""), all),
    ];
    let canonical = "https://proxy.example/mcp";
    let resources = [None, Some(canonical), Some("https://proxy.example/mcp/")];
    for ((scope, granted), resource) in scopes.into_iter().zip(resources.into_iter().cycle()) {
        let mut form = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", &*token),
            ("client_id", &*client),
        ];
        form.extend(scope.map(|scope| ("scope", scope)));
        form.extend(resource.map(|resource| ("resource", resource)));
        let answer = deployment.post("/token", &form).await;
        let tokens = Tokens::of(&answer);
        let found = answer.json()["scope"].as_str().unwrap().to_owned();
        let sorted = |scope: &str| scope.split(' ').map(str::to_owned).collect::<BTreeSet<_>>();
        assert_eq!(sorted(&found), sorted(granted), "{scope:?}");
        // The resource sees what the token has, not what the grant has.
        let call = deployment.call(&tokens.access).await;
        assert!(call.body.ends_with(&format!("[{found}]")), "{scope:?}: {call:?}");
        token = tokens.refresh;
    }
    for wrong in ["https://proxy.example/other", "https://other.example/mcp", "mcp", ""] {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", &*token),
            ("client_id", &*client),
            ("resource", wrong),
        ];
        let answer = deployment.post("/token", &form).await;
        let error = answer.json()["error"].clone();
        if wrong.is_empty() {
            // As good as absent (RFC 6749 §3.1).
            token = Tokens::of(&answer).refresh;
        } else {
            assert_eq!(error, "invalid_target", "{wrong}");
        }
    }
    // None of that used the token up.
    let next = Tokens::of(&deployment.refresh(&client, &token).await);
    assert_eq!(generation(&next.refresh), generation(&token) + 1);
}

fn generation(token: &str) -> u64 {
    token.split('.').nth(3).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_store_that_lost_a_write_locks_nobody_out() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let first = deployment.login(&client).await;
    let id = deployment.storage.keys("grants").await.remove(0);
    let before = deployment.storage.inner().get("grants", &id).await.unwrap().unwrap();
    let second = Tokens::of(&deployment.refresh(&client, &first.refresh).await);
    // A restored dump: the rotation never happened.
    let ttl = Ttl::After(Duration::from_hours(1));
    deployment.storage.inner().put("grants", &id, before.value, ttl).await.unwrap();
    let third = Tokens::of(&deployment.refresh(&client, &second.refresh).await);
    Tokens::of(&deployment.refresh(&client, &third.refresh).await);
}

#[tokio::test]
async fn a_lost_answer_of_the_store_is_no_replay() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let first = deployment.login(&client).await;
    deployment.storage.fail_next("grants", Fault::AnswerLost);
    let second = Tokens::of(&deployment.refresh(&client, &first.refresh).await);
    Tokens::of(&deployment.refresh(&client, &second.refresh).await);
}

#[tokio::test]
async fn without_a_window_a_lost_answer_of_the_store_is_no_replay_either() {
    let deployment =
        Deployment::with_lifetimes(|lifetimes| lifetimes.refresh_grace = Duration::ZERO);
    let client = deployment.register().await;
    let first = deployment.login(&client).await;
    deployment.storage.fail_next("grants", Fault::AnswerLost);
    let second = Tokens::of(&deployment.refresh(&client, &first.refresh).await);
    Tokens::of(&deployment.refresh(&client, &second.refresh).await);
}

#[tokio::test]
async fn an_idle_grant_and_an_old_grant_end() {
    let deployment = Deployment::with_lifetimes(|lifetimes| {
        lifetimes.refresh_idle = Duration::from_secs(100);
        lifetimes.refresh_absolute = Duration::from_secs(250);
        lifetimes.access_token = Duration::from_secs(80);
    });
    let client = deployment.register().await;
    let idle = deployment.login(&client).await;
    let mut used = deployment.login(&client).await;
    for _ in 0..3 {
        deployment.clock.advance(Duration::from_secs(80));
        used = Tokens::of(&deployment.refresh(&client, &used.refresh).await);
    }
    assert_eq!(used.expires_in, 10, "no access token outlives its grant");
    for refresh in [&idle.refresh, &used.refresh] {
        deployment.clock.advance(Duration::from_secs(10));
        let answer = deployment.refresh(&client, refresh).await;
        answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    }
}

#[tokio::test]
async fn without_a_refresh_token_of_the_provider_the_session_is_short() {
    let deployment = Deployment::new();
    deployment.provider.change(|plan| plan.gives_refresh_token = false);
    deployment.provider.change(|plan| plan.expires_in = Some(Duration::from_hours(10)));
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    deployment.clock.advance(Duration::from_mins(9 * 60 + 30));
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(tokens.expires_in, 30 * 60);
    deployment.clock.advance(Duration::from_mins(30));
    let answer = deployment.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_simultaneous_refreshes_every_one_continues_with_one_successor() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Sqlite::open(folder.path().join("state.sqlite")).await.unwrap();
    let deployment =
        Arc::new(Deployment::on(Arc::new(storage), TestClock::wall(), |builder| builder));
    let client = deployment.register().await;
    let mut token = deployment.login(&client).await.refresh;
    for _ in 0..5 {
        let attempts = (0..32).map(|_| {
            let (deployment, client, token) =
                (Arc::clone(&deployment), client.clone(), token.clone());
            tokio::spawn(async move { deployment.refresh(&client, &token).await })
        });
        let mut successors = BTreeSet::new();
        for attempt in attempts.collect::<Vec<_>>() {
            successors.insert(Tokens::of(&attempt.await.unwrap()).refresh);
        }
        assert_eq!(successors.len(), 1, "one live successor");
        token = successors.into_iter().next().unwrap();
    }
    assert_eq!(deployment.storage.keys("grants").await.len(), 1);
}
