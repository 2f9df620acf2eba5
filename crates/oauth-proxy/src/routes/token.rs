//! `POST /token` (OAuth 2.1 §3.2).

mod redeem;
mod refresh;

use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};
use jwt_issuer::{AccessClaims, random_token};
use secrecy::ExposeSecret;
use serde::Serialize;

use crate::{
    app::App,
    client_auth::{self, Caller},
    config::Lifetimes,
    error::{ErrorCode, OAuthError},
    params::Params,
    record::grant::Grant,
    refresh_token,
    scope::ScopeSet,
    store::Stored,
};

/// The mark of use on a client's registration is renewed this often.
const CLIENT_USE_RESOLUTION: Duration = Duration::from_hours(24);

/// How much longer than the client is told an access token is good.
///
/// We count from before we sign, in whole seconds; a client counts from when the answer arrives. A
/// client in between has a token that it believes in and that we refuse, and some have their user
/// log in again then (the Python SDK refreshes by its own clock only, and is asked to reconnect by
/// us at the very moment when its listening stream ends with the token).
const SLACK: Duration = Duration::from_secs(5);

pub(crate) async fn post(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, OAuthError> {
    let answer = match params.required("grant_type")? {
        "authorization_code" => {
            let client = client_auth::authenticate(&app, &headers, &params).await?;
            redeem::redeem(&app, client, &params).await?
        }
        "refresh_token" => {
            let client = client_auth::authenticate(&app, &headers, &params).await?;
            refresh::refresh(&app, client, &params).await?
        }
        _ => {
            return Err(OAuthError::new(
                ErrorCode::UnsupportedGrantType,
                "`grant_type` must be `authorization_code` or `refresh_token`",
            ));
        }
    };
    let mut response = Json(answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// OAuth 2.1 §3.2.3. Secrets on purpose: this is where they leave.
#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    scope: String,
}

/// What is known of the provider while an answer is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProviderState {
    /// It was asked with success, or did not have to be asked.
    Reachable,
    /// It was asked just now and did not answer.
    Down,
}

/// A fresh access token and the current refresh token of a grant.
fn answer(
    app: &App,
    grant: &Grant,
    scopes: &ScopeSet,
    provider: ProviderState,
) -> Result<TokenResponse, OAuthError> {
    let now = app.clock.now();
    let lifetime = access_lifetime(grant, now, &app.config.lifetimes, provider)?;
    let claims = AccessClaims {
        sub: grant.subject.clone(),
        aud: grant.resource.clone(),
        exp: (now + lifetime).saturating_add(SLACK.as_secs()).min(grant.not_after),
        iat: now,
        jti: random_token::<16>(),
        client_id: grant.client.id.clone(),
        scope: scopes.to_string(),
        grant: grant.id.clone(),
    };
    let access_token = app.keys.access.sign(&claims).map_err(|error| {
        OAuthError::new(ErrorCode::ServerError, "the token could not be signed").with_cause(error)
    })?;
    let refresh_token = grant.client.refreshes.then(|| {
        refresh_token::current(&app.keys.refresh, &app.config.issuer, grant)
            .expose_secret()
            .to_owned()
    });
    Ok(TokenResponse {
        access_token,
        token_type: "Bearer",
        expires_in: lifetime,
        refresh_token,
        scope: claims.scope,
    })
}

/// How many seconds an access token issued now may live.
///
/// # Errors
///
/// `temporarily_unavailable` if the provider could not be asked for longer than is tolerated (D7).
fn access_lifetime(
    grant: &Grant,
    now: u64,
    lifetimes: &Lifetimes,
    provider: ProviderState,
) -> Result<u64, OAuthError> {
    let left = grant.not_after.saturating_sub(now);
    if left == 0 {
        return Err(OAuthError::new(ErrorCode::InvalidGrant, "the login has ended; log in again"));
    }
    let whole = lifetimes.access_token_for(grant.provider.left(now));
    let mut lifetime = whole.as_secs().min(left);
    let short = lifetimes.outage_access_token.as_secs();
    if provider == ProviderState::Down {
        lifetime = lifetime.min(short);
    }
    // A token that could have been renewed and was not: the provider is down.
    if let (Some(_), Some(end)) = (&grant.provider.refresh_token, grant.provider.expires_at)
        && end <= now
    {
        if now > end.saturating_add(lifetimes.provider_outage_tolerance.as_secs()) {
            return Err(OAuthError::new(
                ErrorCode::TemporarilyUnavailable,
                "the identity provider has not been available for too long; try again shortly",
            ));
        }
        lifetime = lifetime.min(short);
    }
    Ok(lifetime)
}

/// Keeps the registration of a client alive that is in use (written at most daily), or its document.
async fn mark_used(app: &App, caller: Caller) {
    let client = match caller {
        Caller::Registered(client) => client,
        Caller::Described { url, .. } => return app.documents.note_use(&url).await,
    };
    let now = app.clock.now();
    let fresh = client
        .record
        .used
        .is_some_and(|used| now.saturating_sub(used) < CLIENT_USE_RESOLUTION.as_secs());
    if fresh {
        return;
    }
    let Stored { mut record, version } = *client;
    record.used = Some(now);
    let lifetimes = &app.config.lifetimes;
    let ttl = lifetimes.refresh_absolute + lifetimes.used_client;
    let id = record.client_id.clone();
    // A lost race means that somebody else just did the same; an outage, that the next use will.
    if let Err(error) = app.store.compare_and_swap(&id, version, &record, ttl).await {
        tracing::warn!(client = id, cause = %crate::error::chain(&error), "a client's use was not noted");
    }
}

#[cfg(test)]
mod tests;
