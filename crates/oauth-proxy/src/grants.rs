//! The life of grants in the store: made at the callback, ended by revocation (D4).

pub(crate) mod index;
pub(crate) mod not_before;

use std::sync::Arc;

use jwt_issuer::{random_token, sha256_base64url};
use secrecy::SecretString;

use crate::{
    app::App,
    audit::{AuditAction, AuditEvent},
    context, measure,
    provider::{Identity, ProviderTokens},
    record::{
        code::CodeRecord,
        grant::{Grant, Phase, ProviderSession},
        transaction::Transaction,
    },
    store::{Result, Stored},
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
    let provider = ProviderSession::new(tokens, now);
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
        client: authorization.client.clone(),
        scopes: authorization.scopes.clone(),
        resource: authorization.resource.clone(),
        provider,
        seed: SecretString::from(random_token::<32>()),
        generation: 0,
        retired: Vec::new(),
        refreshing: None,
        created_at: now,
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
        revoke(app, &grant, "the login began before a revocation").await?;
        return Ok(None);
    }
    let event = AuditEvent::new(AuditAction::GrantCreated).grant(&grant);
    app.audit(&event.login(&authorization.login));
    retire_surplus(app, &grant).await?;
    Ok(Some(SecretString::from(code)))
}

/// Ends a grant and every token of it, and tells the provider if nobody else needs its session.
///
/// `true` if there was one.
pub(crate) async fn revoke(app: &Arc<App>, grant: &Grant, why: &'static str) -> Result<bool> {
    // Taken, not deleted: a renewal may have written a newer token than the one that was read.
    match app.store.take::<Grant>(&grant.id).await {
        Ok(Some(taken)) => {
            ended(app, &taken, why);
            Ok(true)
        }
        Ok(None) => Ok(false),
        Err(error) => {
            if error.is_outcome_unknown() {
                ended(app, grant, why);
            }
            Err(error)
        }
    }
}

/// Ends a grant only if it is still as it was read.
pub(crate) async fn revoke_version(
    app: &Arc<App>,
    stored: &Stored<Grant>,
    why: &'static str,
) -> Result<bool> {
    let grant = &stored.record;
    let deleted = app.store.compare_and_delete::<Grant>(&grant.id, stored.version).await?;
    if deleted {
        ended(app, grant, why);
    }
    Ok(deleted)
}

fn ended(app: &Arc<App>, grant: &Grant, why: &'static str) {
    app.audit(&AuditEvent::new(AuditAction::GrantRevoked).grant(grant).reason(why));
    let token = grant.provider.refresh_token.as_ref().unwrap_or(&grant.provider.access_token);
    tell_provider(app, grant, token.clone());
}

/// Revokes the provider's tokens of a person whom the rules did not let in.
pub(crate) fn disown(app: &Arc<App>, identity: &Identity, tokens: &ProviderTokens) {
    let token = tokens.refresh_token.as_ref().unwrap_or(&tokens.access_token).clone();
    spawn_telling(app, None, identity.issuer.clone(), identity.subject.clone(), token);
}

/// Revokes a token of a grant that is gone.
pub(crate) fn tell_provider(app: &Arc<App>, grant: &Grant, token: SecretString) {
    let id = Some(grant.id.clone());
    spawn_telling(app, id, grant.issuer.clone(), grant.subject.clone(), token);
}

/// Revokes a token at the provider, unless another grant of the same person lives: at Auth0, Google
/// and others revoking one token ends them all.
fn spawn_telling(
    app: &Arc<App>,
    id: Option<String>,
    issuer: String,
    subject: String,
    token: SecretString,
) {
    let app = Arc::clone(app);
    app.tasks.clone().spawn(context::carried(async move {
        match index::live_grants(&app, &issuer, &subject).await {
            Ok(grants) if grants.iter().any(|other| Some(&other.id) != id.as_ref()) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(cause = %crate::error::chain(&error), "provider not told of a revocation");
                return;
            }
        }
        let deadline = app.config.lifetimes.provider_call;
        let telling = measure::provider("revoke", app.provider.revoke(&token));
        match tokio::time::timeout(deadline, telling).await {
            Ok(Ok(())) => tracing::info!(grant = id, "the provider was told of a revocation"),
            Ok(Err(error)) => {
                tracing::warn!(grant = id, cause = %error, "the provider was not told of a revocation");
            }
            Err(_) => {
                tracing::warn!(grant = id, "the provider did not answer a revocation in time");
            }
        }
    }));
}

/// Ends the least recently used grants beyond [`MAX_LIVE_GRANTS`].
async fn retire_surplus(app: &Arc<App>, newest: &Grant) -> Result<()> {
    let mut rivals: Vec<Grant> = index::live_grants(app, &newest.issuer, &newest.subject)
        .await?
        .into_iter()
        .filter(|grant| {
            grant.id != newest.id
                && grant.client.id == newest.client.id
                && grant.resource == newest.resource
        })
        .collect();
    let keep = MAX_LIVE_GRANTS - 1;
    if rivals.len() <= keep {
        return Ok(());
    }
    rivals.sort_by_key(|grant| std::cmp::Reverse(grant.used_at));
    for surplus in rivals.split_off(keep) {
        app.audit(&AuditEvent::new(AuditAction::GrantEvicted).grant(&surplus));
        revoke(app, &surplus, "too many grants for one person and client").await?;
    }
    Ok(())
}
