//! `Principal` as an axum extractor.

use axum::{
    Json,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{StatusCode, request::Parts};
use serde_json::json;

use crate::Principal;

/// Takes the principal that the [`Guard`](crate::Guard) put into the request.
impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Unguarded;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Unguarded> {
        parts.extensions.get::<Self>().cloned().ok_or(Unguarded)
    }
}

/// A handler asks for a [`Principal`] and no [`Guard`](crate::Guard) stands in front of it.
///
/// A mistake of the program, not of the client: answered with 500.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the route has no guard, so there is no principal")]
#[non_exhaustive]
pub struct Unguarded;

impl IntoResponse for Unguarded {
    fn into_response(self) -> Response {
        tracing::error!("{self}");
        (StatusCode::INTERNAL_SERVER_ERROR, Json(json!({"error": "server_error"}))).into_response()
    }
}
