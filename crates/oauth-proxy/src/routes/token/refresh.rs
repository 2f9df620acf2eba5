//! `grant_type=refresh_token` (D5, D6).

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;

use super::{ProviderState, TokenResponse, access_lifetime, answer, mark_used};
use crate::{
    app::App,
    audit::{AuditAction, AuditEvent},
    client_auth::Caller,
    error::{ErrorCode, OAuthError},
    flow::refresh::{Presented, RotationMark, Standing, advance, is_noted, standing},
    grants, measure,
    params::Params,
    record::grant::Grant,
    refresh_token::RefreshToken,
    renewal::{Renewal, ahead, renew},
    scope::ScopeSet,
    store::Stored,
};

/// How soon a request looks first whether somebody else's call to the provider is over; each look
/// doubles the pause, up to [`LONGEST_POLL`].
const POLL: Duration = Duration::from_millis(25);
const LONGEST_POLL: Duration = Duration::from_secs(1);

pub(super) async fn refresh(
    app: &Arc<App>,
    caller: Caller,
    params: &Params,
) -> Result<TokenResponse, OAuthError> {
    let token = RefreshToken::parse(params.required("refresh_token")?).ok_or_else(finished)?;
    let resource = params.resource()?;
    let resource = resource.map(|resource| app.config.resources.resolve(Some(resource)));
    let request = Request {
        token,
        caller: &caller,
        resource: resource.transpose()?,
        scope: params.one("scope")?.map(ScopeSet::parse),
    };
    let settled = request.settle(app).await;
    let carried_over = matches!(settled, Ok((_, ProviderState::Down)));
    measure::refresh(settled.as_ref().map(drop), carried_over);
    let (grant, provider) = settled?;
    let answer = answer(app, &grant, &request.scopes(&grant), provider)?;
    mark_used(app, caller).await;
    Ok(answer)
}

struct Request<'a> {
    token: RefreshToken<'a>,
    caller: &'a Caller,
    resource: Option<&'a str>,
    scope: Option<ScopeSet>,
}

impl Request<'_> {
    /// Brings the grant to where the client may have its current tokens.
    ///
    /// Each turn starts from a fresh read: whoever loses a race finds out what the winner did.
    async fn settle(&self, app: &Arc<App>) -> Result<(Grant, ProviderState), OAuthError> {
        let lifetimes = &app.config.lifetimes;
        let mut deadline = tokio::time::Instant::now() + lifetimes.lease();
        let mut pause = POLL;
        let mut unsure = None;
        let mut waited = false;
        let mut proven = false;
        loop {
            let Some(mut stored) = app.store.get::<Grant>(self.token.grant_id).await? else {
                return Err(finished());
            };
            self.check(app, &stored.record)?;
            if !proven {
                self.caller.prove(app, &stored.record).await?;
                proven = true;
                deadline = tokio::time::Instant::now() + lifetimes.lease();
            }
            let is_confidential = self.caller.is_confidential(&stored.record.client);
            let rules = app.config.refresh_rules(&stored.record, is_confidential);
            stored.record.end_within(rules.absolute);
            if unsure.as_ref() == Some(&RotationMark::of(&stored.record)) {
                note(app, AuditAction::Refreshed, &stored.record);
                return Ok((stored.record, ProviderState::Reachable));
            }
            let now = app.clock.now();
            let presented = Presented { generation: self.token.generation, rules };
            match standing(&stored.record, presented, now) {
                Standing::Current if stored.record.is_active() => {}
                // Ahead of a grant that the store takes for pending, too.
                Standing::Current | Standing::Ahead => {
                    note(app, AuditAction::RefreshAhead, &stored.record);
                }
                Standing::Retired => {
                    note(app, AuditAction::RefreshRepeated, &stored.record);
                    return Ok((stored.record, ProviderState::Reachable));
                }
                Standing::Replay => {
                    note(app, AuditAction::RefreshReplayed, &stored.record);
                    grants::revoke(app, stored, "a refresh token was used again").await?;
                    return Err(finished());
                }
            }
            match self.step(app, stored, presented, now, waited).await? {
                Step::Done(grant, provider) => return Ok((*grant, provider)),
                Step::Again => {}
                Step::Unsure(mark) => unsure = Some(mark),
                Step::Wait => {
                    waited = true;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_POLL);
                }
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(OAuthError::new(
                    ErrorCode::TemporarilyUnavailable,
                    "another refresh of this login is still under way; try again shortly",
                ));
            }
        }
    }

    /// Whether the token is genuine and in the right hands; nothing here changes the grant.
    fn check(&self, app: &App, grant: &Grant) -> Result<(), OAuthError> {
        if grant.client.id != self.caller.id() {
            return Err(finished());
        }
        if !self.token.is_genuine(&app.keys.refresh, &app.config.issuer, grant) {
            return Err(finished());
        }
        if self.resource.is_some_and(|resource| resource != grant.resource) {
            return Err(OAuthError::new(
                ErrorCode::InvalidTarget,
                "`resource` differs from the one that was granted",
            ));
        }
        Ok(())
    }

    /// `waited`: for a call to the provider that was somebody else's.
    async fn step(
        &self,
        app: &Arc<App>,
        stored: Stored<Grant>,
        presented: Presented,
        now: u64,
        waited: bool,
    ) -> Result<Step, OAuthError> {
        let lifetimes = &app.config.lifetimes;
        let mut provider = ProviderState::Reachable;
        let session = &stored.record.provider;
        // While the provider's token is good, nobody has to wait for the next one.
        if !session.is_good(now)
            && let Some(token) = session.refresh_token.clone()
        {
            if stored.record.is_leased(now) {
                return Ok(Step::Wait);
            }
            // One call is enough to know that the provider does not answer.
            if waited && stored.record.refreshing.is_none() {
                provider = ProviderState::Down;
            } else {
                return renewed(app, stored, token, presented).await;
            }
        }
        // Nothing rotates for an answer that could not be given.
        access_lifetime(&stored.record, now, lifetimes, provider)?;
        let mut grant = stored.record;
        if is_noted(&grant, presented, now) {
            return Ok(Step::Done(Box::new(grant), ProviderState::Reachable));
        }
        advance(&mut grant, presented, now);
        let ttl = grant.ttl(now, lifetimes);
        match app.store.compare_and_swap(&grant.id, stored.version, &grant, ttl).await {
            Ok(Some(_)) => {
                note(app, AuditAction::Refreshed, &grant);
                ahead::in_use(app, &grant);
                Ok(Step::Done(Box::new(grant), provider))
            }
            Ok(None) => Ok(Step::Again),
            // Read again: if the write happened, the token that we used is a retired one now.
            Err(error) if error.is_outcome_unknown() => Ok(Step::Unsure(RotationMark::of(&grant))),
            Err(error) => Err(error.into()),
        }
    }

    /// Narrower is narrower; wider is cut; nothing left over means all that was granted.
    fn scopes(&self, grant: &Grant) -> ScopeSet {
        match &self.scope {
            Some(wanted) => {
                let scopes = grant.scopes.intersect(wanted);
                if scopes.is_empty() { grant.scopes.clone() } else { scopes }
            }
            None => grant.scopes.clone(),
        }
    }
}

/// Renewal and rotation in one.
async fn renewed(
    app: &Arc<App>,
    stored: Stored<Grant>,
    token: SecretString,
    presented: Presented,
) -> Result<Step, OAuthError> {
    let (grant, provider) = match renew(app, stored, token, Some(presented)).await? {
        Renewal::Renewed(grant) => (grant, ProviderState::Reachable),
        Renewal::CarriedOver(grant) => (grant, ProviderState::Down),
        // Who rotated it while the provider was asked came first: this token is judged anew.
        Renewal::Conflict => return Ok(Step::Again),
    };
    note(app, AuditAction::Refreshed, &grant);
    Ok(Step::Done(grant, provider))
}

enum Step {
    Done(Box<Grant>, ProviderState),
    Again,
    Wait,
    /// Our own rotation may have happened without our knowing; this would be its mark.
    Unsure(RotationMark),
}

fn note(app: &App, action: AuditAction, grant: &Grant) {
    app.audit(&AuditEvent::new(action).grant(grant));
}

fn finished() -> OAuthError {
    OAuthError::new(ErrorCode::InvalidGrant, "the refresh token is unknown, revoked or expired")
}
