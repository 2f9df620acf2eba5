//! What the claims of an access token must say. No I/O; the time is given in.

use serde_json::{Map, Value};

use crate::Principal;

pub(super) type Claims = Map<String, Value>;

/// Why claims are refused; told to the client, so it names no value.
pub(super) type Reason = &'static str;

/// The place in Entra's issuer where the tenant of the token goes.
const TENANT: &str = "{tenantid}";

/// Whether the `typ` of a header says "access token" (RFC 9068 §2.1); `false` for one that says
/// nothing.
///
/// Any other type is refused: another kind of JWT is not an access token (RFC 8725 §3.11).
pub(super) fn is_access_token_type(typ: Option<&str>) -> Result<bool, Reason> {
    let Some(typ) = typ else { return Ok(false) };
    // RFC 7515 §4.1.9: compared without case, and "application/" may be left out.
    let typ = typ.to_ascii_lowercase();
    match typ.strip_prefix("application/").unwrap_or(&typ) {
        "at+jwt" => Ok(true),
        "jwt" => Ok(false),
        _ => Err("the token is of another type than an access token"),
    }
}

/// What the claims of a token are compared with.
#[derive(Debug)]
pub(super) struct Checks<'a> {
    /// The issuer; may contain Entra's placeholder for the tenant.
    pub(super) issuer: &'a str,
    /// The issuer for which the key is, if the key says so.
    pub(super) key_issuer: Option<&'a str>,
    /// The token must be for one of these.
    pub(super) audiences: &'a [String],
    /// Or, if it is for nobody in particular, have been issued to one of these clients.
    pub(super) clients: &'a [String],
    /// Unix seconds.
    pub(super) now: u64,
    /// Seconds.
    pub(super) leeway: u64,
    /// Whether the header said "access token".
    pub(super) is_access_token: bool,
}

impl Checks<'_> {
    /// Checks `iss`, `aud` and the times, all strictly.
    pub(super) fn check(&self, claims: &Claims) -> Result<(), Reason> {
        if !self.is_access_token && has_marks_of_another_type(claims) {
            return Err("the token is not an access token");
        }

        let issuer = claims.get("iss").and_then(Value::as_str).ok_or("the token has no issuer")?;
        if !is_issuer(self.issuer, issuer, claims)
            || self.key_issuer.is_some_and(|expected| !is_issuer(expected, issuer, claims))
        {
            return Err("the token is of another issuer");
        }

        self.check_audience(claims)?;

        let expires_at = claims.get("exp").and_then(seconds).ok_or("the token has no end")?;
        if self.now >= expires_at.saturating_add(self.leeway) {
            return Err("the token has expired");
        }
        let latest = self.now.saturating_add(self.leeway);
        for name in ["nbf", "iat"] {
            let Some(value) = claims.get(name) else { continue };
            if seconds(value).is_none_or(|at| at > latest) {
                return Err("the token is not valid yet");
            }
        }
        Ok(())
    }

    fn check_audience(&self, claims: &Claims) -> Result<(), Reason> {
        let audience = strings(claims.get("aud"));
        if audience.iter().any(|name| self.audiences.iter().any(|accepted| accepted == name)) {
            return Ok(());
        }
        if !audience.is_empty() {
            return Err("the token is for another resource");
        }
        // An ID token has the client as its audience, and nothing that is less sure of itself than
        // Cognito's access tokens may stand in for one.
        let text = |name| claims.get(name).and_then(Value::as_str);
        let is_access_token = self.is_access_token || text("token_use") == Some("access");
        let is_ours = text("client_id").is_some_and(|id| self.clients.iter().any(|own| own == id));
        if is_access_token && is_ours && !claims.contains_key("aud") {
            return Ok(());
        }
        Err("the token has no audience")
    }
}

/// Whether `issuer` is the expected one, with the token's tenant in place of the placeholder.
fn is_issuer(expected: &str, issuer: &str, claims: &Claims) -> bool {
    if !expected.contains(TENANT) {
        return issuer == expected;
    }
    let tenant = claims.get("tid").and_then(Value::as_str).filter(|tid| is_tenant_id(tid));
    tenant.is_some_and(|tenant| issuer == expected.replace(TENANT, tenant))
}

/// A GUID, and so nothing that could reach into the rest of a URL.
fn is_tenant_id(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
}

/// Claims that ID tokens (OpenID Connect Core §3.1.3.6; Cognito's `token_use`) and logout or event
/// tokens (RFC 8417 §2.2) have, and access tokens have not.
fn has_marks_of_another_type(claims: &Claims) -> bool {
    ["at_hash", "c_hash", "events"].iter().any(|name| claims.contains_key(*name))
        || claims.get("token_use").and_then(Value::as_str) == Some("id")
}

/// Makes a principal of claims that passed.
pub(super) fn principal(claims: Claims) -> Result<Principal, Reason> {
    let text = |name| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let subject = text("sub").ok_or("the token has no subject")?;

    let mut builder = Principal::builder(subject).scopes(scopes(&claims));
    if let Some(issuer) = text("iss") {
        builder = builder.issuer(issuer);
    }
    // RFC 9068 §2.2 and OpenID Connect, then what Okta and Entra write.
    let client_id = ["client_id", "azp", "cid", "appid"].into_iter().find_map(text);
    if let Some(client_id) = client_id {
        builder = builder.client_id(client_id);
    }
    for audience in strings(claims.get("aud")) {
        builder = builder.audience(audience);
    }
    if let Some(expires_at) = claims.get("exp").and_then(seconds) {
        builder = builder.expires_at(expires_at);
    }
    Ok(builder.claims(claims).build())
}

/// `scope` (RFC 9068 §2.2.3), or the `scp` of Okta (an array) and Entra (a string).
fn scopes(claims: &Claims) -> Vec<String> {
    let claim = claims.get("scope").or_else(|| claims.get("scp"));
    strings(claim).into_iter().flat_map(str::split_ascii_whitespace).map(str::to_owned).collect()
}

/// A claim that is one string or an array of strings.
fn strings(claim: Option<&Value>) -> Vec<&str> {
    match claim {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A `NumericDate` in whole seconds (RFC 7519 §2 allows fractions).
fn seconds(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the fraction is meant to go, and the cast saturates"
    )]
    value.as_u64().or_else(|| value.as_f64().filter(|at| *at >= 0.0).map(|at| at as u64))
}

#[cfg(test)]
mod tests;
