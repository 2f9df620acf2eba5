//! Clients that registered themselves (RFC 7591): the stored record and the rules of acceptance,
//! most of which hold for clients with a metadata document, too.

use jwt_issuer::{random_token, sha256_base64url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use crate::{
    error::{ErrorCode, OAuthError},
    record::transaction::ClientSnapshot,
    redirect_uri::{RedirectPolicy, check_registration},
    routes::register::PATH,
    scope::ScopeSet,
    store::Record,
};

#[cfg(test)]
mod tests;

/// The largest registration request in bytes; honest ones have about one kilobyte.
pub(crate) const MAX_REGISTRATION_BYTES: usize = 16 * 1024;

/// The most redirect URIs of one client; the largest honest list has six.
pub(crate) const MAX_REDIRECT_URIS: usize = 32;

/// The longest client name in characters; the rest is cut off.
pub(crate) const MAX_NAME_CHARS: usize = 200;

/// The longest of the other descriptive texts in characters; a longer one is left out, because
/// half a URL is none.
pub(crate) const MAX_TEXT_CHARS: usize = 1024;

/// The most contacts that are kept.
pub(crate) const MAX_CONTACTS: usize = 10;

/// Registrations per day and process that may wait for their first use as long as the operator
/// configured. See [`UnusedQuota`](crate::routes::register::UnusedQuota).
pub(crate) const UNUSED_PER_DAY: u32 = 1000;

/// Registrations per hour and process, the most that are taken at all: with
/// [`MAX_REGISTRATION_BYTES`] it bounds what strangers can make the store hold.
pub(crate) const REGISTRATIONS_PER_HOUR: u32 = 10_000;

/// The grant type of the authorization code flow.
const AUTHORIZATION_CODE: &str = "authorization_code";

/// The grant type of refreshing.
const REFRESH_TOKEN: &str = "refresh_token";

/// What a client may be registered for; anything else that it names is left out.
pub(crate) const GRANT_TYPES: [&str; 2] = [AUTHORIZATION_CODE, REFRESH_TOKEN];

/// How a client proves who it is at the token endpoint (RFC 7591 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AuthMethod {
    /// A public client: PKCE alone protects its codes.
    None,
    /// RFC 6749 §2.3.1, in the header.
    ClientSecretBasic,
    /// RFC 6749 §2.3.1, in the body.
    ClientSecretPost,
}

impl AuthMethod {
    /// All methods, the preferred one first: clients take the first that they know.
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::ClientSecretBasic, Self::ClientSecretPost];

    /// Its name on the wire.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
        }
    }
}

/// A registered client, stored under its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientRecord {
    pub(crate) client_id: String,
    /// A stranger's claim; pages clean it before they show it.
    pub(crate) client_name: Option<String>,
    /// As registered, byte for byte; never empty.
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) grant_types: Vec<String>,
    pub(crate) token_endpoint_auth_method: AuthMethod,
    /// SHA-256 in base64url of a random 256-bit secret; present for the secret methods alone.
    pub(crate) secret_hash: Option<String>,
    /// SHA-256 in base64url of the registration access token (RFC 7592 §3).
    #[serde(default)]
    pub(crate) management_hash: Option<String>,
    /// What the client said it would ask for: the default of a request without scopes, not a bound.
    /// SDKs register with the first challenge's scopes and later step up with the same id.
    pub(crate) scope: Option<ScopeSet>,
    pub(crate) application_type: Option<ApplicationType>,
    pub(crate) about: About,
    /// Unix seconds.
    pub(crate) issued_at: u64,
    /// Unix seconds of the last use, written at most daily; absent until the first grant.
    pub(crate) used: Option<u64>,
}

/// OpenID Connect Registration §2. Kept and echoed, not enforced: Cursor calls itself `web` and
/// registers a private-use scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ApplicationType {
    Native,
    Web,
}

/// What a client tells about itself. Text only: nothing here is fetched, linked or believed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) logo_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tos_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) policy_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) software_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) software_version: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) contacts: Vec<String>,
}

impl Record for ClientRecord {
    const COLLECTION: &'static str = "clients";
    const FORMAT: u8 = 1;
}

impl ClientRecord {
    /// Whether the client proves who it is when it redeems and refreshes.
    pub(crate) fn is_confidential(&self) -> bool {
        self.secret_hash.is_some()
    }

    /// What a login needs to know of it.
    pub(crate) fn client(&self) -> Client {
        let snapshot = ClientSnapshot {
            id: self.client_id.clone(),
            name: self.client_name.clone(),
            refreshes: may_refresh(&self.grant_types),
            signs: false,
        };
        Client { snapshot, redirect_uris: self.redirect_uris.clone() }
    }
}

/// What a login needs to know of a client, wherever that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// What of it goes into the grant.
    pub(crate) snapshot: ClientSnapshot,
    /// As registered, byte for byte; never empty.
    pub(crate) redirect_uris: Vec<String>,
}

/// Whether a client with these grant types may be given refresh tokens.
pub(crate) fn may_refresh(grant_types: &[String]) -> bool {
    grant_types.iter().any(|grant_type| grant_type == REFRESH_TOKEN)
}

/// A registration that was accepted.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) record: ClientRecord,
    /// Told once, in the response; stored as a hash.
    secret: Option<SecretString>,
    /// The same; with it the client looks after its registration.
    management_token: SecretString,
    /// How many redirect URIs were left out.
    pub(crate) dropped_redirect_uris: usize,
}

impl Accepted {
    /// The client information response (RFC 7591 §3.2.1).
    pub(crate) fn response(&self, issuer: &str) -> RegistrationResponse<'_> {
        let token = self.management_token.expose_secret();
        RegistrationResponse::of(&self.record, self.secret(), issuer, token)
    }

    /// The client's new secret, if it got one.
    pub(crate) fn secret(&self) -> Option<&str> {
        self.secret.as_ref().map(ExposeSecret::expose_secret)
    }
}

impl<'a> RegistrationResponse<'a> {
    /// What a client may know of its registration (RFC 7592 §3).
    pub(crate) fn of(
        record: &'a ClientRecord,
        secret: Option<&'a str>,
        issuer: &str,
        management_token: &'a str,
    ) -> Self {
        Self {
            client_id: &record.client_id,
            client_id_issued_at: record.issued_at,
            client_secret: secret,
            client_secret_expires_at: secret.map(|_| 0),
            registration_access_token: management_token,
            registration_client_uri: format!("{issuer}{PATH}/{}", record.client_id),
            redirect_uris: &record.redirect_uris,
            grant_types: &record.grant_types,
            response_types: ["code"],
            token_endpoint_auth_method: record.token_endpoint_auth_method,
            client_name: record.client_name.as_deref(),
            scope: record.scope.as_ref(),
            application_type: record.application_type,
            about: &record.about,
        }
    }
}

/// RFC 7591 §3.2.1: every accepted member, and never a null.
#[derive(Serialize)]
pub(crate) struct RegistrationResponse<'a> {
    client_id: &'a str,
    client_id_issued_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<&'a str>,
    /// 0: never. Required beside a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret_expires_at: Option<u64>,
    registration_access_token: &'a str,
    registration_client_uri: String,
    redirect_uris: &'a [String],
    grant_types: &'a [String],
    response_types: [&'static str; 1],
    token_endpoint_auth_method: AuthMethod,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a ScopeSet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    application_type: Option<ApplicationType>,
    #[serde(flatten)]
    about: &'a About,
}

/// Decides about a registration request (RFC 7591 §3.1).
///
/// Lenient (D11): unknown members and members of the wrong type do not count, a redirect URI that
/// cannot be accepted is left out as long as one remains, grant types and scopes are reduced to
/// what exists here. A client gets a secret only if it asks for a method that uses one.
///
/// Identical registrations are not merged: a shared id would let one program's registration
/// speak, and be revoked, for another's.
///
/// # Errors
///
/// `invalid_redirect_uri` if no redirect URI remains, else `invalid_client_metadata`.
pub(crate) fn accept(
    body: &[u8],
    policy: &RedirectPolicy,
    supported_scopes: &ScopeSet,
    now: u64,
) -> Result<Accepted, OAuthError> {
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return Err(invalid("the body must be a JSON object (RFC 7591 section 3.1)"));
    };
    let request = Request(members);
    let (redirect_uris, dropped_redirect_uris) = accept_redirect_uris(&request, policy)?;
    let token_endpoint_auth_method = accept_auth_method(&request)?;
    let secret = match token_endpoint_auth_method {
        AuthMethod::None => None,
        AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost => {
            Some(SecretString::from(random_token::<32>()))
        }
    };
    let management_token = SecretString::from(random_token::<32>());
    let record = ClientRecord {
        management_hash: Some(hash(&management_token)),
        client_id: format!("mcp_{}", random_token::<16>()),
        client_name: request.name(),
        redirect_uris,
        grant_types: accept_grant_types(&request)?,
        token_endpoint_auth_method,
        secret_hash: secret.as_ref().map(hash),
        scope: accept_scope(&request, supported_scopes),
        application_type: request.known("application_type"),
        about: request.about(),
        issued_at: now,
        used: None,
    };
    Ok(Accepted { record, secret, management_token, dropped_redirect_uris })
}

/// Decides about a request to replace a registration (RFC 7592 §2.2): by the same rules, with the
/// id, the age and the use that it had. A client that needs a secret and has one keeps it.
///
/// # Errors
///
/// As for [`accept`]; `invalid_client_metadata` also if `client_id` or `client_secret` are another
/// client's.
pub(crate) fn update(
    body: &[u8],
    policy: &RedirectPolicy,
    supported_scopes: &ScopeSet,
    known: &ClientRecord,
) -> Result<Accepted, OAuthError> {
    let mut accepted = accept(body, policy, supported_scopes, known.issued_at)?;
    let request = Request(serde_json::from_slice(body).unwrap_or_default());
    if request.0.get("client_id").is_some_and(|id| id.as_str() != Some(&known.client_id)) {
        return Err(invalid("`client_id` must be that of this client (RFC 7592 section 2.2)"));
    }
    let named = request.0.get("client_secret").and_then(Value::as_str);
    if let (Some(named), Some(expected)) = (named, &known.secret_hash) {
        let named = sha256_base64url(named.as_bytes());
        if !bool::from(named.as_bytes().ct_eq(expected.as_bytes())) {
            return Err(invalid("`client_secret` is chosen here and cannot be changed"));
        }
    }
    let record = &mut accepted.record;
    if record.secret_hash.is_some() && known.secret_hash.is_some() {
        record.secret_hash.clone_from(&known.secret_hash);
        accepted.secret = None;
    }
    record.client_id.clone_from(&known.client_id);
    record.management_hash.clone_from(&known.management_hash);
    record.used = known.used;
    Ok(accepted)
}

fn hash(secret: &SecretString) -> String {
    sha256_base64url(secret.expose_secret().as_bytes())
}

/// The URIs that may stay, and how many may not.
pub(crate) fn accept_redirect_uris(
    request: &Request,
    policy: &RedirectPolicy,
) -> Result<(Vec<String>, usize), OAuthError> {
    let refuse = |why: String| Err(OAuthError::new(ErrorCode::InvalidRedirectUri, why));
    let requested = match request.0.get("redirect_uris") {
        Some(Value::Array(uris)) if !uris.is_empty() => uris,
        _ => return refuse("`redirect_uris` must be an array with at least one URI".to_owned()),
    };
    if requested.len() > MAX_REDIRECT_URIS {
        return refuse(format!("at most {MAX_REDIRECT_URIS} redirect URIs can be registered"));
    }
    let mut accepted: Vec<String> = Vec::with_capacity(requested.len());
    let mut first_complaint = None;
    let mut dropped = 0;
    for uri in requested {
        let verdict = match uri.as_str() {
            Some(uri) => check_registration(uri, policy).map(|()| uri),
            None => Err("it is not a string".to_owned()),
        };
        match verdict {
            Ok(uri) if accepted.iter().any(|known| known == uri) => {}
            Ok(uri) => accepted.push(uri.to_owned()),
            Err(why) => {
                dropped += 1;
                first_complaint.get_or_insert(why);
            }
        }
    }
    match first_complaint {
        Some(why) if accepted.is_empty() => {
            refuse(format!("no redirect URI can be accepted; the first one: {why}"))
        }
        _ => Ok((accepted, dropped)),
    }
}

/// A client that names no method is public: without asking for one, SDKs do not send a secret.
fn accept_auth_method(request: &Request) -> Result<AuthMethod, OAuthError> {
    match request.0.get("token_endpoint_auth_method") {
        None | Some(Value::Null) => Ok(AuthMethod::None),
        Some(_) => request.known("token_endpoint_auth_method").ok_or_else(|| {
            invalid(
                "`token_endpoint_auth_method` must be `none`, `client_secret_basic` or \
                 `client_secret_post`",
            )
        }),
    }
}

/// A client that names no grant types gets both, so that nobody has to log in every hour; it need
/// not use them.
pub(crate) fn accept_grant_types(request: &Request) -> Result<Vec<String>, OAuthError> {
    let response_types = request.strings("response_types");
    if !response_types.is_empty() && !response_types.contains(&"code") {
        return Err(invalid("`response_types` must include `code`"));
    }
    let requested = request.strings("grant_types");
    if requested.is_empty() {
        return Ok(GRANT_TYPES.map(str::to_owned).to_vec());
    }
    if !requested.contains(&AUTHORIZATION_CODE) {
        return Err(invalid("`grant_types` must include `authorization_code`"));
    }
    let supported = GRANT_TYPES.into_iter().filter(|known| requested.contains(known));
    Ok(supported.map(str::to_owned).collect())
}

/// A client that names no scope, or none that exists here, is not held to an empty set.
fn accept_scope(request: &Request, supported: &ScopeSet) -> Option<ScopeSet> {
    let requested = ScopeSet::parse(request.0.get("scope")?.as_str()?);
    Some(requested.intersect(supported)).filter(|scopes| !scopes.is_empty())
}

fn invalid(why: &'static str) -> OAuthError {
    OAuthError::new(ErrorCode::InvalidClientMetadata, why)
}

/// The members of a request, or of a metadata document; one of the wrong type counts as absent.
pub(crate) struct Request(pub(crate) Map<String, Value>);

impl Request {
    pub(crate) fn name(&self) -> Option<String> {
        let name = self.0.get("client_name")?.as_str()?.trim();
        (!name.is_empty()).then(|| name.chars().take(MAX_NAME_CHARS).collect())
    }

    fn about(&self) -> About {
        let contacts = self.strings("contacts").into_iter().filter(|text| is_short(text));
        About {
            client_uri: self.text("client_uri"),
            logo_uri: self.text("logo_uri"),
            tos_uri: self.text("tos_uri"),
            policy_uri: self.text("policy_uri"),
            software_id: self.text("software_id"),
            software_version: self.text("software_version"),
            contacts: contacts.take(MAX_CONTACTS).map(str::to_owned).collect(),
        }
    }

    fn text(&self, member: &str) -> Option<String> {
        let text = self.0.get(member)?.as_str()?;
        (!text.is_empty() && is_short(text)).then(|| text.to_owned())
    }

    /// The strings of an array; nothing if it is none.
    fn strings(&self, member: &str) -> Vec<&str> {
        let items = self.0.get(member).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// A member that is one of the words of `T`.
    fn known<T: for<'de> Deserialize<'de>>(&self, member: &str) -> Option<T> {
        T::deserialize(self.0.get(member)?).ok()
    }
}

fn is_short(text: &str) -> bool {
    text.chars().nth(MAX_TEXT_CHARS).is_none()
}
