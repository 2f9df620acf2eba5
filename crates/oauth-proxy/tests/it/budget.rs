//! What each route may ask of the store (DESIGN, "Storage records"); client reads not counted.

use std::time::Duration;

use axum::body::Body;
use http::Request;
use oauth_proxy::ResourceServer;
use secrecy::SecretString;
use serde_json::json;

use crate::support::{Deployment, REDIRECT, Tokens};

const SECRET: &str = "the resource server's secret";

#[tokio::test]
async fn routes_stay_within_their_budget() {
    let deployment = Deployment::with(|builder| {
        builder.resource_server(ResourceServer::new("rs", &SecretString::from(SECRET)))
    });
    deployment.provider.change(|plan| plan.expires_in = Some(Duration::from_mins(10)));
    let spent = |route: &str, budget: usize| {
        let operations = deployment.storage.operations();
        println!("{route}: {operations} of {budget}");
        assert!(operations <= budget, "{route}: {operations} storage operations of {budget}");
    };
    let client = deployment.register().await;
    let registered = deployment.register_with(&json!({"redirect_uris": [REDIRECT]})).await.json();
    spent("register (its one write is the client's)", 0);
    deployment.get(&crate::support::authorize_path(&client, &[])).await;
    spent("authorize", 0);

    let code = deployment.code(&client).await;
    deployment.storage.operations();
    let tokens = Tokens::of(&deployment.redeem(&client, &code).await);
    spent("redemption", 3);

    deployment.call(&tokens.access).await;
    spent("protected request", 1);
    deployment.call(&tokens.access).await;
    spent("protected request, cached", 0);
    let asked = [("token", &*tokens.access), ("client_id", "rs"), ("client_secret", SECRET)];
    deployment.post("/introspect", &asked).await;
    spent("introspection", 1);
    let form = [("token", "nonsense"), ("client_id", "rs"), ("client_secret", SECRET)];
    deployment.post("/introspect", &form).await;
    spent("introspection of nonsense", 0);
    let managed = Request::get(registered["registration_client_uri"].as_str().unwrap())
        .header("authorization", format!("Bearer {}", registered["registration_access_token"]))
        .body(Body::empty())
        .unwrap();
    deployment.send(managed).await;
    spent("client management (its read is the client's)", 0);

    deployment.call("nonsense").await;
    spent("request with a bad token", 0);

    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    spent("refresh", 2);
    deployment.clock.advance(Duration::from_mins(10));
    Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!(deployment.provider.refreshes(), 1);
    spent("refresh with provider call", 3);
}
