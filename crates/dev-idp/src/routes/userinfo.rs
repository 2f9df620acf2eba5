//! Userinfo (OpenID Connect Core §5.3), with bearer errors by RFC 6750 §3.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    DevIdp,
    token::{user_claims, verify_access_token},
    token_error::no_store,
};

pub(super) async fn answer(State(provider): State<DevIdp>, headers: HeaderMap) -> Response {
    provider.counters().userinfo_calls.count();
    let Some(token) = bearer(&headers) else {
        return challenge(StatusCode::UNAUTHORIZED, "Bearer");
    };
    let config = provider.config();
    let claims = verify_access_token(&provider, token)
        .filter(|claims| provider.store().grant(&claims.grant, provider.now()).is_some());
    let Some((claims, user)) = claims.and_then(|claims| {
        let user = config.user(&claims.sub)?;
        Some((claims, user))
    }) else {
        return challenge(StatusCode::UNAUTHORIZED, r#"Bearer error="invalid_token""#);
    };
    let scopes: Vec<String> = claims.scope.split(' ').map(str::to_owned).collect();
    if !scopes.iter().any(|scope| scope == "openid") {
        let value = r#"Bearer error="insufficient_scope", scope="openid""#;
        return challenge(StatusCode::FORBIDDEN, value);
    }
    let mut response = Json(user_claims(user, &scopes)).into_response();
    no_store(&mut response);
    response
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn challenge(status: StatusCode, value: &'static str) -> Response {
    (status, [(header::WWW_AUTHENTICATE, HeaderValue::from_static(value))]).into_response()
}
