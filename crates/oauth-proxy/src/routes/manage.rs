//! `GET`, `PUT` and `DELETE /register/{client_id}`: a client looks after its own registration
//! (RFC 7592).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use jwt_issuer::sha256_base64url;
use subtle::ConstantTimeEq;

use super::register::{UNCACHED, read_metadata};
use crate::{
    admin,
    app::App,
    client::{ClientRecord, RegistrationResponse, update},
    client_auth::registered,
    config::Config,
    error::{ErrorCode, OAuthError},
    store::Stored,
};

/// How often an update starts over because somebody else changed the registration meanwhile: a
/// login notes its use there, at most daily.
const ROUNDS: usize = 5;

/// The registration as it is, without the client's secret, of which we have the hash only
/// (RFC 7592 §2.1).
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, OAuthError> {
    let (stored, token) = authorize(&app, &id, &headers).await?;
    let response = RegistrationResponse::of(&stored.record, None, &app.config.issuer, token);
    Ok((UNCACHED, Json(response)).into_response())
}

/// Replaces the registration (RFC 7592 §2.2); its id, its age and its secret stay.
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, OAuthError> {
    let headers = request.headers().clone();
    let (mut stored, token) = authorize(&app, &id, &headers).await?;
    let body = read_metadata(request).await?;
    let Config { redirect_policy, supported_scopes, .. } = &app.config;
    for _ in 0..ROUNDS {
        let updated = update(&body, redirect_policy, supported_scopes, &stored.record)?;
        let written = app.store.replace(&id, stored.version, &updated.record).await?;
        if written.is_some() {
            tracing::info!(client = id, "a client changed its registration");
            let secret = updated.secret();
            let response =
                RegistrationResponse::of(&updated.record, secret, &app.config.issuer, token);
            return Ok((UNCACHED, Json(response)).into_response());
        }
        stored = authorize(&app, &id, &headers).await?.0;
    }
    Err(OAuthError::new(
        ErrorCode::TemporarilyUnavailable,
        "the registration is being changed by somebody else; try again shortly",
    ))
}

/// Ends the registration and every grant of the client (RFC 7592 §2.3).
pub(crate) async fn delete(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, OAuthError> {
    authorize(&app, &id, &headers).await?;
    admin::delete_client(&app, &id, "the client deleted itself").await?;
    Ok((StatusCode::NO_CONTENT, UNCACHED).into_response())
}

/// The registration that the token in the header is for, and the token.
///
/// An unknown client and a wrong token are answered alike (RFC 7592 §2.1).
async fn authorize<'a>(
    app: &App,
    id: &str,
    headers: &'a HeaderMap,
) -> Result<(Stored<ClientRecord>, &'a str), OAuthError> {
    let refuse = || {
        OAuthError::new(
            ErrorCode::InvalidToken,
            "the client is not registered here, or this is not its registration access token",
        )
    };
    let token = bearer(headers).ok_or_else(refuse)?;
    let stored = registered(app, id).await?.ok_or_else(refuse)?;
    let expected = stored.record.management_hash.as_deref().unwrap_or_default();
    let presented = sha256_base64url(token.as_bytes());
    if bool::from(presented.as_bytes().ct_eq(expected.as_bytes())) {
        Ok((stored, token))
    } else {
        Err(refuse())
    }
}

/// The one bearer token of the request (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (scheme, token) = values.next()?.to_str().ok()?.split_once(' ')?;
    let is_alone = values.next().is_none();
    (is_alone && scheme.eq_ignore_ascii_case("bearer")).then(|| token.trim())
}
