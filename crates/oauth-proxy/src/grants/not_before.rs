//! Marks against logins in flight: who revokes somebody's grants means those as well that are just
//! being made.
//!
//! A login in flight is a transaction, of which nobody knows yet whose it will be, or a pending
//! grant, which has rows and is revoked like an active one. So a mark need only be read where a
//! transaction becomes a grant: one read at the callback, none at the token endpoint.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jwt_issuer::sha256_base64url;

use crate::{
    app::App,
    record::{grant::Grant, mark::NotBefore},
    store::{Found, Result},
};

/// A callback may take this long from its transaction to its grant: calls to the provider with
/// deadlines, and writes.
const CALLBACK: Duration = Duration::from_mins(5);

/// Before the issuer whose logins are meant: another deployment may share the storage.
const EVERYBODY: &str = "all";

/// Whose logins come to nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose<'a> {
    Everybody,
    Client(&'a str),
    Person {
        /// Any, if absent.
        issuer: Option<&'a str>,
        subject: &'a str,
    },
}

/// Logins that began up to now come to nothing; revoke the grants that are there afterwards.
pub(crate) async fn set(app: &App, whose: Whose<'_>) -> Result<()> {
    let lifetimes = &app.config.lifetimes;
    let mark = NotBefore { at: app.clock.now().saturating_add(lifetimes.clock_skew.as_secs()) };
    let key = keys(app, whose).swap_remove(0);
    // No older transaction is left after that.
    let ttl = lifetimes.transaction + lifetimes.clock_skew + CALLBACK;
    app.store.put(&key, &mark, ttl).await
}

/// Whether a mark forbids this grant, whose login began at `since`.
pub(crate) async fn forbids(app: &App, grant: &Grant, since: u64) -> Result<bool> {
    let (issuer, subject) = (grant.issuer.as_str(), grant.subject.as_str());
    let mut names = keys(app, Whose::Everybody);
    names.extend(keys(app, Whose::Client(&grant.client.id)));
    names.extend(keys(app, Whose::Person { issuer: Some(issuer), subject }));
    names.extend(keys(app, Whose::Person { issuer: None, subject }));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = app.store.get_many::<NotBefore>(&names).await?;
    Ok(found.into_iter().any(|found| match found {
        Found::Record(mark) => since <= mark.record.at,
        // Somebody wanted to keep logins out; which ones cannot be told any more.
        Found::Unreadable => true,
        Found::Absent => false,
    }))
}

/// Under the current key first, for writing; under every key of the ring, for reading.
fn keys(app: &App, whose: Whose<'_>) -> Vec<String> {
    let person = |parts: &[&[u8]]| {
        let tags = app.keys.by_subject.tags_all(parts);
        tags.map(|(_, tag)| format!("person/{}", BASE64_URL_SAFE_NO_PAD.encode(tag))).collect()
    };
    match whose {
        Whose::Everybody => {
            vec![format!("{EVERYBODY}/{}", sha256_base64url(app.config.issuer.as_bytes()))]
        }
        Whose::Client(id) => vec![format!("client/{}", sha256_base64url(id.as_bytes()))],
        Whose::Person { issuer: Some(issuer), subject } => {
            person(&[issuer.as_bytes(), subject.as_bytes()])
        }
        Whose::Person { issuer: None, subject } => person(&[subject.as_bytes()]),
    }
}
