//! The tower layer that lets only verified requests through.

mod answer;
mod credential;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use self::{answer::Answers, credential::Credential};
use crate::{Principal, TokenVerifier, VerifyError};

/// Protects a resource: only requests with a good bearer token reach the service inside.
///
/// A request that passes has its [`Principal`] among its extensions and is otherwise untouched.
/// Everything else is answered here, as RFC 6750 §3 and RFC 9728 §5.1 say:
///
/// | request | answer |
/// | --- | --- |
/// | no token, or another scheme than `Bearer` | 401, a challenge without `error` |
/// | token not accepted | 401 `invalid_token` |
/// | too little scope | 403 `insufficient_scope`, naming every scope that is needed |
/// | malformed, or two `Authorization` headers | 400 `invalid_request` |
/// | the verifier cannot say | 503 `temporarily_unavailable` with `Retry-After` |
///
/// A token is taken from the `Authorization` header only, never from the query or the body.
/// Every method is guarded, `OPTIONS` too: put the layer that answers CORS preflights outside.
#[derive(Clone, Debug)]
pub struct Guard {
    shared: Arc<Shared>,
}

#[derive(Clone, Debug)]
struct Shared {
    verifier: Arc<dyn TokenVerifier>,
    resource: String,
    answers: Answers,
}

impl Guard {
    /// Guards `resource`, the canonical URL of the protected resource (RFC 8707), whose metadata
    /// (RFC 9728) can be read at `metadata_url`, an absolute URL.
    pub fn new(
        verifier: Arc<dyn TokenVerifier>,
        resource: impl Into<String>,
        metadata_url: impl Into<String>,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                verifier,
                resource: resource.into(),
                answers: Answers::new(metadata_url.into(), Vec::new()),
            }),
        }
    }

    /// Demands that a token has all of these scopes, and names them in every challenge.
    ///
    /// The default is none.
    #[must_use]
    pub fn required_scopes<I>(mut self, scopes: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let scopes = scopes.into_iter().map(Into::into).collect();
        let shared = Arc::make_mut(&mut self.shared);
        shared.answers = Answers::new(shared.answers.metadata_url().to_owned(), scopes);
        self
    }

    /// The answer of this guard to a request with `method` whose token it let pass, and of which
    /// only the service inside found out that it must not: with the same challenge as any other.
    pub fn refuse<B: From<Bytes> + Default>(
        &self,
        error: VerifyError,
        method: &Method,
    ) -> Response<B> {
        self.shared.answers.refuse(Refusal::Unverified(error), method)
    }
}

impl<S> Layer<S> for Guard {
    type Service = GuardService<S>;

    fn layer(&self, inner: S) -> GuardService<S> {
        GuardService { inner, shared: Arc::clone(&self.shared) }
    }
}

/// The service that [`Guard`] puts around another.
#[derive(Clone, Debug)]
pub struct GuardService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for GuardService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ResBody: From<Bytes> + Default,
{
    type Response = Response<ResBody>;
    type Error = S::Error;
    type Future = GuardFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let state = match Credential::of(request.headers()) {
            Credential::Token(token) => {
                // `poll_ready` was asked of the present service, so that one serves the request.
                let next = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, next);
                let token = token.to_owned();
                let verification = {
                    let shared = Arc::clone(&shared);
                    Box::pin(async move { shared.verify(&token).await })
                };
                State::Verifying { verification, next: Some((inner, request)) }
            }
            Credential::Absent => {
                State::Refused { refusal: Some((Refusal::NoToken, request.method().clone())) }
            }
            Credential::Malformed(reason) => State::Refused {
                refusal: Some((Refusal::Malformed(reason), request.method().clone())),
            },
        };
        GuardFuture { state, shared }
    }
}

impl Shared {
    async fn verify(&self, token: &str) -> Result<Principal, VerifyError> {
        let principal = self.verifier.verify(token, &self.resource).await?;
        let required = self.answers.required_scopes();
        if required.iter().all(|scope| principal.has_scope(scope)) {
            Ok(principal)
        } else {
            Err(VerifyError::InsufficientScope { required: required.to_vec() })
        }
    }
}

/// Why a request does not reach the service.
#[derive(Debug)]
enum Refusal {
    NoToken,
    Malformed(&'static str),
    Unverified(VerifyError),
}

type Verification = Pin<Box<dyn Future<Output = Result<Principal, VerifyError>> + Send>>;

pin_project! {
    /// The future of a [`GuardService`].
    pub struct GuardFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, ReqBody, S::Future>,
        shared: Arc<Shared>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, ReqBody, F> {
        Verifying { verification: Verification, next: Option<(S, Request<ReqBody>)> },
        Refused { refusal: Option<(Refusal, Method)> },
        Serving { #[pin] future: F },
    }
}

impl<S, ReqBody, ResBody> Future for GuardFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: From<Bytes> + Default,
{
    type Output = Result<Response<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        const POLLED_AGAIN: &str = "a future is not polled after it is ready";

        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProjection::Verifying { verification, next } => {
                    let verdict = ready!(verification.as_mut().poll(cx));
                    let (mut service, mut request) = next.take().expect(POLLED_AGAIN);
                    match verdict {
                        Ok(principal) => {
                            request.extensions_mut().insert(principal);
                            State::Serving { future: service.call(request) }
                        }
                        Err(error) => State::Refused {
                            refusal: Some((Refusal::Unverified(error), request.method().clone())),
                        },
                    }
                }
                StateProjection::Refused { refusal } => {
                    let (refusal, method) = refusal.take().expect(POLLED_AGAIN);
                    return Poll::Ready(Ok(this.shared.answers.refuse(refusal, &method)));
                }
                StateProjection::Serving { future } => return future.poll(cx),
            };
            this.state.set(next);
        }
    }
}

impl<S, ReqBody> fmt::Debug for GuardFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardFuture").finish_non_exhaustive()
    }
}
