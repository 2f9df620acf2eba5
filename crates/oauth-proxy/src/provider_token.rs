//! The provider's own access token, fresh, for a backend or a handler that speaks to the provider
//! in the person's name.

use std::{fmt, sync::Arc, time::Duration};

use moka::future::Cache;
use secrecy::SecretString;
use token_verifier::{Principal, VerifyError};
use tokio::time::Instant;

use crate::{
    app::App,
    error::{ErrorCode, OAuthError},
    grants,
    record::grant::{Grant, ProviderSession},
    renewal::{Renewal, ahead, renew},
    store::Stored,
};

/// The most tokens kept in memory, for as many active users.
const MAX_CACHED: u64 = 10_000;

/// What a client should wait when neither storage nor provider answer.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// A token with less left than this is over before whoever gets it has used it.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// How soon a request looks first whether somebody else's call to the provider is over; each look
/// doubles the pause, up to [`LONGEST_POLL`].
const POLL: Duration = Duration::from_millis(25);
const LONGEST_POLL: Duration = Duration::from_secs(1);

/// Hands out provider tokens and has them renewed in time (D6).
///
/// Like a principal, a token is believed for at most the revocation delay after it was read.
pub(crate) struct FreshTokens {
    app: Arc<App>,
    cache: Cache<String, Cached>,
}

#[derive(Clone)]
struct Cached {
    subject: String,
    token: SecretString,
    expires_at: Option<u64>,
    read_at: Instant,
}

impl FreshTokens {
    pub(crate) fn new(app: Arc<App>) -> Self {
        let cache = Cache::builder()
            .max_capacity(MAX_CACHED)
            .time_to_live(app.config.lifetimes.revocation_delay)
            .build();
        Self { app, cache }
    }

    /// A token that has not ended, of the principal's grant.
    pub(crate) async fn of(&self, principal: &Principal) -> Result<SecretString, VerifyError> {
        let Some(id) = principal.grant_id() else {
            return Err(VerifyError::Invalid("the request belongs to no login here".to_owned()));
        };
        let delay = self.app.config.lifetimes.revocation_delay;
        if !delay.is_zero()
            && let Some(cached) = self.cache.get(id).await
            && cached.read_at.elapsed() < delay
            && cached.subject == principal.subject()
            && cached.expires_at.is_none_or(|end| self.app.clock.now() < end)
        {
            return Ok(cached.token);
        }
        let read_at = Instant::now();
        let session = self.session(id, principal.subject()).await?;
        if !delay.is_zero() {
            let cached = Cached {
                subject: principal.subject().to_owned(),
                token: session.access_token.clone(),
                expires_at: session.expires_at,
                read_at,
            };
            self.cache.insert(id.to_owned(), cached).await;
        }
        Ok(session.access_token)
    }

    /// Each turn starts from a fresh read, so that whoever loses a race finds what the winner did.
    async fn session(&self, id: &str, subject: &str) -> Result<ProviderSession, VerifyError> {
        let app = &self.app;
        let deadline = Instant::now() + app.config.lifetimes.lease();
        let mut pause = POLL;
        let mut waited = false;
        loop {
            let stored = app.store.get::<Grant>(id).await.map_err(unavailable)?;
            let Some(stored) = stored
                .filter(|stored| stored.record.is_active() && stored.record.subject == subject)
            else {
                return Err(ended());
            };
            match self.step(stored, waited).await? {
                Step::Have(session) => return Ok(*session),
                Step::Again => {}
                Step::Wait(session) if Instant::now() >= deadline => {
                    return if session.is_good(app.clock.now()) {
                        Ok(*session)
                    } else {
                        Err(unavailable(OAuthError::new(
                            ErrorCode::TemporarilyUnavailable,
                            "another refresh of this login is still under way",
                        )))
                    };
                }
                Step::Wait(_) => {
                    waited = true;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_POLL);
                }
            }
        }
    }

    /// `waited`: for a call to the provider that was somebody else's.
    async fn step(&self, stored: Stored<Grant>, waited: bool) -> Result<Step, VerifyError> {
        let (app, now) = (&self.app, self.app.clock.now());
        let session = stored.record.provider.clone();
        if !session.is_due(now, LAST_MOMENT) {
            if session.is_good(now) {
                ahead::in_use(app, &stored.record);
                return Ok(Step::Have(Box::new(session)));
            }
            // Nothing can renew it, so this login is of no more use to whoever needs the token.
            let why = "the provider's token ended and cannot be renewed";
            grants::revoke_version(app, &stored, why).await.map_err(unavailable)?;
            return Err(ended());
        }
        if stored.record.is_leased(now) {
            return Ok(Step::Wait(Box::new(session)));
        }
        let Some(token) = session.refresh_token.clone() else { return Err(ended()) };
        // One call is enough to know that the provider does not answer.
        let renewed = if waited && stored.record.refreshing.is_none() {
            session
        } else {
            match renew(app, stored, token, None).await {
                Ok(Renewal::Renewed(grant) | Renewal::CarriedOver(grant)) => grant.provider,
                Ok(Renewal::Conflict) => return Ok(Step::Again),
                Err(error) if error.code() == ErrorCode::InvalidGrant => return Err(ended()),
                Err(error) if !session.is_good(app.clock.now()) => return Err(unavailable(error)),
                Err(_) => session,
            }
        };
        if renewed.is_good(app.clock.now()) {
            return Ok(Step::Have(Box::new(renewed)));
        }
        Err(unavailable(OAuthError::new(
            ErrorCode::TemporarilyUnavailable,
            "the provider's token has ended and the provider cannot be asked",
        )))
    }
}

impl fmt::Debug for FreshTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreshTokens").finish_non_exhaustive()
    }
}

enum Step {
    Have(Box<ProviderSession>),
    Again,
    /// Somebody else is asking the provider; what there is until then.
    Wait(Box<ProviderSession>),
}

fn ended() -> VerifyError {
    VerifyError::Invalid("the login has ended; log in again".to_owned())
}

fn unavailable(cause: impl std::error::Error + Send + Sync + 'static) -> VerifyError {
    VerifyError::Unavailable { retry_after: RETRY_AFTER, source: Box::new(cause) }
}
