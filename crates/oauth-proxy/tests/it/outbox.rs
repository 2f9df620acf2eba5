//! Revocations that the provider is to hear of: durable, told once, and never the reason that a
//! grant lives.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use http::StatusCode;
use jwt_issuer::{KeyRing, MasterKey};
use kv_storage::{Encrypted, Fernet, KeyValue, Memory};
use oauth_proxy::{
    AccessPolicy, OAuthProxy, ProviderRevocation, admin::GrantFilter, provider::ProviderError,
};

use crate::support::{BASE, Deployment, FakeProvider, Fault, Probe, TestClock, person, until};

fn down() -> ProviderError {
    ProviderError::Unavailable { reason: "down".to_owned(), retry_after: None }
}

fn with_policy(policy: ProviderRevocation) -> Deployment {
    Deployment::with(|builder| builder.provider_revocation(policy))
}

async fn revoke(deployment: &Deployment, client: &str, token: &str) -> StatusCode {
    deployment.post("/revoke", &[("token", token), ("client_id", client)]).await.status
}

async fn noted(deployment: &Deployment) -> usize {
    deployment.storage.keys("outbox").await.len()
}

#[tokio::test]
async fn another_process_tells_what_this_one_could_not() {
    let clock = TestClock::wall();
    let memory: Arc<dyn KeyValue> = Arc::new(Memory::builder().clock(clock.clock()).build());
    let first = Deployment::on(Arc::clone(&memory), clock.clone(), |builder| builder);
    first.provider.change(|plan| plan.revoke_fails = Some(down));
    let client = first.register().await;
    let tokens = first.login(&client).await;
    assert_eq!(revoke(&first, &client, &tokens.refresh).await, StatusCode::OK);
    until(async || first.provider.revocations.load(SeqCst) == 1).await;
    first.proxy.shutdown().await;
    assert_eq!(noted(&first).await, 1, "it keeps");

    let second = Deployment::on(memory, clock.clone(), |builder| builder);
    let maintenance = tokio::spawn(second.proxy.maintain());
    // Not due yet: a provider that is down is left alone for a while.
    tokio::task::yield_now().await;
    assert!(second.provider.told().is_empty());
    maintenance.abort();
    clock.advance(Duration::from_secs(30));
    let maintenance = tokio::spawn(second.proxy.maintain());
    until(async || noted(&second).await == 0).await;
    assert_eq!(second.provider.told(), ["provider-refresh-0"]);
    maintenance.abort();
}

#[tokio::test]
async fn the_policy_says_when_the_provider_hears_of_it() {
    let cases: [(ProviderRevocation, [&[&str]; 2]); 3] = [
        (ProviderRevocation::LastGrant, [&[], &["provider-refresh-1"]]),
        (
            ProviderRevocation::Always,
            [&["provider-refresh-0"], &["provider-refresh-0", "provider-refresh-1"]],
        ),
        (ProviderRevocation::Never, [&[], &[]]),
    ];
    for (policy, told) in cases {
        let deployment = with_policy(policy);
        let client = deployment.register().await;
        let laptop = deployment.login(&client).await;
        let desktop = deployment.login(&client).await;
        for (tokens, told) in [laptop, desktop].iter().zip(told) {
            revoke(&deployment, &client, &tokens.refresh).await;
            until(async || noted(&deployment).await == 0).await;
            assert_eq!(deployment.provider.told(), told, "{policy:?}");
        }
    }
}

#[tokio::test]
async fn a_revocation_that_did_not_happen_is_not_told() {
    for policy in [ProviderRevocation::LastGrant, ProviderRevocation::Always] {
        let deployment = with_policy(policy);
        let client = deployment.register().await;
        let tokens = deployment.login(&client).await;
        // The notice is written, the grant is not deleted.
        deployment.storage.fail_next("grants", Fault::NotRemoved);
        let answer = revoke(&deployment, &client, &tokens.refresh).await;
        assert_eq!(answer, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(noted(&deployment).await, 1);
        assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::OK);
        deployment.clock.advance(Duration::from_mins(11));
        let maintenance = tokio::spawn(deployment.proxy.maintain());
        until(async || noted(&deployment).await == 0).await;
        assert!(deployment.provider.told().is_empty(), "{policy:?}");
        maintenance.abort();
    }
}

#[tokio::test]
async fn a_grant_goes_even_if_the_notice_cannot_be_written() {
    let deployment = Deployment::new();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    deployment.storage.fail("outbox");
    assert_eq!(revoke(&deployment, &client, &tokens.refresh).await, StatusCode::OK);
    deployment.storage.heal();
    assert!(deployment.storage.keys("grants").await.is_empty());
}

#[tokio::test]
async fn of_two_replicas_one_tells_the_provider() {
    let clock = TestClock::wall();
    let memory: Arc<dyn KeyValue> = Arc::new(Memory::builder().clock(clock.clock()).build());
    let [one, two] =
        [(), ()].map(|()| Deployment::on(Arc::clone(&memory), clock.clone(), |builder| builder));
    // The first call hangs while the other replica looks.
    one.provider.revoke_gate.forget_permits(usize::MAX >> 3);
    let client = one.register().await;
    let tokens = one.login(&client).await;
    revoke(&one, &client, &tokens.refresh).await;
    until(async || one.provider.revocations.load(SeqCst) == 1).await;
    let maintenance = tokio::spawn(two.proxy.maintain());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(two.provider.told().is_empty());
    one.provider.revoke_gate.add_permits(1);
    until(async || noted(&one).await == 0).await;
    assert_eq!((one.provider.told().len(), two.provider.told().len()), (1, 0));
    maintenance.abort();
}

#[tokio::test]
async fn a_provider_that_never_listens_is_given_up_after_a_week() {
    let deployment = Deployment::new();
    deployment.provider.change(|plan| plan.revoke_fails = Some(down));
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    revoke(&deployment, &client, &tokens.refresh).await;
    let mut tries = 0;
    for _ in 0..7 * 24 * 2 {
        deployment.clock.advance(Duration::from_mins(30));
        let maintenance = tokio::spawn(deployment.proxy.maintain());
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        maintenance.abort();
        tries = deployment.provider.revocations.load(SeqCst);
    }
    assert_eq!(noted(&deployment).await, 0);
    assert!((7 * 24 / 2..=7 * 24 * 2).contains(&tries), "{tries} tries: about one an hour");
}

#[tokio::test]
async fn revoking_everybody_is_no_attack_on_the_provider() {
    let deployment = Deployment::new();
    deployment.provider.revoke_gate.forget_permits(usize::MAX >> 3);
    let client = deployment.register().await;
    for _ in 0..12 {
        let subject = format!("person-{}", deployment.storage.keys("grants").await.len());
        let identity = person(&subject, &serde_json::json!({}));
        deployment.provider.change(|plan| plan.identity = Some(identity));
        deployment.login(&client).await;
    }
    deployment.proxy.administration().revoke(&GrantFilter::All).await.unwrap();
    let calls = || deployment.provider.revocations.load(SeqCst);
    until(async || calls() == 4).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(calls(), 4, "the others wait");
    deployment.provider.revoke_gate.add_permits(100);
    until(async || noted(&deployment).await == 0).await;
    assert_eq!(deployment.provider.told().len(), 12);
}

#[tokio::test]
async fn a_stop_leaves_what_waits_to_the_next_process() {
    let deployment = Deployment::new();
    deployment.provider.revoke_gate.forget_permits(usize::MAX >> 3);
    let client = deployment.register().await;
    for number in 0..6 {
        let identity = person(&format!("p{number}"), &serde_json::json!({}));
        deployment.provider.change(|plan| plan.identity = Some(identity));
        deployment.login(&client).await;
    }
    deployment.proxy.administration().revoke(&GrantFilter::All).await.unwrap();
    let calls = || deployment.provider.revocations.load(SeqCst);
    until(async || calls() == 4).await;
    let stopping = deployment.proxy.shutdown();
    let finishing = async {
        tokio::task::yield_now().await;
        deployment.provider.revoke_gate.add_permits(100);
    };
    tokio::join!(stopping, finishing);
    assert_eq!((deployment.provider.told().len(), noted(&deployment).await), (4, 2));
}

#[tokio::test]
async fn a_notice_keeps_the_token_sealed() {
    let clock = TestClock::wall();
    let raw = Probe::new(Arc::new(Memory::new()));
    let cipher = Fernet::new(&[Fernet::generate_key()]).unwrap();
    let provider = Arc::new(FakeProvider::default());
    provider.change(|plan| plan.revoke_fails = Some(down));
    let proxy = OAuthProxy::builder(BASE, Arc::clone(&provider) as _)
        .storage(Encrypted::new(raw.clone(), cipher, BASE))
        .signing_keys(KeyRing::new(MasterKey::new(&[7; 32]).unwrap()))
        .access(AccessPolicy::nobody().allow_group("staff"))
        .clock(clock.clock())
        .build()
        .unwrap();
    let deployment = Deployment::of(proxy, clock, provider, raw);
    let client = deployment.register().await;
    // Somebody whom the rules do not let in: the tokens that came are to be revoked.
    let mut browser = crate::support::Browser::default();
    let state = browser.approve(&deployment, &client).await;
    let answer = browser.return_with_code(&deployment, &state).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    let keys = deployment.storage.keys("outbox").await;
    assert_eq!(keys.len(), 1);
    let entry = deployment.storage.inner().get("outbox", &keys[0]).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&entry.value);
    assert!(!text.contains("provider-") && !keys[0].contains("provider-"), "{text}");
}
