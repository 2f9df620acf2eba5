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
    flow::refresh::{Standing, standing},
    params::Params,
    record::grant::Grant,
    refresh_token::RefreshToken,
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
    // `token_type_hint` is for servers that must search; the two forms cannot be confused.
    let answer = match RefreshToken::parse(token) {
        Some(token) => of_refresh_token(&app, server, &token).await?,
        None => of_access_token(&app, server, token).await?,
    };
    let mut response = match answer {
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
    app: &App,
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
    let scope = ScopeSet::parse(&claims.scope).intersect(&grant.scopes);
    Ok(Some(Good {
        active: true,
        token_type: Some("Bearer"),
        scope: scope.to_string(),
        client_id: grant.client.id,
        sub: grant.subject,
        aud: grant.resource,
        iss: app.config.issuer.clone(),
        exp: claims.exp,
        iat: claims.iat,
        jti: Some(claims.jti),
    }))
}

/// A refresh token is good as long as it could be used; looking at it uses nothing up.
async fn of_refresh_token(
    app: &App,
    server: &ResourceServer,
    token: &RefreshToken<'_>,
) -> Result<Option<Good>, StoreError> {
    let Some(stored) = app.store.get::<Grant>(token.grant_id).await? else { return Ok(None) };
    let grant = stored.record;
    let now = app.clock.now();
    let is_good = grant.resource == server.audience()
        && token.is_genuine(&app.keys.refresh, &app.config.issuer, &grant)
        && grant.is_active()
        && grant.client.refreshes
        && now < grant.not_after
        && standing(&grant, token.generation, now, app.config.lifetimes.refresh_grace)
            != Standing::Replay;
    if !is_good {
        return Ok(None);
    }
    Ok(Some(Good {
        active: true,
        token_type: None,
        scope: grant.scopes.to_string(),
        client_id: grant.client.id,
        sub: grant.subject,
        aud: grant.resource,
        iss: app.config.issuer.clone(),
        exp: grant.not_after,
        iat: grant.used_at,
        jti: None,
    }))
}

/// RFC 7662 §2.2.
#[derive(Serialize)]
struct Good {
    active: bool,
    /// Absent for a refresh token, which is no token to call with.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    scope: String,
    client_id: String,
    sub: String,
    aud: String,
    iss: String,
    exp: u64,
    iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
}

#[derive(Serialize)]
struct NotGood {
    active: bool,
}
