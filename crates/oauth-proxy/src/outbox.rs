//! Revocations that the provider is to hear of: written beside the deletion of a grant, worked off
//! by any replica until the provider has heard of them or they are too old.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use jwt_issuer::random_token;
use secrecy::SecretString;
use tokio::sync::Semaphore;

use crate::{
    app::App,
    context,
    error::chain,
    grants::index,
    measure,
    provider::{Identity, ProviderError, ProviderTokens},
    record::{
        grant::{Grant, Lease},
        notice::Notice,
    },
    store::{Result, StoreError, Stored},
};

/// Calls to the provider at the same time: revoking everybody must not look like an attack on it.
const CALLS_AT_ONCE: usize = 4;

/// Notices of this process that wait for their turn in memory; more are left to the next round.
const MAX_WAITING: usize = 256;

/// The pause after a first failure; it doubles with each, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// A notice whose grant still lives after this belongs to a revocation that did not happen.
const UNFINISHED: Duration = Duration::from_mins(10);

/// When the provider is told that a grant was revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProviderRevocation {
    /// Only if no other grant of the same person lives: at Auth0, Google and others revoking one
    /// token ends every session of the person.
    #[default]
    LastGrant,
    /// Every time: right where the provider ends nothing but the token that is named.
    Always,
    /// Never: the provider's tokens end by themselves.
    Never,
}

/// The part of the outbox that is in memory.
#[derive(Debug)]
pub(crate) struct Outbox {
    policy: ProviderRevocation,
    calls: Semaphore,
    waiting: AtomicUsize,
}

impl Outbox {
    pub(crate) fn new(policy: ProviderRevocation) -> Self {
        Self { policy, calls: Semaphore::new(CALLS_AT_ONCE), waiting: AtomicUsize::new(0) }
    }
}

/// A notice for one revocation, which may have to be written several times before it holds the very
/// token that was deleted.
pub(crate) struct Draft<'a> {
    app: &'a Arc<App>,
    id: String,
    written: bool,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(app: &'a Arc<App>) -> Self {
        Self { app, id: random_token::<16>(), written: false }
    }

    /// Writes the notice for this state of the grant.
    ///
    /// A failure is logged only: whatever becomes of the notice, the grant must go.
    pub(crate) async fn write(&mut self, grant: &Grant) {
        let provider = &grant.provider;
        let token = provider.refresh_token.as_ref().unwrap_or(&provider.access_token).clone();
        let person = (grant.issuer.clone(), grant.subject.clone());
        match put(self.app, &self.id, token, Some(grant.id.clone()), person).await {
            Ok(written) => self.written = written,
            Err(error) => not_noted(&error),
        }
    }

    /// The grant is gone: the provider may hear of it.
    pub(crate) fn send(self) {
        if self.written {
            deliver_soon(self.app, self.id);
        }
    }

    /// Somebody else revoked the grant, and wrote a notice of their own.
    pub(crate) async fn discard(self) {
        if self.written
            && let Err(error) = self.app.store.delete::<Notice>(&self.id).await
        {
            tracing::debug!(cause = %chain(&error), "a notice too many stays");
        }
    }
}

/// Notes that tokens are to be revoked that no grant holds: of a person whom the rules did not let
/// in, or of a grant that was gone when they came.
pub(crate) async fn disown(app: &Arc<App>, person: &Identity, tokens: &ProviderTokens) {
    let token = tokens.refresh_token.as_ref().unwrap_or(&tokens.access_token);
    let person = (person.issuer.clone(), person.subject.clone());
    add(app, token.clone(), None, person).await;
}

/// The same for the newest token of a grant that is gone.
pub(crate) async fn disown_token(app: &Arc<App>, grant: &Grant, token: SecretString) {
    let person = (grant.issuer.clone(), grant.subject.clone());
    add(app, token, Some(grant.id.clone()), person).await;
}

async fn add(
    app: &Arc<App>,
    token: SecretString,
    grant_id: Option<String>,
    person: (String, String),
) {
    let id = random_token::<16>();
    match put(app, &id, token, grant_id, person).await {
        Ok(true) => deliver_soon(app, id),
        Ok(false) => {}
        Err(error) => not_noted(&error),
    }
}

/// `false` if the provider is never told.
async fn put(
    app: &App,
    id: &str,
    token: SecretString,
    grant_id: Option<String>,
    (issuer, subject): (String, String),
) -> Result<bool> {
    if app.outbox.policy == ProviderRevocation::Never {
        return Ok(false);
    }
    let now = app.clock.now();
    let notice = Notice {
        token,
        grant_id,
        issuer,
        subject,
        created_at: now,
        tries: 0,
        next_try: now,
        telling: None,
    };
    app.store.put(id, &notice, app.config.lifetimes.outbox).await?;
    Ok(true)
}

fn not_noted(error: &StoreError) {
    tracing::warn!(cause = %chain(error), "the provider will not hear of a revocation");
}

/// Tells the provider now if few others wait for that; the next round does it otherwise.
fn deliver_soon(app: &Arc<App>, id: String) {
    if app.outbox.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
        app.outbox.waiting.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    let app = Arc::clone(app);
    app.tasks.clone().spawn(context::carried(async move {
        deliver(&app, &id).await;
        app.outbox.waiting.fetch_sub(1, Ordering::Relaxed);
    }));
}

/// Works the outbox off, round after round, until the server stops.
pub(crate) async fn work_off(app: &Arc<App>) {
    loop {
        if let Err(error) = round(app).await {
            tracing::warn!(cause = %chain(&error), "the outbox could not be read");
        }
        let stopping = app.stopping.cancelled();
        if tokio::time::timeout(app.config.lifetimes.outbox_check, stopping).await.is_ok() {
            return;
        }
    }
}

/// Looks at every notice once.
async fn round(app: &Arc<App>) -> Result<()> {
    /// Notices that are under way at the same time; [`CALLS_AT_ONCE`] of them call the provider.
    const PAGE: usize = 64;
    let mut cursor = None;
    loop {
        let page = app.store.page::<Notice>("", cursor, PAGE).await?;
        let deliveries = page.keys.iter().map(|id| deliver(app, id));
        futures_util::future::join_all(deliveries).await;
        cursor = page.next;
        if cursor.is_none() || app.stopping.is_cancelled() {
            return Ok(());
        }
    }
}

/// Deals with one notice if it is due and nobody else does.
async fn deliver(app: &Arc<App>, id: &str) {
    let permit = tokio::select! {
        biased;
        permit = app.outbox.calls.acquire() => permit,
        // The notice keeps; the next process tells the provider.
        () = app.stopping.cancelled() => return,
    };
    let Ok(_permit) = permit else { return };
    if let Err(error) = try_deliver(app, id).await {
        tracing::warn!(cause = %chain(&error), "a notice for the provider must wait");
    }
}

async fn try_deliver(app: &Arc<App>, id: &str) -> Result<()> {
    let Some(stored) = app.store.get::<Notice>(id).await? else { return Ok(()) };
    let now = app.clock.now();
    let mut notice = stored.record;
    let is_told = notice.telling.as_ref().is_some_and(|lease| lease.until > now);
    if is_told || notice.next_try > now {
        return Ok(());
    }
    let until = now + app.config.lifetimes.lease().as_secs().max(1);
    notice.telling = Some(Lease { holder: random_token::<16>(), until });
    let Some(version) = write(app, id, &stored.version, &notice, now).await? else {
        return Ok(());
    };
    let stored = Stored { record: notice, version };
    match need(app, &stored.record, now).await? {
        Need::Tell => tell(app, id, stored).await,
        Need::Wait => postpone(app, id, stored, FIRST_PAUSE).await,
        Need::Nothing(why) => {
            tracing::debug!(grant = stored.record.grant_id, why, "the provider need not be told");
            app.store.compare_and_delete::<Notice>(id, stored.version).await?;
            Ok(())
        }
    }
}

/// Whether the provider has to hear of it.
enum Need {
    Tell,
    /// The grant is still there: it is about to be deleted, or was kept after all.
    Wait,
    Nothing(&'static str),
}

async fn need(app: &App, notice: &Notice, now: u64) -> Result<Need> {
    if let Some(id) = &notice.grant_id
        && app.store.get::<Grant>(id).await?.is_some()
    {
        let is_old = now > notice.created_at.saturating_add(UNFINISHED.as_secs());
        return Ok(if is_old { Need::Nothing("the grant lives on") } else { Need::Wait });
    }
    if app.outbox.policy == ProviderRevocation::LastGrant
        && !index::live_grants(app, &notice.issuer, &notice.subject).await?.is_empty()
    {
        return Ok(Need::Nothing("another grant of the same person lives"));
    }
    Ok(Need::Tell)
}

async fn tell(app: &App, id: &str, stored: Stored<Notice>) -> Result<()> {
    let grant = stored.record.grant_id.clone();
    let deadline = app.config.lifetimes.provider_call;
    let call = measure::provider("revoke", app.provider.revoke(&stored.record.token));
    let told = tokio::time::timeout(deadline, call).await.unwrap_or_else(|_| {
        Err(ProviderError::Unavailable {
            reason: format!("no answer within {deadline:?}"),
            retry_after: None,
        })
    });
    match told {
        Ok(()) => {
            tracing::info!(grant, "the provider was told of a revocation");
            app.store.compare_and_delete::<Notice>(id, stored.version).await?;
            Ok(())
        }
        Err(error) => {
            tracing::warn!(grant, cause = %error, "the provider was not told of a revocation yet");
            let asked = match error {
                ProviderError::Unavailable { retry_after, .. } => retry_after.unwrap_or_default(),
                _ => Duration::ZERO,
            };
            let doublings = stored.record.tries.min(16);
            let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).max(asked).min(LONGEST_PAUSE);
            postpone(app, id, stored, pause).await
        }
    }
}

async fn postpone(app: &App, id: &str, stored: Stored<Notice>, pause: Duration) -> Result<()> {
    let now = app.clock.now();
    let mut notice = stored.record;
    notice.telling = None;
    notice.tries = notice.tries.saturating_add(1);
    notice.next_try = now.saturating_add(pause.as_secs());
    // A lost race means that the lease was over and another replica goes on.
    write(app, id, &stored.version, &notice, now).await.map(drop)
}

async fn write(
    app: &App,
    id: &str,
    version: &kv_storage::Version,
    notice: &Notice,
    now: u64,
) -> Result<Option<kv_storage::Version>> {
    let end = notice.created_at.saturating_add(app.config.lifetimes.outbox.as_secs());
    let left = Duration::from_secs(end.saturating_sub(now).max(1));
    app.store.compare_and_swap(id, *version, notice, left).await
}
