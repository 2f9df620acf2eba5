//! The table of access-token lifetimes (D7).

use std::time::Duration;

use secrecy::SecretString;

use super::*;
use crate::record::grant::{Phase, ProviderSession};

const NOW: u64 = 1_000_000;

fn grant(refreshable: bool, provider_ends: Option<u64>, not_after: u64) -> Grant {
    let example = Grant::example();
    Grant {
        phase: Phase::Active { attempt: "attempt".to_owned() },
        provider: ProviderSession {
            refresh_token: refreshable.then(|| SecretString::from("refresh")),
            expires_at: provider_ends,
            ..example.provider
        },
        created_at: NOW,
        judged_at: NOW,
        used_at: NOW,
        not_after,
        ..example
    }
}

#[test]
fn lifetimes_follow_the_grant_and_the_provider() {
    let lifetimes = Lifetimes::default();
    let far = NOW + 1_000_000;
    let cases = [
        ("fresh", grant(true, Some(NOW + 3600), far), Ok(3600)),
        ("the provider said nothing", grant(true, None, far), Ok(3600)),
        ("shortly before the end", grant(true, Some(far), NOW + 7), Ok(7)),
        ("at the end", grant(true, Some(far), NOW), Err(ErrorCode::InvalidGrant)),
        ("outage begins", grant(true, Some(NOW), far), Ok(300)),
        ("outage, tolerated", grant(true, Some(NOW - 3600), far), Ok(300)),
        (
            "outage, too long",
            grant(true, Some(NOW - 3601), far),
            Err(ErrorCode::TemporarilyUnavailable),
        ),
        ("nobody to ask", grant(false, Some(NOW - 3601), far), Ok(3600)),
        ("the provider's ends first", grant(true, Some(NOW + 600), far), Ok(600)),
        ("the same, and nobody can renew it", grant(false, Some(NOW + 600), far), Ok(600)),
        ("the provider's ends very soon", grant(true, Some(NOW + 1), far), Ok(300)),
        ("the provider's ends late", grant(true, Some(NOW + 3601), far), Ok(3600)),
    ];
    for (name, grant, expected) in cases {
        let found = access_lifetime(&grant, NOW, &lifetimes, ProviderState::Reachable);
        assert_eq!(found.map_err(|error| error.code()), expected, "{name}");
    }
}

#[test]
fn the_longest_life_wins_over_the_shortest() {
    let lifetimes = Lifetimes { access_token: Duration::from_mins(1), ..Lifetimes::default() };
    let grant = grant(true, Some(NOW + 7), NOW + 1_000_000);
    let found = access_lifetime(&grant, NOW, &lifetimes, ProviderState::Reachable);
    assert_eq!(found.unwrap(), 60);
}

#[test]
fn an_outage_never_lengthens_a_token() {
    let lifetimes = Lifetimes { access_token: Duration::from_mins(1), ..Lifetimes::default() };
    let grant = grant(true, Some(NOW), NOW + 1_000_000);
    let found = access_lifetime(&grant, NOW, &lifetimes, ProviderState::Down);
    assert_eq!(found.unwrap(), 60);
}
