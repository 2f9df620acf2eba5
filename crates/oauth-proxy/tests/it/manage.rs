//! Client management (RFC 7592): a client looks after its own registration, and no other's.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};

use crate::support::{Answer, Deployment, Fault, REDIRECT, Tokens, authorize_path};

struct Registered {
    id: String,
    token: String,
    path: String,
}

async fn register(deployment: &Deployment, metadata: &Value) -> (Registered, Value) {
    let answer = deployment.register_with(metadata).await.json();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    let id = text("client_id");
    let path = format!("/register/{id}");
    assert_eq!(text("registration_client_uri"), format!("https://proxy.example{path}"));
    (Registered { token: text("registration_access_token"), id, path }, answer)
}

async fn send(
    deployment: &Deployment,
    method: Method,
    path: &str,
    token: &str,
    body: &str,
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_owned()))
        .unwrap();
    deployment.send(request).await
}

fn public() -> Value {
    json!({"redirect_uris": [REDIRECT], "client_name": "Test client"})
}

#[tokio::test]
async fn a_client_reads_its_registration_without_its_secret() {
    let deployment = Deployment::new();
    let metadata = json!({"redirect_uris": [REDIRECT],
        "token_endpoint_auth_method": "client_secret_post"});
    let (client, mut registered) = register(&deployment, &metadata).await;
    let answer = send(&deployment, Method::GET, &client.path, &client.token, "").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let members = registered.as_object_mut().unwrap();
    members.remove("client_secret");
    members.remove("client_secret_expires_at");
    assert_eq!(answer.json(), registered);
}

#[tokio::test]
async fn without_its_token_nothing_is_shown_or_changed() {
    let deployment = Deployment::new();
    let (client, _) = register(&deployment, &public()).await;
    let (other, _) = register(&deployment, &public()).await;
    let tokens = deployment.login(&client.id).await;
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let body = public().to_string();
        for (path, token) in [
            (client.path.as_str(), other.token.as_str()),
            (&client.path, "nonsense"),
            (&client.path, ""),
            ("/register/nobody", &client.token),
            (&format!("/register/{}", "x".repeat(5000)), &client.token),
        ] {
            let answer = send(&deployment, method.clone(), path, token, &body).await;
            answer.assert_error(StatusCode::UNAUTHORIZED, "invalid_token");
            let challenge = answer.headers["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer "), "{challenge}");
        }
        let bare = Request::builder().method(method).uri(&client.path).body(Body::empty()).unwrap();
        deployment.send(bare).await.assert_error(StatusCode::UNAUTHORIZED, "invalid_token");
    }
    Tokens::of(&deployment.refresh(&client.id, &tokens.refresh).await);
}

#[tokio::test]
async fn a_client_replaces_its_registration_and_stays_itself() {
    let deployment = Deployment::new();
    let (client, _) = register(&deployment, &public()).await;
    let tokens = deployment.login(&client.id).await;
    let moved = json!({"client_id": client.id, "redirect_uris": ["http://127.0.0.1:7777/moved"],
        "client_name": "Renamed", "client_id_issued_at": 1});
    let put = |body: Value| {
        let (deployment, client) = (&deployment, &client);
        async move {
            send(deployment, Method::PUT, &client.path, &client.token, &body.to_string()).await
        }
    };
    let answer = put(moved).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    let shown = answer.json();
    assert_eq!(shown["client_name"], "Renamed");
    assert_eq!(shown["client_id"], json!(client.id));
    assert_eq!(shown["client_id_issued_at"], 1_800_000_000_u64);
    assert_eq!(shown["registration_access_token"], json!(client.token));
    let old = deployment.get(&authorize_path(&client.id, &[])).await;
    assert_eq!(old.status, StatusCode::BAD_REQUEST, "the old redirect URI is gone");
    Tokens::of(&deployment.refresh(&client.id, &tokens.refresh).await);

    for (bad, error) in [
        (json!({"client_id": "another", "redirect_uris": [REDIRECT]}), "invalid_client_metadata"),
        (json!({"client_id": client.id}), "invalid_redirect_uri"),
        (json!([]), "invalid_client_metadata"),
    ] {
        put(bad).await.assert_error(StatusCode::BAD_REQUEST, error);
    }
    let large = json!({"redirect_uris": [REDIRECT], "client_name": "x".repeat(20_000)});
    put(large).await.assert_error(StatusCode::BAD_REQUEST, "invalid_client_metadata");
}

#[tokio::test]
async fn a_secret_is_kept_unless_the_client_had_none() {
    let deployment = Deployment::new();
    let (client, _) = register(&deployment, &public()).await;
    let confidential = json!({"redirect_uris": [REDIRECT],
        "token_endpoint_auth_method": "client_secret_post"});
    let put = |body: Value| {
        let (deployment, client) = (&deployment, &client);
        async move {
            send(deployment, Method::PUT, &client.path, &client.token, &body.to_string()).await
        }
    };
    let secret = put(confidential.clone()).await.json()["client_secret"].clone();
    assert!(secret.is_string(), "it needs one now");
    let again = put(confidential.clone()).await.json();
    assert_eq!(again.get("client_secret"), None, "the first one stays");
    let mut right = confidential.clone();
    right["client_secret"] = secret;
    assert_eq!(put(right.clone()).await.status, StatusCode::OK);
    right["client_secret"] = json!("chosen");
    put(right).await.assert_error(StatusCode::BAD_REQUEST, "invalid_client_metadata");
}

#[tokio::test]
async fn a_client_that_deletes_itself_takes_its_grants_along() {
    let deployment =
        Deployment::with_lifetimes(|lifetimes| lifetimes.revocation_delay = Duration::ZERO);
    let (client, _) = register(&deployment, &public()).await;
    let (other, _) = register(&deployment, &public()).await;
    let tokens = deployment.login(&client.id).await;
    let kept = deployment.login(&other.id).await;
    // Interrupted: the registration is still there, so the client can try again.
    deployment.storage.fail_next("grants", Fault::NotRemoved);
    let answer = send(&deployment, Method::DELETE, &client.path, &client.token, "").await;
    answer.assert_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
    let answer = send(&deployment, Method::DELETE, &client.path, &client.token, "").await;
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::NO_CONTENT, ""));
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(deployment.call(&kept.access).await.status, StatusCode::OK);
    let gone = deployment.refresh(&client.id, &tokens.refresh).await;
    gone.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    let again = send(&deployment, Method::DELETE, &client.path, &client.token, "").await;
    again.assert_error(StatusCode::UNAUTHORIZED, "invalid_token");
}

#[tokio::test]
async fn a_change_does_not_lengthen_the_life_of_an_unused_registration() {
    let deployment = Deployment::with_lifetimes(|lifetimes| {
        lifetimes.unused_client = Duration::from_secs(100);
    });
    let (client, _) = register(&deployment, &public()).await;
    deployment.clock.advance(Duration::from_secs(90));
    let body = public().to_string();
    let answer = send(&deployment, Method::PUT, &client.path, &client.token, &body).await;
    assert_eq!(answer.status, StatusCode::OK);
    deployment.clock.advance(Duration::from_secs(11));
    let answer = send(&deployment, Method::GET, &client.path, &client.token, "").await;
    answer.assert_error(StatusCode::UNAUTHORIZED, "invalid_token");
}

#[tokio::test]
async fn the_registration_access_token_is_stored_as_its_hash() {
    let deployment = Deployment::new();
    let (client, _) = register(&deployment, &public()).await;
    let entry = deployment.storage.inner().get("clients", &client.id).await.unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&entry.value).contains(&client.token));
}
