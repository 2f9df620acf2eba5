//! The provider's access token, put beside the request before it is forwarded.

use axum::{
    Json,
    body::Body,
    extract::State,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Request, StatusCode, header};
use oidc_proxy::{OidcProxy, Principal, VerifyError};
use secrecy::ExposeSecret;
use serde_json::json;
use zeroize::Zeroizing;

use super::sensitive;

/// `Bearer` and the token, as it goes to the backend; its `Debug` shows nothing of it.
#[derive(Clone, Debug)]
pub(crate) struct ProviderToken(pub(crate) HeaderValue);

/// Gives the request the token of whoever asks. Without a good one nothing is forwarded.
pub(crate) async fn attach(
    State(proxy): State<OidcProxy>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let Some(principal) = request.extensions().get::<Principal>().cloned() else {
        return next.run(request).await;
    };
    let token = match proxy.provider_token(&principal).await {
        Ok(token) => token,
        Err(error) => return refusal(&error),
    };
    let bearer = Zeroizing::new(format!("Bearer {}", token.expose_secret()));
    let Ok(value) = HeaderValue::from_str(&bearer) else {
        tracing::error!("the provider's access token cannot stand in a header");
        return answer(
            StatusCode::BAD_GATEWAY,
            "server_error",
            "the identity provider's token is unusable",
        );
    };
    request.extensions_mut().insert(ProviderToken(sensitive(value)));
    next.run(request).await
}

/// An outage is not a bad token (D7).
fn refusal(error: &VerifyError) -> Response {
    let VerifyError::Unavailable { retry_after, source } = error else {
        let mut response =
            answer(StatusCode::UNAUTHORIZED, "invalid_token", "the login has ended; log in again");
        let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    };
    tracing::warn!(cause = %source, "a request was not forwarded without a fresh token");
    let mut response = answer(
        StatusCode::SERVICE_UNAVAILABLE,
        "temporarily_unavailable",
        "the identity provider's token cannot be had now; try again shortly",
    );
    let seconds = HeaderValue::from(retry_after.as_secs());
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

fn answer(status: StatusCode, error: &str, description: &str) -> Response {
    let body = Json(json!({"error": error, "error_description": description}));
    (status, [(header::CACHE_CONTROL, "no-store")], body).into_response()
}
