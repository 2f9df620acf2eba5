//! How much others can make this server fetch.
//!
//! Everybody can open `/authorize` with a URL of their choice, and a hostile page can have browsers
//! open many; everybody who may log in can have clients of their own that have to prove who they
//! are. So what follows from it is counted by the hour: altogether, for each party that asks, and
//! for each host what it was asked for in vain. No single party can spend a host for others, and
//! what was good when it was last asked for is renewed out of a budget of its own.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{cache::Standing, party::Party};

/// Fetches per hour and process of what is not known: as many as clients may register in an hour,
/// each a few kilobytes over a connection of seconds.
const FETCHES_PER_HOUR: u32 = 10_000;

/// As many again of what was good when it was last asked for, and of clients in use; beyond it they
/// are counted as if they were not.
const RENEWALS_PER_HOUR: u32 = 10_000;

/// Fetches per hour and process from one host that brought nothing: fewer than a host notices, and
/// a hundred addresses' shares. Beyond it whoever asked nothing of it in vain has one try still, so
/// that strangers who spent it keep out nobody who names a URL that is there.
const IN_VAIN_PER_HOST: u32 = 1000;

const HOUR: u64 = 60 * 60;

#[derive(Debug, Default)]
pub(super) struct Budget(Mutex<Hour>);

#[derive(Debug, Default)]
struct Hour {
    /// Hours since 1970.
    number: u64,
    fetches: u32,
    renewals: u32,
    by_party: HashMap<Party, u32>,
    /// By host, and of these by party; no party stands for all.
    in_vain: HashMap<(String, Option<Party>), u32>,
}

/// The time until there is budget again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exhausted(pub(super) Duration);

/// What is given back if the host has what it is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use]
pub(super) struct Charge {
    hour: u64,
    in_vain: Vec<(String, Option<Party>)>,
}

impl Budget {
    /// Counts a fetch that is about to begin, as one in vain. Of a renewal of what is good no host
    /// and no network hears; people hear of all that their clients have fetched.
    pub(super) fn charge(
        &self,
        host: &str,
        parties: &[Party],
        standing: Standing,
        now: u64,
    ) -> Result<Charge, Exhausted> {
        let mut hour = self.hour();
        if hour.number != now / HOUR {
            *hour = Hour { number: now / HOUR, ..Hour::default() };
        }
        let spent = Err(Exhausted(Duration::from_secs(HOUR - now % HOUR)));
        if standing != Standing::Unknown && hour.renewals < RENEWALS_PER_HOUR {
            let people = || parties.iter().filter(|party| matches!(party, Party::Person(_)));
            if people().any(|person| hour.has_fetched_enough(person)) {
                return spent;
            }
            hour.renewals += 1;
            hour.count(people());
            return Ok(Charge::default());
        }
        if hour.is_spent(host, parties) {
            return spent;
        }
        hour.fetches += 1;
        hour.count(parties);
        let all = parties.iter().cloned().map(Some).chain([None]);
        let in_vain: Vec<_> = all.map(|party| (host.to_owned(), party)).collect();
        for counter in &in_vain {
            *hour.in_vain.entry(counter.clone()).or_default() += 1;
        }
        Ok(Charge { hour: hour.number, in_vain })
    }

    /// The host had what it was asked for.
    pub(super) fn succeeded(&self, charge: &Charge) {
        let mut hour = self.hour();
        if hour.number != charge.hour {
            return;
        }
        for counter in &charge.in_vain {
            if let Some(count) = hour.in_vain.get_mut(counter) {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn hour(&self) -> MutexGuard<'_, Hour> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hour {
    fn is_spent(&self, host: &str, parties: &[Party]) -> bool {
        let in_vain = |party: Option<&Party>| {
            let counter = (host.to_owned(), party.cloned());
            self.in_vain.get(&counter).copied().unwrap_or_default()
        };
        let is_new = parties.first().is_some_and(|party| in_vain(Some(party)) == 0);
        self.fetches >= FETCHES_PER_HOUR
            || (in_vain(None) >= IN_VAIN_PER_HOST && !is_new)
            || parties.iter().any(|party| {
                self.has_fetched_enough(party) || in_vain(Some(party)) >= party.share().in_vain
            })
    }

    fn has_fetched_enough(&self, party: &Party) -> bool {
        self.by_party.get(party).copied().unwrap_or_default() >= party.share().fetches
    }

    fn count<'a>(&mut self, parties: impl IntoIterator<Item = &'a Party>) {
        for party in parties {
            *self.by_party.entry(party.clone()).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{
        super::party::{CUSTOMER, DESCRIBER, PERSON, SITE, networks},
        *,
    };

    const NOW: u64 = 1_800_000_000;

    /// One of the public addresses 8.x.x.x.
    fn peer(number: u32) -> Vec<Party> {
        networks(IpAddr::V4((0x0800_0000 + number).into()))
    }

    fn at(address: &str) -> Vec<Party> {
        networks(address.parse().unwrap())
    }

    fn spent<T>() -> Result<T, Exhausted> {
        Err(Exhausted(Duration::from_secs(HOUR - NOW % HOUR)))
    }

    /// Asks in vain; whether that was allowed.
    fn ask(budget: &Budget, host: &str, parties: &[Party]) -> bool {
        budget.charge(host, parties, Standing::Unknown, NOW).is_ok()
    }

    #[test]
    fn one_network_spends_no_host_for_others() {
        let budget = Budget::default();
        for _ in 0..CUSTOMER.in_vain {
            assert!(ask(&budget, "app.example", &peer(1)));
        }
        assert_eq!(budget.charge("app.example", &peer(1), Standing::Unknown, NOW), spent());
        assert!(ask(&budget, "other.example", &peer(1)));
        assert!(ask(&budget, "app.example", &peer(2)));
        assert!(budget.charge("app.example", &peer(1), Standing::Unknown, NOW + HOUR).is_ok());
    }

    #[test]
    fn a_host_is_not_hammered_and_whoever_is_new_has_one_try_still() {
        let budget = Budget::default();
        for number in 0..IN_VAIN_PER_HOST {
            assert!(ask(&budget, "victim.example", &peer(number / 2)));
        }
        assert!(!ask(&budget, "victim.example", &peer(0)), "it has had its try");
        assert!(!ask(&budget, "victim.example", &[]), "that may be anybody");
        assert!(ask(&budget, "other.example", &[]));
        let new = budget.charge("victim.example", &peer(1_000_000), Standing::Unknown, NOW);
        assert!(new.is_ok());
        assert!(!ask(&budget, "victim.example", &peer(1_000_000)));
        budget.succeeded(&new.unwrap());
        assert!(ask(&budget, "victim.example", &peer(1_000_000)), "it named what is there");
        assert!(budget.charge("victim.example", &[], Standing::Unknown, NOW + HOUR).is_ok());
    }

    #[test]
    fn what_was_good_lately_costs_no_host_and_no_network() {
        let budget = Budget::default();
        for _ in 0..RENEWALS_PER_HOUR {
            let charge = budget.charge("app.example", &peer(1), Standing::Known, NOW).unwrap();
            assert_eq!(charge, Charge::default());
        }
        for _ in 0..CUSTOMER.in_vain {
            assert!(
                budget.charge("app.example", &peer(1), Standing::Known, NOW).is_ok(),
                "as if unknown"
            );
        }
        assert_eq!(budget.charge("app.example", &peer(1), Standing::Known, NOW), spent());
    }

    #[test]
    fn strangers_cannot_keep_what_was_good_from_being_renewed() {
        let budget = Budget::default();
        for number in 0..FETCHES_PER_HOUR {
            assert!(ask(&budget, "app.example", &peer(number)));
        }
        assert!(!ask(&budget, "new.example", &peer(FETCHES_PER_HOUR)), "there is an end");
        assert!(budget.charge("app.example", &peer(0), Standing::Known, NOW).is_ok());
        assert!(budget.charge("new.example", &peer(0), Standing::Unknown, NOW + HOUR).is_ok());
    }

    #[test]
    fn a_host_that_has_its_documents_is_not_held_up() {
        let budget = Budget::default();
        for number in 0..2 * IN_VAIN_PER_HOST {
            let charge =
                budget.charge("app.example", &peer(number % 100), Standing::Unknown, NOW).unwrap();
            budget.succeeded(&charge);
        }
        let late = budget.charge("app.example", &[], Standing::Unknown, NOW).unwrap();
        for _ in 0..IN_VAIN_PER_HOST {
            assert!(budget.charge("app.example", &[], Standing::Unknown, NOW + HOUR).is_ok());
        }
        budget.succeeded(&late);
        assert!(
            budget.charge("app.example", &[], Standing::Unknown, NOW + HOUR).is_err(),
            "of another hour"
        );
    }

    #[test]
    fn one_address_does_not_spend_everybodys() {
        let budget = Budget::default();
        let fetch =
            |number: u32, parties: &[Party]| ask(&budget, &format!("h{number}.example"), parties);
        let host = |low: u32| at(&format!("2600:1:2:3::{low:x}"));
        assert!((0..CUSTOMER.fetches).all(|number| fetch(number, &host(number))));
        assert!(!fetch(10_000, &host(0xffff)), "the same /64");
        let mapped = at("::ffff:8.8.8.8");
        assert!((0..CUSTOMER.fetches).all(|number| fetch(number, &mapped)));
        assert!(!fetch(10_000, &at("8.8.8.8")), "the same address");

        let network = |number: u32| at(&format!("2600:1:2:{:x}::1", number + 16));
        assert!((CUSTOMER.fetches..SITE.fetches).all(|number| fetch(number, &network(number))));
        assert!(!fetch(10_000, &network(10_000)), "the same /48");
        assert!(fetch(10_000, &at("2600:1:3::1")));
    }

    #[test]
    fn one_site_spends_no_host_for_others() {
        let budget = Budget::default();
        let network = |number: u32| at(&format!("2600:1:2:{number:x}::1"));
        assert!((0..SITE.in_vain).all(|number| ask(&budget, "app.example", &network(number))));
        assert!(!ask(&budget, "app.example", &network(SITE.in_vain)));
        assert!(ask(&budget, "app.example", &peer(1)));
    }

    #[test]
    fn a_proxy_in_front_is_not_everybody() {
        for address in ["10.0.0.1", "127.0.0.1", "100.64.0.1", "fd00::1", "::1", "::ffff:10.0.0.1"]
        {
            let (budget, peer) = (Budget::default(), at(address));
            for number in 0..2 * CUSTOMER.fetches {
                assert!(ask(&budget, &format!("h{number}.example"), &peer), "{address}");
            }
            for _ in 0..2 * CUSTOMER.in_vain {
                assert!(ask(&budget, "app.example", &peer), "{address}");
            }
        }
    }
    /// The person whose login is used, with a client of this host.
    fn login(person: &str, describer: &str) -> [Party; 2] {
        [Party::Person(person.to_owned()), Party::Describer(describer.to_owned())]
    }

    #[test]
    fn one_person_spends_no_host_of_keys_for_others() {
        let budget = Budget::default();
        // Each with clients of another host, whose keys are not there.
        for number in 0..PERSON.in_vain {
            let mallory = login("mallory", &format!("h{number}.example"));
            assert!(ask(&budget, "victim.example", &mallory));
        }
        assert!(!ask(&budget, "victim.example", &login("mallory", "new.example")));
        assert!(ask(&budget, "victim.example", &login("alice", "app.example")));
    }

    #[test]
    fn one_person_does_not_spend_everybodys_whatever_is_renewed() {
        for standing in [Standing::Unknown, Standing::Known, Standing::InUse] {
            let budget = Budget::default();
            let ask = |number: u32, person: &str| {
                let host = format!("h{number}.example");
                budget.charge(&host, &login(person, &host), standing, NOW)
            };
            for number in 0..PERSON.fetches {
                assert!(ask(number, "mallory").is_ok(), "{standing:?}");
            }
            assert_eq!(ask(10_000, "mallory"), spent(), "{standing:?}");
            assert!(ask(10_000, "alice").is_ok(), "{standing:?}");
        }
    }

    #[test]
    fn one_host_does_not_spend_everybodys_with_its_clients() {
        let budget = Budget::default();
        let ask = |number: u32, describer: &str| {
            let login = login(&format!("person {number}"), describer);
            ask(&budget, &format!("h{number}.example"), &login)
        };
        assert!((0..DESCRIBER.fetches).all(|number| ask(number, "evil.example")));
        assert!(!ask(10_000, "evil.example"));
        assert!(ask(10_000, "app.example"));
    }
}
