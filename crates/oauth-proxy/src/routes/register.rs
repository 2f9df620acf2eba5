//! `POST /register`: dynamic client registration (RFC 7591).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header};

use crate::{
    app::App,
    audit::{AuditAction, AuditEvent},
    client::{MAX_REGISTRATION_BYTES, REGISTRATIONS_PER_HOUR, UNUSED_PER_DAY, accept},
    config::{Config, Lifetimes},
    error::{ErrorCode, OAuthError},
    params::read_body,
    redirect_uri::display_host,
};

#[cfg(test)]
mod tests;

/// Where clients register, below the issuer.
pub(crate) const PATH: &str = "/register";

/// Nobody may keep a registration's secrets.
pub(crate) const UNCACHED: [(HeaderName, &str); 2] =
    [(header::CACHE_CONTROL, "no-store"), (header::PRAGMA, "no-cache")];

const HOUR_SECONDS: u64 = 60 * 60;
const DAY_SECONDS: u64 = 24 * HOUR_SECONDS;

pub(crate) async fn post(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Response, OAuthError> {
    let body = read_metadata(request).await?;
    let Config { redirect_policy, supported_scopes, lifetimes, .. } = &app.config;
    let now = app.clock.now();
    let accepted = accept(&body, redirect_policy, supported_scopes, now)?;
    let record = &accepted.record;
    let lifetime = app.registrations.lifetime(now, lifetimes)?;
    app.store.put(&record.client_id, record, lifetime).await?;
    app.audit(
        &AuditEvent::new(AuditAction::ClientRegistered)
            .client(&record.client_id, record.client_name.as_deref()),
    );
    tracing::info!(
        client = record.client_id,
        name = ?record.client_name,
        redirects_to = ?record.redirect_uris.iter().map(|uri| display_host(uri)).collect::<Vec<_>>(),
        dropped_redirect_uris = accepted.dropped_redirect_uris,
        auth = ?record.token_endpoint_auth_method,
        "what the client registered"
    );
    Ok((StatusCode::CREATED, UNCACHED, Json(accepted.response(&app.config.issuer))).into_response())
}

/// The body of a request that registers a client or changes a registration.
pub(crate) async fn read_metadata(request: Request) -> Result<Bytes, OAuthError> {
    require_json(request.headers())?;
    read_body(request.into_body(), MAX_REGISTRATION_BYTES).await.map_err(|error| {
        OAuthError::new(ErrorCode::InvalidClientMetadata, error.description().to_owned())
            .with_cause(error)
    })
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

/// Bounds what strangers can leave in the store.
///
/// The first [`UNUSED_PER_DAY`] registrations of a day wait for their first use as long as the
/// operator configured; those beyond wait as `pressed_client` says, which is enough for somebody who
/// signs in now. A flood therefore shortens the life of what the flood brought, and nothing else:
/// a client that was used once is out of reach. Beyond [`REGISTRATIONS_PER_HOUR`] new clients must
/// wait; those that are registered go on signing in. Counted per deployment and process, without a
/// storage operation.
#[derive(Debug, Default)]
pub(crate) struct UnusedQuota(Mutex<Count>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    /// Days since 1970.
    day: u64,
    today: u32,
    /// Hours since 1970.
    hour: u64,
    this_hour: u32,
}

impl UnusedQuota {
    /// Counts a registration and says how long it may stay unused.
    ///
    /// # Errors
    ///
    /// `temporarily_unavailable` for the rest of an hour that saw too many.
    fn lifetime(&self, now: u64, lifetimes: &Lifetimes) -> Result<Duration, OAuthError> {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (day, hour) = (now / DAY_SECONDS, now / HOUR_SECONDS);
        if count.day != day {
            (count.day, count.today) = (day, 0);
        }
        if count.hour != hour {
            (count.hour, count.this_hour) = (hour, 0);
        }
        if count.this_hour == REGISTRATIONS_PER_HOUR {
            let left = HOUR_SECONDS - now % HOUR_SECONDS;
            return Err(OAuthError::new(
                ErrorCode::TemporarilyUnavailable,
                "too many clients have registered in this hour; try again later",
            )
            .with_retry_after(Duration::from_secs(left)));
        }
        count.this_hour += 1;
        count.today = count.today.saturating_add(1);
        Ok(match count.today {
            0..=UNUSED_PER_DAY => lifetimes.unused_client,
            _ => lifetimes.unused_client.min(lifetimes.pressed_client),
        })
    }
}
