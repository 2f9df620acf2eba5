//! `/readyz`: the state of each part, and whether this process can serve.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use forwarder::Forwarder;
use http::StatusCode;
use oidc_proxy::OidcProxy;
use serde::Serialize;
use tokio::{sync::Mutex, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{audit::AuditFile, config::StorageFacts};

/// How long a part may take to answer; probes of orchestrators wait a second or more.
const DEADLINE: Duration = Duration::from_secs(2);

/// How long an answer is believed: however often somebody asks, a part is asked no oftener.
const BELIEVED: Duration = Duration::from_secs(2);

/// The same for the provider, which belongs to somebody else.
const PROVIDER_BELIEVED: Duration = Duration::from_secs(10);

/// What is asked.
pub(crate) struct Parts {
    pub(crate) proxy: OidcProxy,
    pub(crate) forwarder: Forwarder,
    pub(crate) storage: StorageFacts,
    /// What signs.
    pub(crate) keys: String,
    pub(crate) audit: Option<Arc<AuditFile>>,
    /// Cancelled when the server stops.
    pub(crate) stop: CancellationToken,
}

/// Asks the parts, each at most once at a time.
pub(crate) struct Readiness {
    parts: Parts,
    storage: Remembered,
    provider: Remembered,
    backend: Remembered,
}

/// The last answer of a part and when it came; held while it is asked anew, so that whoever comes
/// meanwhile waits for the same answer.
#[derive(Default)]
struct Remembered(Mutex<Option<(Instant, Answer)>>);

/// `Err` says what is wrong.
type Answer = Result<(), String>;

impl Remembered {
    async fn ask(&self, believed: Duration, question: impl Future<Output = Answer>) -> Answer {
        let mut last = self.0.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < believed
        {
            return answer.clone();
        }
        let answer = timeout(DEADLINE, question)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {DEADLINE:?}")));
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// `ready`; `degraded` if something is missing without which those who are logged in go on;
    /// `unavailable`; `stopping`.
    status: &'static str,
    storage: StorageState,
    provider: State,
    keys: State,
    backend: State,
    audit: State,
}

#[derive(Debug, Serialize)]
struct State {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Debug, Serialize)]
struct StorageState {
    #[serde(flatten)]
    state: State,
    kind: &'static str,
    once: &'static str,
}

impl State {
    fn of(answer: &Answer) -> Self {
        match answer {
            Ok(()) => Self { status: "ok", detail: None },
            Err(why) => Self { status: "unavailable", detail: Some(why.clone()) },
        }
    }
}

impl Readiness {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            parts,
            storage: Remembered::default(),
            provider: Remembered::default(),
            backend: Remembered::default(),
        }
    }

    /// Asks every part, or remembers what it said a moment ago.
    pub(crate) async fn report(&self) -> Report {
        let Parts { proxy, forwarder, .. } = &self.parts;
        let (storage, provider, backend) = tokio::join!(
            self.storage.ask(BELIEVED, async { proxy.health().await.map_err(chain) }),
            self.provider
                .ask(PROVIDER_BELIEVED, async { proxy.check_provider().await.map_err(chain) }),
            self.backend.ask(BELIEVED, async {
                forwarder.probe().await.map_err(|error| chain(anyhow::Error::from_boxed(error)))
            }),
        );
        let audit_fails = self.parts.audit.as_ref().is_some_and(|audit| audit.is_failing());
        Report {
            status: status(
                self.parts.stop.is_cancelled(),
                storage.is_ok() && backend.is_ok(),
                provider.is_ok() && !audit_fails,
            ),
            storage: StorageState {
                state: State::of(&storage),
                kind: self.parts.storage.kind,
                once: self.parts.storage.once,
            },
            provider: State::of(&provider),
            // Wrong keys stop the process before it listens (D8).
            keys: State { status: "ok", detail: Some(self.parts.keys.clone()) },
            backend: State::of(&backend),
            audit: match &self.parts.audit {
                None => State { status: "off", detail: None },
                Some(_) if audit_fails => State {
                    status: "losing events",
                    detail: Some("the log says why; logins go on".to_owned()),
                },
                Some(_) => State { status: "ok", detail: None },
            },
        }
    }
}

/// Without storage or backend no request can be answered here, and elsewhere maybe. Without the
/// provider those who are logged in go on (D7), and another replica has the same provider.
fn status(stopping: bool, serves: bool, complete: bool) -> &'static str {
    match (stopping, serves, complete) {
        (true, ..) => "stopping",
        (_, false, _) => "unavailable",
        (_, _, false) => "degraded",
        (_, _, true) => "ready",
    }
}

impl IntoResponse for Report {
    fn into_response(self) -> Response {
        let status = match self.status {
            "ready" | "degraded" => StatusCode::OK,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(self)).into_response()
    }
}

/// An error with its causes, for the operator.
fn chain(error: impl Into<anyhow::Error>) -> String {
    format!("{:#}", error.into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_another_replica_could_do_better_is_unavailable() {
        assert_eq!(status(false, true, true), "ready");
        assert_eq!(status(false, true, false), "degraded");
        assert_eq!(status(false, false, true), "unavailable");
        assert_eq!(status(true, true, true), "stopping");
    }

    #[tokio::test]
    async fn however_many_ask_the_part_is_asked_once() {
        let (part, asked) = (Remembered::default(), AtomicUsize::new(0));
        let question = || async {
            asked.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Err("down".to_owned())
        };
        let believed = Duration::from_mins(5);
        let all = (0..32).map(|_| part.ask(believed, question()));
        for answer in futures_util::future::join_all(all).await {
            assert_eq!(answer, Err("down".to_owned()));
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(part.ask(Duration::ZERO, async { Ok(()) }).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_hangs_is_given_up() {
        let answer = Remembered::default().ask(BELIEVED, std::future::pending()).await;
        assert_eq!(answer, Err("no answer within 2s".to_owned()));
    }
}
