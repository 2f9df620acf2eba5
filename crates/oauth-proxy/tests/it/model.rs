//! The grant against a small model: two replicas on one store, and whatever clients do with the
//! tokens that they were ever given.

use std::{collections::BTreeMap, time::Duration};

use http::StatusCode;
use proptest::prelude::*;

use crate::support::{Answer, Deployment, Tokens};

const GRACE: u64 = 120;
const IDLE: u64 = 1000;
const ABSOLUTE: u64 = 3000;
const CODE: u64 = 300;
const SLACK: u64 = 5;

#[derive(Clone, Debug)]
enum Operation {
    Redeem,
    /// With the token of this generation, modulo those that were given.
    Refresh(usize),
    Call,
    Revoke,
    Pass(u64),
}

fn operations() -> impl Strategy<Value = Vec<(bool, Operation)>> {
    let operation = prop_oneof![
        1 => Just(Operation::Redeem),
        6 => (0..4_usize).prop_map(Operation::Refresh),
        3 => Just(Operation::Call),
        1 => Just(Operation::Revoke),
        4 => prop_oneof![0..10_u64, 100..140_u64, 280..320_u64, 900..1100_u64].prop_map(Operation::Pass),
    ];
    prop::collection::vec((any::<bool>(), operation), 1..40)
}

/// What we believe of the grant.
#[derive(Debug, PartialEq)]
enum State {
    Pending,
    Active { generation: u64, retired: BTreeMap<u64, u64>, used: u64 },
    Gone,
}

struct Model {
    state: State,
    now: u64,
}

impl Model {
    /// Time may end it.
    fn settle(&mut self) {
        let ended = match &self.state {
            State::Pending => self.now >= CODE + 60,
            State::Active { used, .. } => self.now >= (used + IDLE).min(ABSOLUTE),
            State::Gone => false,
        };
        if ended {
            self.state = State::Gone;
        }
    }

    /// Whether a redemption succeeds.
    fn redeem(&mut self) -> bool {
        match self.state {
            State::Pending if self.now <= CODE => {
                self.state =
                    State::Active { generation: 0, retired: BTreeMap::new(), used: self.now };
                true
            }
            State::Pending | State::Gone => false,
            State::Active { .. } => {
                self.state = State::Gone;
                false
            }
        }
    }

    /// The generation of the refresh token that comes back, if one does.
    fn refresh(&mut self, presented: u64) -> Option<u64> {
        let State::Active { generation, retired, used } = &mut self.state else { return None };
        if presented == *generation {
            retired.insert(presented, self.now);
            *generation += 1;
            *used = self.now;
            return Some(*generation);
        }
        if retired.get(&presented).is_some_and(|at| self.now - at <= GRACE) {
            return Some(*generation);
        }
        self.state = State::Gone;
        None
    }

    /// When the resource begins to refuse an access token; it believes it a little longer than the
    /// client does.
    fn end_of(&self, expires_in: u64) -> u64 {
        (self.now + expires_in + SLACK).min(ABSOLUTE)
    }

    fn is_active(&self) -> bool {
        matches!(self.state, State::Active { .. })
    }
}

fn generation(token: &str) -> u64 {
    token.split('.').nth(3).unwrap().parse().unwrap()
}

fn check(answer: &Answer, expected: Option<u64>) -> Option<Tokens> {
    if expected.is_none() {
        answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
        return None;
    }
    let tokens = Tokens::of(answer);
    assert_eq!(Some(generation(&tokens.refresh)), expected);
    Some(tokens)
}

async fn run(operations: Vec<(bool, Operation)>) {
    let one = Deployment::with_lifetimes(|lifetimes| {
        lifetimes.refresh_idle = Duration::from_secs(IDLE);
        lifetimes.refresh_absolute = Duration::from_secs(ABSOLUTE);
        lifetimes.revocation_delay = Duration::ZERO;
    });
    let two = one.replica_with(|lifetimes| {
        lifetimes.refresh_idle = Duration::from_secs(IDLE);
        lifetimes.refresh_absolute = Duration::from_secs(ABSOLUTE);
        lifetimes.revocation_delay = Duration::ZERO;
    });
    let client = one.register().await;
    let code = one.code(&client).await;
    let mut model = Model { state: State::Pending, now: 0 };
    // By generation; and the newest access token with its end.
    let mut given: Vec<String> = Vec::new();
    let mut access: Option<(String, u64)> = None;
    for (second, operation) in operations {
        let replica = if second { &two } else { &one };
        model.settle();
        match operation {
            Operation::Redeem => {
                let answer = replica.redeem(&client, &code).await;
                let expected = model.redeem().then_some(0);
                if let Some(tokens) = check(&answer, expected) {
                    access = Some((tokens.access, model.end_of(tokens.expires_in)));
                    given.push(tokens.refresh);
                }
            }
            Operation::Refresh(back) => {
                let Some(last) = given.len().checked_sub(1) else { continue };
                let token = &given[last - back.min(last)];
                let answer = replica.refresh(&client, token).await;
                let expected = model.refresh(generation(token));
                if let Some(tokens) = check(&answer, expected) {
                    access = Some((tokens.access, model.end_of(tokens.expires_in)));
                    if given.len() == usize::try_from(generation(&tokens.refresh)).unwrap() {
                        given.push(tokens.refresh);
                    } else {
                        assert_eq!(given.last(), Some(&tokens.refresh), "one live successor");
                    }
                }
            }
            Operation::Call => {
                let Some((token, end)) = &access else { continue };
                let good = model.is_active() && model.now < *end;
                let expected = if good { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
                assert_eq!(replica.call(token).await.status, expected);
            }
            Operation::Revoke => {
                let Some(token) = given.last() else { continue };
                let form = [("token", token.as_str()), ("client_id", client.as_str())];
                assert_eq!(replica.post("/revoke", &form).await.status, StatusCode::OK);
                model.state = State::Gone;
            }
            Operation::Pass(seconds) => {
                one.clock.advance(Duration::from_secs(seconds));
                model.now += seconds;
            }
        }
        model.settle();
        let grants = one.storage.keys("grants").await.len();
        assert_eq!(grants, usize::from(model.state != State::Gone), "{:?}", model.state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn two_replicas_follow_the_model(operations in operations()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(operations));
    }
}
