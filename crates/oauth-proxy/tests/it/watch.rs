//! Streams end with their grant (D12).

use std::time::Duration;

use oauth_proxy::StreamEnd;

use crate::support::Deployment;

const DEADLINE: Duration = Duration::from_secs(20);

fn watching() -> Deployment {
    Deployment::with_lifetimes(|lifetimes| {
        lifetimes.stream_check = Duration::from_secs(1);
        lifetimes.access_token = Duration::from_secs(2);
    })
}

#[tokio::test]
async fn a_revoked_grant_ends_its_streams_with_one_read_for_all_of_them() {
    let deployment = watching();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let resource = "https://proxy.example/mcp";
    let verifier = deployment.proxy.verifier();
    let principal = verifier.verify(&tokens.access, resource).await.unwrap();
    let streams =
        futures_util::future::join_all((0..10).map(|_| deployment.proxy.watch(&principal)));
    let form = [("token", &*tokens.refresh), ("client_id", &*client)];
    deployment.post("/revoke", &form).await;
    // The provider is told in the background; that reads the store as well.
    tokio::task::yield_now().await;
    deployment.storage.operations();
    let ends = tokio::time::timeout(DEADLINE, streams).await.unwrap();
    assert!(ends.iter().all(|end| *end == StreamEnd::Revoked), "{ends:?}");
    assert!(deployment.storage.operations() <= 2);
}

#[tokio::test]
async fn an_expired_token_ends_listening() {
    let deployment = watching();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let verifier = deployment.proxy.verifier();
    let principal = verifier.verify(&tokens.access, "https://proxy.example/mcp").await.unwrap();
    let end = tokio::time::timeout(DEADLINE, deployment.proxy.watch(&principal)).await.unwrap();
    assert_eq!(end, StreamEnd::Expired);
}

#[tokio::test]
async fn an_answer_in_progress_outlives_its_token_but_not_its_grant() {
    let deployment = watching();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let verifier = deployment.proxy.verifier();
    let principal = verifier.verify(&tokens.access, "https://proxy.example/mcp").await.unwrap();
    deployment.clock.advance(Duration::from_secs(3));
    let end = tokio::time::timeout(DEADLINE, deployment.proxy.watch(&principal)).await.unwrap();
    assert_eq!(end, StreamEnd::Expired, "listening is over at once");
    let answer = deployment.proxy.watch_revocation(&principal);
    deployment.post("/revoke", &[("token", &*tokens.refresh), ("client_id", &*client)]).await;
    tokio::time::timeout(DEADLINE, answer).await.unwrap();
}

#[tokio::test]
async fn an_outage_of_the_store_cuts_nobody() {
    let deployment = watching();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let verifier = deployment.proxy.verifier();
    let principal = verifier.verify(&tokens.access, "https://proxy.example/mcp").await.unwrap();
    deployment.storage.fail("grants");
    let end = tokio::time::timeout(DEADLINE, deployment.proxy.watch(&principal)).await.unwrap();
    assert_eq!(end, StreamEnd::Expired, "only its own end counts");
}

#[tokio::test]
async fn shutdown_does_not_wait_for_watchers() {
    let deployment = watching();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let verifier = deployment.proxy.verifier();
    let principal = verifier.verify(&tokens.access, "https://proxy.example/mcp").await.unwrap();
    let stream = tokio::spawn(deployment.proxy.watch(&principal));
    tokio::task::yield_now().await;
    tokio::time::timeout(DEADLINE, deployment.proxy.shutdown()).await.unwrap();
    stream.abort();
}

#[tokio::test]
async fn requests_without_a_stream_cost_one_task_for_all_and_no_read() {
    let deployment = watching();
    let client = deployment.register().await;
    let verifier = deployment.proxy.verifier();
    let mut principals = Vec::new();
    for _ in 0..15 {
        let tokens = deployment.login(&client).await;
        principals
            .push(verifier.verify(&tokens.access, "https://proxy.example/mcp").await.unwrap());
    }
    deployment.storage.operations();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for principal in &principals {
        // What the forwarder does for every request: it begins to watch, and the answer ends.
        let mut watch = deployment.proxy.watch(principal);
        assert!(futures_util::poll!(&mut watch).is_pending());
    }
    assert_eq!(tasks(), before + 1);
    crate::support::until(async || tasks() == before).await;
    assert_eq!(deployment.storage.operations(), 0);
}
