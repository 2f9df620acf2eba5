//! The provider's side of the flow for OpenID Connect.

use std::{error::Error as StdError, fmt, mem, sync::Arc, time::SystemTime};

use async_trait::async_trait;
use oauth_proxy::provider::{
    Application, AuthorizeRequest, ExchangeRequest, Identity, InvalidSetting, Provider,
    ProviderError, ProviderTokens, TokenEndpoint,
};
use oidc_discovery::{Clock, Discovery, ProviderMetadata};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use crate::{
    id_token::{self, Defect, Rules, Unverified},
    issuer,
};

/// What is asked for when nothing is configured, as far as the provider knows it.
const DEFAULT_SCOPES: [&str; 3] = ["openid", "profile", "email"];

/// An address, and whether it is verified.
const PAIR: [&str; 2] = ["email", "email_verified"];

/// The shortest secret that may serve as an HS256 key (RFC 7518 §3.2).
const MIN_HS256_SECRET: usize = 32;

/// An OpenID provider, found by discovery.
///
/// Endpoints, client authentication and algorithms follow the provider's metadata, read anew when
/// they grow old; nothing is fetched before it is needed. Who logged in is what a verified ID token
/// says.
#[derive(Clone)]
pub struct OidcProvider {
    discovery: Discovery,
    application: Application,
    rules: Rules,
    userinfo: bool,
}

/// Collects the settings of an [`OidcProvider`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct OidcProviderBuilder {
    discovery: Discovery,
    application: Application,
    algorithms: Option<Vec<String>>,
    userinfo: bool,
    clock: Clock,
}

impl OidcProvider {
    /// A provider that `discovery` describes, where `application` stands registered.
    pub fn builder(discovery: Discovery, application: Application) -> OidcProviderBuilder {
        #[expect(clippy::disallowed_methods, reason = "the default clock")]
        let clock: Clock = Arc::new(SystemTime::now);
        OidcProviderBuilder { discovery, application, algorithms: None, userinfo: false, clock }
    }

    async fn metadata(&self) -> Result<Arc<ProviderMetadata>, ProviderError> {
        self.discovery.metadata().await.map_err(|error| undiscovered(&error))
    }

    /// `openid` always; else as configured, or what the provider knows of the default.
    fn scopes(&self, metadata: &ProviderMetadata) -> Vec<String> {
        let mut scopes = self.application.scopes().to_vec();
        if scopes.is_empty() {
            let known = &metadata.scopes_supported;
            scopes = DEFAULT_SCOPES
                .into_iter()
                .filter(|name| known.is_empty() || known.iter().any(|scope| scope == name))
                .map(str::to_owned)
                .collect();
        }
        if !scopes.iter().any(|scope| scope == "openid") {
            scopes.insert(0, "openid".to_owned());
        }
        scopes
    }

    async fn ask_userinfo(
        &self,
        metadata: &ProviderMetadata,
        access_token: &SecretString,
    ) -> Result<Map<String, Value>, ProviderError> {
        match &metadata.userinfo_endpoint {
            Some(url) => self.application.userinfo(url, access_token).await,
            None => Err(refused("it has no userinfo endpoint; leave `userinfo` off")),
        }
    }
}

#[async_trait]
impl Provider for OidcProvider {
    async fn authorize_url(&self, request: &AuthorizeRequest) -> Result<String, ProviderError> {
        let metadata = self.metadata().await?;
        let application = self.application.clone().with_scopes(self.scopes(&metadata));
        application.authorize_url(&metadata.authorization_endpoint, request)
    }

    async fn check_response_issuer(&self, iss: Option<&str>) -> Result<(), ProviderError> {
        let metadata = self.metadata().await?;
        match iss {
            Some(iss) if issuer::matches(&metadata.issuer, iss) => Ok(()),
            Some(_) => Err(refused(&format!(
                "the `iss` of the authorization response is not {}: it comes from another provider",
                metadata.issuer
            ))),
            None if metadata.authorization_response_iss_parameter_supported => Err(refused(
                "the authorization response has no `iss`, although the provider's metadata \
                 promise one",
            )),
            None => Ok(()),
        }
    }

    async fn exchange(&self, request: &ExchangeRequest) -> Result<ProviderTokens, ProviderError> {
        let metadata = self.metadata().await?;
        self.application.exchange(token_endpoint(&metadata), request).await
    }

    async fn identify(
        &self,
        tokens: &ProviderTokens,
        nonce: Option<&str>,
    ) -> Result<Option<Identity>, ProviderError> {
        let Some(id_token) = &tokens.id_token else {
            return match nonce {
                None => Ok(None),
                Some(_) => Err(refused(
                    "it sent no ID token; check that the application there is one for OpenID \
                     Connect",
                )),
            };
        };
        let at_login = nonce.is_some();
        let judge = |defect| unbelievable(&defect, at_login);
        let unverified = Unverified::read(id_token).map_err(judge)?;
        let metadata = self.metadata().await?;
        let keys = if unverified.needs_keys() {
            let kid = unverified.key_id.as_deref();
            Some(self.discovery.keys_for(kid).await.map_err(|error| no_verdict(chain(&error)))?)
        } else {
            None
        };
        let mut identity =
            self.rules.verify(id_token, &metadata, keys.as_deref(), nonce).map_err(judge)?;
        if self.userinfo {
            let answer = self.ask_userinfo(&metadata, &tokens.access_token).await;
            let claims = if at_login { answer? } else { answer.map_err(postponed)? };
            merge(&mut identity, claims)?;
        }
        Ok(Some(identity))
    }

    async fn identify_again(
        &self,
        tokens: &ProviderTokens,
        known: &Identity,
    ) -> Result<Option<Identity>, ProviderError> {
        if tokens.id_token.is_some() || !self.userinfo {
            return self.identify(tokens, None).await;
        }
        let metadata = self.metadata().await.map_err(postponed)?;
        let answer = self.ask_userinfo(&metadata, &tokens.access_token).await;
        let mut identity = known.clone();
        replace(&mut identity, answer.map_err(postponed)?)?;
        Ok(Some(identity))
    }

    async fn refresh(&self, refresh_token: &SecretString) -> Result<ProviderTokens, ProviderError> {
        let metadata = self.metadata().await?;
        self.application.refresh(token_endpoint(&metadata), refresh_token).await
    }

    async fn revoke(&self, token: &SecretString) -> Result<(), ProviderError> {
        let metadata = self.metadata().await?;
        let Some(url) = &metadata.revocation_endpoint else { return Ok(()) };
        let endpoint = TokenEndpoint { url, ..token_endpoint(&metadata) };
        self.application.revoke(endpoint, token).await
    }
}

impl OidcProviderBuilder {
    /// The algorithms that ID tokens may be signed with, instead of the asymmetric ones that the
    /// provider advertises.
    ///
    /// `HS256` is accepted only here: its key is the client secret.
    pub fn id_token_algorithms<A: Into<String>>(
        mut self,
        algorithms: impl IntoIterator<Item = A>,
    ) -> Self {
        self.algorithms = Some(algorithms.into_iter().map(Into::into).collect());
        self
    }

    /// Whether to ask the userinfo endpoint too, for claims that the ID token lacks; off by default.
    pub fn userinfo(mut self, ask: bool) -> Self {
        self.userinfo = ask;
        self
    }

    /// Sets the clock that tokens are judged by; the default is the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Checks the settings; nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] if an algorithm is unknown, or cannot work with this client secret.
    pub fn build(self) -> Result<OidcProvider, InvalidSetting> {
        let invalid = |reason: String| Err(InvalidSetting::new("id_token_algorithms", reason));
        let secret = self.application.client_secret();
        if let Some(algorithms) = &self.algorithms {
            if algorithms.is_empty() {
                return invalid("is empty; leave it out to follow the provider".to_owned());
            }
            for name in algorithms {
                let symmetric = name == id_token::SYMMETRIC;
                if !symmetric && !id_token::ASYMMETRIC.contains(&name.as_str()) {
                    return invalid(format!(
                        "contains `{name}`; possible are {}, {}",
                        id_token::ASYMMETRIC.join(", "),
                        id_token::SYMMETRIC
                    ));
                }
                let length = secret.map_or(0, |secret| secret.expose_secret().len());
                if symmetric && length < MIN_HS256_SECRET {
                    return invalid(format!(
                        "contains {name}, whose key is the client secret; that must have at least \
                         {MIN_HS256_SECRET} characters"
                    ));
                }
            }
        }
        let rules = Rules::new(self.application.client_id(), secret, self.algorithms, self.clock);
        Ok(OidcProvider {
            discovery: self.discovery,
            application: self.application,
            rules,
            userinfo: self.userinfo,
        })
    }
}

impl fmt::Debug for OidcProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcProvider")
            .field("discovery", &self.discovery)
            .field("application", &self.application)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for OidcProviderBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcProviderBuilder")
            .field("discovery", &self.discovery)
            .field("application", &self.application)
            .finish_non_exhaustive()
    }
}

fn token_endpoint(metadata: &ProviderMetadata) -> TokenEndpoint<'_> {
    TokenEndpoint {
        url: &metadata.token_endpoint,
        auth_methods_supported: &metadata.token_endpoint_auth_methods_supported,
    }
}

/// Adds the claims of userinfo that the ID token lacks; they must be about the same person
/// (OpenID Connect Core §5.3.2).
///
/// An address and whether it is verified belong together: unless the ID token has both, both come
/// from userinfo.
fn merge(identity: &mut Identity, userinfo: Map<String, Value>) -> Result<(), ProviderError> {
    same_person(identity, &userinfo)?;
    let claims = &mut identity.claims;
    if userinfo.contains_key("email") && !PAIR.iter().all(|name| claims.contains_key(*name)) {
        claims.retain(|name, _| !PAIR.contains(&name.as_str()));
    }
    let email_is_known = claims.contains_key("email");
    for (name, value) in userinfo {
        let is_decided = email_is_known && PAIR.contains(&name.as_str());
        if !is_decided && !claims.contains_key(&name) {
            identity.from_userinfo.insert(name.clone());
            claims.insert(name, value);
        }
    }
    Ok(())
}

/// Brings the claims of a login up to date with what userinfo says at a renewal without an ID token.
///
/// What userinfo had added is replaced: a claim that it names no more is gone. What the ID token
/// said goes first here as it does at login, so userinfo can take from it (a group that somebody
/// left, an address that is another one now), never add to it.
fn replace(identity: &mut Identity, userinfo: Map<String, Value>) -> Result<(), ProviderError> {
    same_person(identity, &userinfo)?;
    let before = mem::take(&mut identity.from_userinfo);
    let claims = &mut identity.claims;
    claims.retain(|name, _| !before.contains(name));
    for (name, said) in claims.iter_mut() {
        if let (Value::Array(said), Some(now)) = (said, userinfo.get(name)) {
            said.retain(|item| now == item || now.as_array().is_some_and(|now| now.contains(item)));
        }
    }
    if claims.contains_key("email_verified") && !still_vouches(claims, &userinfo) {
        claims.insert("email_verified".to_owned(), Value::Bool(false));
    }
    merge(identity, userinfo)
}

/// Whether userinfo leaves the verification of an ID token's address as it was.
fn still_vouches(claims: &Map<String, Value>, userinfo: &Map<String, Value>) -> bool {
    let same_address = userinfo.get("email").is_none_or(|now| {
        let both = claims.get("email").and_then(Value::as_str).zip(now.as_str());
        both.is_some_and(|(said, now)| said.eq_ignore_ascii_case(now))
    });
    let denied = userinfo
        .get("email_verified")
        .is_some_and(|now| *now != Value::Bool(true) && now.as_str() != Some("true"));
    same_address && !denied
}

fn same_person(identity: &Identity, userinfo: &Map<String, Value>) -> Result<(), ProviderError> {
    if userinfo.get("sub").and_then(Value::as_str) == Some(&identity.subject) {
        return Ok(());
    }
    Err(refused("its userinfo endpoint answered about another person"))
}

fn refused(what: &str) -> ProviderError {
    ProviderError::Refused { reason: format!("the provider cannot be used: {what}") }
}

/// What a defect of an ID token means.
///
/// Keys and algorithms change at the provider before our copies of its documents do, so what they
/// do not fit is not yet a verdict on the person (D7). At login that only postpones it; after a
/// refresh a refusal would end the grant.
fn unbelievable(defect: &Defect, at_login: bool) -> ProviderError {
    let reason = format!("its ID token is refused: {defect}");
    match defect {
        Defect::NoKey => no_verdict(reason),
        Defect::Algorithm(_) if !at_login => no_verdict(reason),
        _ => refused(&reason),
    }
}

/// What says nothing of the person must not end a grant.
fn postponed(error: ProviderError) -> ProviderError {
    match error {
        ProviderError::Refused { reason } => no_verdict(reason),
        error => error,
    }
}

fn no_verdict(reason: String) -> ProviderError {
    ProviderError::Unavailable { reason, retry_after: None }
}

fn undiscovered(error: &oidc_discovery::Error) -> ProviderError {
    let reason = chain(error);
    if error.is_temporary() { no_verdict(reason) } else { ProviderError::Refused { reason } }
}

/// An error with all its sources on one line.
fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
