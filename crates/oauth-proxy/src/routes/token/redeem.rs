//! `grant_type=authorization_code` (D3).

use std::{sync::Arc, time::Duration};

use jwt_issuer::{random_token, sha256_base64url};

use tokio::time::Instant;

use super::{ProviderState, TokenResponse, answer, mark_used};
use crate::{
    app::App,
    audit::{AuditAction, AuditEvent},
    client_auth::Caller,
    context,
    error::{ErrorCode, OAuthError, chain},
    flow::code::{Redemption, Verdict, activate, check, verdict},
    grants,
    params::Params,
    record::{
        code::CodeRecord,
        grant::{Grant, Phase},
    },
};

/// How long a redemption tries to find out what became of its write.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) async fn redeem(
    app: &Arc<App>,
    caller: Caller,
    params: &Params,
) -> Result<TokenResponse, OAuthError> {
    let code = params.required("code")?;
    let resource = params.resource()?;
    let resource = resource.map(|resource| app.config.resources.resolve(Some(resource)));
    let redemption = Redemption {
        client_id: caller.id(),
        redirect_uri: params.one("redirect_uri")?,
        code_verifier: params.one("code_verifier")?,
        resource: resource.transpose()?,
    };
    let Some(code) = app.store.get::<CodeRecord>(&sha256_base64url(code.as_bytes())).await? else {
        return Err(finished());
    };
    let code = code.record;
    check(&code, &redemption)?;
    context::belongs_to_login(&code.login);
    let grant = activate_once(app, &code, &caller).await?;
    mark_used(app, caller).await;
    let event = AuditEvent::new(AuditAction::CodeRedeemed).grant(&grant);
    app.audit(&event.login(&code.login));
    answer(app, &grant, &grant.scopes, ProviderState::Reachable)
}

/// Pending to active in one compare-and-swap: of any number of simultaneous redemptions one wins,
/// and every other is a replay that ends the grant.
async fn activate_once(
    app: &Arc<App>,
    code: &CodeRecord,
    caller: &Caller,
) -> Result<Grant, OAuthError> {
    let attempt = random_token::<16>();
    let mut deadline = Instant::now() + PATIENCE;
    // Our own write may have happened without our knowing.
    let mut unsure = false;
    let mut proven = false;
    while Instant::now() < deadline {
        let stored = match app.store.get::<Grant>(&code.grant_id).await {
            Ok(Some(stored)) => stored,
            Ok(None) => return Err(finished()),
            // To say "try again" now could turn the client's next try into a replay.
            Err(error) if unsure => {
                tracing::warn!(cause = %chain(&error), "waiting for the storage");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if !proven {
            caller.prove(app, &stored.record).await?;
            proven = true;
            // How long the host of the client's keys took is not the storage's doing.
            deadline = Instant::now() + PATIENCE;
        }
        if stored.record.phase == (Phase::Active { attempt: attempt.clone() }) {
            return Ok(stored.record);
        }
        let now = app.clock.now();
        match verdict(code, &stored.record, now) {
            Verdict::Late => return Err(finished()),
            Verdict::Replay => {
                let event = AuditEvent::new(AuditAction::CodeReplayed).grant(&stored.record);
                app.audit(&event.login(&code.login));
                grants::revoke(app, stored, "a code was used twice").await?;
                return Err(finished());
            }
            Verdict::Activate => {}
        }
        let mut grant = stored.record;
        activate(&mut grant, &attempt, now);
        let is_confidential = caller.is_confidential(&grant.client);
        grant.end_within(app.config.refresh_rules(&grant, is_confidential).absolute);
        let ttl = grant.ttl(now, &app.config.lifetimes);
        match app.store.compare_and_swap(&grant.id, stored.version, &grant, ttl).await {
            Ok(Some(_)) => return Ok(grant),
            Ok(None) => {}
            Err(error) if error.is_outcome_unknown() => unsure = true,
            Err(error) => return Err(error.into()),
        }
    }
    Err(OAuthError::new(
        ErrorCode::TemporarilyUnavailable,
        "the code could not be redeemed just now; try again",
    ))
}

fn finished() -> OAuthError {
    OAuthError::new(ErrorCode::InvalidGrant, "the code is unknown, used or expired")
}
