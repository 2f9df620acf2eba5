//! Wrong answers on purpose: what a relying party must survive or refuse.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::response::{Html, IntoResponse, Response};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{StatusCode, header};
use serde_json::{Map, Value, json};

use crate::{SigningKey, User};

/// The issuer, audience or party that wrong answers name.
const FOREIGN: &str = "https://attacker.example";

/// How far outside their validity wrong times lie: beyond any tolerated clock skew.
const FAR: u64 = 24 * 60 * 60;

/// A handle on the switches of one provider; clones move the same switches.
#[derive(Clone, Debug, Default)]
pub struct Misbehave {
    switches: Arc<Mutex<Switches>>,
}

/// What is wrong at present. The default is: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Switches {
    /// What is wrong with ID tokens.
    pub id_token: Option<IdTokenFault>,
    /// What is wrong with the `iss` response parameter (RFC 9207), on success and error.
    pub iss_parameter: Option<IssParameterFault>,
    /// What the token endpoint does instead of answering.
    pub token_endpoint: Option<TokenEndpointFault>,
    /// What is wrong with the `expires_in` of token responses.
    pub expires_in: Option<ExpiresInFault>,
    /// What is wrong with refresh tokens.
    pub refresh_token: Option<RefreshTokenFault>,
}

/// What is wrong with ID tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdTokenFault {
    /// There is none.
    Absent,
    /// Signed, but not this content.
    WrongSignature,
    /// `iss` names another issuer.
    WrongIssuer,
    /// `aud` names another client only.
    WrongAudience,
    /// `aud` names us and another client, `azp` the other one.
    ForeignAuthorizedParty,
    /// `aud` names us and another client, `azp` is missing.
    MissingAuthorizedParty,
    /// `exp` was yesterday.
    Expired,
    /// `iat` is tomorrow.
    IssuedInFuture,
    /// `nonce` is another one.
    WrongNonce,
    /// `nonce` is missing.
    MissingNonce,
    /// `sub` is missing.
    MissingSubject,
    /// `alg` is `none`, the signature empty.
    UnsignedAlgNone,
    /// `alg` is `HS256`, the secret the PEM text of the public key.
    Hs256WithPublicKey,
    /// The ID token of a refresh names another subject than the login did; that of the login
    /// itself is right.
    OtherSubjectOnRefresh,
}

/// What is wrong with the `iss` response parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IssParameterFault {
    /// It is missing, although the metadata promise it.
    Missing,
    /// It names another issuer.
    Wrong,
}

/// What the token endpoint does instead of answering. Nothing is redeemed or rotated meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenEndpointFault {
    /// 500 with a JSON body that is no OAuth error.
    InternalError,
    /// 429 with `Retry-After` in whole seconds.
    TooManyRequests {
        /// The value of `Retry-After`.
        retry_after: Duration,
    },
    /// 200 with an HTML page, as captive portals do.
    Html,
    /// No answer at all, for as long as the caller waits.
    Hang,
}

/// What is wrong with `expires_in`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiresInFault {
    /// It is missing.
    Absent,
    /// It is -1.
    Negative,
    /// It is a string of digits.
    Text,
}

/// What is wrong with refresh tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshTokenFault {
    /// There are none.
    Absent,
    /// A refresh brings no new one and the old one stays good, as at Google.
    NotRotated,
}

impl Misbehave {
    /// Changes switches: `misbehave.set(|s| s.id_token = Some(IdTokenFault::Expired))`.
    pub fn set(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.lock());
    }

    /// Back to good behavior.
    pub fn reset(&self) {
        *self.lock() = Switches::default();
    }

    /// What is wrong at present.
    pub fn switches(&self) -> Switches {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer of a token endpoint that is out of order, if it is.
    pub(crate) async fn token_endpoint(&self) -> Option<Response> {
        let fault = self.lock().token_endpoint?;
        Some(match fault {
            TokenEndpointFault::InternalError => {
                let body = axum::Json(json!({"message": "the database is on fire"}));
                (StatusCode::INTERNAL_SERVER_ERROR, body).into_response()
            }
            TokenEndpointFault::TooManyRequests { retry_after } => {
                let header = [(header::RETRY_AFTER, retry_after.as_secs().to_string())];
                (StatusCode::TOO_MANY_REQUESTS, header, "slow down").into_response()
            }
            TokenEndpointFault::Html => {
                Html("<!doctype html><title>Welcome</title><p>Please log in to the Wi-Fi.")
                    .into_response()
            }
            TokenEndpointFault::Hang => std::future::pending().await,
        })
    }

    /// The `iss` response parameter to send instead of the right one.
    pub(crate) fn iss_parameter<'a>(&self, issuer: &'a str) -> Option<&'a str> {
        match self.lock().iss_parameter {
            None => Some(issuer),
            Some(IssParameterFault::Missing) => None,
            Some(IssParameterFault::Wrong) => Some(FOREIGN),
        }
    }

    pub(crate) fn rotates(&self) -> bool {
        self.lock().refresh_token != Some(RefreshTokenFault::NotRotated)
    }

    /// The user to speak of in an ID token instead of the right one.
    pub(crate) fn spoil_user(&self, user: &User, refreshed: bool) -> User {
        let mut user = user.clone();
        if refreshed && self.lock().id_token == Some(IdTokenFault::OtherSubjectOnRefresh) {
            "user-somebody-else".clone_into(&mut user.sub);
        }
        user
    }

    /// Spoils the claims of an ID token before they are signed.
    pub(crate) fn spoil_claims(&self, claims: &mut Map<String, Value>) {
        let Some(fault) = self.lock().id_token else { return };
        let now = claims["iat"].as_u64().unwrap_or_default();
        let two_audiences = json!([claims["aud"], FOREIGN]);
        let mut set = |name: &str, value: Value| {
            claims.insert(name.to_owned(), value);
        };
        match fault {
            IdTokenFault::WrongIssuer => set("iss", json!(FOREIGN)),
            IdTokenFault::WrongAudience => set("aud", json!(FOREIGN)),
            IdTokenFault::ForeignAuthorizedParty => {
                set("aud", two_audiences);
                set("azp", json!(FOREIGN));
            }
            IdTokenFault::MissingAuthorizedParty => set("aud", two_audiences),
            IdTokenFault::Expired => {
                set("iat", json!(now.saturating_sub(FAR + 60)));
                set("exp", json!(now.saturating_sub(FAR)));
            }
            IdTokenFault::IssuedInFuture => {
                set("iat", json!(now + FAR));
                set("exp", json!(now + FAR + 3600));
            }
            IdTokenFault::WrongNonce => set("nonce", json!("a-nonce-of-somebody-else")),
            IdTokenFault::MissingNonce => drop(claims.remove("nonce")),
            IdTokenFault::MissingSubject => drop(claims.remove("sub")),
            IdTokenFault::OtherSubjectOnRefresh
            | IdTokenFault::Absent
            | IdTokenFault::WrongSignature
            | IdTokenFault::UnsignedAlgNone
            | IdTokenFault::Hs256WithPublicKey => {}
        }
    }

    /// Replaces a rightly signed ID token by a wrongly signed one.
    pub(crate) fn spoil_signature(&self, signed: String, key: &SigningKey) -> String {
        let payload = signed.split('.').nth(1).unwrap_or_default();
        match self.lock().id_token {
            Some(IdTokenFault::WrongSignature) => {
                let (content, signature) = signed.rsplit_once('.').unwrap_or_default();
                let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap_or_default();
                signature.reverse();
                format!("{content}.{}", URL_SAFE_NO_PAD.encode(signature))
            }
            Some(IdTokenFault::UnsignedAlgNone) => {
                let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
                format!("{header}.{payload}.")
            }
            Some(IdTokenFault::Hs256WithPublicKey) => {
                let header = json!({"alg": "HS256", "typ": "JWT", "kid": key.key_id()});
                let content = format!("{}.{payload}", URL_SAFE_NO_PAD.encode(header.to_string()));
                let secret = key.public_key_pem();
                let secret =
                    aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret.as_bytes());
                let tag = aws_lc_rs::hmac::sign(&secret, content.as_bytes());
                format!("{content}.{}", URL_SAFE_NO_PAD.encode(tag))
            }
            _ => signed,
        }
    }

    /// Spoils a token response.
    pub(crate) fn spoil_response(&self, response: &mut Map<String, Value>) {
        let switches = self.switches();
        if switches.id_token == Some(IdTokenFault::Absent) {
            response.remove("id_token");
        }
        match switches.expires_in {
            None => {}
            Some(ExpiresInFault::Absent) => drop(response.remove("expires_in")),
            Some(ExpiresInFault::Negative) => {
                response.insert("expires_in".to_owned(), json!(-1));
            }
            Some(ExpiresInFault::Text) => {
                let text = response.get("expires_in").map(Value::to_string).unwrap_or_default();
                response.insert("expires_in".to_owned(), json!(text));
            }
        }
        if switches.refresh_token == Some(RefreshTokenFault::Absent) {
            response.remove("refresh_token");
        }
    }
}
