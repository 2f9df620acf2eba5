//! JWTs, checked against the key set that a provider publishes.

mod claims;

use std::{
    error::Error,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use jsonwebtoken::Header;
use oidc_discovery::{Discovery, KeySet};

use self::claims::{Checks, Claims};
use crate::{Principal, TokenVerifier, VerifyError, key::VerificationKey};

/// Tells the time; given in, so that tests can.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What clocks of servers differ by; MCP authorization allows no more.
const DEFAULT_LEEWAY: Duration = Duration::from_mins(1);
/// While keys cannot be had, when to ask again: a provider that restarts is back by then.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Verifies JWT access tokens of one provider (RFC 9068 §4, RFC 8725).
///
/// A token is good when a published key of the provider signed it with an algorithm of that key,
/// and `iss`, `aud`, `exp` and `sub` are there and right; `nbf` and `iat` must not lie in the
/// future. The header chooses among the keys, never among the algorithms.
///
/// The `typ` of the header may be `at+jwt` (RFC 9068 §2.1), and, since most providers say no
/// better, `JWT` or absent; then a token that bears the marks of an ID token or of a logout token
/// is refused. [`JwtVerifierBuilder::require_access_token_type`] demands `at+jwt`.
///
/// While the keys are out of reach the answer is [`VerifyError::Unavailable`].
pub struct JwtVerifier {
    discovery: Discovery,
    issuer: Option<String>,
    audiences: Vec<String>,
    clients: Vec<String>,
    leeway: Duration,
    access_token_type_required: bool,
    clock: Clock,
    /// The keys of the latest set in the form that verifies, made once for each set.
    parsed: RwLock<Option<(Arc<KeySet>, Keys)>>,
}

type Keys = Arc<[Arc<VerificationKey>]>;

impl JwtVerifier {
    /// Starts a verifier for the tokens of the provider that `discovery` is about.
    pub fn builder(discovery: Discovery) -> JwtVerifierBuilder {
        #[expect(clippy::disallowed_methods, reason = "the default clock")]
        let clock: Clock = Arc::new(SystemTime::now);
        JwtVerifierBuilder {
            verifier: Self {
                discovery,
                issuer: None,
                audiences: Vec::new(),
                clients: Vec::new(),
                leeway: DEFAULT_LEEWAY,
                access_token_type_required: false,
                clock,
                parsed: RwLock::new(None),
            },
        }
    }

    /// The claims of a token whose signature is good, and the key that it was signed with.
    async fn open(
        &self,
        token: &str,
        header: &Header,
    ) -> Result<(Claims, Arc<VerificationKey>), VerifyError> {
        let kid = header.kid.as_deref();
        let set = self.discovery.keys_for(kid).await.map_err(unavailable)?;
        let keys = self.parsed(set);
        let mut candidates = keys.iter().filter(|key| key.fits(kid, header.alg)).peekable();
        if candidates.peek().is_none() {
            return Err(invalid("the token is not signed with a key of its issuer"));
        }
        candidates
            .find_map(|key| Some((key.open(token)?, Arc::clone(key))))
            .ok_or_else(|| invalid("the signature of the token is not good"))
    }

    fn parsed(&self, set: Arc<KeySet>) -> Keys {
        let known = self.parsed.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((parsed, keys)) = &*known
            && Arc::ptr_eq(parsed, &set)
        {
            return Arc::clone(keys);
        }
        drop(known);
        let keys: Keys =
            set.keys().iter().filter_map(VerificationKey::from_jwk).map(Arc::new).collect();
        let parsed = (set, Arc::clone(&keys));
        *self.parsed.write().unwrap_or_else(PoisonError::into_inner) = Some(parsed);
        keys
    }
}

#[async_trait]
impl TokenVerifier for JwtVerifier {
    async fn verify(&self, token: &str, resource: &str) -> Result<Principal, VerifyError> {
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| invalid("the token is not a JWT that can be verified"))?;
        if header.crit.is_some() {
            return Err(invalid("the token has critical extensions"));
        }
        let is_access_token =
            claims::is_access_token_type(header.typ.as_deref()).map_err(invalid)?;
        if self.access_token_type_required && !is_access_token {
            return Err(invalid("the token is not typed as an access token"));
        }

        let (claims, key) = self.open(token, &header).await?;

        let issuer = match &self.issuer {
            Some(issuer) => issuer.clone(),
            None => self.discovery.metadata().await.map_err(unavailable)?.issuer.clone(),
        };
        let now = (self.clock)().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let checks = Checks {
            issuer: &issuer,
            key_issuer: key.issuer(),
            audiences: match self.audiences.as_slice() {
                [] => &[resource.to_owned()],
                configured => configured,
            },
            clients: &self.clients,
            now,
            leeway: self.leeway.as_secs(),
            is_access_token,
        };
        checks.check(&claims).map_err(invalid)?;
        claims::principal(claims).map_err(invalid)
    }
}

fn invalid(reason: &str) -> VerifyError {
    VerifyError::Invalid(reason.to_owned())
}

fn unavailable(error: impl Error + Send + Sync + 'static) -> VerifyError {
    VerifyError::Unavailable { retry_after: RETRY_AFTER, source: Box::new(error) }
}

impl fmt::Debug for JwtVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtVerifier")
            .field("discovery", &self.discovery)
            .field("issuer", &self.issuer)
            .field("audiences", &self.audiences)
            .field("leeway", &self.leeway)
            .finish_non_exhaustive()
    }
}

/// Configures a [`JwtVerifier`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct JwtVerifierBuilder {
    verifier: JwtVerifier,
}

impl JwtVerifierBuilder {
    /// Sets the issuer of the tokens, for providers whose access tokens name another one than
    /// their metadata does (AD FS).
    ///
    /// The default is the issuer of the metadata. If that contains Entra's placeholder
    /// `{tenantid}`, tokens of every tenant are accepted; name the issuer here to accept one.
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.verifier.issuer = Some(issuer.into());
        self
    }

    /// Adds an audience that a token may be for, for providers that cannot be made to write the
    /// resource's URL into `aud`.
    ///
    /// The default is the resource itself; with an audience set here, only those set are good.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.verifier.audiences.push(audience.into());
        self
    }

    /// Accepts tokens without any `aud` that say that they are access tokens and were issued to this
    /// client, for providers that write `client_id` in its place (Amazon Cognito).
    ///
    /// Such a token is as good at every other resource that goes by this client: register a client
    /// for this resource alone. What names an audience must name the right one all the same.
    pub fn client_instead_of_audience(mut self, client_id: impl Into<String>) -> Self {
        self.verifier.clients.push(client_id.into());
        self
    }

    /// Sets by how much the issuer's clock may differ from ours; the default is 60 seconds.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.verifier.leeway = leeway;
        self
    }

    /// Demands `typ: at+jwt` (RFC 9068 §4); by default `JWT` and no `typ` are accepted too.
    pub fn require_access_token_type(mut self) -> Self {
        self.verifier.access_token_type_required = true;
        self
    }

    /// Sets the clock that `exp`, `nbf` and `iat` are measured with; the default is the system's.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.verifier.clock = clock;
        self
    }

    /// Finishes the verifier; nothing is fetched yet.
    pub fn build(self) -> JwtVerifier {
        self.verifier
    }
}
