use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::UNIX_EPOCH,
};

use super::*;

const HOUR: u64 = 60 * 60;
const KEY: &str = "https://app.example/client";
const STALE: Stale = Stale { failing: 24 * HOUR, unasked: 24 * HOUR };

/// A cache of numbers, and what its hosts say.
struct World {
    cache: Cache<u32>,
    time: Arc<AtomicU64>,
    says: Mutex<Result<u32, Trouble>>,
    /// Of each fetch, what was known of what it was to bring.
    fetches: Mutex<Vec<Standing>>,
}

impl World {
    fn new() -> Self {
        Self {
            cache: Cache::new(),
            time: Arc::new(AtomicU64::new(1_800_000_000)),
            says: Mutex::new(Ok(1)),
            fetches: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        self.time.load(Ordering::SeqCst)
    }

    fn wait(&self, seconds: u64) {
        self.time.fetch_add(seconds, Ordering::SeqCst);
    }

    fn say(&self, what: Result<u32, Trouble>) {
        *self.says.lock().unwrap() = what;
    }

    async fn get(&self, key: &str, stale: Stale) -> (Result<u32, Trouble>, Source) {
        self.ask(key, Want::Good(stale)).await
    }

    async fn ask(&self, key: &str, want: Want) -> (Result<u32, Trouble>, Source) {
        let time = Arc::clone(&self.time);
        let clock = UnixClock::new(Arc::new(move || {
            UNIX_EPOCH + Duration::from_secs(time.load(Ordering::SeqCst))
        }));
        let fetch = |standing| {
            self.fetches.lock().unwrap().push(standing);
            let said = self.says.lock().unwrap().clone();
            async move { said.map(|number| (number, HOUR)) }
        };
        let (found, source) = self.cache.get(key, want, &clock, fetch).await;
        (found.map(|number| *number), source)
    }

    /// What was told to the fetches since the last call.
    fn fetches(&self) -> Vec<Standing> {
        std::mem::take(&mut self.fetches.lock().unwrap())
    }
}

fn down() -> Result<u32, Trouble> {
    Err(Trouble::Unavailable { retry_after: Duration::from_mins(1), cause: String::new() })
}

fn gone() -> Result<u32, Trouble> {
    Err(Trouble::Withdrawn(String::new()))
}

#[tokio::test]
async fn what_was_good_when_it_was_last_asked_for_is_known() {
    let world = World::new();
    for (what, wait, says, expected) in [
        ("a stranger's", 0, Ok(1), Standing::Unknown),
        ("a copy that is stale", 2 * HOUR, Ok(1), Standing::Known),
        ("some days later", 6 * 24 * HOUR, down(), Standing::Known),
        ("one that cannot be had", HOUR, down(), Standing::Unknown),
        ("the same, a good while later", 12 * HOUR, Ok(1), Standing::Unknown),
        ("one that could be had again", HOUR, gone(), Standing::Known),
        ("one that is gone", HOUR, Ok(1), Standing::Unknown),
        ("a week later", 7 * 24 * HOUR, Ok(1), Standing::Unknown),
    ] {
        world.wait(wait);
        world.say(says);
        let _ = world.get(KEY, STALE).await;
        assert_eq!(world.fetches(), [expected], "{what}");
    }
    world.cache.note_use(KEY).await;
    for says in [gone(), down(), Ok(1)] {
        world.wait(HOUR);
        world.say(says);
        let _ = world.get(KEY, STALE).await;
        assert_eq!(world.fetches(), [Standing::InUse], "somebody logged in with it");
    }
}

#[tokio::test]
async fn a_flood_of_documents_pushes_out_no_client_in_use() {
    let world = World::new();
    for key in ["used", "known"] {
        let _ = world.get(key, STALE).await;
    }
    world.cache.note_use("used").await;
    world.say(Ok(2));
    for number in 0..3 * MAX_COPIES {
        for _ in 0..3 {
            let _ = world.get(&format!("https://{number}.evil.example/c"), STALE).await;
        }
    }
    world.cache.copies.run_pending_tasks().await;
    assert!(matches!(world.cache.known("used").await, Ok(Some(one)) if *one == 1));
    assert!(matches!(world.cache.known("known").await, Ok(None)), "the flood was one");
    let (used, source) = world.get("used", STALE).await;
    assert_eq!((used.unwrap(), source), (1, Source::Kept));
    world.wait(2 * HOUR);
    assert_eq!(world.get("used", STALE).await.0.unwrap(), 2, "and it is renewed in its place");
    assert_eq!(*world.cache.in_use.get("used").await.unwrap().unwrap().value, 2);
}

#[tokio::test]
async fn no_host_has_all_that_is_kept() {
    let url = |host: &str, number: usize| format!("https://{host}/{number}");
    for in_use in [false, true] {
        let world = World::new();
        for number in 0..MAX_OF_HOST + 10 {
            let key = url("evil.example", number);
            let _ = world.get(&key, STALE).await;
            if in_use {
                world.cache.note_use(&key).await;
            }
            world.wait(1);
        }
        let _ = world.get(&url("app.example", 0), STALE).await;
        let is_kept = async |host: &str, number: usize| {
            matches!(world.cache.known(&url(host, number)).await, Ok(Some(_)))
        };
        for number in 0..MAX_OF_HOST + 10 {
            assert_eq!(is_kept("evil.example", number).await, number >= 10, "{number}");
        }
        assert!(is_kept("app.example", 0).await);
    }
}

/// The wish for a newer copy, if the one that is there is a minute old.
async fn newer(world: &World) -> Option<Want> {
    let than = world.cache.aged(KEY, Duration::from_mins(1), world.now()).await?;
    Some(Want::Newer { than })
}

#[tokio::test]
async fn a_copy_that_is_no_use_to_one_serves_others_until_there_is_a_newer_one() {
    let world = World::new();
    let _ = world.get(KEY, STALE).await;
    world.wait(59);
    assert!(newer(&world).await.is_none(), "it is not old enough");
    world.wait(1);
    let no_budget = || Err(Trouble::OutOfBudget { retry_after: PAUSE });
    for (says, fetches) in [(no_budget(), 3), (down(), 1)] {
        world.say(says);
        world.fetches();
        for _ in 0..3 {
            let want = newer(&world).await.unwrap();
            assert!(world.ask(KEY, want).await.0.is_err());
            let never = Stale { failing: 0, unasked: 0 };
            assert_eq!(world.get(KEY, never).await.1, Source::Kept, "it is fresh");
        }
        assert_eq!(world.fetches().len(), fetches, "a failure is followed by a pause");
    }
    world.wait(60);
    world.say(Ok(2));
    let want = newer(&world).await.unwrap();
    assert_eq!(world.ask(KEY, want).await.0.unwrap(), 2);
    assert_eq!(world.get(KEY, STALE).await.0.unwrap(), 2);
    world.wait(60);
    world.say(Ok(3));
    let want = newer(&world).await.unwrap();
    assert_eq!(world.ask(KEY, want).await.0.unwrap(), 3, "a success pauses nothing");
    assert_eq!(world.ask(KEY, want).await.1, Source::Kept, "it is newer than that");
    world.wait(60);
    world.say(gone());
    let want = newer(&world).await.unwrap();
    assert!(world.ask(KEY, want).await.0.is_err());
    assert!(world.get(KEY, STALE).await.0.is_err(), "its host says so");
}

/// A flood of documents is bounded by what is kept of them.
#[tokio::test]
async fn nothing_is_kept_beside_the_copies() {
    let world = World::new();
    let kept = {
        let _ = world.get(KEY, STALE).await;
        Arc::downgrade(&world.cache.known(KEY).await.unwrap().unwrap())
    };
    world.cache.copies.invalidate(KEY).await;
    // What the caches let go is dropped a few steps later.
    for number in 0..1000 {
        let _ = world.get(&format!("https://{number}.example/client"), STALE).await;
        world.cache.copies.run_pending_tasks().await;
        if kept.strong_count() == 0 {
            return;
        }
    }
    panic!("something has it still");
}

#[tokio::test]
async fn what_was_withdrawn_stays_so_whatever_becomes_of_its_host() {
    let world = World::new();
    assert!(matches!(world.cache.known(KEY).await, Ok(None)));
    let _ = world.get(KEY, STALE).await;
    assert!(matches!(world.cache.known(KEY).await, Ok(Some(_))));
    world.wait(2 * HOUR);
    world.say(gone());
    assert!(matches!(world.get(KEY, STALE).await, (Err(Trouble::Withdrawn(_)), _)));
    assert!(world.cache.known(KEY).await.is_err());
    world.wait(60);
    world.say(down());
    let after = world.get(KEY, STALE).await;
    assert!(matches!(after, (Err(Trouble::Unavailable { .. }), Source::Missing)), "{after:?}");
    assert!(world.cache.known(KEY).await.is_err(), "the host did not take that back");
    world.wait(60);
    world.say(gone());
    let _ = world.get("never seen", STALE).await;
    assert!(world.cache.known("never seen").await.is_err());
    world.say(Ok(2));
    assert_eq!(world.get(KEY, STALE).await.0.unwrap(), 2);
    assert!(matches!(world.cache.known(KEY).await, Ok(Some(_))));
}

#[tokio::test]
async fn a_copy_serves_on_unasked_only_where_that_is_wanted() {
    let world = World::new();
    let _ = world.get(KEY, STALE).await;
    world.wait(2 * HOUR);
    world.say(Err(Trouble::OutOfBudget { retry_after: PAUSE }));
    assert_eq!(world.get(KEY, STALE).await.1, Source::Stale);
    let strict = Stale { unasked: 0, ..STALE };
    assert_eq!(world.get(KEY, strict).await.1, Source::OutOfBudget);
    world.say(down());
    assert_eq!(world.get(KEY, strict).await.1, Source::Stale);
}
