//! Every lifetime with two seconds (D15): what it bounds holds within, and is over afterwards.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::{Duration, SystemTime},
};

use http::StatusCode;
use kv_storage::{KeyValue, Memory};
use oauth_proxy::{AccessTokenBasis, Lifetimes, admin::GrantFilter, provider::ProviderError};
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

use crate::{
    outages::{process, provider},
    support::{Browser, Deployment, TestClock, Tokens, authorize_path, param, until},
};

const ONE: Duration = Duration::from_secs(1);
const TWO: Duration = Duration::from_secs(2);
const THREE: Duration = Duration::from_secs(3);

/// By how much the resource believes an access token longer than its client.
const SLACK: Duration = Duration::from_secs(5);

/// A provider's token lives this long where its end does not matter.
const SHORT: Duration = Duration::from_mins(10);

/// How long a pending grant outlives its code.
const PENDING_MARGIN: Duration = Duration::from_mins(1);

/// So many registrations of a day wait as long as others that nobody used.
const UNUSED_PER_DAY: usize = 1000;

/// A lifetime by its name, and how it is set.
type Row = (&'static str, fn(&mut Lifetimes));

const ROWS: [Row; 24] = [
    ("consent", |all| all.consent = TWO),
    ("transaction", |all| all.transaction = TWO),
    ("code", |all| all.code = TWO),
    ("code_memory", |all| {
        all.code = ONE;
        all.code_memory = TWO;
    }),
    ("access_token", |all| all.access_token = TWO),
    ("access_token_floor", |all| all.access_token_floor = TWO),
    ("outage_access_token", |all| all.outage_access_token = TWO),
    ("refresh_idle", |all| all.refresh_idle = TWO),
    ("refresh_absolute", |all| all.refresh_absolute = TWO),
    ("session_without_refresh", |all| all.session_without_refresh = TWO),
    ("refresh_grace", |all| all.refresh_grace = TWO),
    ("revocation_delay", |all| all.revocation_delay = TWO),
    ("stream_check", |all| all.stream_check = TWO),
    ("provider_token_fallback", |all| all.provider_token_fallback = TWO),
    ("provider_token_longest", |all| all.provider_token_longest = TWO),
    ("provider_refresh_margin", |all| all.provider_refresh_margin = TWO),
    ("provider_call", |all| all.provider_call = TWO),
    ("provider_outage_tolerance", |all| all.provider_outage_tolerance = TWO),
    ("outbox", |all| all.outbox = TWO),
    ("outbox_check", |all| all.outbox_check = TWO),
    ("clock_skew", |all| all.clock_skew = TWO),
    ("unused_client", |all| all.unused_client = TWO),
    ("pressed_client", |all| all.pressed_client = TWO),
    ("used_client", |all| {
        all.refresh_absolute = ONE;
        all.used_client = ONE;
    }),
];

#[tokio::test(start_paused = true)]
async fn two_seconds_of_every_lifetime_are_two_seconds() {
    for (name, set) in ROWS {
        assert!(holds(name, set, ONE).await, "{name} is over after one second of two");
        assert!(!holds(name, set, THREE).await, "{name} holds after three seconds of two");
    }
}

/// A lifetime without a row here is one that nobody has seen end.
#[test]
fn every_lifetime_has_a_row() {
    let all = format!("{:#?}", Lifetimes::default());
    let fields: BTreeSet<&str> = all
        .lines()
        .filter_map(|line| line.strip_prefix("    ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_once(':').map(|(name, _)| name))
        // The first is none; fetches of documents do not go with a clock of tokio's that stands:
        // `cimd::a_copy_serves_on_for_a_while_and_no_longer`.
        .filter(|name| !["access_token_basis", "client_document_stale"].contains(name))
        .collect();
    assert_eq!(fields, ROWS.map(|(name, _)| name).into());
}

/// Whether what a lifetime bounds still holds when so much time has passed.
async fn holds(name: &str, set: fn(&mut Lifetimes), passed: Duration) -> bool {
    let deployment = Arc::new(Deployment::with_lifetimes(|all| {
        all.revocation_delay = Duration::ZERO;
        set(all);
    }));
    let client = deployment.register().await;
    let mut browser = Browser::default();
    let clock = &deployment.clock;
    match name {
        "consent" => {
            let page = browser.get(&deployment, &authorize_path(&client, &[])).await;
            clock.advance(passed);
            let (request, csrf) = (page.field("request"), page.field("csrf"));
            let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
            let answer = browser.post(&deployment, "/consent", &form).await;
            answer.status == StatusCode::SEE_OTHER
        }
        "transaction" => {
            let state = browser.approve(&deployment, &client).await;
            clock.advance(passed);
            browser.return_with_code(&deployment, &state).await.status == StatusCode::FOUND
        }
        "code" => {
            let code = deployment.code(&client).await;
            clock.advance(passed);
            deployment.redeem(&client, &code).await.status == StatusCode::OK
        }
        "code_memory" => {
            let code = deployment.code(&client).await;
            let tokens = Tokens::of(&deployment.redeem(&client, &code).await);
            clock.advance(passed);
            // What is remembered is noticed as a replay, and ends the grant.
            assert_eq!(deployment.redeem(&client, &code).await.status, StatusCode::BAD_REQUEST);
            deployment.call(&tokens.access).await.status == StatusCode::UNAUTHORIZED
        }
        "access_token" | "access_token_floor" | "outage_access_token" => {
            let said = match name {
                "access_token" => Some(SHORT),
                "access_token_floor" => Some(ONE),
                // Over before it began, as in an outage.
                _ => Some(Duration::ZERO),
            };
            deployment.provider.change(|plan| plan.expires_in = said);
            let tokens = deployment.login(&client).await;
            assert_eq!(tokens.expires_in, TWO.as_secs(), "{name}");
            clock.advance(SLACK + passed);
            deployment.call(&tokens.access).await.status == StatusCode::OK
        }
        "refresh_idle" | "refresh_absolute" => {
            let tokens = deployment.login(&client).await;
            clock.advance(passed);
            refreshes(&deployment, &client, &tokens).await
        }
        "session_without_refresh" => {
            deployment.provider.change(|plan| plan.gives_refresh_token = false);
            deployment.provider.change(|plan| plan.expires_in = Some(ONE));
            let tokens = deployment.login(&client).await;
            clock.advance(passed);
            refreshes(&deployment, &client, &tokens).await
        }
        "refresh_grace" => {
            let tokens = deployment.login(&client).await;
            Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
            clock.advance(passed);
            refreshes(&deployment, &client, &tokens).await
        }
        "revocation_delay" => {
            let tokens = deployment.login(&client).await;
            assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
            revoke_elsewhere(&deployment, &client, &tokens).await;
            tokio::time::advance(passed).await;
            deployment.call(&tokens.access).await.status == StatusCode::OK
        }
        "stream_check" => {
            let tokens = deployment.login(&client).await;
            let verifier = deployment.proxy.verifier();
            let resource = deployment.proxy.resource();
            let principal = verifier.verify(&tokens.access, resource).await.unwrap();
            let stream = deployment.proxy.watch(&principal);
            revoke_elsewhere(&deployment, &client, &tokens).await;
            tokio::time::timeout(passed, stream).await.is_err()
        }
        "provider_token_fallback" | "provider_token_longest" | "provider_refresh_margin" => {
            let (said, until_then) = match name {
                "provider_token_fallback" => (None, passed),
                "provider_token_longest" => (Some(SHORT), passed),
                // Of the last seconds it is told when they begin.
                _ => (Some(SHORT), SHORT.saturating_sub(passed)),
            };
            let deployment = Deployment::with_lifetimes(|all| {
                all.provider_refresh_margin = Duration::ZERO;
                set(all);
            });
            deployment.provider.change(|plan| plan.expires_in = said);
            let client = deployment.register().await;
            let tokens = deployment.login(&client).await;
            deployment.clock.advance(until_then);
            Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
            // What nobody waits for is over, too.
            deployment.proxy.shutdown().await;
            let is_renewed = deployment.provider.refreshes() == 1;
            is_renewed == (name == "provider_refresh_margin")
        }
        "provider_call" => {
            deployment.provider.change(|plan| plan.expires_in = Some(SHORT));
            let tokens = deployment.login(&client).await;
            clock.advance(SHORT);
            deployment.provider.refresh_gate.forget_permits(usize::MAX >> 3);
            let refreshing = deployment.refresh(&client, &tokens.refresh);
            tokio::time::timeout(passed, refreshing).await.is_err()
        }
        "provider_outage_tolerance" => {
            deployment.provider.change(|plan| plan.expires_in = Some(SHORT));
            let tokens = deployment.login(&client).await;
            deployment.provider.change(|plan| plan.refresh_fails = Some(down));
            clock.advance(SHORT + passed);
            let answer = deployment.refresh(&client, &tokens.refresh).await;
            assert_ne!(answer.status, StatusCode::BAD_REQUEST, "an outage is no verdict");
            answer.status == StatusCode::OK
        }
        "outbox" => {
            deployment.provider.change(|plan| plan.revoke_fails = Some(down));
            let tokens = deployment.login(&client).await;
            revoke(&deployment, &client, &tokens).await;
            until(async || deployment.provider.revocations.load(SeqCst) == 1).await;
            deployment.proxy.shutdown().await;
            clock.advance(passed);
            !deployment.storage.keys("outbox").await.is_empty()
        }
        "outbox_check" => {
            let maintenance = tokio::spawn(deployment.proxy.maintain());
            tokio::task::yield_now().await;
            assert!(deployment.storage.operations() > 0, "the first look is at the start");
            tokio::time::sleep(passed).await;
            maintenance.abort();
            deployment.storage.operations() == 0
        }
        "clock_skew" => {
            deployment.proxy.administration().revoke(&GrantFilter::All).await.unwrap();
            clock.advance(passed);
            // It may have begun before, by the clock of another replica.
            param(&browser.login(&deployment, &client).await, "error").is_some()
        }
        "unused_client" | "pressed_client" | "used_client" => {
            let mut client = client;
            if name == "used_client" {
                deployment.login(&client).await;
            }
            if name == "pressed_client" {
                for _ in 0..UNUSED_PER_DAY {
                    client = deployment.register().await;
                }
            }
            clock.advance(passed);
            deployment.get(&authorize_path(&client, &[])).await.status == StatusCode::OK
        }
        _ => panic!("nobody knows what {name} bounds"),
    }
}

fn down() -> ProviderError {
    ProviderError::Unavailable { reason: "down".to_owned(), retry_after: None }
}

async fn refreshes(deployment: &Deployment, client: &str, tokens: &Tokens) -> bool {
    deployment.refresh(client, &tokens.refresh).await.status == StatusCode::OK
}

async fn revoke(deployment: &Deployment, client: &str, tokens: &Tokens) {
    let form = [("token", &*tokens.refresh), ("client_id", client)];
    assert_eq!(deployment.post("/revoke", &form).await.status, StatusCode::OK);
}

async fn revoke_elsewhere(deployment: &Deployment, client: &str, tokens: &Tokens) {
    revoke(&deployment.replica(), client, tokens).await;
}

#[tokio::test]
async fn a_grant_whose_code_nobody_redeems_goes_soon_after_it() {
    let deployment = Deployment::with_lifetimes(|all| all.code = TWO);
    let client = deployment.register().await;
    deployment.code(&client).await;
    deployment.clock.advance(PENDING_MARGIN + ONE);
    assert_eq!(deployment.storage.keys("grants").await.len(), 1);
    deployment.clock.advance(ONE);
    assert!(deployment.storage.keys("grants").await.is_empty());
}

/// The given clock is not the only one: the same by the system's.
#[tokio::test]
async fn two_seconds_pass_by_the_systems_clock() {
    let deployment = Deployment::on(Arc::new(Memory::new()), TestClock::wall(), |builder| {
        let mut all = Lifetimes::default();
        all.code = TWO;
        all.access_token = TWO;
        all.refresh_idle = TWO + SLACK + ONE;
        #[expect(clippy::disallowed_methods, reason = "this is about the system's clock")]
        let clock = Arc::new(SystemTime::now);
        builder.lifetimes(all).clock(clock)
    });
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let late = deployment.code(&client).await;
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
    until(async || deployment.call(&tokens.access).await.status == StatusCode::UNAUTHORIZED).await;
    let answer = deployment.redeem(&client, &late).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
    until(async || deployment.storage.keys("grants").await.len() < 2).await;
    let answer = deployment.refresh(&client, &tokens.refresh).await;
    answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
}

#[tokio::test]
async fn an_access_token_follows_the_providers_or_does_not() {
    use AccessTokenBasis::{Fixed, Provider};

    let cases = [
        (Provider, SHORT, 600),
        // Clients do not refresh before every request, whatever the provider says.
        (Provider, ONE, 300),
        (Provider, Duration::from_hours(9), 3600),
        (Fixed, SHORT, 3600),
        (Fixed, ONE, 3600),
        (Fixed, Duration::from_hours(9), 3600),
    ];
    for (basis, said, expected) in cases {
        let deployment = Deployment::with_lifetimes(|all| all.access_token_basis = basis);
        deployment.provider.change(|plan| plan.expires_in = Some(said));
        let client = deployment.register().await;
        let tokens = deployment.login(&client).await;
        assert_eq!(tokens.expires_in, expected, "{basis:?} {said:?}");
    }
    // What is left counts, and a renewal brings it back.
    let deployment = Deployment::new();
    deployment.provider.change(|plan| plan.expires_in = Some(Duration::from_mins(20)));
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    assert_eq!(tokens.expires_in, 1200);
    deployment.clock.advance(SHORT);
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!((tokens.expires_in, deployment.provider.refreshes()), (600, 0));
    deployment.clock.advance(SHORT);
    let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
    assert_eq!((tokens.expires_in, deployment.provider.refreshes()), (1200, 1));
}

/// Nobody can ask the provider again, so the end is the later of its token's and the cap's.
#[tokio::test]
async fn without_a_refresh_token_of_the_provider_no_session_outlives_its_cap() {
    const CAP: Duration = Duration::from_hours(8);

    for (said, end) in [
        (Some(SHORT), CAP),
        (Some(Duration::ZERO), CAP),
        (None, CAP),
        (Some(Duration::from_hours(10)), Duration::from_hours(10)),
        // A year is more than any session has.
        (Some(Duration::from_hours(365 * 24)), Duration::from_hours(90 * 24)),
    ] {
        for basis in AccessTokenBasis::ALL {
            let deployment = Deployment::with_lifetimes(|all| {
                all.access_token_basis = basis;
                all.refresh_idle = all.refresh_absolute;
            });
            deployment.provider.change(|plan| plan.gives_refresh_token = false);
            deployment.provider.change(|plan| plan.expires_in = said);
            let client = deployment.register().await;
            let tokens = deployment.login(&client).await;
            deployment.clock.advance(end.saturating_sub(ONE));
            let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
            assert_eq!(tokens.expires_in, 1, "{said:?} {basis:?}");
            deployment.clock.advance(ONE);
            let answer = deployment.refresh(&client, &tokens.refresh).await;
            answer.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
            let call = deployment.call(&tokens.access).await;
            assert_eq!(call.status, StatusCode::UNAUTHORIZED, "{said:?} {basis:?}");
        }
    }
}

/// What a provider says of its token's life, in any form, and what becomes of ours.
#[tokio::test]
async fn whatever_the_provider_says_of_its_tokens_life_is_bounded() {
    let cases = [
        (json!(600), 600),
        (json!(599.9), 599),
        (json!("600"), 600),
        (json!(0), 300),
        (json!(-5), 300),
        (json!("-5"), 300),
        (json!(1e300), 3600),
        (json!(u64::MAX), 3600),
        (json!("soon"), 3600),
        (json!([600]), 3600),
        (Value::Null, 3600),
    ];
    for (said, expected) in cases {
        let clock = TestClock::new();
        let storage: Arc<dyn KeyValue> = Arc::new(Memory::builder().clock(clock.clock()).build());
        let answer = json!({"access_token": "at", "refresh_token": "rt", "expires_in": said});
        let server = provider(ResponseTemplate::new(200).set_body_json(answer)).await;
        let deployment = process(&storage, &clock, &server.uri());
        let client = deployment.register().await;
        let tokens = deployment.login(&client).await;
        assert_eq!(tokens.expires_in, expected, "{said}");
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK, "{said}");
        let tokens = Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        assert_eq!(tokens.expires_in, expected, "{said}, refreshed");
        // Nobody is believed for longer than a day.
        clock.advance(Duration::from_hours(24));
        let asked = async || server.received_requests().await.unwrap().len();
        let before = asked().await;
        Tokens::of(&deployment.refresh(&client, &tokens.refresh).await);
        assert!(asked().await > before, "{said}: the provider is asked");
    }
}

/// A replica whose clock is behind or ahead within bounds refuses nothing that is good.
#[tokio::test]
async fn replicas_put_up_with_each_others_clocks() {
    let skew = Lifetimes::default().clock_skew;
    let clock = TestClock::new();
    let storage: Arc<dyn KeyValue> = Arc::new(Memory::builder().clock(clock.clock()).build());
    for ahead in [true, false] {
        let (one_clock, two_clock) = (TestClock::new(), TestClock::new());
        if ahead { &two_clock } else { &one_clock }.advance(skew);
        let one = Deployment::on(Arc::clone(&storage), one_clock.clone(), |builder| builder);
        let two = Deployment::on(Arc::clone(&storage), two_clock.clone(), |builder| builder);
        let client = one.register().await;
        let mut browser = Browser::default();
        let page = browser.get(&one, &authorize_path(&client, &[])).await;
        let (request, csrf) = (page.field("request"), page.field("csrf"));
        let form = [("request", &*request), ("csrf", &*csrf), ("action", "approve")];
        let sent = browser.post(&two, "/consent", &form).await;
        let state = param(sent.location(), "state").unwrap();
        let back = browser.return_with_code(&one, &state).await;
        let code = param(back.location(), "code").unwrap();
        let tokens = Tokens::of(&two.redeem(&client, &code).await);
        for replica in [&one, &two] {
            let status = replica.call(&tokens.access).await.status;
            assert_eq!(status, StatusCode::OK, "ahead: {ahead}");
        }
        // Both ways, inside of the grace window and one after the other.
        let next = Tokens::of(&one.refresh(&client, &tokens.refresh).await);
        let same = Tokens::of(&two.refresh(&client, &tokens.refresh).await);
        assert_eq!(next.refresh, same.refresh, "ahead: {ahead}");
        let last = Tokens::of(&two.refresh(&client, &next.refresh).await);
        // The client believes in its token for as long as it was told, wherever it asks.
        for clock in [&one_clock, &two_clock] {
            clock.advance(Duration::from_secs(last.expires_in - 1));
        }
        for replica in [&one, &two] {
            let status = replica.call(&last.access).await.status;
            assert_eq!(status, StatusCode::OK, "ahead: {ahead}");
        }
    }
}
