//! Metadata and key set.

use http::StatusCode;
use serde_json::json;

use crate::support::{ISSUER, World, base, signing_key};

#[tokio::test]
async fn both_documents_say_the_same() {
    let world = World::new();
    let document = world.get("/.well-known/openid-configuration").await.json();
    assert_eq!(world.get("/.well-known/oauth-authorization-server").await.json(), document);
    assert_eq!(world.idp.stats().discovery_calls, 2);

    assert_eq!(document["issuer"], ISSUER);
    assert_eq!(document["authorization_endpoint"], "http://localhost:9000/authorize");
    assert_eq!(document["token_endpoint"], "http://localhost:9000/token");
    assert_eq!(document["userinfo_endpoint"], "http://localhost:9000/userinfo");
    assert_eq!(document["revocation_endpoint"], "http://localhost:9000/revoke");
    assert_eq!(document["jwks_uri"], "http://localhost:9000/jwks.json");
    assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["RS256"]));
    assert_eq!(document["authorization_response_iss_parameter_supported"], true);
    assert_eq!(document["request_uri_parameter_supported"], false);
    assert!(document.get("registration_endpoint").is_none(), "no dynamic registration");
}

#[tokio::test]
async fn an_issuer_with_a_path_has_its_routes_below_it() {
    let issuer = "https://idp.example/tenant/1";
    let world = World::with(|_| base(issuer));
    for path in [
        "/tenant/1/.well-known/openid-configuration",
        "/.well-known/openid-configuration/tenant/1",
        "/.well-known/oauth-authorization-server/tenant/1",
    ] {
        let document = world.get(path).await.json();
        assert_eq!(document["issuer"], issuer);
        assert_eq!(document["token_endpoint"], "https://idp.example/tenant/1/token");
    }
    assert_eq!(world.get("/tenant/1/jwks.json").await.status, StatusCode::OK);
    assert_eq!(world.get("/jwks.json").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_key_set_has_the_public_key_and_nothing_private() {
    let world = World::new();
    let key = world.get("/jwks.json").await.json()["keys"][0].clone();
    assert_eq!(key["kty"], "RSA");
    assert_eq!(key["use"], "sig");
    assert_eq!(key["alg"], "RS256");
    assert_eq!(key["kid"], signing_key().key_id());
    for private in ["d", "p", "q", "dp", "dq", "qi"] {
        assert!(key.get(private).is_none(), "{private}");
    }
    assert_eq!(world.idp.stats().key_set_calls, 1);
}
