//! Reading a token response (RFC 6749 §5.1) as generously as safety allows.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::{ProviderError, ProviderTokens};

/// The longest token that is accepted, in bytes: above any that a provider sends in practice.
const MAX_TOKEN: usize = 64 * 1024;

/// The longest access token lifetime that is believed.
const MAX_EXPIRES_IN: u64 = 366 * 24 * 3600;

/// Reads what a token endpoint answered with success.
pub(super) fn read(mut answer: Map<String, Value>) -> Result<ProviderTokens, ProviderError> {
    if let Some(Value::String(kind)) = answer.get("token_type")
        && !kind.eq_ignore_ascii_case("bearer")
    {
        return Err(refused("a token type other than Bearer; turn DPoP or the like off for it"));
    }
    let access_token =
        token(&mut answer, "access_token")?.ok_or_else(|| refused("no access token"))?;
    Ok(ProviderTokens {
        access_token,
        refresh_token: token(&mut answer, "refresh_token")?,
        id_token: token(&mut answer, "id_token")?,
        expires_in: answer.get("expires_in").and_then(expires_in),
        scope: answer.get("scope").and_then(scope),
    })
}

/// A token that a header can carry (RFC 6749 appendix A.12); absent, null and empty are the same.
fn token(
    answer: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<SecretString>, ProviderError> {
    match answer.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) if value.is_empty() => Ok(None),
        Some(Value::String(value)) => {
            if value.len() > MAX_TOKEN {
                Err(refused(&format!("{name} longer than {MAX_TOKEN} bytes")))
            } else if value.bytes().any(|byte| !byte.is_ascii_graphic() && byte != b' ') {
                Err(refused(&format!("{name} with characters that no token may have")))
            } else {
                Ok(Some(value.into()))
            }
        }
        Some(_) => Err(refused(&format!("{name} that is not text"))),
    }
}

/// A number, or a number as text; below zero means already over.
fn expires_in(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    if seconds.is_nan() {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "float to integer saturates, and the bound follows"
    )]
    let seconds = seconds as u64;
    Some(Duration::from_secs(seconds.min(MAX_EXPIRES_IN)))
}

/// A space-separated list, or an array of scopes.
fn scope(value: &Value) -> Option<String> {
    let scope = match value {
        Value::String(text) => text.split_ascii_whitespace().collect::<Vec<_>>().join(" "),
        Value::Array(items) => {
            items.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?.join(" ")
        }
        _ => return None,
    };
    let usable = !scope.is_empty() && !scope.chars().any(char::is_control);
    usable.then_some(scope)
}

fn refused(what: &str) -> ProviderError {
    ProviderError::Refused { reason: format!("the token endpoint answered with {what}") }
}

#[cfg(test)]
mod tests;
