//! How much is fetched at a time, and by whom.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{cache::Standing, party::Party};

/// Fetches at a time and process; each holds a connection and a few kilobytes.
const AT_ONCE: usize = 64;

/// How many of them are for clients in use: whoever has none cannot keep them waiting.
const RESERVED: usize = 16;

/// At a time from one host, so that one that keeps us waiting does not keep others from being
/// asked. A document takes a fraction of a second of those that do not.
const PER_HOST: usize = 4;

/// The same with clients in use, so that strangers cannot keep a host's own from being asked for.
const PER_HOST_IN_USE: usize = 2 * PER_HOST;

#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Holder, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Host(String),
    Party(Party),
}

/// One fetch; dropped when it is over.
#[derive(Debug)]
#[must_use]
pub(super) struct Slot<'a> {
    slots: &'a Slots,
    holders: Vec<Holder>,
}

impl Slots {
    /// A slot to fetch from `host` on the account of `parties`, unless somebody has too many.
    pub(super) fn take(
        &self,
        host: &str,
        parties: &[Party],
        standing: Standing,
    ) -> Option<Slot<'_>> {
        let (all, per_host) = match standing {
            Standing::InUse => (AT_ONCE, PER_HOST_IN_USE),
            Standing::Known | Standing::Unknown => (AT_ONCE - RESERVED, PER_HOST),
        };
        let shares = parties.iter().map(|party| (party.clone(), party.share().at_once));
        let shares = shares.map(|(party, share)| (Holder::Party(party), share));
        let shares: Vec<_> = shares.chain([(Holder::Host(host.to_owned()), per_host)]).collect();
        let mut taken = self.taken();
        let has = |holder: &Holder| taken.by.get(holder).copied().unwrap_or_default();
        if taken.all >= all || shares.iter().any(|(holder, share)| has(holder) >= *share) {
            return None;
        }
        taken.all += 1;
        let holders: Vec<_> = shares.into_iter().map(|(holder, _)| holder).collect();
        for holder in &holders {
            *taken.by.entry(holder.clone()).or_default() += 1;
        }
        Some(Slot { slots: self, holders })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.all -= 1;
        for holder in &self.holders {
            if let Some(count) = taken.by.get_mut(holder) {
                *count -= 1;
                if *count == 0 {
                    taken.by.remove(holder);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::party, *};

    fn parties(address: &str) -> Vec<Party> {
        party::networks(address.parse().unwrap())
    }

    /// As many as there are, each from another host.
    fn take_all<'a>(slots: &'a Slots, parties: &[Party], standing: Standing) -> Vec<Slot<'a>> {
        (0..2 * AT_ONCE)
            .map_while(|number| slots.take(&format!("h{number}.example"), parties, standing))
            .collect()
    }

    #[test]
    fn there_is_an_end_and_some_are_for_clients_in_use() {
        let slots = Slots::default();
        let taken = take_all(&slots, &[], Standing::Known);
        assert_eq!(taken.len(), AT_ONCE - RESERVED);
        assert!(slots.take("new.example", &[], Standing::Unknown).is_none());
        assert_eq!(take_all(&slots, &[], Standing::InUse).len(), RESERVED);
        drop(taken);
        assert_eq!(slots.taken().by.len(), 0, "nothing is left behind");
        assert_eq!(take_all(&slots, &[], Standing::InUse).len(), AT_ONCE);
    }

    #[test]
    fn nobody_has_more_than_a_share() {
        let describer = Party::Describer("app.example".to_owned());
        let person = Party::Person("mallory".to_owned());
        for (parties, share) in [
            (parties("8.8.8.8"), 8),
            (parties("2600:1:2:3::1"), 8),
            (vec![person, describer.clone()], 4),
            (vec![describer], 12),
        ] {
            for standing in [Standing::Unknown, Standing::Known, Standing::InUse] {
                let slots = Slots::default();
                let taken = take_all(&slots, &parties, standing);
                assert_eq!(taken.len(), share, "{parties:?}");
                assert!(slots.take("new.example", &[], standing).is_some(), "others have theirs");
                drop(taken);
                assert_eq!(take_all(&slots, &parties, standing).len(), share);
            }
        }
        let slots = Slots::default();
        let site: Vec<_> = (0..AT_ONCE)
            .map_while(|number| {
                let parties = parties(&format!("2600:1:2:{number:x}::1"));
                slots.take(&format!("h{number}.example"), &parties, Standing::Unknown)
            })
            .collect();
        assert_eq!(site.len(), 16, "the same /48");
    }

    #[test]
    fn no_host_is_asked_for_much_at_a_time() {
        let slots = Slots::default();
        let ask = |standing| slots.take("app.example", &[], standing);
        let taken: Vec<_> = (0..PER_HOST).map(|_| ask(Standing::Known).unwrap()).collect();
        assert!(ask(Standing::Known).is_none() && ask(Standing::Unknown).is_none());
        let own: Vec<_> = (0..PER_HOST).map(|_| ask(Standing::InUse).unwrap()).collect();
        assert!(ask(Standing::InUse).is_none());
        drop((taken, own));
        assert!(ask(Standing::Unknown).is_some());
    }
}
