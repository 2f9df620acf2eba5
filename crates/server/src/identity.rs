//! Who asks, as the backend is told (D10, D12).

pub(crate) mod provider_token;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use forwarder::Identity;
use http::{Extensions, HeaderName, HeaderValue, header};
use jwt_issuer::{AssertionClaims, AssertionIssuer};
use oidc_proxy::vouched_email;
use token_verifier::Principal;

use self::provider_token::ProviderToken;

/// `sub`: unique and never reassigned within [`ISSUER`].
const USER: HeaderName = HeaderName::from_static("x-forwarded-user");
/// Whose `sub` it is.
const ISSUER: HeaderName = HeaderName::from_static("x-forwarded-user-issuer");
/// The e-mail address, only if the provider vouches for it.
const EMAIL: HeaderName = HeaderName::from_static("x-forwarded-email");
/// Groups, separated by commas.
const GROUPS: HeaderName = HeaderName::from_static("x-forwarded-groups");
/// A name to show; people choose and change it.
const PREFERRED_USERNAME: HeaderName = HeaderName::from_static("x-forwarded-preferred-username");
/// The same as a JWT of ours; like everything that begins with `x-forwarded-`, no client can send
/// it.
const ASSERTION: HeaderName = HeaderName::from_static("x-forwarded-assertion");

/// How the backend is told who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    /// In plain headers.
    pub(crate) headers: bool,
    /// By a JWT of ours that lives this long.
    pub(crate) assertion: Option<Duration>,
    /// By the provider's own access token.
    pub(crate) provider_token: bool,
}

impl Ways {
    /// What the demo shows, and the default.
    pub(crate) fn headers() -> Self {
        Self { headers: true, ..Self::default() }
    }

    /// What the forwarder asks for every request.
    pub(crate) fn teller(
        self,
        assertions: AssertionIssuer,
    ) -> Arc<dyn Fn(&Extensions) -> Identity + Send + Sync> {
        Arc::new(move |extensions| {
            let Some(principal) = extensions.get::<Principal>() else { return Identity::new() };
            let mut identity = if self.headers { headers(principal) } else { Identity::new() };
            if let Some(lifetime) = self.assertion
                && let Some(assertion) = assertion(principal, &assertions, lifetime, unix_now())
            {
                identity.headers.push((ASSERTION, assertion));
            }
            if let Some(token) = extensions.get::<ProviderToken>() {
                identity.headers.push((header::AUTHORIZATION, token.0.clone()));
            }
            identity
        })
    }
}

/// The plain headers for a principal.
fn headers(principal: &Principal) -> Identity {
    let claims = principal.claims();
    let mut identity = Identity::new().claim(USER, principal.subject());
    if let Some(issuer) = principal.issuer() {
        identity = identity.claim(ISSUER, issuer);
    }
    if let Some(email) = vouched_email(claims) {
        identity = identity.claim(EMAIL, email);
    }
    if let Some(name) = principal.claim_str("preferred_username") {
        identity = identity.claim(PREFERRED_USERNAME, name);
    }
    if let Some(groups) = groups(principal) {
        identity = identity.list(GROUPS, groups);
    }
    identity
}

/// The JWT for a principal, no longer good than their access token.
fn assertion(
    principal: &Principal,
    assertions: &AssertionIssuer,
    lifetime: Duration,
    now: u64,
) -> Option<HeaderValue> {
    let end = now.saturating_add(lifetime.as_secs());
    let claims = AssertionClaims {
        sub: principal.subject().to_owned(),
        provider: principal.issuer().map(str::to_owned),
        client_id: principal.client_id().map(str::to_owned),
        scope: principal.scopes().join(" "),
        email: vouched_email(principal.claims()).map(str::to_owned),
        groups: groups(principal).map(|groups| groups.map(str::to_owned).collect()),
        preferred_username: principal.claim_str("preferred_username").map(str::to_owned),
        exp: principal.expires_at().map_or(end, |expires_at| expires_at.min(end)),
    };
    let signed = assertions.sign(&claims, now);
    let value = signed.map_err(anyhow::Error::from).and_then(|token| Ok(token.try_into()?));
    match value {
        Ok(value) => Some(sensitive(value)),
        Err(error) => {
            // The backend will refuse the request, as it should.
            tracing::error!(cause = format!("{error:#}"), "an assertion could not be made");
            None
        }
    }
}

fn groups(principal: &Principal) -> Option<impl Iterator<Item = &str>> {
    let groups = principal.claims().get("groups")?.as_array()?;
    Some(groups.iter().filter_map(|group| group.as_str()))
}

/// Marked, so that no `Debug` shows it.
fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

#[expect(clippy::disallowed_methods, reason = "the default clock")]
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
