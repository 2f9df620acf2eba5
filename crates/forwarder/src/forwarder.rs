//! The service: one request in, one request out, one answer back.

use std::{
    convert::Infallible,
    error::Error as StdError,
    fmt,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header, request::Parts, uri::PathAndQuery,
};
use http_body::Body;
use http_body_util::LengthLimitError;
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tower_service::Service;
use url::Url;

use crate::{
    body::{ForwardBody, Upload, UploadError},
    builder::Builder,
    connect::{ConnectTimeout, Connector},
    header::{RequestRules, clean_request, clean_response, state_empty_body},
    identity::Identity,
    liveness::{Ended, Liveness, Watch},
    location::{self, Location},
    path,
    refusal::Refusal,
    session::{MCP_SESSION_ID, SessionSeal},
};

/// Names the JSON-RPC method of a POST (MCP 2026-07-28, transports); the server checks it against
/// the body.
const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// The method that opens a listening stream since MCP 2026-07-28; before, it was a GET.
const LISTEN: &str = "subscriptions/listen";

/// The answer to a request with this method whose grant or token ended meanwhile.
pub(crate) type Unauthorized = Arc<dyn Fn(Ended, &Method) -> Response<Bytes> + Send + Sync>;

/// Tells identity from a request's extensions.
pub(crate) type IdentityOf = Arc<dyn Fn(&Extensions) -> Identity + Send + Sync>;

/// Forwards requests to one MCP backend; a tower service on `http` types that never fails.
///
/// Clones are cheap and share one connection pool. See the [crate page](crate) for what is done to
/// requests and answers.
///
/// # Cancel safety
///
/// Dropping the future or the answer's body closes the backend's request.
#[derive(Clone)]
pub struct Forwarder(Arc<Backend>);

/// Everything about the backend that is known from the start.
pub(crate) struct Backend {
    /// As it was configured, for the log.
    pub(crate) name: String,
    pub(crate) url: Url,
    /// Scheme and authority of `url`.
    pub(crate) origin: Uri,
    pub(crate) client: legacy::Client<Connector, Upload>,
    pub(crate) connector: Connector,
    pub(crate) resource: String,
    pub(crate) identity: IdentityOf,
    pub(crate) rules: RequestRules,
    pub(crate) session_seal: Option<SessionSeal>,
    pub(crate) unauthorized: Option<Unauthorized>,
}

impl Forwarder {
    /// Starts the configuration of a forwarder to `backend`, the full http or https URL of an MCP
    /// endpoint, or `unix:/run/mcp.sock:/mcp` for one that listens on a Unix socket: the socket's
    /// absolute path, then the path on the server. The name is resolved for each connection anew.
    pub fn builder(backend: &str) -> Builder {
        Builder::new(backend)
    }

    pub(crate) fn new(backend: Backend) -> Self {
        Self(Arc::new(backend))
    }

    /// Opens a connection to the backend and closes it: whether it is there, asking nothing of it.
    ///
    /// # Errors
    ///
    /// Why there was no connection within the time for connecting.
    pub async fn probe(&self) -> Result<(), Box<dyn StdError + Send + Sync>> {
        let mut connector = self.0.connector.clone();
        poll_fn(|cx| connector.poll_ready(cx)).await?;
        connector.call(self.0.origin.clone()).await.map(drop)
    }
}

impl<B> Service<Request<B>> for Forwarder
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    type Response = Response<ForwardBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let backend = Arc::clone(&self.0);
        let (parts, body) = request.into_parts();
        let upload = Upload::new(body);
        Box::pin(async move {
            let method = parts.method.clone();
            let answer = backend.exchange(parts, upload).await;
            Ok(answer.unwrap_or_else(|refusal| backend.refuse(refusal, &method)))
        })
    }
}

impl Backend {
    /// Forwards one request and makes the answer fit for the client.
    async fn exchange(
        &self,
        request: Parts,
        upload: Upload,
    ) -> Result<Response<ForwardBody>, Refusal> {
        let Parts { method, uri, headers, extensions, .. } = request;
        if matches!(method, Method::CONNECT | Method::TRACE) {
            return Err(Refusal::Method);
        }
        path::check(uri.path())?;
        let rest = path::below(&self.resource, uri.path()).ok_or(Refusal::NotFound)?;
        let target = self.target(rest, uri.query());
        let may_listen = may_listen(&method, &headers);
        let headers = self.request_headers(headers, &extensions, &method, &upload)?;

        // A fresh request: what the server in front left in the extensions is about the client's
        // connection. It is HTTP/1.1 on the backend's side, whatever the client speaks.
        let mut request = Request::new(upload);
        *request.method_mut() = method;
        *request.uri_mut() = target.clone();
        *request.headers_mut() = headers;

        let mut watch = extensions.get::<Liveness>().map(Watch::new);
        let answer = self.send(request, watch.as_mut(), may_listen).await?;

        let (mut head, body) = answer.into_parts();
        self.check_answer(head.status, &head.headers)?;
        clean_response(&mut head.headers);
        self.translate_location(head.status, &mut head.headers, &target)?;
        self.seal_session(&mut head.headers, &extensions)?;
        let listening = may_listen && is_event_stream(&head.headers);
        let mut response = Response::new(ForwardBody::backend(body, watch, listening));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response)
    }

    fn refuse(&self, refusal: Refusal, method: &Method) -> Response<ForwardBody> {
        match (refusal, &self.unauthorized) {
            (Refusal::Ended(Ended::Stopping), _) => refusal.into_response(),
            (Refusal::Ended(ended), Some(answer)) => answer(ended, method).map(ForwardBody::own),
            _ => refusal.into_response(),
        }
    }

    /// The URI on the backend. The query is the client's, byte for byte.
    fn target(&self, rest: &str, query: Option<&str>) -> Uri {
        let mut target = path::append(self.url.path(), rest);
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        let mut parts = self.origin.clone().into_parts();
        parts.path_and_query =
            Some(PathAndQuery::try_from(target).expect("joined from two parsed paths"));
        Uri::from_parts(parts).expect("an origin with a path")
    }

    fn request_headers(
        &self,
        mut headers: HeaderMap,
        extensions: &Extensions,
        method: &Method,
        upload: &Upload,
    ) -> Result<HeaderMap, Refusal> {
        clean_request(&mut headers, &self.rules, (self.identity)(extensions));
        if let Some(seal) = &self.session_seal {
            let session = only_session(&headers).map_err(|()| Refusal::SeveralSessions)?;
            if let Some(session) = session {
                let opened = session
                    .to_str()
                    .ok()
                    .and_then(|session| (seal.open)(extensions, session))
                    .and_then(|session| HeaderValue::try_from(session).ok())
                    .ok_or(Refusal::UnknownSession)?;
                headers.insert(MCP_SESSION_ID, opened);
            }
        }
        if upload.is_end_stream() {
            state_empty_body(&mut headers, method);
        }
        Ok(headers)
    }

    /// Sends the request and waits for the head of the answer, as long as it takes, unless the
    /// grant ends first. The upload goes on while the answer comes in.
    async fn send(
        &self,
        request: Request<Upload>,
        mut watch: Option<&mut Watch>,
        may_listen: bool,
    ) -> Result<Response<Incoming>, Refusal> {
        let mut answer = pin!(self.client.request(request));
        poll_fn(|cx| {
            if let Some(watch) = &mut watch
                && let Poll::Ready(ended) = watch.poll_ended(cx, may_listen)
            {
                return Poll::Ready(Err(Refusal::Ended(ended)));
            }
            answer.as_mut().poll(cx).map_err(|error| self.failure(&error))
        })
        .await
    }

    /// Says in the log what went wrong, and to the client whose fault it is.
    fn failure(&self, error: &legacy::Error) -> Refusal {
        if cause::<UploadError>(error).is_some() {
            tracing::debug!(error = %Chain(error), "the client's upload broke off");
            return match cause::<LengthLimitError>(error) {
                Some(_) => Refusal::TooLarge,
                None => Refusal::Upload,
            };
        }
        let refusal = match cause::<ConnectTimeout>(error) {
            Some(_) => Refusal::ConnectTimeout,
            None => Refusal::Unreachable,
        };
        tracing::warn!(backend = self.name, error = %Chain(error), "the backend gave no answer");
        refusal
    }

    /// Refuses the answers that would make a client talk about credentials with the backend, or
    /// change the protocol.
    fn check_answer(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), Refusal> {
        let asks_for_credentials =
            matches!(status, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED)
                || headers.contains_key(header::WWW_AUTHENTICATE);
        if asks_for_credentials {
            tracing::warn!(
                backend = self.name,
                %status,
                "the backend asks for credentials of its own: turn its authentication off and let \
                 it trust the identity headers"
            );
            return Err(Refusal::BackendAuthentication);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            tracing::warn!(
                backend = self.name,
                "the backend switches protocols without being asked"
            );
            return Err(Refusal::BackendAnswer);
        }
        Ok(())
    }

    fn translate_location(
        &self,
        status: StatusCode,
        headers: &mut HeaderMap,
        target: &Uri,
    ) -> Result<(), Refusal> {
        let Some(location) = headers.get(header::LOCATION) else { return Ok(()) };
        let translated = match Url::parse(&target.to_string()) {
            Ok(asked) => location::translate(location, &asked, &self.url, &self.resource),
            Err(_) => Location::Refuse,
        };
        match translated {
            Location::Keep => {}
            Location::Rewrite(local) => {
                headers.insert(header::LOCATION, local);
            }
            Location::Refuse if status.is_redirection() => {
                tracing::warn!(
                    backend = self.name,
                    location = location::without_query(location),
                    "the backend redirects to a place of its own that clients cannot reach"
                );
                return Err(Refusal::BackendAnswer);
            }
            Location::Refuse => {
                headers.remove(header::LOCATION);
            }
        }
        Ok(())
    }

    fn seal_session(
        &self,
        headers: &mut HeaderMap,
        extensions: &Extensions,
    ) -> Result<(), Refusal> {
        let Some(seal) = &self.session_seal else { return Ok(()) };
        let sealed = match only_session(headers) {
            Ok(None) => return Ok(()),
            Ok(Some(session)) => session
                .to_str()
                .ok()
                .and_then(|session| HeaderValue::try_from((seal.seal)(extensions, session)).ok()),
            Err(()) => None,
        };
        let Some(sealed) = sealed else {
            tracing::warn!(backend = self.name, "the backend's Mcp-Session-Id cannot be sealed");
            return Err(Refusal::BackendAnswer);
        };
        headers.insert(MCP_SESSION_ID, sealed);
        Ok(())
    }
}

/// Whether the request could open a listening stream.
fn may_listen(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::GET || headers.get(MCP_METHOD).is_some_and(|method| method == LISTEN)
}

/// Whether the answer is an event stream without an end of its own.
fn is_event_stream(headers: &HeaderMap) -> bool {
    let essence = b"text/event-stream";
    !headers.contains_key(header::CONTENT_LENGTH)
        && headers.get(header::CONTENT_TYPE).is_some_and(|value| {
            let value = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
            value.trim_ascii().eq_ignore_ascii_case(essence)
        })
}

/// The session id, if there is one; `Err` if there are several.
fn only_session(headers: &HeaderMap) -> Result<Option<&HeaderValue>, ()> {
    let mut sessions = headers.get_all(MCP_SESSION_ID).iter();
    match (sessions.next(), sessions.next()) {
        (session, None) => Ok(session),
        (_, Some(_)) => Err(()),
    }
}

/// The first error of type `T` among `error` and its sources.
fn cause<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// An error with all its sources, on one line of the log.
struct Chain<'a>(&'a dyn StdError);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder")
            .field("backend", &self.0.name)
            .field("resource_path", &self.0.resource)
            .finish_non_exhaustive()
    }
}
