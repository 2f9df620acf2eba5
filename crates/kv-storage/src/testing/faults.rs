//! A store that fails, waits or stops on command, for tests of what is above it.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::watch, time};

pub use crate::operation::Operation;
use crate::{
    Cursor, Entry, Error, ErrorKind, KeyValue, Page, Protected, Result, Ttl, Version,
    contract::sealed::Sealed,
};

/// Wraps a store and injects the faults that a test asks for; without any it is that store.
///
/// A fault at the backend goes inside [`Encrypted`](crate::Encrypted). Around a [`Protected`]
/// store it is protected as well.
///
/// ```
/// use kv_storage::{ErrorKind, KeyValue, Memory, Ttl, testing::{Fault, Faulty, Operation}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = Faulty::new(Memory::new());
/// let faults = store.faults();
/// // The second write to "codes" is done, but its caller does not learn that.
/// faults.inject(Fault::outcome_unknown().on(Operation::Put).in_collection("codes").nth(2));
/// let put = |key| store.put("codes", key, "value".into(), Ttl::Forever);
/// assert!(put("a").await.is_ok());
/// assert_eq!(put("b").await.unwrap_err().kind(), ErrorKind::OutcomeUnknown);
/// assert!(store.get("codes", "b").await.unwrap().is_some());
/// # }
/// ```
#[derive(Debug)]
pub struct Faulty<S> {
    store: S,
    faults: Faults,
}

impl<S: KeyValue> Faulty<S> {
    /// A store that has no fault yet.
    pub fn new(store: S) -> Self {
        Self::with(store, Faults::default())
    }

    /// A store with faults that others may have as well.
    pub fn with(store: S, faults: Faults) -> Self {
        Self { store, faults }
    }

    /// The handle to inject faults by.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    async fn call<T>(
        &self,
        operation: Operation,
        collection: &str,
        key: &str,
        work: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        let call = Call { operation, collection, key };
        self.faults.meet(Moment::Before, &call).await?;
        let done = work.await?;
        self.faults.meet(Moment::After, &call).await?;
        Ok(done)
    }
}

/// An operation that is about to be done or just was.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Call<'a> {
    /// Which it is.
    pub operation: Operation,
    /// On which collection; empty for [`Operation::Health`].
    pub collection: &'a str,
    /// On which key; a scan's prefix, and empty where there are several or none.
    pub key: &'a str,
}

/// When a fault strikes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Moment {
    /// Nothing has happened yet.
    Before,
    /// The store has done its work and the caller does not know.
    After,
}

type Hook = Arc<dyn Fn(&Call<'_>) + Send + Sync>;
type Condition = Arc<dyn Fn(&Call<'_>) -> bool + Send + Sync>;

#[derive(Clone)]
enum Effect {
    Fail(ErrorKind),
    Delay(Duration),
    Hold(watch::Sender<Held>),
    Stop,
    Run(Hook),
}

/// Something that goes wrong, and for which calls: all of them, unless it is narrowed.
#[must_use]
pub struct Fault {
    moment: Moment,
    effect: Effect,
    operations: Vec<Operation>,
    conditions: Vec<Condition>,
    skip: usize,
    times: usize,
}

impl Fault {
    fn new(moment: Moment, effect: Effect) -> Self {
        Self {
            moment,
            effect,
            operations: Vec::new(),
            conditions: Vec::new(),
            skip: 0,
            times: usize::MAX,
        }
    }

    /// The call fails and nothing happened.
    pub fn unavailable() -> Self {
        Self::new(Moment::Before, Effect::Fail(ErrorKind::Unavailable))
    }

    /// The work is done, and then the call fails with [`ErrorKind::OutcomeUnknown`].
    ///
    /// For a call that only reads, choose another one: such never have an unknown outcome.
    pub fn outcome_unknown() -> Self {
        Self::new(Moment::After, Effect::Fail(ErrorKind::OutcomeUnknown))
    }

    /// The call fails with an error of this kind, before or after the work.
    pub fn error(moment: Moment, kind: ErrorKind) -> Self {
        Self::new(moment, Effect::Fail(kind))
    }

    /// The call takes so much longer, by tokio's clock.
    pub fn delay(moment: Moment, duration: Duration) -> Self {
        Self::new(moment, Effect::Delay(duration))
    }

    /// The call waits there until the gate is opened, and every later one passes.
    pub fn hold(moment: Moment) -> (Self, Gate) {
        let (sender, _) = watch::channel(Held::default());
        (Self::new(moment, Effect::Hold(sender.clone())), Gate(sender))
    }

    /// From there on neither this call nor any other returns, until [`Faults::restart`]: what
    /// a process looks like that was killed at this point. See [`Faults::stopped`].
    pub fn stop(moment: Moment) -> Self {
        Self::new(moment, Effect::Stop)
    }

    /// Runs a function there, such as one that ends the process.
    pub fn run(moment: Moment, hook: impl Fn(&Call<'_>) + Send + Sync + 'static) -> Self {
        Self::new(moment, Effect::Run(Arc::new(hook)))
    }

    /// For this operation; given again, for either.
    pub fn on(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }

    /// For operations that may change what is stored.
    pub fn on_writes(self) -> Self {
        self.when(|call| call.operation.writes())
    }

    /// For this collection.
    pub fn in_collection(self, collection: &str) -> Self {
        let collection = collection.to_owned();
        self.when(move |call| call.collection == collection)
    }

    /// For calls that this is true of.
    pub fn when(mut self, condition: impl Fn(&Call<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.conditions.push(Arc::new(condition));
        self
    }

    /// For the first such call only.
    pub fn once(self) -> Self {
        self.nth(1)
    }

    /// For the `n`th such call only, counted from one.
    pub fn nth(self, n: usize) -> Self {
        self.after(n.saturating_sub(1)).times(1)
    }

    /// Not for the first `calls` such calls.
    pub fn after(mut self, calls: usize) -> Self {
        self.skip = calls;
        self
    }

    /// For so many calls; without it for as long as the fault is not cleared.
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// Whether it strikes now; counts the call.
    fn strikes(&mut self, moment: Moment, call: &Call<'_>) -> bool {
        let meant = self.moment == moment
            && (self.operations.is_empty() || self.operations.contains(&call.operation))
            && self.conditions.iter().all(|condition| condition(call));
        if !meant || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault").field("moment", &self.moment).finish_non_exhaustive()
    }
}

/// Says when calls that [`Fault::hold`] holds may go on.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<Held>);

#[derive(Debug, Default)]
struct Held {
    calls: usize,
    open: bool,
}

impl Gate {
    /// Waits until a call is held.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until so many calls are or were held.
    pub async fn reached_by(&self, calls: usize) {
        // Fails only without a sender, and this is one.
        let _ = self.0.subscribe().wait_for(|held| held.calls >= calls).await;
    }

    /// Lets go what is held, and all that comes.
    pub fn open(&self) {
        self.0.send_modify(|held| held.open = true);
    }
}

/// The faults of one or several stores; clones are the same ones.
#[derive(Clone)]
pub struct Faults {
    faults: Arc<Mutex<Vec<Fault>>>,
    stopped: watch::Sender<bool>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { faults: Arc::default(), stopped: watch::channel(false).0 }
    }
}

impl Faults {
    /// Adds a fault; of several that mean a call, each strikes, in the order of injecting, until
    /// one fails it.
    pub fn inject(&self, fault: Fault) {
        self.lock().push(fault);
    }

    /// Removes all faults. What was stopped stays stopped, what is held stays held.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Waits until a [`Fault::stop`] has struck.
    pub async fn stopped(&self) {
        // Fails only without a sender, and this is one.
        let _ = self.stopped.subscribe().wait_for(|stopped| *stopped).await;
    }

    /// Lets calls that are made from now on through again. Those that were stopped never return:
    /// their process is gone.
    pub fn restart(&self) {
        self.stopped.send_replace(false);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Fault>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn meet(&self, moment: Moment, call: &Call<'_>) -> Result<()> {
        if *self.stopped.borrow() {
            std::future::pending::<()>().await;
        }
        let effects: Vec<Effect> = self
            .lock()
            .iter_mut()
            .filter_map(|fault| fault.strikes(moment, call).then(|| fault.effect.clone()))
            .collect();
        for effect in effects {
            match effect {
                Effect::Fail(kind) => {
                    let message = format!("{}: an injected fault", call.operation);
                    return Err(Error::new(kind, message));
                }
                Effect::Delay(duration) => time::sleep(duration).await,
                Effect::Hold(gate) => {
                    gate.send_modify(|held| held.calls += 1);
                    // Fails only without a sender, and this is one.
                    let _ = gate.subscribe().wait_for(|held| held.open).await;
                }
                Effect::Stop => {
                    self.stopped.send_replace(true);
                    std::future::pending::<()>().await;
                }
                Effect::Run(hook) => hook(call),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("faults", &self.lock().len()).finish_non_exhaustive()
    }
}

impl<S: Protected> Sealed for Faulty<S> {}

impl<S: Protected> Protected for Faulty<S> {}

#[async_trait]
impl<S: KeyValue> KeyValue for Faulty<S> {
    async fn get(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        self.call(Operation::Get, collection, key, self.store.get(collection, key)).await
    }

    async fn get_many(&self, collection: &str, keys: &[&str]) -> Result<Vec<Option<Entry>>> {
        let work = self.store.get_many(collection, keys);
        self.call(Operation::GetMany, collection, "", work).await
    }

    async fn put(&self, collection: &str, key: &str, value: Bytes, ttl: Ttl) -> Result<Version> {
        let work = self.store.put(collection, key, value, ttl);
        self.call(Operation::Put, collection, key, work).await
    }

    async fn delete(&self, collection: &str, key: &str) -> Result<bool> {
        self.call(Operation::Delete, collection, key, self.store.delete(collection, key)).await
    }

    async fn take(&self, collection: &str, key: &str) -> Result<Option<Entry>> {
        self.call(Operation::Take, collection, key, self.store.take(collection, key)).await
    }

    async fn put_if_absent(
        &self,
        collection: &str,
        key: &str,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        let work = self.store.put_if_absent(collection, key, value, ttl);
        self.call(Operation::PutIfAbsent, collection, key, work).await
    }

    async fn compare_and_swap(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
        value: Bytes,
        ttl: Ttl,
    ) -> Result<Option<Version>> {
        let work = self.store.compare_and_swap(collection, key, expected, value, ttl);
        self.call(Operation::CompareAndSwap, collection, key, work).await
    }

    async fn compare_and_delete(
        &self,
        collection: &str,
        key: &str,
        expected: Version,
    ) -> Result<bool> {
        let work = self.store.compare_and_delete(collection, key, expected);
        self.call(Operation::CompareAndDelete, collection, key, work).await
    }

    async fn expire(&self, collection: &str, key: &str, ttl: Ttl) -> Result<Option<Version>> {
        let work = self.store.expire(collection, key, ttl);
        self.call(Operation::Expire, collection, key, work).await
    }

    async fn scan(
        &self,
        collection: &str,
        prefix: &str,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page> {
        let work = self.store.scan(collection, prefix, cursor, limit);
        self.call(Operation::Scan, collection, prefix, work).await
    }

    async fn health(&self) -> Result<()> {
        self.call(Operation::Health, "", "", self.store.health()).await
    }

    async fn close(&self) {
        self.store.close().await;
    }

    fn physical_collection<'a>(&self, collection: &'a str) -> Cow<'a, str> {
        self.store.physical_collection(collection)
    }

    fn seals_values(&self) -> bool {
        self.store.seals_values()
    }
}
