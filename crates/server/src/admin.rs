//! The admin listener: health, metrics and administration, for operators only.
//!
//! It stands apart from the public listener, and no web page may speak with it.

mod guard;
mod ready;
mod sessions;
mod telemetry;
mod token;

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    middleware::from_fn_with_state,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, header};
use metrics_exporter_prometheus::PrometheusHandle;
use oidc_proxy::admin::Administration;

pub(crate) use self::{
    guard::AllowedHosts,
    ready::{Parts as ReadyParts, Readiness},
    telemetry::Telemetry,
    token::AdminToken,
};

/// What Prometheus asks for.
const EXPOSITION: HeaderValue =
    HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// The routes of the admin listener.
pub(crate) fn router(
    hosts: AllowedHosts,
    readiness: Arc<Readiness>,
    metrics: PrometheusHandle,
    administration: Option<(Administration, AdminToken)>,
) -> Router {
    let administration = administration.map(|(all, token)| sessions::router(&all, token));
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state(readiness)
        .merge(Router::new().route("/metrics", get(exposition)).with_state(metrics))
        .merge(administration.unwrap_or_default())
        .layer(from_fn_with_state(Arc::new(hosts), guard::layer))
}

async fn ready(State(readiness): State<Arc<Readiness>>) -> Response {
    readiness.report().await.into_response()
}

async fn exposition(State(metrics): State<PrometheusHandle>) -> Response {
    ([(header::CONTENT_TYPE, EXPOSITION)], metrics.render()).into_response()
}
