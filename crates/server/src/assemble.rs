//! The proxy put together: OAuth endpoints, the guard, and the forwarder behind it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::Context;
use axum::{
    Router,
    body::{Body, Bytes},
    middleware::from_fn_with_state,
};
use forwarder::{Ended, Forwarder, Liveness};
use http::{Method, Request, Response};
use http_body_util::Limited;
use jwt_issuer::{AssertionIssuer, KeyRing};
use oidc_proxy::{OidcProxy, OidcProxyBuilder, SigningAlgorithm, StreamEnd};
use rustls::ClientConfig;
use token_verifier::{Guard, Principal, VerifyError};
use tokio_util::sync::CancellationToken;
use tower::ServiceBuilder;
use url::Url;

use crate::{
    identity::{Ways, provider_token},
    session,
};

/// How long an answer in progress may go on after its access token expired.
const LONGEST_OVERTIME: Duration = Duration::from_hours(1);

/// The most bytes of a request to the MCP server: files in base64 fit, and nobody fills its memory.
const MAX_REQUEST_BODY: usize = 64 * 1024 * 1024;

/// What a proxy in front of one MCP server is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    /// The authorization server, ready to be built.
    pub(crate) proxy: OidcProxyBuilder,
    /// The MCP server behind it, as a full URL.
    pub(crate) backend: String,
    /// Whom to trust if it is on https; without it, whom the system trusts.
    pub(crate) backend_tls: Option<ClientConfig>,
    /// How the backend is told who asks.
    pub(crate) identity: Ways,
    /// What is signed for the backend is signed with this.
    pub(crate) signing_algorithm: SigningAlgorithm,
    /// What the proxy signs and seals with; sessions are sealed with it too.
    pub(crate) signing_keys: KeyRing,
    /// Ends listening streams, so that they do not hold up the end of the server.
    pub(crate) stop: CancellationToken,
}

/// A proxy that is ready to be served.
#[derive(Debug)]
pub(crate) struct Assembly {
    /// Everything under the base URL.
    pub(crate) router: Router,
    /// For what outlives requests: [`OidcProxy::shutdown`] when the listeners have stopped.
    pub(crate) proxy: OidcProxy,
    /// For a look whether the backend is there.
    pub(crate) forwarder: Forwarder,
}

impl Parts {
    /// Puts the parts together. Contacts nobody: the provider may be down.
    pub(crate) fn assemble(self) -> anyhow::Result<Assembly> {
        let proxy = self
            .proxy
            .signing_keys(self.signing_keys.clone())
            .build()
            .context("could not set up the proxy")?;

        let resource = Url::parse(proxy.resource()).context("the resource's URL is not one")?;
        let path = resource.path().trim_end_matches('/');
        let seal = session::seal(&self.signing_keys, proxy.issuer(), proxy.resource());
        let assertions = AssertionIssuer::new(
            &self.signing_keys,
            self.signing_algorithm,
            proxy.issuer(),
            &self.backend,
        );
        let mut forwarder = Forwarder::builder(&self.backend)
            .resource_path(path)
            .session_seal(seal)
            .identity(self.identity.teller(assertions));
        let guard = proxy.guard();
        forwarder = forwarder.unauthorized(move |ended, method| told(&guard, ended, method));
        if let Some(config) = self.backend_tls {
            forwarder = forwarder.tls_config(config);
        }
        let forwarder = forwarder.build().context("could not set up forwarding")?;
        let probed = forwarder.clone();

        let watched = proxy.clone();
        let stop = self.stop;
        let forwarded = ServiceBuilder::new()
            .map_request(move |request| with_liveness(bounded(request), &watched, &stop))
            .service(forwarder);
        let protected = Router::new()
            .route_service(if path.is_empty() { "/" } else { path }, forwarded.clone())
            .route_service(&format!("{path}/{{*below}}"), forwarded.clone());
        // The wildcard does not match an empty rest.
        let protected = if path.is_empty() {
            protected
        } else {
            protected.route_service(&format!("{path}/"), forwarded)
        };
        let protected = if self.identity.provider_token {
            let parts = (proxy.clone(), proxy.guard());
            protected.layer(from_fn_with_state(parts, provider_token::attach))
        } else {
            protected
        };
        let router = proxy.clone().protect(protected);
        Ok(Assembly { router, proxy, forwarder: probed })
    }
}

/// The forwarder answers 413 to a body that goes on after its bound.
fn bounded(request: Request<Body>) -> Request<Body> {
    request.map(|body| Body::new(Limited::new(body, MAX_REQUEST_BODY)))
}

/// Tells the forwarder when the streams of this request must end: with their grant, or with us.
fn with_liveness(
    mut request: Request<Body>,
    proxy: &OidcProxy,
    stop: &CancellationToken,
) -> Request<Body> {
    let Some(principal) = request.extensions().get::<Principal>().cloned() else { return request };
    let (proxy, stop) = (proxy.clone(), stop.clone());
    let asked_before = AtomicBool::new(false);
    request.extensions_mut().insert(Liveness::new(move || {
        if asked_before.swap(true, Ordering::Relaxed) {
            return Box::pin(until_revoked(proxy.clone(), principal.clone()));
        }
        let grant = proxy.watch(&principal);
        let stop = stop.clone();
        Box::pin(async move {
            tokio::select! {
                end = grant => match end {
                    StreamEnd::Expired => Ended::Expired,
                    // Ends that are not known here are taken for the strictest one.
                    _ => Ended::Revoked,
                },
                () = stop.cancelled() => Ended::Stopping,
            }
        })
    }));
    request
}

/// An answer in progress may finish after its token expired, but not after the grant is gone, and
/// not for ever: a backend's endless answer must not keep a session that nobody refreshes.
async fn until_revoked(proxy: OidcProxy, principal: Principal) -> Ended {
    let revoked = proxy.watch_revocation(&principal);
    match tokio::time::timeout(LONGEST_OVERTIME, revoked).await {
        Ok(()) => Ended::Revoked,
        Err(_) => Ended::Overdue,
    }
}

/// What the guard says to a token that ended, so that the client finds its way to a new one.
fn told(guard: &Guard, ended: Ended, method: &Method) -> Response<Bytes> {
    let why = match ended {
        Ended::Revoked => "the access token was revoked",
        Ended::Expired | Ended::Overdue | Ended::Stopping => "the access token has expired",
    };
    guard.refuse(VerifyError::Invalid(why.to_owned()), method)
}

#[cfg(test)]
mod tests {
    use http::header;
    use http_body_util::{BodyExt, LengthLimitError};
    use jwt_issuer::MasterKey;
    use kv_storage::Memory;
    use oidc_proxy::AccessPolicy;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_overtime_is_overdue_and_nobody_revoked_it() {
        let proxy = OidcProxy::builder("http://127.0.0.1:1")
            .client_id("id")
            .base_url("http://127.0.0.1:2")
            .storage(Memory::new())
            .signing_keys(KeyRing::new(MasterKey::generate()))
            .access(AccessPolicy::any_user())
            .build()
            .unwrap();
        let guard = proxy.guard();
        let ended = until_revoked(proxy, Principal::builder("alice").build()).await;
        assert_eq!(ended, Ended::Overdue);
        for (ended, why) in [(ended, "has expired"), (Ended::Revoked, "was revoked")] {
            let answer = told(&guard, ended, &Method::POST);
            let challenge = answer.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
            assert!(challenge.contains(why), "{challenge}");
            assert!(challenge.contains("resource_metadata="), "{challenge}");
        }
    }

    #[tokio::test]
    async fn a_request_is_bounded() {
        for (length, fits) in [(MAX_REQUEST_BODY, true), (MAX_REQUEST_BODY + 1, false)] {
            let request = bounded(Request::new(Body::from(vec![0; length])));
            match request.into_body().collect().await {
                Ok(_) => assert!(fits),
                Err(error) => {
                    assert!(!fits && error.into_inner().is::<LengthLimitError>());
                }
            }
        }
    }
}
