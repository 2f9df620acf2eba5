//! One file per endpoint.

pub(crate) mod authorize;
pub(crate) mod callback;
pub(crate) mod consent;
pub(crate) mod introspect;
pub(crate) mod manage;
pub(crate) mod metadata;
pub(crate) mod register;
pub(crate) mod revoke;
pub(crate) mod token;

use std::sync::Arc;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use crate::{
    app::App,
    context::REQUEST_ID,
    error::{ErrorCode, OAuthError},
};

/// All OAuth endpoints of one deployment, below the path of its base URL.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let base = &app.config.base_path;
    let path = |path: &str| format!("{base}{path}");
    // What programs call, from any web page too: no cookie is read there.
    let mut programs = Router::new()
        .route(&path(register::PATH), post(register::post))
        .route(
            &format!("{}/{{client_id}}", path(register::PATH)),
            get(manage::get).put(manage::put).delete(manage::delete),
        )
        .route(&path("/token"), post(token::post))
        .route(&path("/revoke"), post(revoke::post));
    if !app.config.resource_servers.is_empty() {
        programs = programs.route(&path(introspect::PATH), post(introspect::post));
    }
    let programs = programs.layer(cors());
    // What people's browsers visit.
    let people = Router::new()
        .route(&path("/authorize"), get(authorize::get).post(authorize::post))
        .route(&path("/consent"), get(consent::get).post(consent::post))
        .route(&path(&app.config.callback_path), get(callback::get));
    programs.merge(people).with_state(Arc::clone(app)).merge(metadata::router(app).layer(cors()))
}

/// Any origin may read the answers: nothing here is decided by a cookie.
pub(crate) fn cors() -> CorsLayer {
    CorsLayer::new()
        .allow_origin(Any)
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::DELETE,
            Method::HEAD,
            Method::OPTIONS,
        ])
        // `*` would not cover `Authorization`.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            header::WWW_AUTHENTICATE,
            HeaderName::from_static("mcp-session-id"),
            header::RETRY_AFTER,
            REQUEST_ID,
        ])
        .max_age(std::time::Duration::from_hours(1))
}

/// A redirect that never replays a POST (302 and 303, not 307) and that nothing remembers.
pub(crate) fn redirect(status: StatusCode, location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return OAuthError::new(ErrorCode::ServerError, "the redirect could not be written")
            .into_response();
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (status, headers).into_response()
}
