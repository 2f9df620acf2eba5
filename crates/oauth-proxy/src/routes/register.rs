//! `POST /register`: dynamic client registration (RFC 7591).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    body::to_bytes,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};

use crate::{
    app::App,
    client::{MAX_REGISTRATION_BYTES, PRESSED_LIFETIME, UNUSED_PER_DAY, accept},
    config::Config,
    error::{ErrorCode, OAuthError},
    redirect_uri::display_host,
};

#[cfg(test)]
mod tests;

/// Where clients register, below the issuer.
pub(crate) const PATH: &str = "/register";

const DAY_SECONDS: u64 = 24 * 60 * 60;

pub(crate) async fn post(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, OAuthError> {
    require_json(request.headers())?;
    let body = to_bytes(request.into_body(), MAX_REGISTRATION_BYTES).await.map_err(|error| {
        OAuthError::new(
            ErrorCode::InvalidClientMetadata,
            "the request could not be read to its end, or it is longer than 64 KiB",
        )
        .with_cause(error)
    })?;
    let Config { redirect_policy, supported_scopes, lifetimes, .. } = &app.config;
    let now = app.clock.now();
    let accepted = accept(&body, redirect_policy, supported_scopes, now)?;
    let record = &accepted.record;
    let lifetime = app.registrations.lifetime(now, lifetimes.unused_client);
    app.store.put(&record.client_id, record, lifetime).await?;
    tracing::info!(
        client = record.client_id,
        name = ?record.client_name,
        redirects_to = ?record.redirect_uris.iter().map(|uri| display_host(uri)).collect::<Vec<_>>(),
        dropped_redirect_uris = accepted.dropped_redirect_uris,
        auth = ?record.token_endpoint_auth_method,
        "client registered"
    );
    let uncached = [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];
    Ok((StatusCode::CREATED, uncached, Json(accepted.response())).into_response())
}

/// Scripts forget the header, so its absence is no error; another type is.
fn require_json(headers: &HeaderMap) -> Result<(), OAuthError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let media_type = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    if media_type == "application/json" || media_type.ends_with("+json") {
        return Ok(());
    }
    Err(OAuthError::new(
        ErrorCode::InvalidClientMetadata,
        "the request must have the content type `application/json`",
    ))
}

/// Bounds what strangers can leave in the store, without ever refusing a sign-in.
///
/// The first [`UNUSED_PER_DAY`] registrations of a day wait for their first use as long as the
/// operator configured; those beyond wait [`PRESSED_LIFETIME`], which is enough for somebody who
/// signs in now. A flood therefore shortens the life of what the flood brought, and nothing else:
/// a client that was used once is out of reach. Counted per deployment and process,
/// without a storage operation.
#[derive(Debug, Default)]
pub(crate) struct UnusedQuota(Mutex<Count>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Days since 1970.
    day: u64,
    registrations: u32,
}

impl UnusedQuota {
    /// Counts a registration and says how long it may stay unused.
    fn lifetime(&self, now: u64, configured: Duration) -> Duration {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let day = now / DAY_SECONDS;
        if count.day != day {
            *count = Count { day, registrations: 0 };
        }
        count.registrations = count.registrations.saturating_add(1);
        match count.registrations {
            0..=UNUSED_PER_DAY => configured,
            _ => configured.min(PRESSED_LIFETIME),
        }
    }
}
