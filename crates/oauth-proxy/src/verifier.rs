//! Is this access token of ours good right now (D4)? One signature and at most one read.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use jwt_issuer::{AccessClaims, sha256_base64url};
use moka::future::Cache;
use token_verifier::{Principal, TokenVerifier, VerifyError};
use tokio::time::Instant;

use crate::{app::App, measure, record::grant::Grant, renewal::ahead, scope::ScopeSet};

/// The most principals kept in memory: a few megabytes for as many active users.
const MAX_CACHED: u64 = 10_000;

/// What a client should wait when the storage does not answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Verifies the access tokens that this authorization server issued.
///
/// An answer is believed for at most the revocation delay, counted from the start of the read.
pub(crate) struct GrantVerifier {
    app: Arc<App>,
    cache: Cache<CacheKey, Cached>,
}

/// SHA-256 of the token, and the resource that was asked for.
type CacheKey = (String, String);

#[derive(Clone)]
struct Cached {
    principal: Principal,
    read_at: Instant,
    /// When the provider's token is to be renewed (D6), in Unix seconds.
    renew_at: Option<u64>,
}

impl GrantVerifier {
    pub(crate) fn new(app: Arc<App>) -> Self {
        let cache = Cache::builder()
            .max_capacity(MAX_CACHED)
            .time_to_live(app.config.lifetimes.revocation_delay)
            .build();
        Self { app, cache }
    }

    async fn read(&self, token: &str, resource: &str, now: u64) -> Result<Cached, VerifyError> {
        let claims = self.app.keys.access.verify(token, now).map_err(|error| {
            tracing::debug!(cause = %error, "an access token was refused");
            VerifyError::Invalid("the access token is not valid or has expired".to_owned())
        })?;
        if claims.aud != resource {
            return Err(VerifyError::Invalid(
                "the access token was issued for another resource".to_owned(),
            ));
        }
        measure::principal("storage");
        let read_at = Instant::now();
        let grant = self.app.store.get::<Grant>(&claims.grant).await.map_err(|error| {
            VerifyError::Unavailable { retry_after: RETRY_AFTER, source: Box::new(error) }
        })?;
        match grant {
            Some(stored) if stored.record.backs(&claims) => {
                let margin = self.app.config.lifetimes.provider_refresh_margin;
                let renew_at = stored.record.provider.renew_at(margin);
                Ok(Cached { principal: principal(&stored.record, &claims), read_at, renew_at })
            }
            _ => Err(VerifyError::Invalid("the access token was revoked".to_owned())),
        }
    }

    /// The principal of a request that may pass; what is due is begun, and not waited for.
    fn used(&self, cached: Cached, now: u64) -> Principal {
        if cached.renew_at.is_some_and(|at| at <= now)
            && let Some(grant) = cached.principal.grant_id()
        {
            ahead::begin(&self.app, grant);
        }
        cached.principal
    }
}

fn principal(grant: &Grant, claims: &AccessClaims) -> Principal {
    // What the token says and the grant (still) has.
    let scopes = ScopeSet::parse(&claims.scope).intersect(&grant.scopes);
    Principal::builder(grant.subject.clone())
        .issuer(grant.issuer.clone())
        .client_id(grant.client.id.clone())
        .scopes(scopes.iter().map(str::to_owned))
        .audience(grant.resource.clone())
        .expires_at(claims.exp)
        .claims(grant.claims.clone())
        .grant_id(grant.id.clone())
        .build()
}

#[async_trait]
impl TokenVerifier for GrantVerifier {
    async fn verify(&self, token: &str, resource: &str) -> Result<Principal, VerifyError> {
        let delay = self.app.config.lifetimes.revocation_delay;
        let now = self.app.clock.now();
        if delay.is_zero() {
            return Ok(self.used(self.read(token, resource, now).await?, now));
        }
        let key = (sha256_base64url(token.as_bytes()), resource.to_owned());
        if let Some(cached) = self.cache.get(&key).await
            && cached.read_at.elapsed() < delay
        {
            measure::principal("cache");
            if cached.principal.expires_at().is_some_and(|exp| now < exp) {
                return Ok(self.used(cached, now));
            }
            return Err(VerifyError::Invalid("the access token has expired".to_owned()));
        }
        let fresh = self.read(token, resource, now).await?;
        self.cache.insert(key, fresh.clone()).await;
        Ok(self.used(fresh, now))
    }
}

impl fmt::Debug for GrantVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrantVerifier").finish_non_exhaustive()
    }
}
