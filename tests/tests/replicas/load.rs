//! Many people who use what they have, for as long as they are let.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, bail, ensure};
use end_to_end::{
    PATIENCE,
    browser::Browser,
    client::{Answer, Client, REDIRECT_URI, Tokens},
    eventually,
};
use http::{StatusCode, header};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Duration, Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::rig::{Provider, Rig};

/// Between two tries of a request that was not answered.
const PAUSE: Duration = Duration::from_millis(50);

/// Between two turns, so that the machine is at work and not choked.
const BREATH: Duration = Duration::from_millis(20);

/// What is let pass besides success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bearing {
    /// A connection that breaks off: a replica is restarted.
    Restarts,
    /// Besides, an answer that says "later" (D7): the storage is gone.
    Outages,
}

/// People with one session each. Gone when dropped.
pub(crate) struct Load {
    people: JoinSet<anyhow::Result<()>>,
    turns: Vec<Arc<AtomicU64>>,
    stop: CancellationToken,
    retried: Arc<AtomicU64>,
}

impl Load {
    /// So many log in, once, and go on.
    pub(crate) async fn begin(rig: &Rig, people: usize, bearing: Bearing) -> anyhow::Result<Self> {
        let mut load = Self {
            people: JoinSet::new(),
            turns: Vec::new(),
            stop: CancellationToken::new(),
            retried: Arc::default(),
        };
        for _ in 0..people {
            let client = rig.register().await?;
            let tokens = client.log_in(&mut Browser::new()?, &Provider::alice()).await?;
            let person = Person { client, bearing, retried: Arc::clone(&load.retried) };
            load.spawn(|turn, stop| person.go_on(tokens, turn, stop));
        }
        Ok(load)
    }

    /// One more comes, logs in with a new client, and goes; again and again.
    pub(crate) async fn and_newcomers(mut self, rig: &Rig) -> anyhow::Result<Self> {
        // Only to know where everything is.
        let client = rig.register().await?;
        let retried = Arc::clone(&self.retried);
        self.spawn(|turn, stop| newcomers(client, retried, turn, stop));
        Ok(self)
    }

    fn spawn<F>(&mut self, person: impl FnOnce(Arc<AtomicU64>, CancellationToken) -> F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let turn = Arc::<AtomicU64>::default();
        self.turns.push(Arc::clone(&turn));
        self.people.spawn(person(turn, self.stop.clone()));
    }

    /// Waits until everybody has done everything twice more, of which once from the beginning.
    ///
    /// # Errors
    ///
    /// What somebody heard that nobody should.
    pub(crate) async fn all_go_on(&mut self) -> anyhow::Result<()> {
        let now = |turns: &[Arc<AtomicU64>]| -> Vec<u64> {
            turns.iter().map(|turn| turn.load(Ordering::SeqCst)).collect()
        };
        let before = now(&self.turns);
        let mut ended = None;
        let went_on = eventually("everybody to go on", async || {
            ended = self.people.try_join_next();
            ended.is_some()
                || before.iter().zip(now(&self.turns)).all(|(before, now)| now >= before + 2)
        })
        .await;
        match ended {
            Some(ended) => ended?.and_then(|()| bail!("somebody went")),
            None => went_on,
        }
    }

    /// How often a request was sent again.
    pub(crate) fn retried(&self) -> u64 {
        self.retried.load(Ordering::SeqCst)
    }

    /// Lets everybody finish.
    ///
    /// # Errors
    ///
    /// As [`Self::all_go_on`].
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.people.join_all().await.into_iter().collect()
    }
}

struct Person {
    client: Client,
    bearing: Bearing,
    retried: Arc<AtomicU64>,
}

impl Person {
    async fn go_on(
        self,
        mut tokens: Tokens,
        turn: Arc<AtomicU64>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            self.call(&tokens.access).await?;
            let refresh = |client: Client| {
                let token = tokens.refresh.clone();
                async move { client.refresh(&token).await }
            };
            tokens = self.insist(refresh).await?.tokens()?;
            self.call(&tokens.access).await?;
            turn.fetch_add(1, Ordering::SeqCst);
            sleep(BREATH).await;
        }
        Ok(())
    }

    async fn call(&self, access_token: &str) -> anyhow::Result<()> {
        let call = |client: Client| {
            let access_token = access_token.to_owned();
            async move {
                let arguments = json!({"text": "hello"});
                Answer::read(client.call(&access_token, "echo", arguments).await?).await
            }
        };
        let answer = self.insist(call).await?;
        ensure!(answer.status == StatusCode::OK, "a call: {} {}", answer.status, answer.text);
        Ok(())
    }

    /// Sends the same again until somebody answers.
    async fn insist<F>(&self, send: impl Fn(Client) -> F) -> anyhow::Result<Answer>
    where
        F: Future<Output = anyhow::Result<Answer>>,
    {
        let since = Instant::now();
        loop {
            let answered = send(self.client.clone()).await;
            match answered {
                Ok(answer) if answer.status == StatusCode::SERVICE_UNAVAILABLE => {
                    ensure!(self.bearing == Bearing::Outages, "503: {}", answer.text);
                    let later = answer.header(header::RETRY_AFTER).parse::<u64>();
                    later.with_context(|| format!("503 says not when: {}", answer.text))?;
                    ensure!(answer.error() == "temporarily_unavailable", "503: {}", answer.text);
                }
                Ok(answer) => return Ok(answer),
                Err(error) if since.elapsed() > PATIENCE => return Err(error),
                Err(_) => {}
            }
            ensure!(since.elapsed() < PATIENCE, "nobody serves for {} s", PATIENCE.as_secs());
            self.retried.fetch_add(1, Ordering::SeqCst);
            sleep(PAUSE).await;
        }
    }
}

/// Each is a new person to the browser. Whoever is interrupted begins anew; what was begun is
/// finished without a refusal.
async fn newcomers(
    mut client: Client,
    retried: Arc<AtomicU64>,
    turn: Arc<AtomicU64>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    while !stop.is_cancelled() {
        let mut browser = Browser::new()?;
        let Ok(authorized) = client.authorize(&mut browser, &Provider::alice()).await else {
            // A page that was never answered; that a login is refused shows in the next turn.
            retried.fetch_add(1, Ordering::SeqCst);
            sleep(PAUSE).await;
            continue;
        };
        let person = Person {
            client: client.clone(),
            bearing: Bearing::Restarts,
            retried: Arc::clone(&retried),
        };
        let redeem = |client: Client| {
            let authorized = authorized.clone();
            async move { client.redeem(&authorized, &[]).await }
        };
        let tokens = person.insist(redeem).await?.tokens()?;
        person.call(&tokens.access).await?;
        let register = |client: Client| async move {
            let body = json!({"client_name": "Newcomer", "redirect_uris": [REDIRECT_URI]});
            client.register_with(&body).await
        };
        let registered = person.insist(register).await?;
        ensure!(registered.status == StatusCode::CREATED, "{}", registered.text);
        client.registration = registered.json;
        turn.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}
