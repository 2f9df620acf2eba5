//! The provider's access token, put beside the request before it is forwarded.

use axum::{
    Json,
    body::Body,
    extract::State,
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, Request, StatusCode, header};
use oidc_proxy::{OidcProxy, Principal, VerifyError};
use secrecy::ExposeSecret;
use serde_json::json;
use token_verifier::Guard;
use zeroize::Zeroizing;

use super::sensitive;

/// `Bearer` and the token, as it goes to the backend; its `Debug` shows nothing of it.
#[derive(Clone, Debug)]
pub(crate) struct ProviderToken(pub(crate) HeaderValue);

/// Gives the request the token of whoever asks. Without a good one nothing is forwarded.
pub(crate) async fn attach(
    State((proxy, guard)): State<(OidcProxy, Guard)>,
    mut request: Request<Body>,
    next: Next,
) -> Response {
    let Some(principal) = request.extensions().get::<Principal>().cloned() else {
        return next.run(request).await;
    };
    let token = match proxy.provider_token(&principal).await {
        Ok(token) => token,
        Err(error) => return refusal(error, &guard, request.method()),
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
fn refusal(error: VerifyError, guard: &Guard, method: &Method) -> Response {
    let VerifyError::Unavailable { retry_after, source } = &error else {
        return guard.refuse(error, method);
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

#[cfg(test)]
mod tests {
    use axum::{Router, middleware::from_fn_with_state, routing::any};
    use jwt_issuer::{KeyRing, MasterKey};
    use kv_storage::Memory;
    use oidc_proxy::AccessPolicy;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_login_that_has_ended_is_challenged_as_the_guard_does() {
        let proxy = OidcProxy::builder("http://127.0.0.1:1")
            .client_id("id")
            .base_url("http://127.0.0.1:2")
            .storage(Memory::new())
            .signing_keys(KeyRing::new(MasterKey::generate()))
            .access(AccessPolicy::any_user())
            .build()
            .unwrap();
        let router = Router::new()
            .route("/mcp", any(async || "never"))
            .layer(from_fn_with_state((proxy.clone(), proxy.guard()), attach));
        let mut request = Request::post("/mcp").body(Body::empty()).unwrap();
        request.extensions_mut().insert(Principal::builder("alice").grant_id("ended").build());
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        let ended = VerifyError::Invalid("the login has ended; log in again".to_owned());
        let expected: Response = proxy.guard().refuse(ended, &Method::POST);
        let challenge = &answer.headers()[header::WWW_AUTHENTICATE];
        assert_eq!(challenge, &expected.headers()[header::WWW_AUTHENTICATE]);
        let challenge = challenge.to_str().unwrap();
        let metadata = "http://127.0.0.1:2/.well-known/oauth-protected-resource/mcp";
        assert!(challenge.contains(&format!("resource_metadata=\"{metadata}\"")), "{challenge}");
    }
}
