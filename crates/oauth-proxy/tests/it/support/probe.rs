//! Storage that counts, fails on command, and lets a test look inside.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use kv_storage::{Cursor, Entry, Error, ErrorKind, KeyValue, Page, Result, Ttl, Version};
use tokio::sync::Notify;

/// A write, by what it undid: collection, key, and the record that was there before.
pub(crate) type Undone = (String, String, Option<Entry>);

/// How the next matching operation goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing happens, and the caller is told so.
    Down,
    /// The write happens; the answer is lost.
    AnswerLost,
    /// The write does not happen, and the caller does not know.
    RequestLost,
    /// As [`Self::AnswerLost`], and from then on no grant can be read or written.
    GrantsLost,
    /// Nothing is removed, and the caller is told so; what is not a removal works.
    NotRemoved,
}

#[derive(Clone, Debug)]
pub(crate) struct Probe {
    inner: Arc<dyn KeyValue>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    operations: AtomicUsize,
    /// The most records that were asked for at once.
    largest_read: AtomicUsize,
    /// Operations until the process dies, and whether it sees the answer to the last one.
    fuse: Mutex<Option<(usize, bool)>>,
    died: Notify,
    /// Every write so far, oldest first.
    journal: Mutex<Vec<Undone>>,
    dawdles: AtomicBool,
    /// How many operations still work, and what becomes of the one after them.
    fault_at: Mutex<Option<(usize, Fault)>>,
    /// Under this key the store finds what is no record.
    spoiled: Mutex<Option<String>>,
    /// Collection, and how long the next mark that is set there takes.
    delay: Mutex<Option<(&'static str, Duration)>>,
    /// Collection and what goes wrong there, once or for ever.
    fault: Mutex<Option<(&'static str, Fault, bool)>>,
}

impl Probe {
    pub(crate) fn new(inner: Arc<dyn KeyValue>) -> Self {
        Self { inner, shared: Arc::default() }
    }

    /// Operations since the last call, those on `clients` not counted (DESIGN, budget).
    pub(crate) fn operations(&self) -> usize {
        self.shared.operations.swap(0, Ordering::SeqCst)
    }

    /// After so many operations nothing is answered any more; the last one of them happens, with
    /// its answer or without.
    pub(crate) fn die_after(&self, steps: usize, answered: bool) {
        *self.shared.fuse.lock().unwrap() = Some((steps, answered));
    }

    /// The writes since the last call, oldest first.
    pub(crate) fn writes(&self) -> Vec<Undone> {
        std::mem::take(&mut self.shared.journal.lock().unwrap())
    }

    /// Takes a write back: the store is what it would be without it.
    pub(crate) async fn undo(&self, (collection, key, before): &Undone) {
        match before {
            Some(entry) => {
                let ttl = Ttl::After(Duration::from_hours(1));
                self.inner.put(collection, key, entry.value.clone(), ttl).await.unwrap();
            }
            None => {
                self.inner.delete(collection, key).await.unwrap();
            }
        }
    }

    async fn note(&self, collection: &str, key: &str) {
        let before = self.inner.get(collection, key).await.unwrap_or_default();
        let undone = (collection.to_owned(), key.to_owned(), before);
        self.shared.journal.lock().unwrap().push(undone);
    }

    /// Resolves when an operation was left without an answer.
    pub(crate) async fn died(&self) {
        self.shared.died.notified().await;
    }

    /// Every operation waits for a turn before it happens and after.
    pub(crate) fn dawdle(&self) {
        self.shared.dawdles.store(true, Ordering::SeqCst);
    }

    /// From now on the store finds something under this key that it cannot make sense of.
    pub(crate) fn spoil(&self, key: &str) {
        *self.shared.spoiled.lock().unwrap() = Some(key.to_owned());
    }

    fn check_spoiled(&self, keys: &[&str]) -> Result<()> {
        let spoiled = self.shared.spoiled.lock().unwrap();
        match &*spoiled {
            Some(key) if keys.contains(&key.as_str()) => {
                Err(Error::new(ErrorKind::Corrupt, "the test spoiled the record"))
            }
            _ => Ok(()),
        }
    }

    /// Does an operation unless the process is dead.
    async fn guarded<T>(&self, operation: impl Future<Output = Result<T>>) -> Result<T> {
        let left = {
            let mut fuse = self.shared.fuse.lock().unwrap();
            let left = *fuse;
            if let Some((steps, _)) = &mut *fuse {
                *steps = steps.saturating_sub(1);
            }
            left
        };
        if matches!(left, Some((0, _))) {
            self.shared.died.notify_one();
            return std::future::pending().await;
        }
        if self.shared.dawdles.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        let done = operation.await;
        if matches!(left, Some((1, false))) {
            self.shared.died.notify_one();
            return std::future::pending().await;
        }
        if self.shared.dawdles.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        done
    }

    /// The most records that were asked for at once.
    pub(crate) fn largest_read(&self) -> usize {
        self.shared.largest_read.load(Ordering::SeqCst)
    }

    /// The next operation on the collection fails.
    pub(crate) fn fail_next(&self, collection: &'static str, fault: Fault) {
        *self.shared.fault.lock().unwrap() = Some((collection, fault, false));
    }

    /// The next mark that is set in the collection takes so long.
    pub(crate) fn delay_next(&self, collection: &'static str, by: Duration) {
        *self.shared.delay.lock().unwrap() = Some((collection, by));
    }

    fn take_delay(&self, collection: &str) -> Duration {
        let mut planned = self.shared.delay.lock().unwrap();
        planned.take_if(|(place, _)| *place == collection).map_or(Duration::ZERO, |(_, by)| by)
    }

    /// After so many operations that work, one goes wrong; a read then fails in either case.
    pub(crate) fn fail_at(&self, after: usize, fault: Fault) {
        *self.shared.fault_at.lock().unwrap() = Some((after, fault));
    }

    /// Whether the operation that is to go wrong is still to come.
    pub(crate) fn is_to_fail(&self) -> bool {
        self.shared.fault_at.lock().unwrap().is_some()
    }

    fn counted_fault(&self) -> Option<Fault> {
        let mut planned = self.shared.fault_at.lock().unwrap();
        match &mut *planned {
            Some((0, fault)) => {
                let fault = *fault;
                *planned = None;
                Some(fault)
            }
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        }
    }

    /// Every operation on the collection fails from now on.
    pub(crate) fn fail(&self, collection: &'static str) {
        *self.shared.fault.lock().unwrap() = Some((collection, Fault::Down, true));
    }

    pub(crate) fn heal(&self) {
        *self.shared.fault.lock().unwrap() = None;
        *self.shared.fault_at.lock().unwrap() = None;
    }

    /// All keys of a collection.
    pub(crate) async fn keys(&self, collection: &str) -> Vec<String> {
        let page = self.inner.scan(collection, "", None, 1000).await.unwrap();
        assert!(page.next.is_none());
        page.keys
    }

    /// The store as it is, past counting and faults.
    pub(crate) fn inner(&self) -> &Arc<dyn KeyValue> {
        &self.inner
    }

    fn count(&self, collection: &str) {
        if collection != "clients" {
            self.shared.operations.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn read(&self, collection: &str) -> Result<()> {
        self.count(collection);
        if self.counted_fault().is_some() {
            return Err(down());
        }
        match self.take_fault(collection, |fault| fault == Fault::Down) {
            Some(_) => Err(down()),
            None => Ok(()),
        }
    }

    /// `true`: do the write, then lose the answer.
    fn write(&self, collection: &str) -> Result<bool> {
        self.change(collection, |fault| fault != Fault::NotRemoved)
    }

    /// The same for what removes a record.
    fn remove(&self, collection: &str) -> Result<bool> {
        self.change(collection, |_| true)
    }

    fn change(&self, collection: &str, fits: impl Fn(Fault) -> bool) -> Result<bool> {
        self.count(collection);
        match self.counted_fault().or_else(|| self.take_fault(collection, fits)) {
            Some(Fault::Down | Fault::NotRemoved) => Err(down()),
            Some(Fault::AnswerLost) => Ok(true),
            Some(Fault::RequestLost) => Err(unknown()),
            Some(Fault::GrantsLost) => {
                self.fail("grants");
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn take_fault(&self, collection: &str, fits: impl Fn(Fault) -> bool) -> Option<Fault> {
        let mut planned = self.shared.fault.lock().unwrap();
        let (place, fault, stays) = (*planned)?;
        if place != collection || !fits(fault) {
            return None;
        }
        if !stays {
            *planned = None;
        }
        Some(fault)
    }
}

fn down() -> Error {
    Error::new(ErrorKind::Unavailable, "the test switched the storage off")
}

fn answered<T>(lost: bool, value: T) -> Result<T> {
    if lost { Err(unknown()) } else { Ok(value) }
}

fn unknown() -> Error {
    Error::new(ErrorKind::OutcomeUnknown, "the test lost request or answer")
}

#[async_trait]
impl KeyValue for Probe {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        self.read(collection)?;
        self.check_spoiled(&[key])?;
        self.guarded(self.inner.get(collection, key)).await
    }

    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>> {
        self.read(collection)?;
        self.check_spoiled(keys)?;
        self.shared.largest_read.fetch_max(keys.len(), Ordering::SeqCst);
        self.guarded(self.inner.get_many(collection, keys)).await
    }

    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version> {
        let lost = self.write(collection)?;
        self.note(collection, key).await;
        answered(lost, self.guarded(self.inner.put(collection, key, value, ttl)).await?)
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
        let lost = self.remove(collection)?;
        self.note(collection, key).await;
        answered(lost, self.guarded(self.inner.delete(collection, key)).await?)
    }

    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        let lost = self.remove(collection)?;
        self.note(collection, key).await;
        answered(lost, self.guarded(self.inner.take(collection, key)).await?)
    }

    async fn put_if_absent(
        &self,
        collection: &str,
        key: &str,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        tokio::time::sleep(self.take_delay(collection)).await;
        let lost = self.write(collection)?;
        self.note(collection, key).await;
        answered(lost, self.guarded(self.inner.put_if_absent(collection, key, value, ttl)).await?)
    }

    async fn compare_and_swap(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        let lost = self.write(collection)?;
        self.note(collection, key).await;
        answered(
            lost,
            self.guarded(self.inner.compare_and_swap(collection, key, expected, value, ttl))
                .await?,
        )
    }

    async fn compare_and_delete(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
    ) -> Result<bool> {
        let lost = self.remove(collection)?;
        self.note(collection, key).await;
        answered(
            lost,
            self.guarded(self.inner.compare_and_delete(collection, key, expected)).await?,
        )
    }

    async fn expire(&self, collection: &str, key: &str, ttl: Ttl) -> Result<Option<Version>> {
        let lost = self.write(collection)?;
        self.note(collection, key).await;
        answered(lost, self.guarded(self.inner.expire(collection, key, ttl)).await?)
    }

    async fn scan(
        &self,
        collection: &str,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page> {
        self.read(collection)?;
        self.guarded(self.inner.scan(collection, prefix, cursor, limit)).await
    }

    async fn health(&self) -> Result<()> {
        self.inner.health().await
    }
}
