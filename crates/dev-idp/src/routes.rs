//! The routes, one module per endpoint.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use url::Url;

use crate::DevIdp;

mod authorize;
mod cookie;
mod discovery;
mod login;
mod revoke;
mod token;
mod userinfo;

/// Request bodies beyond this are refused: no honest form comes near it.
const MAX_BODY: usize = 64 * 1024;

/// The addresses of the endpoints, as published.
pub(crate) struct Endpoints {
    pub(crate) authorization: String,
    pub(crate) login: String,
    pub(crate) token: String,
    pub(crate) userinfo: String,
    pub(crate) revocation: String,
    pub(crate) key_set: String,
    /// The path of the issuer: empty, or with a leading slash only.
    pub(crate) base_path: String,
}

impl Endpoints {
    pub(crate) fn new(issuer: &str, url: &Url) -> Self {
        Self {
            authorization: format!("{issuer}/authorize"),
            login: format!("{issuer}/login"),
            token: format!("{issuer}/token"),
            userinfo: format!("{issuer}/userinfo"),
            revocation: format!("{issuer}/revoke"),
            key_set: format!("{issuer}/jwks.json"),
            base_path: url.path().trim_end_matches('/').to_owned(),
        }
    }
}

pub(crate) fn router(provider: DevIdp) -> Router {
    let base = &provider.inner.endpoints.base_path;
    let mut router = Router::new()
        .route(&format!("{base}/.well-known/openid-configuration"), get(discovery::metadata))
        .route(&format!("/.well-known/oauth-authorization-server{base}"), get(discovery::metadata))
        .route(&format!("{base}/jwks.json"), get(discovery::key_set))
        .route(&format!("{base}/authorize"), get(authorize::get).post(authorize::post))
        .route(&format!("{base}/login"), post(login::post))
        .route(&format!("{base}/token"), post(token::post))
        .route(&format!("{base}/userinfo"), get(userinfo::answer).post(userinfo::answer))
        .route(&format!("{base}/revoke"), post(revoke::post));
    if !base.is_empty() {
        router = router
            .route(&format!("/.well-known/openid-configuration{base}"), get(discovery::metadata));
    }
    router.layer(DefaultBodyLimit::max(MAX_BODY)).with_state(provider)
}
