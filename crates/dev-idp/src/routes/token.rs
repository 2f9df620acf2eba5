//! The token endpoint (RFC 6749 §3.2, OpenID Connect Core §3.1.3).

use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    DevIdp,
    client_authentication::authenticate,
    config::ClientConfig,
    params::Params,
    store::{Code, Grant, Presented},
    token,
    token_error::{TokenError, no_store},
};

pub(super) async fn post(
    State(provider): State<DevIdp>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::parse(&body);
    let counters = provider.counters();
    match params.get("grant_type") {
        Some("authorization_code") => counters.code_calls.count(),
        Some("refresh_token") => counters.refresh_calls.count(),
        _ => counters.other_token_calls.count(),
    }
    #[cfg(feature = "misbehave")]
    if let Some(response) = provider.misbehave().token_endpoint().await {
        return response;
    }
    match answer(&provider, &headers, &params) {
        Ok(tokens) => {
            let mut response = Json(tokens).into_response();
            no_store(&mut response);
            response
        }
        Err(error) => {
            counters.token_failures.count();
            error.into_response()
        }
    }
}

fn answer(
    provider: &DevIdp,
    headers: &HeaderMap,
    params: &Params,
) -> Result<Map<String, Value>, TokenError> {
    if let Some(name) = params.repeated() {
        return Err(TokenError::invalid_request(format!("{name} occurs twice")));
    }
    let client = authenticate(provider.config(), headers, params)?;
    match params.get("grant_type") {
        Some("authorization_code") => redeem(provider, client, params),
        Some("refresh_token") => refresh(provider, client, params),
        Some(_) => Err(TokenError::unsupported_grant_type()),
        None => Err(TokenError::invalid_request("grant_type is missing")),
    }
}

/// RFC 6749 §4.1.3. One lock from check to redemption: of two simultaneous calls one wins.
fn redeem(
    provider: &DevIdp,
    client: &ClientConfig,
    params: &Params,
) -> Result<Map<String, Value>, TokenError> {
    let value = params.get("code").ok_or_else(|| TokenError::invalid_request("code is missing"))?;
    let unknown = || TokenError::invalid_grant("the code is unknown, expired or already used");
    let now = provider.now();
    let mut store = provider.store();
    let code = store.code(value).filter(|code| code.expires_at > now).cloned();
    let code = code.ok_or_else(unknown)?;
    check_code(&code, client, params)?;
    if let Some(grant_id) = &code.redeemed_as {
        // RFC 6749 §4.1.2: somebody else may hold the tokens of the first redemption.
        provider.counters().code_reuses.count();
        store.revoke(grant_id)?;
        return Err(unknown());
    }
    let lifetimes = &provider.config().lifetimes;
    let grant = Grant {
        client_id: code.client_id,
        sub: code.sub,
        scopes: code.scopes,
        auth_time: code.auth_time,
        expires_at: now + lifetimes.refresh_token.max(lifetimes.access_token).as_secs(),
        generation: 0,
    };
    let grant_id = store.redeem(value, grant.clone(), now)?;
    let offline = !provider.config().require_offline_access
        || grant.scopes.iter().any(|scope| scope == "offline_access");
    let refresh_token = offline.then(|| store.refresh_token(&grant_id, grant.generation));
    drop(store);
    let issued = Issued { refresh_token, nonce: code.nonce, refreshed: false };
    tokens(provider, &grant_id, &grant, &grant.scopes, issued)
}

fn check_code(code: &Code, client: &ClientConfig, params: &Params) -> Result<(), TokenError> {
    if code.client_id != client.client_id {
        return Err(TokenError::invalid_grant("the code was issued to another client"));
    }
    if params.get("redirect_uri") != Some(&code.redirect_uri) {
        return Err(TokenError::invalid_grant("redirect_uri is not that of the request"));
    }
    match (&code.challenge, params.get("code_verifier")) {
        (None, None) => Ok(()),
        // RFC 9700 §4.8.2: a verifier without a challenge smells of a downgrade.
        (None, Some(_)) => Err(TokenError::invalid_grant("the request had no code_challenge")),
        (Some(_), None) => Err(TokenError::invalid_grant("code_verifier is missing")),
        (Some(challenge), Some(verifier)) => {
            let computed = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
            let good: bool = computed.as_bytes().ct_eq(challenge.as_bytes()).into();
            good.then_some(()).ok_or_else(|| {
                TokenError::invalid_grant("code_verifier does not fit code_challenge")
            })
        }
    }
}

/// RFC 6749 §6, with rotation.
fn refresh(
    provider: &DevIdp,
    client: &ClientConfig,
    params: &Params,
) -> Result<Map<String, Value>, TokenError> {
    let token = params
        .get("refresh_token")
        .ok_or_else(|| TokenError::invalid_request("refresh_token is missing"))?;
    let mut store = provider.store();
    let (grant_id, grant) = match store.present(token, &client.client_id, provider.now())? {
        Presented::Current(grant_id, grant) => (grant_id, grant),
        Presented::Reused => {
            provider.counters().refresh_token_reuses.count();
            return Err(TokenError::invalid_grant("the refresh token was used before"));
        }
        Presented::Unknown => {
            return Err(TokenError::invalid_grant("the refresh token is unknown or expired"));
        }
    };
    let scopes = narrowed(&grant, params.get("scope"))?;
    let refresh_token = if rotates(provider) { store.rotate(&grant_id)? } else { None };
    drop(store);
    let issued = Issued { refresh_token, nonce: None, refreshed: true };
    tokens(provider, &grant_id, &grant, &scopes, issued)
}

/// The scopes of a refreshed access token: those granted, or fewer.
fn narrowed(grant: &Grant, requested: Option<&str>) -> Result<Vec<String>, TokenError> {
    let Some(requested) = requested else { return Ok(grant.scopes.clone()) };
    let scopes: Vec<String> = requested.split_ascii_whitespace().map(str::to_owned).collect();
    if scopes.is_empty() || scopes.iter().any(|scope| !grant.scopes.contains(scope)) {
        return Err(TokenError::invalid_scope("a scope was not granted at the login"));
    }
    Ok(scopes)
}

#[cfg(not(feature = "misbehave"))]
fn rotates(_provider: &DevIdp) -> bool {
    true
}

#[cfg(feature = "misbehave")]
fn rotates(provider: &DevIdp) -> bool {
    provider.misbehave().rotates()
}

/// What differs between the answers to a code and to a refresh token.
struct Issued {
    refresh_token: Option<String>,
    nonce: Option<String>,
    refreshed: bool,
}

/// RFC 6749 §5.1.
fn tokens(
    provider: &DevIdp,
    grant_id: &str,
    grant: &Grant,
    scopes: &[String],
    issued: Issued,
) -> Result<Map<String, Value>, TokenError> {
    let user = provider
        .config()
        .user(&grant.sub)
        .ok_or_else(|| TokenError::invalid_grant("the user does not exist any more"))?;
    #[cfg(feature = "misbehave")]
    let user = &provider.misbehave().spoil_user(user, issued.refreshed);
    tracing::debug!(client_id = grant.client_id, refreshed = issued.refreshed, "tokens issued");
    let failed = |error: jsonwebtoken::errors::Error| TokenError::server_error(&error);
    let access_token = token::access_token(provider, grant_id, grant, scopes).map_err(failed)?;
    let mut response = Map::new();
    let mut set = |name: &str, value: Value| response.insert(name.to_owned(), value);
    if grant.scopes.iter().any(|scope| scope == "openid") {
        let nonce = issued.nonce.as_deref();
        let id_token = token::id_token(provider, grant, user, nonce, &access_token);
        set("id_token", json!(id_token.map_err(failed)?));
    }
    set("access_token", json!(access_token));
    set("token_type", json!("Bearer"));
    set("expires_in", json!(provider.config().lifetimes.access_token.as_secs()));
    set("scope", json!(scopes.join(" ")));
    if let Some(refresh_token) = issued.refresh_token {
        set("refresh_token", json!(refresh_token));
    }
    #[cfg(feature = "misbehave")]
    provider.misbehave().spoil_response(&mut response);
    Ok(response)
}
