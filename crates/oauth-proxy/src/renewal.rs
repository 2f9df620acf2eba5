//! Renewing the provider's token (D6): one call at a time, by whoever holds the lease.

pub(crate) mod ahead;

use std::{sync::Arc, time::Duration};

use jwt_issuer::random_token;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    app::App,
    audit::{AuditAction, AuditEvent},
    context,
    error::{ErrorCode, OAuthError, chain},
    flow::refresh::{Presented, RotationMark, Standing, advance, standing},
    grants, measure, outbox,
    provider::{Identity, ProviderError, ProviderTokens},
    record::grant::{Grant, Lease},
    store::{StoreError, Stored},
};

/// Between two tries to write what the provider answered.
const WRITE_RETRY: Duration = Duration::from_millis(200);

/// How often a grant that clients go on rotating is read again before it is left as it is.
const ROUNDS: usize = 5;

/// What came of a renewal.
#[derive(Debug)]
pub(crate) enum Renewal {
    /// The provider renewed its token; the grant as it was written, rotated.
    Renewed(Box<Grant>),
    /// The provider cannot be asked; the grant as it was written, rotated for the time being.
    CarriedOver(Box<Grant>),
    /// Somebody else changed the grant first, or rotated what was presented meanwhile; read it again.
    Conflict,
}

/// What came of a write.
enum Written {
    /// The grant as it is, with what was presented rotated by us.
    Done(Box<Grant>),
    /// The grant was written, but what was presented was not the current token any more.
    Overtaken,
    /// There is no grant.
    Gone,
}

/// Renews the provider's token and, if a client presented ours, rotates that in the same write.
///
/// `presented` is what the client presented, if one did. The work goes on if the caller is dropped.
///
/// # Errors
///
/// `invalid_grant` if the provider ended the session, `temporarily_unavailable` if it cannot be
/// asked and the tolerance is used up.
pub(crate) async fn renew(
    app: &Arc<App>,
    stored: Stored<Grant>,
    token: SecretString,
    presented: Option<Presented>,
) -> Result<Renewal, OAuthError> {
    let now = app.clock.now();
    let lease = Lease {
        holder: random_token::<16>(),
        until: now + app.config.lifetimes.lease().as_secs().max(1),
    };
    let work = Work { app: Arc::clone(app), lease, token, presented };
    // The lease is taken in the task: a hang-up leaves none behind that nobody works under.
    let task = app.tasks.spawn(context::carried(async move { work.begin(stored, now).await }));
    task.await.unwrap_or_else(|error| {
        Err(OAuthError::new(ErrorCode::ServerError, "the refresh did not finish").with_cause(error))
    })
}

/// One call to the provider and what must happen after it.
struct Work {
    app: Arc<App>,
    lease: Lease,
    /// The very token that is sent.
    token: SecretString,
    presented: Option<Presented>,
}

impl Work {
    /// Takes the lease, unless somebody else changed the grant first.
    async fn begin(self, mut stored: Stored<Grant>, now: u64) -> Result<Renewal, OAuthError> {
        let grant = &mut stored.record;
        grant.refreshing = Some(self.lease.clone());
        let ttl = grant.ttl(now, &self.app.config.lifetimes);
        let store = &self.app.store;
        match store.compare_and_swap(&grant.id, stored.version, grant, ttl).await {
            Ok(Some(version)) => stored.version = version,
            Ok(None) => return Ok(Renewal::Conflict),
            // If it is ours after all, nobody else would work under it until it ends.
            Err(error) if error.is_outcome_unknown() => {
                let id = grant.id.clone();
                match store.get::<Grant>(&id).await {
                    Ok(Some(fresh)) if self.holds(&fresh.record) => stored = fresh,
                    Ok(_) => return Ok(Renewal::Conflict),
                    Err(error) => {
                        let tasks = self.app.tasks.clone();
                        tasks.spawn(context::carried(self.catch_up(id)));
                        return Err(error.into());
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
        self.run(stored).await
    }

    /// Does what is to be done under a lease that may have been taken, when the storage is back; who
    /// asked for it was told to come later.
    async fn catch_up(self, id: String) {
        while self.app.clock.now() < self.lease.until {
            tokio::time::sleep(WRITE_RETRY).await;
            match self.app.store.get::<Grant>(&id).await {
                Ok(Some(fresh)) if self.holds(&fresh.record) => {
                    if let Err(error) = self.run(fresh).await {
                        tracing::warn!(cause = %error, "a late renewal came to nothing");
                    }
                    return;
                }
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(cause = %chain(&error), "the storage is still gone");
                }
            }
        }
    }

    async fn run(self, stored: Stored<Grant>) -> Result<Renewal, OAuthError> {
        match self.call().await {
            Ok(tokens) => self.renewed(stored, tokens).await,
            Err(ProviderError::InvalidGrant { reason }) => {
                self.ended(&stored.record.id, &reason).await
            }
            Err(error) => self.outage(stored, error).await,
        }
    }

    async fn call(&self) -> Result<ProviderTokens, ProviderError> {
        let deadline = self.app.config.lifetimes.provider_call;
        let call = async {
            let call = self.app.provider.refresh(&self.token);
            tokio::time::timeout(deadline, call).await.unwrap_or_else(|_| {
                Err(ProviderError::Unavailable {
                    reason: format!("no answer within {deadline:?}"),
                    retry_after: None,
                })
            })
        };
        measure::provider("refresh", call).await
    }

    async fn renewed(
        &self,
        stored: Stored<Grant>,
        tokens: ProviderTokens,
    ) -> Result<Renewal, OAuthError> {
        let now = self.app.clock.now();
        let lifetimes = &self.app.config.lifetimes;
        let (identity, judged_at) = match self.identify(&tokens, &stored.record).await {
            Ok(identity) => (identity, now),
            // The tokens came from the provider itself; only the renewed claims must wait.
            Err(error @ ProviderError::Unavailable { .. }) => {
                tracing::warn!(cause = %error, "a refreshed identity could not be checked");
                if now > stored.record.judged_until(lifetimes) {
                    return self.postpone(stored, &tokens, error).await;
                }
                (None, stored.record.judged_at)
            }
            Err(error) => {
                return Err(self
                    .end(stored, &tokens, "the refreshed identity was refused")
                    .await?
                    .with_cause(error));
            }
        };
        if let Some(why) = self.unwelcome(&stored.record, identity.as_ref()) {
            return Err(self.end(stored, &tokens, why).await?);
        }
        let written = self
            .write(stored, self.presented, |grant| {
                grant.provider.renew(&tokens, now, lifetimes);
                grant.judged_at = judged_at;
                if let Some(identity) = &identity {
                    grant.claims.clone_from(&identity.claims);
                    grant.from_userinfo.clone_from(&identity.from_userinfo);
                }
            })
            .await?;
        match written {
            Written::Done(grant) => Ok(Renewal::Renewed(grant)),
            Written::Overtaken => Ok(Renewal::Conflict),
            Written::Gone => Err(login_ended()),
        }
    }

    /// Keeps what the provider gave, for it may not give it again, and goes no further: for too
    /// long nobody could find out whether the person may still log in. Each use asks again.
    async fn postpone(
        &self,
        stored: Stored<Grant>,
        tokens: &ProviderTokens,
        error: ProviderError,
    ) -> Result<Renewal, OAuthError> {
        let now = self.app.clock.now();
        let lifetimes = &self.app.config.lifetimes;
        let kept = self.write(stored, None, |grant| {
            grant.provider.renew(tokens, now, lifetimes);
            // Over, so that no outage of the provider buys more time.
            grant.provider.expires_at = Some(grant.created_at);
        });
        match kept.await? {
            Written::Done(_) | Written::Overtaken => Err(error.into()),
            Written::Gone => Err(login_ended()),
        }
    }

    /// Within a deadline of its own: refresh, this and the write must fit into the lease.
    async fn identify(
        &self,
        tokens: &ProviderTokens,
        grant: &Grant,
    ) -> Result<Option<Identity>, ProviderError> {
        let known = grant.identity();
        let deadline = self.app.config.lifetimes.provider_call;
        let check = measure::provider("identify", self.app.provider.identify_again(tokens, &known));
        tokio::time::timeout(deadline, check).await.unwrap_or_else(|_| {
            Err(ProviderError::Unavailable {
                reason: format!("the identity was not checked within {deadline:?}"),
                retry_after: None,
            })
        })
    }

    /// A refreshed ID token must name the same person, and the rules must still let them in (D10):
    /// judged by the claims of the login if no newer ones came.
    fn unwelcome(&self, grant: &Grant, refreshed: Option<&Identity>) -> Option<&'static str> {
        let access = &self.app.config.access;
        let allowed = match refreshed {
            Some(new) if new.subject != grant.subject || new.issuer != grant.issuer => {
                return Some("the provider's refresh named another person");
            }
            Some(new) => access.allows(&new.claims),
            None => access.allows(&grant.claims),
        };
        (!allowed).then_some("the person may no longer log in")
    }

    /// Ends the grant together with the tokens that the provider just gave, which no grant holds.
    async fn end(
        &self,
        stored: Stored<Grant>,
        tokens: &ProviderTokens,
        why: &'static str,
    ) -> Result<OAuthError, StoreError> {
        let grant = stored.record.clone();
        let event = AuditEvent::new(AuditAction::AccessWithdrawn).grant(&grant);
        self.app.audit(&event.reason(why));
        let revoked = grants::revoke(&self.app, stored, why).await;
        let token = tokens.refresh_token.as_ref().unwrap_or(&tokens.access_token);
        outbox::disown_token(&self.app, &grant, token.clone()).await;
        revoked?;
        Ok(login_ended())
    }

    /// The provider said `invalid_grant`: final only if the grant still holds the token we sent.
    ///
    /// Clients may rotate meanwhile, so it is read again until it holds still.
    async fn ended(&self, id: &str, reason: &str) -> Result<Renewal, OAuthError> {
        tracing::info!(grant = id, reason, "what the provider says of a session");
        for _ in 0..ROUNDS {
            let Some(fresh) = self.app.store.get::<Grant>(id).await? else {
                return Err(login_ended());
            };
            let held = fresh.record.provider.refresh_token.as_ref();
            if held.map(ExposeSecret::expose_secret) != Some(self.token.expose_secret()) {
                return Ok(Renewal::Conflict);
            }
            let why = "the provider ended the session";
            if grants::revoke_version(&self.app, &fresh, why).await? {
                self.app.audit(&AuditEvent::new(AuditAction::ProviderEnded).grant(&fresh.record));
                return Err(login_ended());
            }
        }
        Ok(Renewal::Conflict)
    }

    /// The provider cannot be asked: carry on for a while with short access tokens (D7).
    async fn outage(
        &self,
        stored: Stored<Grant>,
        error: ProviderError,
    ) -> Result<Renewal, OAuthError> {
        tracing::warn!(grant = stored.record.id, cause = %error, "the provider's token was not renewed");
        let now = self.app.clock.now();
        let tolerance = self.app.config.lifetimes.provider_outage_tolerance.as_secs();
        let end = stored.record.provider.expires_at.unwrap_or(now);
        if now <= end.saturating_add(tolerance) {
            return match self.write(stored, self.presented, |_| {}).await? {
                Written::Done(grant) => Ok(Renewal::CarriedOver(grant)),
                Written::Overtaken => Ok(Renewal::Conflict),
                Written::Gone => Err(login_ended()),
            };
        }
        self.release(stored).await?;
        // Nothing was rotated: the client's token is still the current one when it comes back.
        match error {
            error @ ProviderError::Unavailable { .. } => Err(error.into()),
            error => Err(OAuthError::new(
                ErrorCode::TemporarilyUnavailable,
                "the identity provider refuses this server right now; its operator must look",
            )
            .with_cause(error)),
        }
    }

    /// Gives the lease back and changes nothing else.
    async fn release(&self, stored: Stored<Grant>) -> Result<(), StoreError> {
        let id = stored.record.id.clone();
        let mut known = Some(stored);
        for _ in 0..ROUNDS {
            let current = match known.take() {
                Some(stored) => stored,
                None => match self.app.store.get::<Grant>(&id).await? {
                    Some(fresh) if self.holds(&fresh.record) => fresh,
                    // The other writer has dropped or replaced it.
                    _ => return Ok(()),
                },
            };
            let mut grant = current.record;
            grant.refreshing = None;
            let ttl = grant.ttl(self.app.clock.now(), &self.app.config.lifetimes);
            if self.app.store.compare_and_swap(&id, current.version, &grant, ttl).await?.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Writes `change`, the rotation of what was `presented` and the end of the lease; tries until
    /// the lease ends.
    ///
    /// If the grant is gone, what the provider just gave is revoked, not stored.
    async fn write(
        &self,
        stored: Stored<Grant>,
        presented: Option<Presented>,
        change: impl Fn(&mut Grant),
    ) -> Result<Written, OAuthError> {
        let lifetimes = &self.app.config.lifetimes;
        let id = stored.record.id.clone();
        let mut last = stored.record.clone();
        let mut known = Some(stored);
        // What our own rotation would leave, if it happened without our knowing.
        let mut unsure = None;
        loop {
            let current = match known.take() {
                Some(stored) => stored,
                None => match self.app.store.get::<Grant>(&id).await {
                    Ok(Some(fresh)) if self.holds(&fresh.record) => fresh,
                    // The lease is gone: our own write whose answer was lost, or a takeover.
                    Ok(Some(fresh)) => {
                        let grant = Box::new(fresh.record);
                        let is_ours = unsure == Some(RotationMark::of(&grant));
                        let done = presented.is_none() || is_ours;
                        return Ok(if done { Written::Done(grant) } else { Written::Overtaken });
                    }
                    Ok(None) => {
                        change(&mut last);
                        let provider = &last.provider;
                        let token =
                            provider.refresh_token.as_ref().unwrap_or(&provider.access_token);
                        outbox::disown_token(&self.app, &last, token.clone()).await;
                        return Ok(Written::Gone);
                    }
                    Err(error) => {
                        self.wait(error).await?;
                        continue;
                    }
                },
            };
            let now = self.app.clock.now();
            let mut grant = current.record;
            change(&mut grant);
            grant.refreshing = None;
            let rotates = presented.filter(|presented| {
                matches!(standing(&grant, *presented, now), Standing::Current | Standing::Ahead)
            });
            if let Some(presented) = rotates {
                advance(&mut grant, presented, now);
            }
            let ttl = grant.ttl(now, lifetimes);
            match self.app.store.compare_and_swap(&id, current.version, &grant, ttl).await {
                Ok(Some(_)) if presented.is_some() && rotates.is_none() => {
                    return Ok(Written::Overtaken);
                }
                Ok(Some(_)) => return Ok(Written::Done(Box::new(grant))),
                Ok(None) => {}
                Err(error) => {
                    unsure = rotates.map(|_| RotationMark::of(&grant));
                    self.wait(error).await?;
                }
            }
        }
    }

    fn holds(&self, grant: &Grant) -> bool {
        grant.refreshing.as_ref() == Some(&self.lease)
    }

    /// Pauses after a failed write, or gives up when the lease is over.
    async fn wait(&self, error: StoreError) -> Result<(), OAuthError> {
        if self.app.clock.now() >= self.lease.until {
            tracing::error!(cause = %chain(&error), "a renewed provider token could not be stored");
            return Err(error.into());
        }
        tokio::time::sleep(WRITE_RETRY).await;
        Ok(())
    }
}

fn login_ended() -> OAuthError {
    OAuthError::new(ErrorCode::InvalidGrant, "the login has ended; log in again")
}
