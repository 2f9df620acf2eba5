//! `POST /revoke` (RFC 7009): ends the whole grant, whichever of its tokens is named.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    app::App,
    client_auth,
    error::OAuthError,
    grants,
    params::Params,
    record::grant::Grant,
    refresh_token::RefreshToken,
    store::{StoreError, Stored},
};

/// Always 200 for an authenticated client: a token that is unknown, foreign or dead already is not
/// an error (RFC 7009 §2.2).
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, OAuthError> {
    let caller = client_auth::authenticate(&app, &headers, &params).await?;
    let token = params.required("token")?;
    // `token_type_hint` is for servers that must search; the two forms cannot be confused.
    if let Some(stored) = named_grant(&app, token).await?
        && stored.record.client.id == caller.id()
    {
        caller.prove(&app, &stored.record).await?;
        grants::revoke(&app, stored, "the client revoked it").await?;
    }
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((StatusCode::OK, no_store).into_response())
}

/// The grant of a genuine token.
async fn named_grant(app: &App, token: &str) -> Result<Option<Stored<Grant>>, StoreError> {
    if let Some(token) = RefreshToken::parse(token) {
        let stored = app.store.get::<Grant>(token.grant_id).await?;
        return Ok(stored.filter(|stored| {
            // An older generation names the grant as well: logging out must work.
            token.is_genuine(&app.keys.refresh, &app.config.issuer, &stored.record)
        }));
    }
    let Ok(claims) = app.keys.access.verify(token, app.clock.now()) else { return Ok(None) };
    app.store.get::<Grant>(&claims.grant).await
}
