//! Configuration of a [`Forwarder`].

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Extensions, HeaderName, Method, Response, Uri};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use url::Url;

use crate::{
    connect::Connector,
    error::Error,
    forwarder::{Backend, Forwarder, IdentityOf, Unauthorized},
    header::{self, RequestRules},
    identity::Identity,
    liveness::Ended,
    path,
    session::SessionSeal,
};

/// How long a connection to the backend may take to come about, name resolution and TLS handshake
/// included. The backend is near; ten seconds let it restart behind a service address.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an unused connection waits for the next request. Below the 5 s after which uvicorn
/// and Node.js close theirs: a request on a connection that is just being closed fails.
pub const DEFAULT_POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// How many unused connections wait at most, so that a burst does not keep the backend's sockets.
pub const DEFAULT_POOL_MAX_IDLE: usize = 64;

/// Builds a [`Forwarder`]; made by [`Forwarder::builder`].
#[must_use]
pub struct Builder {
    backend: String,
    resource_path: Option<String>,
    connect_timeout: Duration,
    pool_idle_timeout: Duration,
    pool_max_idle: usize,
    identity: IdentityOf,
    identity_headers: Vec<HeaderName>,
    own_cookie: Arc<dyn Fn(&str) -> bool + Send + Sync>,
    session_seal: Option<SessionSeal>,
    unauthorized: Option<Unauthorized>,
    tls_config: Option<rustls::ClientConfig>,
}

impl Builder {
    pub(crate) fn new(backend: &str) -> Self {
        Self {
            backend: backend.to_owned(),
            resource_path: None,
            connect_timeout: DEFAULT_CONNECT_TIMEOUT,
            pool_idle_timeout: DEFAULT_POOL_IDLE_TIMEOUT,
            pool_max_idle: DEFAULT_POOL_MAX_IDLE,
            identity: Arc::new(|_: &Extensions| Identity::new()),
            identity_headers: Vec::new(),
            own_cookie: Arc::new(header::is_own_cookie),
            session_seal: None,
            unauthorized: None,
            tls_config: None,
        }
    }

    /// The path under which requests arrive, as it stands in the resource's URL: raw, compared by
    /// whole segments. Default: the backend's own path.
    ///
    /// It is matched against the request's URI, so a router in front must not strip a prefix
    /// (axum's `nest_service` does; use `route_service` or `fallback_service`), or this must be
    /// `/`.
    pub fn resource_path(mut self, path: &str) -> Self {
        self.resource_path = Some(path.to_owned());
        self
    }

    /// How long connecting may take, [`DEFAULT_CONNECT_TIMEOUT`] by default. It is the only time
    /// limit: a connected backend may think and stream as long as it likes.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.connect_timeout = limit;
        self
    }

    /// How long an unused connection to the backend is kept, [`DEFAULT_POOL_IDLE_TIMEOUT`] by
    /// default; it should be less than the backend's own keep-alive time.
    pub fn pool_idle_timeout(mut self, limit: Duration) -> Self {
        self.pool_idle_timeout = limit;
        self
    }

    /// How many unused connections to the backend are kept, [`DEFAULT_POOL_MAX_IDLE`] by default.
    /// Connections in use have no limit: each open stream has its own.
    pub fn pool_max_idle(mut self, limit: usize) -> Self {
        self.pool_max_idle = limit;
        self
    }

    /// Which identity a request has, told from its extensions; none by default.
    ///
    /// Called once for a request, on the request path: it must not block.
    pub fn identity(
        mut self,
        identity: Arc<dyn Fn(&Extensions) -> Identity + Send + Sync>,
    ) -> Self {
        self.identity = identity;
        self
    }

    /// The names of all headers that [`identity`](Self::identity) may set. What a client sends
    /// under these names is removed even when nothing is set for this user. `X-Forwarded-…`,
    /// `Forwarded` and `Authorization` are removed anyway and need not be listed.
    pub fn identity_headers(mut self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.identity_headers = names.into_iter().collect();
        self
    }

    /// Which cookies, by name, are the front's own and stay away from the backend;
    /// [`is_own_cookie`](crate::is_own_cookie) by default.
    pub fn own_cookies(mut self, is_own: Arc<dyn Fn(&str) -> bool + Send + Sync>) -> Self {
        self.own_cookie = is_own;
        self
    }

    /// Seals `Mcp-Session-Id` both ways; by default it is passed on as it is.
    pub fn session_seal(mut self, seal: SessionSeal) -> Self {
        self.session_seal = Some(seal);
        self
    }

    /// What a client is told whose grant or token ended before the backend answered, by the method
    /// of its request: the answer that the guard in front gives to such a token, with the challenge
    /// that leads to a new one. Never asked about [`Ended::Stopping`].
    ///
    /// Default: 401 `invalid_token` with a challenge that says no more than that.
    pub fn unauthorized(
        mut self,
        answer: impl Fn(Ended, &Method) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.unauthorized = Some(Arc::new(answer));
        self
    }

    /// Replaces the TLS settings for an https backend, for one with a certificate of a private CA.
    /// Default: the certificate store of the operating system. ALPN must be left empty.
    pub fn tls_config(mut self, config: rustls::ClientConfig) -> Self {
        self.tls_config = Some(config);
        self
    }

    /// Checks the configuration and sets up the connection pool; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`Error`] names the setting that cannot be used.
    pub fn build(self) -> Result<Forwarder, Error> {
        let Place { url, socket } = parse_backend(&self.backend)?;
        let resource = self.resource_path.unwrap_or_else(|| url.path().to_owned());
        if !resource.is_empty() {
            path::check(&resource).map_err(Error::ResourcePath)?;
        }
        if let Some(name) = self.identity_headers.iter().find(|name| header::is_framing(name)) {
            return Err(Error::IdentityHeader { name: name.clone() });
        }
        let limit = self.connect_timeout;
        let connector = match socket {
            Some(socket) => over_socket(limit, &socket)?,
            None if url.scheme() == "https" => {
                Connector::tls(limit, self.tls_config).map_err(Error::Tls)?
            }
            None => Connector::plain(limit),
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(self.pool_idle_timeout)
            .pool_max_idle_per_host(self.pool_max_idle)
            .build(connector.clone());
        Ok(Forwarder::new(Backend {
            origin: origin(&url)?,
            name: self.backend,
            url,
            client,
            connector,
            resource,
            identity: self.identity,
            rules: RequestRules::new(&self.identity_headers, self.own_cookie),
            session_seal: self.session_seal,
            unauthorized: self.unauthorized,
        }))
    }
}

/// Where the backend is.
struct Place {
    /// Its MCP endpoint; `localhost` behind a socket.
    url: Url,
    /// The Unix socket that it listens on, if it is not a TCP port.
    socket: Option<PathBuf>,
}

fn parse_backend(backend: &str) -> Result<Place, Error> {
    if let Some(rest) = backend.strip_prefix("unix:") {
        return parse_socket(rest);
    }
    parse_url(backend).map(|url| Place { url, socket: None })
}

/// `/run/mcp.sock:/mcp`, or without a path on the server `/run/mcp.sock`.
fn parse_socket(text: &str) -> Result<Place, Error> {
    let (socket, path) = match text.split_once(":/") {
        Some((socket, rest)) => (socket, format!("/{rest}")),
        None => (text, "/".to_owned()),
    };
    if !socket.starts_with('/') || socket.starts_with("//") || socket.contains(['\0', ':']) {
        return Err(Error::Backend {
            reason: "a socket is named by its absolute path and the path on the server, as in \
                     unix:/run/mcp.sock:/mcp",
        });
    }
    let url = parse_url(&format!("http://localhost{path}"))?;
    Ok(Place { url, socket: Some(socket.into()) })
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have no such sockets")]
fn over_socket(limit: Duration, socket: &Path) -> Result<Connector, Error> {
    Ok(Connector::unix(limit, socket))
}

#[cfg(not(unix))]
fn over_socket(_: Duration, _: &Path) -> Result<Connector, Error> {
    Err(Error::Backend { reason: "this system has no Unix sockets" })
}

fn parse_url(backend: &str) -> Result<Url, Error> {
    let refused = |reason| Err(Error::Backend { reason });
    let Ok(url) = Url::parse(backend) else { return refused("it is not an absolute URL") };
    if !matches!(url.scheme(), "http" | "https") {
        return refused("its scheme is none of http, https and unix");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("credentials in the URL are not sent; remove them");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refused("it has a query or a fragment; queries are the client's");
    }
    Ok(url)
}

/// Scheme and authority, for the request target.
fn origin(url: &Url) -> Result<Uri, Error> {
    url[..url::Position::BeforePath]
        .parse()
        .map_err(|_| Error::Backend { reason: "its host cannot be put into a request" })
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("resource_path", &self.resource_path)
            .field("connect_timeout", &self.connect_timeout)
            .field("pool_idle_timeout", &self.pool_idle_timeout)
            .field("pool_max_idle", &self.pool_max_idle)
            .field("identity_headers", &self.identity_headers)
            .field("session_seal", &self.session_seal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
