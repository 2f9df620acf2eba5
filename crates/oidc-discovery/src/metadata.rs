//! The provider's metadata document.

use serde_json::{Map, Value};

use crate::issuer::is_secure;

/// What a provider says of itself (OpenID Connect Discovery 1.0 §3, RFC 8414 §2).
///
/// Lists that the document does not have are empty here: whether that means "the default" or
/// "none" differs from member to member and is said in the standard.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ProviderMetadata {
    /// The issuer, byte for byte as the document has it; with Entra's shared tenants it contains
    /// the placeholder `{tenantid}`.
    pub issuer: String,
    /// Where a browser is sent to log in.
    pub authorization_endpoint: String,
    /// Where codes and refresh tokens are exchanged.
    pub token_endpoint: String,
    /// Where the key set is.
    pub jwks_uri: String,
    /// Where claims about the user can be read.
    pub userinfo_endpoint: Option<String>,
    /// Where tokens are revoked (RFC 7009).
    pub revocation_endpoint: Option<String>,
    /// Where tokens are introspected (RFC 7662).
    pub introspection_endpoint: Option<String>,
    /// Where a browser is sent to log out (RP-Initiated Logout 1.0).
    pub end_session_endpoint: Option<String>,
    /// Scopes that can be asked for; providers need not name all.
    pub scopes_supported: Vec<String>,
    /// How a client may authenticate at the token endpoint; empty means `client_secret_basic`.
    pub token_endpoint_auth_methods_supported: Vec<String>,
    /// Methods of PKCE; many providers that support `S256` do not say so.
    pub code_challenge_methods_supported: Vec<String>,
    /// Algorithms with which ID tokens are signed.
    pub id_token_signing_alg_values_supported: Vec<String>,
    /// Grant types; empty means `authorization_code` and `implicit`.
    pub grant_types_supported: Vec<String>,
    /// Claims that the provider may send.
    pub claims_supported: Vec<String>,
    /// Whether authorization responses carry `iss` (RFC 9207 §3).
    pub authorization_response_iss_parameter_supported: bool,
    /// The whole document, without its `null` members.
    pub document: Map<String, Value>,
}

impl ProviderMetadata {
    /// Reads a metadata document; the issuer is not compared with anything here.
    ///
    /// Unknown members are kept, `null` is the same as absent, and a member of the wrong type is
    /// left out unless it is one of the four that nothing works without.
    ///
    /// # Errors
    ///
    /// With the reason: not a JSON object, or `issuer`, `authorization_endpoint`,
    /// `token_endpoint` or `jwks_uri` missing, or an endpoint that is neither `https` nor on this
    /// machine.
    pub fn from_json(json: &str) -> Result<Self, String> {
        Self::read(json, false)
    }

    pub(crate) fn read(json: &str, allow_http: bool) -> Result<Self, String> {
        let document: Value =
            serde_json::from_str(json).map_err(|error| format!("it is not JSON ({error})"))?;
        let Value::Object(mut document) = document else {
            return Err("it is not a JSON object".to_owned());
        };
        document.retain(|_, member| !member.is_null());

        let required = |name| string(&document, name).ok_or_else(|| format!("it has no {name:?}"));
        let endpoint = |name, url: String| {
            let allowed = is_secure(&url) || (allow_http && url.starts_with("http://"));
            if allowed {
                Ok(url)
            } else {
                Err(format!("its {name:?} is not an https URL: {url:?}"))
            }
        };
        let required_endpoint = |name| endpoint(name, required(name)?);
        let optional_endpoint =
            |name| string(&document, name).map(|url| endpoint(name, url)).transpose();

        Ok(Self {
            issuer: required("issuer")?,
            authorization_endpoint: required_endpoint("authorization_endpoint")?,
            token_endpoint: required_endpoint("token_endpoint")?,
            jwks_uri: required_endpoint("jwks_uri")?,
            userinfo_endpoint: optional_endpoint("userinfo_endpoint")?,
            revocation_endpoint: optional_endpoint("revocation_endpoint")?,
            introspection_endpoint: optional_endpoint("introspection_endpoint")?,
            end_session_endpoint: optional_endpoint("end_session_endpoint")?,
            scopes_supported: strings(&document, "scopes_supported"),
            token_endpoint_auth_methods_supported: strings(
                &document,
                "token_endpoint_auth_methods_supported",
            ),
            code_challenge_methods_supported: strings(
                &document,
                "code_challenge_methods_supported",
            ),
            id_token_signing_alg_values_supported: strings(
                &document,
                "id_token_signing_alg_values_supported",
            ),
            grant_types_supported: strings(&document, "grant_types_supported"),
            claims_supported: strings(&document, "claims_supported"),
            authorization_response_iss_parameter_supported: boolean(
                &document,
                "authorization_response_iss_parameter_supported",
            ),
            document,
        })
    }
}

/// A member that is a string with something in it.
fn string(document: &Map<String, Value>, name: &str) -> Option<String> {
    let text = document.get(name)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// The strings of a member that is an array, or the words of one that is a string.
fn strings(document: &Map<String, Value>, name: &str) -> Vec<String> {
    match document.get(name) {
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(Value::String(words)) => words.split_ascii_whitespace().map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A member that is `true`, also spelled as a string.
fn boolean(document: &Map<String, Value>, name: &str) -> bool {
    match document.get(name) {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
