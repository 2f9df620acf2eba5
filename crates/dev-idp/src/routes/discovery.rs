//! Metadata (OpenID Connect Discovery §3, RFC 8414 §2) and key set.

use axum::{Json, extract::State};
use serde_json::{Value, json};

use crate::{DevIdp, authorization_request::SCOPES};

pub(super) async fn metadata(State(provider): State<DevIdp>) -> Json<Value> {
    provider.counters().discovery_calls.count();
    let endpoints = &provider.inner.endpoints;
    let authentication = json!(["client_secret_basic", "client_secret_post", "none"]);
    Json(json!({
        "issuer": provider.issuer(),
        "authorization_endpoint": endpoints.authorization,
        "token_endpoint": endpoints.token,
        "userinfo_endpoint": endpoints.userinfo,
        "revocation_endpoint": endpoints.revocation,
        "jwks_uri": endpoints.key_set,
        "scopes_supported": SCOPES,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": authentication,
        "revocation_endpoint_auth_methods_supported": authentication,
        "code_challenge_methods_supported": ["S256"],
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_supported": [
            "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash",
            "name", "preferred_username", "groups", "email", "email_verified",
        ],
        "authorization_response_iss_parameter_supported": true,
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    }))
}

pub(super) async fn key_set(State(provider): State<DevIdp>) -> Json<Value> {
    provider.counters().key_set_calls.count();
    Json(json!({"keys": [provider.inner.signing_key.jwk()]}))
}
