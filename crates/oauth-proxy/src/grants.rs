//! The life of grants in the store: made at the callback, ended by revocation (D4).

pub(crate) mod index;
pub(crate) mod not_before;

use std::sync::Arc;

use jwt_issuer::{random_token, sha256_base64url};
use secrecy::SecretString;

use crate::{
    app::App,
    audit::{AuditAction, AuditEvent},
    outbox::Draft,
    provider::{Identity, ProviderTokens},
    record::{
        code::CodeRecord,
        grant::{Grant, Phase, ProviderSession},
        transaction::Transaction,
    },
    redirect_uri,
    store::{Result, StoreError, Stored},
};

/// The most live grants of one subject with one client at one resource: a person with twenty
/// devices keeps them all; a client that logs in anew every time fills nothing up (D4).
const MAX_LIVE_GRANTS: usize = 20;

/// Writes a pending grant and its code; returns the code (D3), or `None` if whoever revoked the
/// person's or the client's grants meant this login as well.
pub(crate) async fn create(
    app: &Arc<App>,
    transaction: &Transaction,
    identity: Identity,
    tokens: &ProviderTokens,
) -> Result<Option<SecretString>> {
    let authorization = &transaction.authorization;
    let now = app.clock.now();
    let lifetimes = &app.config.lifetimes;
    let provider = ProviderSession::new(tokens, now, lifetimes);
    let mut not_after = now + lifetimes.refresh_absolute.as_secs();
    if provider.refresh_token.is_none() {
        // Nobody can ask the provider again whether this person is still welcome.
        let cap = now + lifetimes.session_without_refresh.as_secs();
        not_after = not_after.min(provider.expires_at.map_or(cap, |end| end.max(cap)));
    }
    let grant = Grant {
        id: random_token::<16>(),
        phase: Phase::Pending,
        issuer: identity.issuer,
        subject: identity.subject,
        claims: identity.claims,
        from_userinfo: identity.from_userinfo,
        client: authorization.client.clone(),
        redirect_host: redirect_uri::web_host(&authorization.redirect_uri),
        scopes: authorization.scopes.clone(),
        resource: authorization.resource.clone(),
        provider,
        seed: SecretString::from(random_token::<32>()),
        generation: 0,
        retired: Vec::new(),
        refreshing: None,
        created_at: now,
        judged_at: now,
        used_at: now,
        not_after,
    };
    let code = random_token::<32>();
    let record = CodeRecord {
        client_id: authorization.client.id.clone(),
        redirect_uri: authorization.redirect_uri.clone(),
        code_challenge: authorization.code_challenge.clone(),
        resource: authorization.resource.clone(),
        grant_id: grant.id.clone(),
        redeem_until: now + lifetimes.code.as_secs(),
        login: authorization.login.clone(),
    };
    app.store.put(&grant.id, &grant, grant.ttl(now, lifetimes)).await?;
    index::add(app, &grant).await?;
    app.store.put(&sha256_base64url(code.as_bytes()), &record, lifetimes.code_memory).await?;
    // After the rows: who sets a mark reads the rows afterwards, so one of the two sees the other.
    if not_before::forbids(app, &grant, transaction.created_at).await? {
        if let Some(stored) = app.store.get::<Grant>(&grant.id).await? {
            revoke(app, stored, "the login began before a revocation").await?;
        }
        return Ok(None);
    }
    let event = AuditEvent::new(AuditAction::GrantCreated).grant(&grant);
    app.audit(&event.login(&authorization.login));
    retire_surplus(app, &grant).await?;
    Ok(Some(SecretString::from(code)))
}

/// How often a grant that others go on changing is read again before it is taken as it comes.
const ROUNDS: usize = 5;

/// Ends a grant and every token of it, and lets the provider hear of it if nobody else needs its
/// session.
///
/// `true` if there was one.
pub(crate) async fn revoke(
    app: &Arc<App>,
    mut stored: Stored<Grant>,
    why: &'static str,
) -> Result<bool> {
    let mut notice = Draft::new(app);
    let id = stored.record.id.clone();
    for _ in 0..ROUNDS {
        // Before the deletion, and for this very version: whoever dies in between leaves a notice,
        // and a renewal in between leaves none without its newest token.
        notice.write(&stored.record).await;
        match delete(app, &stored, why).await {
            Ok(true) => {
                notice.send();
                return Ok(true);
            }
            Ok(false) => {}
            Err(error) => {
                // Whether the grant is gone shows when the notice is looked at.
                notice.send();
                return Err(error);
            }
        }
        let Some(fresh) = app.store.get::<Grant>(&id).await? else {
            notice.discard().await;
            return Ok(false);
        };
        stored = fresh;
    }
    let taken = app.store.take::<Grant>(&id).await?;
    match &taken {
        Some(grant) => {
            notice.write(grant).await;
            ended(app, grant, why);
            notice.send();
        }
        None => notice.discard().await,
    }
    Ok(taken.is_some())
}

/// Ends a grant only if it is still as it was read.
pub(crate) async fn revoke_version(
    app: &Arc<App>,
    stored: &Stored<Grant>,
    why: &'static str,
) -> Result<bool> {
    let mut notice = Draft::new(app);
    notice.write(&stored.record).await;
    let deleted = delete(app, stored, why).await?;
    if deleted {
        notice.send();
    } else {
        notice.discard().await;
    }
    Ok(deleted)
}

async fn delete(app: &App, stored: &Stored<Grant>, why: &'static str) -> Result<bool> {
    let grant = &stored.record;
    let outcome = app.store.compare_and_delete::<Grant>(&grant.id, stored.version).await;
    // An auditor hears of what may have happened as well.
    if outcome.as_ref().map_or_else(StoreError::is_outcome_unknown, |&deleted| deleted) {
        ended(app, grant, why);
    }
    outcome
}

fn ended(app: &App, grant: &Grant, why: &'static str) {
    app.audit(&AuditEvent::new(AuditAction::GrantRevoked).grant(grant).reason(why));
}

/// Ends the least recently used grants beyond [`MAX_LIVE_GRANTS`].
async fn retire_surplus(app: &Arc<App>, newest: &Grant) -> Result<()> {
    let mut rivals: Vec<Stored<Grant>> = index::live_grants(app, &newest.issuer, &newest.subject)
        .await?
        .into_iter()
        .filter(|Stored { record: grant, .. }| {
            grant.id != newest.id
                && grant.client.id == newest.client.id
                && grant.resource == newest.resource
        })
        .collect();
    let keep = MAX_LIVE_GRANTS - 1;
    if rivals.len() <= keep {
        return Ok(());
    }
    rivals.sort_by_key(|stored| std::cmp::Reverse(stored.record.used_at));
    for surplus in rivals.split_off(keep) {
        app.audit(&AuditEvent::new(AuditAction::GrantEvicted).grant(&surplus.record));
        revoke(app, surplus, "too many grants for one person and client").await?;
    }
    Ok(())
}
