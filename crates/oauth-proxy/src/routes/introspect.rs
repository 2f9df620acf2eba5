//! `POST /introspect` (RFC 7662): is this token good right now? For configured resource servers.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, header};
use serde::Serialize;

use crate::{
    app::App,
    client_auth::presented,
    error::{ErrorCode, OAuthError},
    params::Params,
    record::grant::Grant,
    renewal::ahead,
    resource_server::ResourceServer,
    scope::ScopeSet,
    store::StoreError,
};

/// Where resource servers ask, below the issuer.
pub(crate) const PATH: &str = "/introspect";

/// Whatever is wrong with the token, the answer is the same: RFC 7662 §2.2 tells nobody why.
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, OAuthError> {
    let server = authenticate(&app, &headers, &params)?;
    let token = params.required("token")?;
    // A refresh token is nothing to call with: a resource server that looked at `active` and `aud`
    // only would take a stolen one for an access token.
    let mut response = match of_access_token(&app, server, token).await? {
        Some(answer) => Json(answer).into_response(),
        None => Json(NotGood { active: false }).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// 401 for everybody but the configured resource servers: RFC 7662 §2.1 wants no token scanning.
fn authenticate<'a>(
    app: &'a App,
    headers: &HeaderMap,
    params: &Params,
) -> Result<&'a ResourceServer, OAuthError> {
    let presented = presented(headers, params)?;
    let servers = &app.config.resource_servers;
    let known = servers.iter().find(|server| server.id() == presented.client_id);
    known.filter(|server| presented.proves(server.secret_hash())).ok_or_else(|| {
        OAuthError::new(
            ErrorCode::InvalidClient,
            "the resource server is not known here, or its secret is wrong",
        )
        .with_basic_challenge()
    })
}

async fn of_access_token(
    app: &Arc<App>,
    server: &ResourceServer,
    token: &str,
) -> Result<Option<Good>, StoreError> {
    let now = app.clock.now();
    let Ok(claims) = app.keys.access.verify(token, now) else { return Ok(None) };
    if claims.aud != server.audience() {
        return Ok(None);
    }
    let Some(stored) = app.store.get::<Grant>(&claims.grant).await? else { return Ok(None) };
    let grant = stored.record;
    if !grant.backs(&claims) {
        return Ok(None);
    }
    ahead::in_use(app, &grant);
    let scope = ScopeSet::parse(&claims.scope).intersect(&grant.scopes);
    Ok(Some(Good {
        active: true,
        token_type: "Bearer",
        scope: scope.to_string(),
        client_id: grant.client.id,
        sub: grant.subject,
        aud: grant.resource,
        iss: app.config.issuer.clone(),
        exp: claims.exp,
        iat: claims.iat,
        jti: claims.jti,
    }))
}

/// RFC 7662 §2.2.
#[derive(Serialize)]
struct Good {
    active: bool,
    token_type: &'static str,
    scope: String,
    client_id: String,
    sub: String,
    aud: String,
    iss: String,
    exp: u64,
    iat: u64,
    jti: String,
}

#[derive(Serialize)]
struct NotGood {
    active: bool,
}
