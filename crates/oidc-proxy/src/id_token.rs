//! The one place that decides whether an ID token is believed (OpenID Connect Core §3.1.3.7, §12.2).
//!
//! openidconnect verifies; this module tells it what to insist on, adds the checks that it leaves
//! to its user (`azp`, `iat`, `sub`), and keeps its types to itself.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_proxy::provider::Identity;
use oidc_discovery::{Clock, KeySet, ProviderMetadata};
use openidconnect::{
    AdditionalClaims, ClaimsVerificationError, ClientId, ClientSecret, IdToken, IdTokenVerifier,
    IssuerUrl, JsonWebKeySet, Nonce, SignatureVerificationError,
    core::{
        CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
    },
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::issuer;

/// How far the provider's clock may be off ours.
const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// The oldest that a token may be which was made for the answer that it came in.
const MAX_AGE: Duration = Duration::from_mins(10);

/// The longest subject (OpenID Connect Core §2).
const MAX_SUBJECT: usize = 255;

/// Claims without which nothing is believed.
const REQUIRED: [&str; 5] = ["iss", "sub", "aud", "exp", "iat"];

/// Claims about the token, not about the person.
const ABOUT_THE_TOKEN: [&str; 10] =
    ["iss", "aud", "exp", "iat", "nbf", "nonce", "azp", "jti", "at_hash", "c_hash"];

/// The algorithms for which a public key is enough.
///
/// Without ES512, which openidconnect cannot verify.
pub(crate) const ASYMMETRIC: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// The algorithm for which the client secret is the key.
pub(crate) const SYMMETRIC: &str = "HS256";

/// Issuers whose ID tokens never have a `nonce`, although they were sent one: one provider, by either
/// of the names that it publishes.
///
/// What binds the token to this login is PKCE alone then, and that must be switched on for the
/// application there, or its token endpoint refuses us.
const WITHOUT_NONCE: [&str; 2] = ["https://www.linkedin.com/oauth", "https://www.linkedin.com"];

/// The bytes of an HMAC-SHA-256.
const HS256_LENGTH: usize = 32;

type Token = IdToken<
    OtherClaims,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;

/// Claims that OpenID Connect does not define: groups, roles, tenants.
#[derive(Debug, Deserialize, Serialize)]
#[serde(transparent)]
struct OtherClaims(Map<String, Value>);

impl AdditionalClaims for OtherClaims {}

/// What an ID token of one application must satisfy.
#[derive(Clone)]
pub(crate) struct Rules {
    client_id: String,
    client_secret: Option<SecretString>,
    /// What the operator allows; else what the provider advertises, asymmetric ones only.
    algorithms: Option<Vec<String>>,
    clock: Clock,
}

/// Why an ID token is not believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Defect {
    #[error("it is not a signed JWT with claims of the expected types")]
    Malformed,
    #[error("it has no `{0}`")]
    Missing(&'static str),
    #[error("its algorithm is not among the allowed ones: {0}")]
    Algorithm(String),
    #[error("the provider has no key for it")]
    NoKey,
    #[error("its signature is wrong: {0}")]
    Signature(String),
    #[error("its `iss` is not the provider's issuer: {0}")]
    Issuer(String),
    #[error("its `aud` is not this client: {0}")]
    Audience(String),
    #[error("it is for several audiences and has no `azp`")]
    NoAuthorizedParty,
    #[error("its `azp` is another client")]
    AuthorizedParty,
    #[error("it has expired")]
    Expired,
    #[error("its `iat` is not the present time; compare the clocks of this host and the provider")]
    IssuedAt,
    #[error("its `nonce` is not that of this login")]
    Nonce,
    #[error("its `sub` is empty, too long or has control characters")]
    Subject,
    #[error("{0}")]
    Other(String),
}

/// What a token says of itself before anything is verified.
pub(crate) struct Unverified {
    /// Which key signed it, as it claims.
    pub(crate) key_id: Option<String>,
    symmetric: bool,
    claims: Map<String, Value>,
    signature_length: usize,
}

impl Unverified {
    /// Reads header and claims, believing neither.
    pub(crate) fn read(token: &SecretString) -> Result<Self, Defect> {
        let mut parts = token.expose_secret().split('.').map(|part| URL_SAFE_NO_PAD.decode(part));
        let mut part = || parts.next().and_then(Result::ok).ok_or(Defect::Malformed);
        let (header, claims, signature) = (part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(Defect::Malformed);
        }
        let object = |bytes: &[u8]| {
            serde_json::from_slice::<Map<String, Value>>(bytes).map_err(|_| Defect::Malformed)
        };
        let header = object(&header)?;
        let text = |name| header.get(name).and_then(Value::as_str);
        Ok(Self {
            key_id: text("kid").map(str::to_owned),
            symmetric: text("alg").is_some_and(|alg| alg.starts_with("HS")),
            claims: object(&claims)?,
            signature_length: signature.len(),
        })
    }

    /// Whether the provider's public keys matter for this token.
    pub(crate) fn needs_keys(&self) -> bool {
        !self.symmetric
    }
}

impl Rules {
    pub(crate) fn new(
        client_id: &str,
        client_secret: Option<&SecretString>,
        algorithms: Option<Vec<String>>,
        clock: Clock,
    ) -> Self {
        Self {
            client_id: client_id.to_owned(),
            client_secret: client_secret.cloned(),
            algorithms,
            clock,
        }
    }

    /// Who a token stands for, if everything about it holds.
    ///
    /// `keys` may be missing if the token does not need them. `nonce` is that of the login; `None` after a refresh, where none is due (§12.2).
    pub(crate) fn verify(
        &self,
        token: &SecretString,
        metadata: &ProviderMetadata,
        keys: Option<&KeySet>,
        nonce: Option<&str>,
    ) -> Result<Identity, Defect> {
        let unverified = Unverified::read(token)?;
        if let Some(missing) =
            REQUIRED.into_iter().find(|name| !unverified.claims.contains_key(*name))
        {
            return Err(Defect::Missing(missing));
        }
        if unverified.symmetric && unverified.signature_length != HS256_LENGTH {
            // openidconnect 4.1 panics on it.
            return Err(Defect::Signature("its length is not that of an HMAC".to_owned()));
        }
        let issuer = issuer::of_tenant(&metadata.issuer, &unverified.claims)
            .ok_or_else(|| Defect::Issuer("it names no tenant (`tid`)".to_owned()))?;
        let verifier = self.verifier(metadata, &issuer, keys)?;

        let token: Token = token.expose_secret().parse().map_err(|_| Defect::Malformed)?;
        let may_lack = WITHOUT_NONCE.contains(&issuer.as_str());
        let lacks = !unverified.claims.contains_key("nonce");
        let claims = match nonce.filter(|_| !(may_lack && lacks)) {
            Some(nonce) => token.claims(&verifier, &Nonce::new(nonce.to_owned())),
            None => token.claims(&verifier, |_: Option<&Nonce>| Ok(())),
        }?;

        match claims.authorized_party() {
            Some(party) if party.as_str() != self.client_id => return Err(Defect::AuthorizedParty),
            None if claims.audiences().len() > 1 => return Err(Defect::NoAuthorizedParty),
            _ => {}
        }
        let subject = claims.subject().as_str();
        if subject.is_empty()
            || subject.len() > MAX_SUBJECT
            || subject.chars().any(char::is_control)
        {
            return Err(Defect::Subject);
        }
        let Ok(Value::Object(mut about)) = serde_json::to_value(claims) else {
            return Err(Defect::Malformed);
        };
        about.retain(|name, _| !ABOUT_THE_TOKEN.contains(&name.as_str()));
        Ok(Identity::new(issuer, subject, about))
    }

    fn verifier(
        &self,
        metadata: &ProviderMetadata,
        issuer: &str,
        keys: Option<&KeySet>,
    ) -> Result<IdTokenVerifier<'static, CoreJsonWebKey>, Defect> {
        let client_id = ClientId::new(self.client_id.clone());
        let issuer_url = IssuerUrl::new(issuer.to_owned())
            .map_err(|_| Defect::Issuer("the provider's issuer is not a URL".to_owned()))?;
        let keys = keys.map_or_else(Vec::new, |keys| usable_keys(keys, metadata, issuer));
        let algorithms = self.algorithms(metadata)?;
        let verifier = match &self.client_secret {
            Some(secret) => IdTokenVerifier::new_confidential_client(
                client_id,
                ClientSecret::new(secret.expose_secret().to_owned()),
                issuer_url,
                JsonWebKeySet::new(keys),
            ),
            None => {
                IdTokenVerifier::new_public_client(client_id, issuer_url, JsonWebKeySet::new(keys))
            }
        };
        let now = (self.clock)();
        Ok(verifier
            .set_allowed_algs(algorithms)
            // Other audiences are in order if `azp` says that the token was made for us.
            .set_other_audience_verifier_fn(|_| true)
            .set_time_fn(move || now.checked_sub(CLOCK_SKEW).unwrap_or(now).into())
            .set_issue_time_verifier_fn(move |issued| {
                if is_present(now, issued.into()) { Ok(()) } else { Err(ISSUED_AT.to_owned()) }
            }))
    }

    fn algorithms(
        &self,
        metadata: &ProviderMetadata,
    ) -> Result<Vec<CoreJwsSigningAlgorithm>, Defect> {
        let advertised = &metadata.id_token_signing_alg_values_supported;
        let names: Vec<&str> = match &self.algorithms {
            Some(allowed) => allowed.iter().map(String::as_str).collect(),
            None => ASYMMETRIC
                .into_iter()
                .filter(|name| advertised.is_empty() || advertised.iter().any(|a| a == name))
                .collect(),
        };
        if names.is_empty() {
            return Err(Defect::Algorithm(format!(
                "the provider advertises only {}; give it an asymmetric signing key, or allow \
                 {SYMMETRIC} with id_token_algorithms",
                advertised.join(", ")
            )));
        }
        let parse = |name: &str| serde_json::from_value(Value::from(name));
        names.into_iter().map(parse).collect::<Result<_, _>>().map_err(|_| Defect::Malformed)
    }
}

/// Tells the two uses of openidconnect's `Expired` apart.
const ISSUED_AT: &str = "issued at";

/// Whether a token was made for the answer that it came in, within what clocks may differ.
fn is_present(now: SystemTime, issued: SystemTime) -> bool {
    match now.duration_since(issued) {
        Ok(age) => age <= MAX_AGE + CLOCK_SKEW,
        Err(ahead) => ahead.duration() <= CLOCK_SKEW,
    }
}

/// The keys that openidconnect understands and that may speak for this issuer.
///
/// Entra publishes the keys of several issuers in one set and names the issuer in each.
fn usable_keys(keys: &KeySet, metadata: &ProviderMetadata, issuer: &str) -> Vec<CoreJsonWebKey> {
    let speaks_for = |key: &&Value| match key.get("issuer").and_then(Value::as_str) {
        None => true,
        Some(named) => named == issuer || named == metadata.issuer,
    };
    let parse = |key: &Value| CoreJsonWebKey::deserialize(key).ok();
    keys.keys().iter().filter(speaks_for).filter_map(parse).collect()
}

impl From<ClaimsVerificationError> for Defect {
    fn from(error: ClaimsVerificationError) -> Self {
        use ClaimsVerificationError as Claims;
        use SignatureVerificationError as Signature;
        match error {
            Claims::Expired(text) if text == ISSUED_AT => Self::IssuedAt,
            Claims::Expired(_) => Self::Expired,
            Claims::InvalidAudience(text) => Self::Audience(text),
            Claims::InvalidIssuer(text) => Self::Issuer(text),
            Claims::InvalidNonce(_) => Self::Nonce,
            Claims::SignatureVerification(Signature::NoMatchingKey) => Self::NoKey,
            Claims::SignatureVerification(Signature::NoSignature) => {
                Self::Algorithm("it is unsigned".to_owned())
            }
            Claims::SignatureVerification(
                Signature::DisallowedAlg(text) | Signature::UnsupportedAlg(text),
            ) => Self::Algorithm(text),
            Claims::SignatureVerification(error) => Self::Signature(error.to_string()),
            error => Self::Other(error.to_string()),
        }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("client_id", &self.client_id)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
