//! Client authentication (RFC 6749 §2.3): `client_secret_basic`, `client_secret_post`, `none`.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    config::{ClientConfig, Config},
    params::Params,
    token_error::TokenError,
};

/// The client that sends this request, proven by its secret if it has one.
///
/// # Errors
/// `invalid_client` if there is no such client or the proof fails, `invalid_request` if it
/// tries two ways at once.
pub(crate) fn authenticate<'a>(
    config: &'a Config,
    headers: &HeaderMap,
    params: &Params,
) -> Result<&'a ClientConfig, TokenError> {
    let basic = headers.contains_key(header::AUTHORIZATION);
    let (client_id, secret) = if basic {
        let (id, secret) = basic_credentials(headers).ok_or(TokenError::invalid_client(true))?;
        if params.get("client_secret").is_some() {
            return Err(TokenError::invalid_request("two ways of client authentication at once"));
        }
        if params.get("client_id").is_some_and(|other| other != id) {
            return Err(TokenError::invalid_request("client_id differs from the credentials"));
        }
        (id, Some(secret))
    } else {
        let id = params.get("client_id").ok_or(TokenError::invalid_client(false))?;
        (id.to_owned(), params.get("client_secret").map(str::to_owned))
    };
    let client = config.client(&client_id).ok_or(TokenError::invalid_client(basic))?;
    let good = match (&client.client_secret, &secret) {
        (Some(expected), Some(given)) => secrets_match(expected, given),
        (None, None) => true,
        // A public client in HTTP Basic has an empty password.
        (None, Some(given)) => given.is_empty(),
        (Some(_), None) => false,
    };
    good.then_some(client).ok_or(TokenError::invalid_client(basic))
}

/// Compares in a time that depends on neither content nor common prefix.
pub(crate) fn secrets_match(expected: &str, given: &str) -> bool {
    Sha256::digest(expected).ct_eq(&Sha256::digest(given)).into()
}

/// Id and secret from HTTP Basic, where both are form-encoded first (RFC 6749 §2.3.1).
fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}
