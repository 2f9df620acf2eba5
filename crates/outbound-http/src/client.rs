//! The client itself.

use std::{fmt, sync::Arc, time::Duration};

use http::{Request, Response};

use crate::{
    AddressPolicy, Error,
    resolve::{Lookup, PolicyResolver, SystemLookup},
    target::Target,
};

/// Long enough for a provider under load, short enough that a person still waits.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// Far above every metadata document, key set and token answer in use.
const DEFAULT_MAX_BODY: usize = 1024 * 1024;
const DEFAULT_USER_AGENT: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// An HTTP client whose requests end, whose answers are bounded, and which goes only where its
/// [`AddressPolicy`] allows.
///
/// It follows no redirects (the 3xx is the answer) and ignores `HTTP_PROXY` and its kin.
/// Clones share connections. Answers compressed with gzip are decoded, and measured decoded.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    limits: Limits,
}

#[derive(Clone, Debug)]
struct Limits {
    timeout: Duration,
    max_body: usize,
    address_policy: AddressPolicy,
    allowed_ports: Vec<u16>,
}

impl Client {
    /// Starts a client with the defaults that the methods of [`ClientBuilder`] name.
    pub fn builder() -> ClientBuilder {
        ClientBuilder {
            limits: Limits {
                timeout: DEFAULT_TIMEOUT,
                max_body: DEFAULT_MAX_BODY,
                address_policy: AddressPolicy::default(),
                allowed_ports: Vec::new(),
            },
            user_agent: DEFAULT_USER_AGENT.to_owned(),
        }
    }

    /// Sends one request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    ///
    /// When the URL is not allowed or there is no complete answer within the limits.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes the connection; the server may have acted on the request.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Error> {
        let Limits { timeout, address_policy, allowed_ports, .. } = &self.inner.limits;
        let target = Target::new(request.uri(), *address_policy, allowed_ports)?;
        match tokio::time::timeout(*timeout, self.exchange(&target, request)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Error::Timeout { host: target.host, limit: *timeout }),
        }
    }

    async fn exchange(
        &self,
        target: &Target,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Error> {
        let failed = |error| Error::of(&target.host, error);
        let limit = self.inner.limits.max_body;

        let (parts, body) = request.into_parts();
        let mut outgoing = reqwest::Request::new(parts.method, target.url.clone());
        *outgoing.headers_mut() = parts.headers;
        *outgoing.body_mut() = Some(body.into());
        let mut incoming = self.inner.http.execute(outgoing).await.map_err(failed)?;

        let mut answer = Vec::new();
        while let Some(chunk) = incoming.chunk().await.map_err(failed)? {
            if chunk.len() > limit - answer.len() {
                return Err(Error::TooLarge { host: target.host.clone(), limit });
            }
            answer.extend_from_slice(&chunk);
        }

        let mut response = Response::new(answer);
        *response.status_mut() = incoming.status();
        *response.version_mut() = incoming.version();
        *response.headers_mut() = std::mem::take(incoming.headers_mut());
        Ok(response)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("limits", &self.inner.limits).finish_non_exhaustive()
    }
}

/// Configures a [`Client`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ClientBuilder {
    limits: Limits,
    user_agent: String,
}

impl ClientBuilder {
    /// Sets how long a request may take as a whole, from the name lookup to the last byte.
    ///
    /// The default is 10 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.limits.timeout = timeout;
        self
    }

    /// Sets the greatest length of an answer's body, in bytes after decoding.
    ///
    /// The default is 1 MiB.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.limits.max_body = bytes;
        self
    }

    /// Sets where the client may connect to; the default is [`AddressPolicy::Any`].
    pub fn address_policy(mut self, policy: AddressPolicy) -> Self {
        self.limits.address_policy = policy;
        self
    }

    /// Allows one more port under [`AddressPolicy::PublicOnly`].
    pub fn allow_port(mut self, port: u16) -> Self {
        self.limits.allowed_ports.push(port);
        self
    }

    /// Sets the `User-Agent` of requests that bring none.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    /// Makes the client.
    ///
    /// # Errors
    ///
    /// When the user agent is no header value or the certificate store cannot be read.
    pub fn build(self) -> Result<Client, Error> {
        self.build_with(SystemLookup)
    }

    fn build_with(self, lookup: impl Lookup) -> Result<Client, Error> {
        #[expect(clippy::disallowed_methods, reason = "this crate is what the ban points to")]
        let builder = reqwest::Client::builder();
        let http = builder
            .dns_resolver(PolicyResolver { lookup, policy: self.limits.address_policy })
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .tls_backend_rustls()
            .user_agent(self.user_agent)
            .build()
            .map_err(|error| Error::Build(Box::new(error)))?;
        Ok(Client { inner: Arc::new(Inner { http, limits: self.limits }) })
    }
}

#[cfg(test)]
mod tests;
