//! The tokens: what they claim, and when they are good.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    DevIdp,
    config::User,
    store::{Grant, random},
};

/// The `typ` of access tokens (RFC 9068 §2.1).
const ACCESS_TOKEN_TYPE: &str = "at+jwt";

/// The claims of an access token (RFC 9068 §2.2).
#[derive(Serialize, Deserialize)]
pub(crate) struct AccessClaims {
    iss: String,
    pub(crate) sub: String,
    aud: String,
    pub(crate) client_id: String,
    pub(crate) scope: String,
    iat: u64,
    exp: u64,
    jti: String,
    /// Names the grant, so that revoking it ends its access tokens at userinfo.
    pub(crate) grant: String,
}

pub(crate) fn access_token(
    provider: &DevIdp,
    grant_id: &str,
    grant: &Grant,
    scopes: &[String],
) -> jsonwebtoken::errors::Result<String> {
    let now = provider.now();
    provider.inner.signing_key.sign(
        ACCESS_TOKEN_TYPE,
        &AccessClaims {
            iss: provider.issuer().to_owned(),
            sub: grant.sub.clone(),
            aud: provider.config().access_token_audience.clone(),
            client_id: grant.client_id.clone(),
            scope: scopes.join(" "),
            iat: now,
            exp: now + provider.config().lifetimes.access_token.as_secs(),
            jti: random(),
            grant: grant_id.to_owned(),
        },
    )
}

/// The claims of an access token that is ours and not expired; its grant may have ended.
pub(crate) fn verify_access_token(provider: &DevIdp, token: &str) -> Option<AccessClaims> {
    let key = &provider.inner.signing_key;
    key.verify::<AccessClaims>(ACCESS_TOKEN_TYPE, provider.issuer(), token)
        .filter(|claims| claims.exp > provider.now())
}

/// An ID token (OpenID Connect Core §2). `nonce` is that of the authorization request, and
/// absent after a refresh (§12.2).
pub(crate) fn id_token(
    provider: &DevIdp,
    grant: &Grant,
    user: &User,
    nonce: Option<&str>,
    access_token: &str,
) -> jsonwebtoken::errors::Result<String> {
    let now = provider.now();
    let mut claims = user_claims(user, &grant.scopes);
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("iss", json!(provider.issuer()));
    set("aud", json!(grant.client_id));
    set("iat", json!(now));
    set("exp", json!(now + provider.config().lifetimes.id_token.as_secs()));
    set("auth_time", json!(grant.auth_time));
    set("at_hash", json!(at_hash(access_token)));
    if let Some(nonce) = nonce {
        set("nonce", json!(nonce));
    }
    let key = &provider.inner.signing_key;
    #[cfg(feature = "misbehave")]
    provider.misbehave().spoil_claims(&mut claims);
    let signed = key.sign("JWT", &claims)?;
    #[cfg(feature = "misbehave")]
    let signed = provider.misbehave().spoil_signature(signed, key);
    Ok(signed)
}

/// What these scopes tell about a user (OpenID Connect Core §5.4); always `sub`.
pub(crate) fn user_claims(user: &User, scopes: &[String]) -> Map<String, Value> {
    let has = |scope: &str| scopes.iter().any(|other| other == scope);
    let mut claims = Map::new();
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("sub", json!(user.sub));
    if has("profile") {
        set("name", json!(user.name));
        set("preferred_username", json!(user.username));
    }
    if has("profile") || has("groups") {
        set("groups", json!(user.groups));
    }
    if has("email") {
        set("email", json!(user.email));
        set("email_verified", json!(user.email_verified));
    }
    claims
}

/// Binds an ID token to its access token (OpenID Connect Core §3.1.3.6).
fn at_hash(access_token: &str) -> String {
    let hash = digest(&SHA256, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16])
}
