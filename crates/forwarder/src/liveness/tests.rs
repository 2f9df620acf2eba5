use std::{
    future::{pending, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use futures_util::FutureExt;

use super::{Ended, Liveness, Watch};

/// Says one thing after the other, each time it is asked; then nothing more.
fn saying(words: &'static [Ended]) -> (Liveness, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let words = Mutex::new(words.iter().copied());
    let liveness = Liveness::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        match words.lock().unwrap().next() {
            Some(ended) => ready(ended).boxed(),
            None => pending().boxed(),
        }
    });
    (liveness, asked)
}

fn poll(watch: &mut Watch, listening: bool) -> Poll<Ended> {
    watch.poll_ended(&mut Context::from_waker(Waker::noop()), listening)
}

#[test]
fn revocation_ends_everything() {
    for listening in [true, false] {
        for words in [&[Ended::Revoked], &[Ended::Overdue]] {
            let (liveness, _) = saying(words);
            let mut watch = Watch::new(&liveness);
            assert_eq!(poll(&mut watch, listening), Poll::Ready(words[0]));
            assert_eq!(poll(&mut watch, listening), Poll::Pending, "said once, never polled again");
        }
    }
}

#[test]
fn expiry_ends_listening_streams() {
    let (liveness, asked) = saying(&[Ended::Expired]);
    assert_eq!(poll(&mut Watch::new(&liveness), true), Poll::Ready(Ended::Expired));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn an_answer_in_progress_outlives_its_token_but_not_its_grant() {
    let (liveness, asked) = saying(&[Ended::Expired, Ended::Revoked]);
    assert_eq!(poll(&mut Watch::new(&liveness), false), Poll::Ready(Ended::Revoked));
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn who_keeps_saying_expired_is_not_asked_for_ever() {
    let (liveness, asked) = saying(&[Ended::Expired; 9]);
    let mut watch = Watch::new(&liveness);
    for _ in 0..3 {
        assert_eq!(poll(&mut watch, false), Poll::Pending);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}
