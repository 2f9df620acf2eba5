//! Renewals that no request waits for (D6): of grants in use whose provider token nears its end.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;

use super::{Renewal, renew};
use crate::{
    app::App,
    context,
    error::{ErrorCode, OAuthError, chain},
    record::grant::Grant,
};

/// Renewals of this kind under way in one process: when everybody's token ends at the same time,
/// the provider must not take us for an attack. Who finds no place comes again with the next
/// request.
const AT_ONCE: usize = 16;

/// The most grants that are remembered as tried: as many as there are cached principals.
const MAX_TRIED: usize = 10_000;

/// How often a grant that others go on changing is read again.
const ROUNDS: usize = 3;

/// The renewals of one process that no request waits for.
#[derive(Debug)]
pub(crate) struct Renewals {
    places: Arc<Semaphore>,
    /// Until when a grant is left alone, by its id: while somebody is at it, and for a while after
    /// a failure.
    tried: Mutex<HashMap<String, u64>>,
}

impl Default for Renewals {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), tried: Mutex::default() }
    }
}

/// Notes that a grant is in use, as it was read just now: if its provider token nears its end, the
/// renewal begins.
pub(crate) fn in_use(app: &Arc<App>, grant: &Grant) {
    let margin = app.config.lifetimes.provider_refresh_margin;
    if grant.is_active() && grant.provider.is_due(app.clock.now(), margin) {
        begin(app, &grant.id);
    }
}

/// Has the provider's token of a grant renewed, unless that was tried in this process just now.
///
/// Waits for nothing; shutdown waits for what was begun.
pub(crate) fn begin(app: &Arc<App>, id: &str) {
    if app.stopping.is_cancelled() {
        return;
    }
    let Ok(place) = Arc::clone(&app.renewals.places).try_acquire_owned() else { return };
    let now = app.clock.now();
    if !app.renewals.claim(id, now, now + app.config.lifetimes.lease().as_secs().max(1)) {
        return;
    }
    let (app, id) = (Arc::clone(app), id.to_owned());
    app.tasks.clone().spawn(context::carried(async move {
        match run(&app, &id).await {
            Ok(true) => app.renewals.forget(&id),
            Ok(false) => {}
            // The session is over, which the audit log says.
            Err(error) if error.code() == ErrorCode::InvalidGrant => {}
            Err(error) => tracing::warn!(
                grant = id,
                cause = %chain(&error),
                "the provider's token was not renewed ahead of its end"
            ),
        }
        drop(place);
    }));
}

/// Whether there is nothing left to do for now.
async fn run(app: &Arc<App>, id: &str) -> Result<bool, OAuthError> {
    let margin = app.config.lifetimes.provider_refresh_margin;
    for _ in 0..ROUNDS {
        let Some(stored) = app.store.get::<Grant>(id).await? else { return Ok(true) };
        let (grant, now) = (&stored.record, app.clock.now());
        if !grant.is_active() || !grant.provider.is_due(now, margin) {
            return Ok(true);
        }
        let Some(token) = grant.provider.refresh_token.clone() else { return Ok(true) };
        if grant.is_leased(now) {
            return Ok(false);
        }
        match renew(app, stored, token, None).await? {
            Renewal::Renewed(grant) => {
                // What a provider calls over as soon as it gives it is not asked for at every request.
                return Ok(!grant.provider.is_due(app.clock.now(), margin));
            }
            Renewal::CarriedOver(_) => return Ok(false),
            Renewal::Conflict => {}
        }
    }
    Ok(false)
}

impl Renewals {
    /// Whether the grant was not claimed before, or long enough ago.
    fn claim(&self, id: &str, now: u64, until: u64) -> bool {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if tried.get(id).is_some_and(|end| now < *end) {
            return false;
        }
        if tried.len() >= MAX_TRIED {
            tried.retain(|_, end| now < *end);
        }
        if tried.len() >= MAX_TRIED {
            return false;
        }
        tried.insert(id.to_owned(), until);
        true
    }

    fn forget(&self, id: &str) {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_claimed_once_at_a_time() {
        let renewals = Renewals::default();
        assert!(renewals.claim("a", 100, 130));
        assert!(!renewals.claim("a", 129, 159));
        assert!(renewals.claim("b", 129, 159));
        assert!(renewals.claim("a", 130, 160));
        renewals.forget("a");
        assert!(renewals.claim("a", 130, 160));
    }

    #[test]
    fn no_more_are_remembered_than_fit() {
        let renewals = Renewals::default();
        for number in 0..MAX_TRIED {
            assert!(renewals.claim(&number.to_string(), 0, 30));
        }
        assert!(!renewals.claim("one more", 29, 59));
        assert!(renewals.claim("one more", 30, 60), "the others are forgotten by then");
    }
}
