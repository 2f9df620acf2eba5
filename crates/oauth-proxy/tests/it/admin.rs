//! Administration: everything is listed page by page, and what is ended stays ended.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use kv_storage::{KeyValue, Ttl};
use oauth_proxy::{
    ProviderRevocation,
    admin::{GrantFilter, GrantState, GrantSummary, MAX_PAGE, PageCursor},
};
use serde_json::{Value, json};

use crate::support::{Browser, Deployment, Tokens, param, person};

const ISSUER: &str = "https://idp.example";

fn immediate() -> Deployment {
    Deployment::with_lifetimes(|lifetimes| lifetimes.revocation_delay = Duration::ZERO)
}

fn user(subject: &str) -> GrantFilter {
    GrantFilter::User { issuer: Some(ISSUER.to_owned()), subject: subject.to_owned() }
}

fn user_of_any_issuer(subject: &str) -> GrantFilter {
    GrantFilter::User { issuer: None, subject: subject.to_owned() }
}

/// Every grant, in pages of `limit`, and how many pages it took.
async fn all(
    deployment: &Deployment,
    filter: &GrantFilter,
    limit: usize,
) -> (Vec<GrantSummary>, u32) {
    let administration = deployment.proxy.administration();
    let (mut grants, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = administration.grants(filter, cursor.as_ref(), limit).await.unwrap();
        pages += 1;
        grants.extend(page.grants);
        // As a command line would carry it.
        cursor = page.next.map(|next| PageCursor::from_text(next.as_str()));
        if cursor.is_none() {
            return (grants, pages);
        }
    }
}

async fn login_as(deployment: &Deployment, client: &str, subject: &str) -> Tokens {
    let claims = json!({"email": format!("{subject}@example.com"), "email_verified": true});
    deployment.provider.change(|plan| plan.identity = Some(person(subject, &claims)));
    deployment.login(client).await
}

#[tokio::test]
async fn grants_are_listed_by_person_and_client_page_by_page() {
    let deployment = Deployment::new();
    let (one, two) = (deployment.register().await, deployment.register().await);
    for (client, subject) in
        [(&one, "alice"), (&one, "bob"), (&two, "alice"), (&two, "carol"), (&two, "carol")]
    {
        login_as(&deployment, client, subject).await;
    }
    deployment.code(&one).await;
    let cases = [
        (GrantFilter::All, 6),
        (user("alice"), 2),
        (user("carol"), 3),
        (user_of_any_issuer("carol"), 3),
        (user("nobody"), 0),
        (
            GrantFilter::User { issuer: Some("https://other".to_owned()), subject: "alice".into() },
            0,
        ),
        (GrantFilter::Client(one.clone()), 3),
        (GrantFilter::Client(two.clone()), 3),
        (GrantFilter::Client("nobody".to_owned()), 0),
    ];
    for (filter, expected) in cases {
        for limit in [1, 2, MAX_PAGE, usize::MAX] {
            let (grants, _) = all(&deployment, &filter, limit).await;
            let ids: BTreeSet<&str> = grants.iter().map(|grant| grant.id.as_str()).collect();
            assert_eq!((ids.len(), grants.len()), (expected, expected), "{filter:?} by {limit}");
        }
    }
    let (carol, _) = all(&deployment, &user("carol"), 10).await;
    let pending = carol.iter().find(|grant| grant.state == GrantState::Pending).unwrap();
    assert_eq!(pending.client_id, one);
    assert_eq!(pending.email.as_deref(), Some("carol@example.com"));
    assert_eq!(pending.ends_at, pending.created_at + 90 * 24 * 60 * 60);
    let shown = serde_json::to_string(&carol).unwrap();
    assert!(!shown.contains("provider-"), "no secret: {shown}");
}

#[tokio::test]
async fn what_is_no_record_saves_no_other_grant() {
    let deployment = immediate();
    let client = deployment.register().await;
    let spoiled = login_as(&deployment, &client, "alice").await;
    let (grants, _) = all(&deployment, &GrantFilter::All, 10).await;
    let other = login_as(&deployment, &client, "bob").await;
    deployment.storage.spoil(&grants[0].id);
    let (left, _) = all(&deployment, &GrantFilter::All, 10).await;
    assert_eq!(left.iter().map(|grant| &*grant.subject).collect::<Vec<_>>(), ["bob"]);
    let administration = deployment.proxy.administration();
    assert_eq!(administration.revoke(&GrantFilter::All).await.unwrap(), 1);
    for token in [spoiled.access, other.access] {
        assert_ne!(deployment.call(&token).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_mark_for_everybody_is_of_its_own_deployment() {
    let mut marks = BTreeSet::new();
    for base in ["https://one.example", "https://two.example"] {
        let deployment = Deployment::at(base, |builder| builder);
        deployment.proxy.administration().revoke(&GrantFilter::All).await.unwrap();
        marks.extend(deployment.storage.scan("not_before", "", None, 10).await.unwrap().keys);
    }
    assert_eq!(marks.len(), 2, "one storage may hold both: {marks:?}");
}

#[tokio::test]
async fn a_cursor_of_something_else_is_refused() {
    let deployment = Deployment::new();
    for text in ["", "nonsense", "7", "1.AAAA"] {
        let cursor = PageCursor::from_text(text);
        let administration = deployment.proxy.administration();
        let error = administration.grants(&GrantFilter::All, Some(&cursor), 10).await.unwrap_err();
        assert_eq!(error.code().as_str(), "invalid_request", "{text}");
        assert!(administration.clients(Some(&cursor), 10).await.is_err(), "{text}");
    }
}

#[tokio::test]
async fn revoking_ends_what_was_meant_and_nothing_else() {
    type Select = fn(&str) -> GrantFilter;
    // Alice with two clients, Bob with one of them.
    let cases: [(Select, [bool; 3]); 4] = [
        (|_| user("alice"), [false, false, true]),
        (|_| user_of_any_issuer("alice"), [false, false, true]),
        (|client| GrantFilter::Client(client.to_owned()), [false, true, false]),
        (|_| GrantFilter::All, [false, false, false]),
    ];
    for (select, survive) in cases {
        let deployment = immediate();
        let (one, two) = (deployment.register().await, deployment.register().await);
        let tokens = [
            (&one, login_as(&deployment, &one, "alice").await),
            (&two, login_as(&deployment, &two, "alice").await),
            (&one, login_as(&deployment, &one, "bob").await),
        ];
        let filter = select(&one);
        let administration = deployment.proxy.administration();
        let ended = survive.iter().filter(|&&lives| !lives).count() as u64;
        assert_eq!(administration.revoke(&filter).await.unwrap(), ended, "{filter:?}");
        assert_eq!(administration.revoke(&filter).await.unwrap(), 0, "{filter:?}");
        for ((client, tokens), lives) in tokens.iter().zip(survive) {
            let call = deployment.call(&tokens.access).await.status;
            let refresh = deployment.refresh(client, &tokens.refresh).await.status;
            let expected = if lives {
                (StatusCode::OK, StatusCode::OK)
            } else {
                (StatusCode::UNAUTHORIZED, StatusCode::BAD_REQUEST)
            };
            assert_eq!((call, refresh), expected, "{filter:?}");
        }
        // Nobody is banned: a login that begins later is welcome.
        deployment.clock.advance(Duration::from_secs(6));
        login_as(&deployment, &one, "alice").await;
    }
}

#[tokio::test]
async fn revoking_stops_logins_in_flight_at_every_stage() {
    type Select = fn(&str) -> GrantFilter;
    let cases: [(Select, bool); 7] = [
        (|_| user("alice"), true),
        (|_| user_of_any_issuer("alice"), true),
        (|client| GrantFilter::Client(client.to_owned()), true),
        (|_| GrantFilter::All, true),
        (|_| user("bob"), false),
        (|_| user_of_any_issuer("bob"), false),
        (|_| GrantFilter::Client("another".to_owned()), false),
    ];
    for (select, stopped) in cases {
        let deployment = immediate();
        let client = deployment.register().await;
        let filter = select(&client);
        // One has a code, one is at the provider.
        let code = deployment.code(&client).await;
        let mut browser = Browser::default();
        let state = browser.approve(&deployment, &client).await;
        deployment.proxy.administration().revoke(&filter).await.unwrap();
        let redeemed = deployment.redeem(&client, &code).await;
        let back = browser.return_with_code(&deployment, &state).await.location().to_owned();
        if stopped {
            redeemed.assert_error(StatusCode::BAD_REQUEST, "invalid_grant");
            assert_eq!(param(&back, "error").as_deref(), Some("access_denied"), "{filter:?}");
            assert!(deployment.storage.keys("grants").await.is_empty(), "{filter:?}");
        } else {
            Tokens::of(&redeemed);
            Tokens::of(&deployment.redeem(&client, &param(&back, "code").unwrap()).await);
        }
    }
}

#[tokio::test]
async fn one_grant_is_revoked_by_its_id() {
    let deployment = immediate();
    let client = deployment.register().await;
    let (laptop, desktop) = (deployment.login(&client).await, deployment.login(&client).await);
    let administration = deployment.proxy.administration();
    let id = laptop.refresh.split('.').nth(2).unwrap();
    assert!(administration.revoke_grant(id).await.unwrap());
    for gone in [id, "", "nobody", &"x".repeat(10_000)] {
        assert!(!administration.revoke_grant(gone).await.unwrap());
    }
    assert_eq!(deployment.call(&laptop.access).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(deployment.call(&desktop.access).await.status, StatusCode::OK);
}

#[tokio::test]
async fn deleting_a_client_ends_its_grants_and_its_logins() {
    let deployment = immediate();
    let (client, other) = (deployment.register().await, deployment.register().await);
    let tokens = deployment.login(&client).await;
    let kept = deployment.login(&other).await;
    let code = deployment.code(&client).await;
    let administration = deployment.proxy.administration();
    let ids = |page: oauth_proxy::admin::ClientPage| {
        page.clients.into_iter().map(|client| client.id).collect::<BTreeSet<_>>()
    };
    let listed = ids(administration.clients(None, 10).await.unwrap());
    assert_eq!(listed, BTreeSet::from([client.clone(), other.clone()]));

    assert_eq!(administration.delete_client(&client).await.unwrap(), Some(2));
    assert_eq!(administration.delete_client(&client).await.unwrap(), None);
    assert_eq!(administration.delete_client("").await.unwrap(), None);
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);
    let gone = deployment.refresh(&client, &tokens.refresh).await;
    gone.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    let gone = deployment.redeem(&client, &code).await;
    gone.assert_error(StatusCode::UNAUTHORIZED, "invalid_client");
    assert_eq!(deployment.call(&kept.access).await.status, StatusCode::OK);
    assert_eq!(ids(administration.clients(None, 10).await.unwrap()), BTreeSet::from([other]));
}

#[tokio::test]
async fn a_deletion_that_was_interrupted_is_finished_by_the_next() {
    let deployment = immediate();
    let client = deployment.register().await;
    let tokens = deployment.login(&client).await;
    let administration = deployment.proxy.administration();
    deployment.storage.fail("by_client");
    let error = administration.delete_client(&client).await.unwrap_err();
    assert_eq!(error.code().as_str(), "temporarily_unavailable");
    deployment.storage.heal();
    assert_eq!(administration.delete_client(&client).await.unwrap(), Some(1));
    assert_eq!(deployment.call(&tokens.access).await.status, StatusCode::UNAUTHORIZED);
}

/// Writes `count` copies of a real grant, each of its own person.
async fn multiply(deployment: &Deployment, count: usize) {
    let id = deployment.storage.keys("grants").await.remove(0);
    let entry = deployment.storage.inner().get("grants", &id).await.unwrap().unwrap();
    let grant: Value = serde_json::from_slice(&entry.value).unwrap();
    stream::iter(0..count)
        .for_each_concurrent(64, |number| {
            let mut copy = grant.clone();
            copy["record"]["id"] = json!(format!("copy-{number}"));
            copy["record"]["subject"] = json!(format!("person-{number}"));
            let value = Bytes::from(copy.to_string());
            async move {
                let key = format!("copy-{number}");
                let ttl = Ttl::After(Duration::from_hours(1));
                deployment.storage.inner().put("grants", &key, value, ttl).await.unwrap();
            }
        })
        .await;
}

#[tokio::test]
async fn a_hundred_thousand_grants_are_listed_and_ended_without_loading_all() {
    const COUNT: usize = 100_000;
    let deployment =
        Deployment::with(|builder| builder.provider_revocation(ProviderRevocation::Never));
    let client = deployment.register().await;
    deployment.login(&client).await;
    multiply(&deployment, COUNT - 1).await;

    let (grants, pages) = all(&deployment, &GrantFilter::All, MAX_PAGE).await;
    let ids: BTreeMap<&str, &str> =
        grants.iter().map(|grant| (grant.id.as_str(), grant.subject.as_str())).collect();
    assert_eq!((ids.len(), grants.len()), (COUNT, COUNT));
    assert!(pages >= 100, "{pages} pages");

    let one = user_of_any_issuer("person-77777");
    let administration = deployment.proxy.administration();
    assert_eq!(administration.revoke(&one).await.unwrap(), 1);
    assert_eq!(administration.revoke(&GrantFilter::All).await.unwrap(), COUNT as u64 - 1);
    let (left, _) = all(&deployment, &GrantFilter::All, MAX_PAGE).await;
    assert!(left.is_empty(), "{} are left", left.len());
    assert!(deployment.storage.largest_read() <= 200, "{}", deployment.storage.largest_read());
}
