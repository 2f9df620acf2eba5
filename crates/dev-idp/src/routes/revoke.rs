//! Revocation (RFC 7009). Any token of a grant ends the whole grant.

use axum::{
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};

use crate::{
    DevIdp, client_authentication::authenticate, params::Params, token::verify_access_token,
    token_error::TokenError,
};

pub(super) async fn post(
    State(provider): State<DevIdp>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    provider.counters().revocation_calls.count();
    match revoke(&provider, &headers, &Params::parse(&body)) {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => error.into_response(),
    }
}

fn revoke(provider: &DevIdp, headers: &HeaderMap, params: &Params) -> Result<(), TokenError> {
    if let Some(name) = params.repeated() {
        return Err(TokenError::invalid_request(format!("{name} occurs twice")));
    }
    let client = authenticate(provider.config(), headers, params)?;
    let token =
        params.get("token").ok_or_else(|| TokenError::invalid_request("token is missing"))?;
    let mut store = provider.store();
    let grant_id = store
        .parse_refresh_token(token)
        .map(|(grant_id, _)| grant_id)
        .or_else(|| verify_access_token(provider, token).map(|claims| claims.grant));
    // RFC 7009 §2.2: a token that is not (or no longer) good is as good as revoked.
    let Some(grant_id) = grant_id else { return Ok(()) };
    let Some(grant) = store.grant(&grant_id, provider.now()) else { return Ok(()) };
    if grant.client_id != client.client_id {
        return Err(TokenError::invalid_grant("the token was issued to another client"));
    }
    if store.revoke(&grant_id)? {
        provider.counters().revoked_grants.count();
    }
    Ok(())
}
