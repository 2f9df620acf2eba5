//! What the log says of a value that does not open, and what it never says.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex},
};

use kv_storage::{Encrypted, Fernet, KeyValue, Ttl};
use secrecy::ExposeSecret;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::set_default,
};

use super::{DEPLOYMENT, Ring, Scene};

/// Keeps every event: its level, and all of its fields.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<(Level, String)>>>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.0.lock().unwrap().push((*event.metadata().level(), text.0));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

pub(super) async fn a_refused_value_is_logged_without_what_is_secret<C: Ring>() {
    let scene = Scene::<C>::new();
    let foreign_key = Fernet::generate_key();
    let foreign = scene.with(std::slice::from_ref(&foreign_key), DEPLOYMENT);
    foreign.put("codes", "the-record-s-key", "secret".into(), Ttl::Forever).await.unwrap();
    let stored = scene.stored("codes", "the-record-s-key").await;
    scene.plant("codes", "planted-key", "planted secret").await;

    let log = Log::default();
    let guard = set_default(log.clone());
    let store: &Encrypted<_, C> = &scene.store;
    for key in ["the-record-s-key", "planted-key"] {
        assert_eq!(store.get("codes", key).await.unwrap(), None);
    }
    drop(guard);

    let events: Vec<(Level, String)> = log.0.lock().unwrap().clone();
    assert_eq!(events.len(), 2, "one for each: {events:?}");
    assert_eq!(store.refused(), 2);
    let stored = String::from_utf8_lossy(&stored).into_owned();
    for (level, text) in events {
        assert_eq!(level, Level::WARN);
        assert!(text.contains("collection=\"codes\""), "{text}");
        assert!(text.contains("it counts as absent"), "{text}");
        let own = scene.key.expose_secret();
        let secrets = ["secret", "the-record-s-key", "planted", own, foreign_key.expose_secret()];
        for secret in secrets.into_iter().chain([&*stored]) {
            assert!(!text.contains(secret), "{secret:?} is in the log: {text}");
        }
    }
}

pub(super) async fn what_is_absent_or_expired_is_not_logged<C: Ring>() {
    let scene = Scene::<C>::new();
    scene.put("codes", "a").await;
    scene.bare.expire("codes", "a", Ttl::Forever).await.unwrap().unwrap();
    scene.clock.advance(std::time::Duration::from_mins(1));
    let log = Log::default();
    let guard = set_default(log.clone());
    assert_eq!(scene.store.get("codes", "a").await.unwrap(), None);
    assert_eq!(scene.store.get("codes", "absent").await.unwrap(), None);
    drop(guard);
    assert!(log.0.lock().unwrap().is_empty());
}
