//! What is counted and timed, through the facade `metrics`: without a recorder it costs nothing.
//!
//! No label is a stranger's: not an id, not a path that was asked for, not a name.

use std::time::{Duration, Instant};

use http::StatusCode;

use crate::{
    audit::AuditAction,
    cimd::Source,
    error::{ErrorCode, OAuthError},
    provider::ProviderError,
};

/// One measured quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name; `_total` for counters, `_seconds` for durations.
    pub name: &'static str,
    /// How it behaves.
    pub kind: MetricKind,
    /// Its labels, each with what it can say.
    pub labels: &'static [(&'static str, &'static str)],
    /// What it measures, as a noun phrase of one line.
    pub help: &'static str,
}

impl Metric {
    /// A quantity that another crate measures.
    pub const fn new(
        name: &'static str,
        kind: MetricKind,
        labels: &'static [(&'static str, &'static str)],
        help: &'static str,
    ) -> Self {
        Self { name, kind, labels, help }
    }
}

/// How a quantity behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Many values, counted in buckets.
    Histogram,
}

const REQUESTS: &str = "oauth_proxy_requests_total";
const REQUEST_SECONDS: &str = "oauth_proxy_request_seconds";
const LOGINS: &str = "oauth_proxy_logins_total";
const REFRESHES: &str = "oauth_proxy_refreshes_total";
const EVENTS: &str = "oauth_proxy_events_total";
const PROVIDER_SECONDS: &str = "oauth_proxy_provider_seconds";
const PRINCIPALS: &str = "oauth_proxy_principals_total";
const CLIENT_DOCUMENTS: &str = "oauth_proxy_client_documents_total";
const STREAMS: &str = "oauth_proxy_streams_open";

/// Everything that this crate measures.
pub const METRICS: &[Metric] = &[
    Metric::new(
        REQUESTS,
        MetricKind::Counter,
        &[
            ("route", "the route as configured; `/.well-known` for all metadata; `unknown`"),
            ("status", "the status of the response; `other` for unregistered ones"),
        ],
        "requests answered, by route and outcome",
    ),
    Metric::new(
        REQUEST_SECONDS,
        MetricKind::Histogram,
        &[("route", "as above")],
        "time until the head of the response",
    ),
    Metric::new(
        LOGINS,
        MetricKind::Counter,
        &[(
            "step",
            "`registered`, `shown`, `approved`, `declined`, `refused`, `denied`, `returned`, \
             `redeemed`",
        )],
        "logins that got to this step",
    ),
    Metric::new(
        REFRESHES,
        MetricKind::Counter,
        &[("outcome", "`ok`, `carried_over` (the provider is down), `refused`, `unavailable`")],
        "uses of refresh tokens",
    ),
    Metric::new(
        EVENTS,
        MetricKind::Counter,
        &[("event", "the name of an audit event")],
        "audit events",
    ),
    Metric::new(
        PROVIDER_SECONDS,
        MetricKind::Histogram,
        &[
            ("call", "`authorize_url`, `exchange`, `identify`, `refresh`, `revoke`"),
            ("outcome", "`ok`, `unavailable`, `invalid_grant`, `refused`"),
        ],
        "time that the provider took",
    ),
    Metric::new(
        PRINCIPALS,
        MetricKind::Counter,
        &[("source", "`cache` or `storage`")],
        "access tokens verified, by where the grant was looked up",
    ),
    Metric::new(
        CLIENT_DOCUMENTS,
        MetricKind::Counter,
        &[("source", "`kept`, `fetched`, `stale`, `missing`, `out_of_budget`")],
        "metadata documents of clients that were asked for, by where they came from",
    ),
    Metric::new(STREAMS, MetricKind::Gauge, &[], "answers under way whose grant is watched"),
];

/// An answered request.
pub(crate) fn request(route: &str, status: StatusCode, took: Duration) {
    let status = status.canonical_reason().map_or("other", |_| status.as_str()).to_owned();
    metrics::counter!(REQUESTS, "route" => route.to_owned(), "status" => status).increment(1);
    metrics::histogram!(REQUEST_SECONDS, "route" => route.to_owned()).record(took);
}

/// A consent page that was shown.
pub(crate) fn consent_shown() {
    metrics::counter!(LOGINS, "step" => "shown").increment(1);
}

/// An audit event, and the step of a login that it is.
pub(crate) fn event(action: AuditAction) {
    metrics::counter!(EVENTS, "event" => action.as_str()).increment(1);
    let step = match action {
        AuditAction::ClientRegistered => "registered",
        AuditAction::LoginApproved => "approved",
        AuditAction::LoginDeclined => "declined",
        AuditAction::LoginRefused => "refused",
        AuditAction::LoginDenied => "denied",
        AuditAction::GrantCreated => "returned",
        AuditAction::CodeRedeemed => "redeemed",
        _ => return,
    };
    metrics::counter!(LOGINS, "step" => step).increment(1);
}

/// A refresh that ended; `carried_over` if the provider is down.
pub(crate) fn refresh(ended: Result<(), &OAuthError>, carried_over: bool) {
    let outcome = match ended.map_err(OAuthError::code) {
        Ok(()) if carried_over => "carried_over",
        Ok(()) => "ok",
        Err(ErrorCode::TemporarilyUnavailable | ErrorCode::ServerError) => "unavailable",
        Err(_) => "refused",
    };
    metrics::counter!(REFRESHES, "outcome" => outcome).increment(1);
}

/// Times a call to the provider.
pub(crate) async fn provider<T>(
    name: &'static str,
    call: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    let started = Instant::now();
    let answer = call.await;
    let outcome = match &answer {
        Ok(_) => "ok",
        Err(ProviderError::Unavailable { .. }) => "unavailable",
        Err(ProviderError::InvalidGrant { .. }) => "invalid_grant",
        Err(ProviderError::Refused { .. }) => "refused",
    };
    metrics::histogram!(PROVIDER_SECONDS, "call" => name, "outcome" => outcome)
        .record(started.elapsed());
    answer
}

/// A principal that was looked up.
pub(crate) fn principal(source: &'static str) {
    metrics::counter!(PRINCIPALS, "source" => source).increment(1);
}

/// A client's metadata document that was asked for.
pub(crate) fn client_document(source: Source) {
    metrics::counter!(CLIENT_DOCUMENTS, "source" => source.as_str()).increment(1);
}

/// Counts an answer under way until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenStream(metrics::Gauge);

impl OpenStream {
    pub(crate) fn new() -> Self {
        let gauge = metrics::gauge!(STREAMS);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
