//! Tables for the decisions.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    code::{Redemption, Verdict, activate, check, verdict},
    refresh::{Presented, Standing, advance, standing},
};
use crate::{
    client_settings::RefreshRules,
    error::ErrorCode,
    pkce,
    record::{code::CodeRecord, grant::Grant},
};

const GRACE: Duration = Duration::from_mins(2);
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A token of this generation, of a client whose tokens rotate.
fn token(generation: u64, grace: Duration) -> Presented {
    let absolute = Duration::from_hours(24);
    Presented { generation, rules: RefreshRules { rotates: true, grace, absolute } }
}

fn code() -> CodeRecord {
    CodeRecord {
        client_id: "client".to_owned(),
        redirect_uri: "http://localhost:1/cb".to_owned(),
        code_challenge: pkce::challenge(VERIFIER),
        resource: "https://mcp.example/mcp".to_owned(),
        grant_id: "grant".to_owned(),
        redeem_until: 1_300,
        login: "login".to_owned(),
    }
}

fn redemption() -> Redemption<'static> {
    Redemption {
        client_id: "client",
        redirect_uri: Some("http://localhost:1/cb"),
        code_verifier: Some(VERIFIER),
        resource: Some("https://mcp.example/mcp"),
    }
}

#[test]
fn a_code_belongs_to_its_client_redirect_uri_verifier_and_resource() {
    check(&code(), &redemption()).unwrap();
    check(&code(), &Redemption { redirect_uri: None, resource: None, ..redemption() }).unwrap();

    let wrong = [
        (Redemption { client_id: "other", ..redemption() }, ErrorCode::InvalidGrant),
        (
            Redemption { redirect_uri: Some("http://localhost:2/cb"), ..redemption() },
            ErrorCode::InvalidGrant,
        ),
        (Redemption { code_verifier: None, ..redemption() }, ErrorCode::InvalidRequest),
        (
            Redemption {
                code_verifier: Some("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXX"),
                ..redemption()
            },
            ErrorCode::InvalidGrant,
        ),
        (
            Redemption { resource: Some("https://mcp.example/other"), ..redemption() },
            ErrorCode::InvalidTarget,
        ),
    ];
    for (redemption, expected) in wrong {
        let error = check(&code(), &redemption).unwrap_err();
        assert_eq!(error.code(), expected, "{error}");
    }
}

#[test]
fn a_code_is_good_once_and_in_time() {
    let mut grant = Grant::example();
    assert_eq!(verdict(&code(), &grant, 1_300), Verdict::Activate);
    assert_eq!(verdict(&code(), &grant, 1_301), Verdict::Late);
    activate(&mut grant, "attempt", 1_200);
    assert_eq!(verdict(&code(), &grant, 1_200), Verdict::Replay);
    assert_eq!(verdict(&code(), &grant, 9_999), Verdict::Replay);
}

#[test]
fn a_rotated_token_leads_to_its_successor_inside_the_window_only() {
    let mut grant = Grant::example();
    advance(&mut grant, token(0, GRACE), 2_000);
    assert_eq!(grant.generation, 1);
    assert_eq!(standing(&grant, token(1, GRACE), 2_000), Standing::Current);
    assert_eq!(standing(&grant, token(0, GRACE), 2_000), Standing::Retired);
    assert_eq!(standing(&grant, token(0, GRACE), 2_120), Standing::Retired);
    assert_eq!(standing(&grant, token(0, GRACE), 2_121), Standing::Replay);
    assert_eq!(standing(&grant, token(2, GRACE), 2_000), Standing::Ahead);
}

#[test]
fn without_a_window_the_second_use_is_a_replay() {
    let mut grant = Grant::example();
    advance(&mut grant, token(0, Duration::ZERO), 2_000);
    assert_eq!(standing(&grant, token(0, Duration::ZERO), 2_000), Standing::Replay);
}

#[test]
fn a_token_ahead_of_a_store_that_lost_a_write_goes_on_from_there() {
    let mut grant = Grant::example();
    advance(&mut grant, token(4, GRACE), 2_000);
    assert_eq!(grant.generation, 5);
    assert_eq!(standing(&grant, token(4, GRACE), 2_001), Standing::Retired);
}

#[test]
fn without_rotation_the_token_stays_and_older_ones_are_replays() {
    let reused = |generation| {
        let token = token(generation, GRACE);
        Presented { rules: RefreshRules { rotates: false, ..token.rules }, ..token }
    };
    let mut grant = Grant::example();
    advance(&mut grant, token(0, GRACE), 2_000);
    for now in [2_100, 2_200] {
        assert_eq!(standing(&grant, reused(1), now), Standing::Current);
        advance(&mut grant, reused(1), now);
        assert_eq!((grant.generation, grant.used_at), (1, now));
    }
    assert_eq!(standing(&grant, reused(0), 2_200), Standing::Replay);
    assert!(grant.retired.is_empty(), "nothing is remembered for longer than it counts");
    // What the store lost is gone on from as well.
    advance(&mut grant, reused(3), 2_300);
    assert_eq!(standing(&grant, reused(3), 2_300), Standing::Current);
}

proptest! {
    /// However a client rotates, exactly one generation is current, and the remembered ones are
    /// bounded and older.
    #[test]
    fn rotation_keeps_one_current_generation(steps in prop::collection::vec(0_u64..90, 1..200)) {
        let mut grant = Grant::example();
        let mut now = 1_000;
        for step in steps {
            now += step;
            let current = grant.generation;
            advance(&mut grant, token(current, GRACE), now);
            prop_assert_eq!(grant.generation, current + 1);
            prop_assert!(grant.retired.len() <= 64);
            prop_assert!(grant.retired.iter().all(|retired| retired.generation < grant.generation));
            prop_assert_eq!(standing(&grant, token(current, GRACE), now), Standing::Retired);
        }
    }
}
