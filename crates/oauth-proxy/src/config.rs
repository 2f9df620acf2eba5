//! What the builder settled: names, lifetimes, rules.

use std::time::Duration;

use crate::{
    access::AccessPolicy, cimd::ClientDocuments, client_settings::ClientRules,
    redirect_uri::RedirectPolicy, resource::Resources, resource_server::ResourceServer,
    scope::ScopeSet,
};

/// What the life of an access token of ours depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AccessTokenBasis {
    /// It lives as long as what is left of the provider's token, between
    /// [`Lifetimes::access_token_floor`] and [`Lifetimes::access_token`]: a client comes back when
    /// the provider's token ends, which is then renewed, so that the provider is asked about the
    /// person as often as it wants to be, and keeps the session that would end unused.
    ///
    /// If that token has ended and nothing can renew it, as in [`Fixed`](Self::Fixed).
    #[default]
    Provider,
    /// It lives for [`Lifetimes::access_token`], whatever becomes of the provider's token.
    Fixed,
}

impl AccessTokenBasis {
    /// All of them, the default first.
    pub const ALL: [Self; 2] = [Self::Provider, Self::Fixed];

    /// The name by which it is configured.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Fixed => "fixed",
        }
    }
}

/// Every lifetime of the authorization server, each a setting (D15).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lifetimes {
    /// How long a consent page may be answered. Default 15 min.
    pub consent: Duration,
    /// From approval to the provider's answer. Default 15 min, the most that is useful.
    pub transaction: Duration,
    /// How long a code may be redeemed. Default 5 min (OAuth 2.1 §4.1.2 recommends at most 10).
    pub code: Duration,
    /// How long a redeemed code is remembered, so that a replay is noticed. Default 24 h.
    pub code_memory: Duration,
    /// What the life of our access token depends on. Default: the provider's token.
    pub access_token_basis: AccessTokenBasis,
    /// The longest life of our access token. Default 1 h; at most
    /// [`MAX_PUBLIC_ACCESS_TOKEN`](Self::MAX_PUBLIC_ACCESS_TOKEN) if others can verify it.
    pub access_token: Duration,
    /// The shortest life of our access token, if it follows the provider's: one that says "0
    /// seconds" must not make clients refresh before every request. Default 5 min, for which a
    /// session is believed without the provider anyway (`outage_access_token`). Where
    /// `access_token` is shorter, that holds.
    pub access_token_floor: Duration,
    /// Our access token while the provider cannot be asked (D7). Default 5 min.
    pub outage_access_token: Duration,
    /// An unused grant ends after this. Default 30 d.
    pub refresh_idle: Duration,
    /// Every grant ends after this. Default 90 d.
    pub refresh_absolute: Duration,
    /// A grant whose provider gave no refresh token ends after this, or with the provider's access
    /// token if that lives longer. Default 8 h.
    pub session_without_refresh: Duration,
    /// For how long a just rotated refresh token still leads to its successor (D5).
    /// Default 120 s; at most 10 min, and more for some clients only
    /// ([`ClientSettings`](crate::ClientSettings)).
    pub refresh_grace: Duration,
    /// The longest that a revoked access token may still be believed (D4). Default 1 s; 0 reads the
    /// store at every request.
    pub revocation_delay: Duration,
    /// How often the grants of open streams are checked (D12). Default 5 s.
    pub stream_check: Duration,
    /// How long a provider's token is taken to live that can be renewed and does not say. Default
    /// 1 h.
    pub provider_token_fallback: Duration,
    /// The longest that a provider's token which can be renewed is believed to live: nobody who was
    /// dismissed there stays logged in here for weeks. Default 24 h.
    pub provider_token_longest: Duration,
    /// The provider's token of a grant in use is renewed when less than this is left of it, or half
    /// of its life if that is shorter. Default 60 s.
    pub provider_refresh_margin: Duration,
    /// The hard deadline of one call to the provider. Default 10 s; the lease is three times that.
    pub provider_call: Duration,
    /// How long past the end of the provider's token a grant survives while the provider is down
    /// (D7). Default 1 h.
    pub provider_outage_tolerance: Duration,
    /// For how long the provider may be told of a revocation that it did not hear of. Default 7 d.
    pub outbox: Duration,
    /// How often [`OAuthProxy::maintain`](crate::OAuthProxy::maintain) looks for such revocations.
    /// Default 1 min.
    pub outbox_check: Duration,
    /// By how much the clocks of replicas may differ. Default 5 s.
    pub clock_skew: Duration,
    /// A client that never got a grant is forgotten after this. Default 30 d.
    pub unused_client: Duration,
    /// The same beyond the first thousand registrations of a day and process: longer than consent,
    /// login and redemption take together, so that whoever is signing in right now can finish.
    /// Default 1 h; no longer than `unused_client`.
    pub pressed_client: Duration,
    /// A client is remembered this long after the longest life of its last grant. Default 90 d.
    pub used_client: Duration,
    /// How long a client's metadata document serves on that cannot be fetched again, counted from
    /// when it ought to have been. Default 24 h; 0 asks for a fresh one.
    pub client_document_stale: Duration,
}

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

impl Default for Lifetimes {
    fn default() -> Self {
        Self {
            consent: 15 * MINUTE,
            transaction: 15 * MINUTE,
            code: 5 * MINUTE,
            code_memory: DAY,
            access_token_basis: AccessTokenBasis::default(),
            access_token: HOUR,
            access_token_floor: 5 * MINUTE,
            outage_access_token: 5 * MINUTE,
            refresh_idle: 30 * DAY,
            refresh_absolute: 90 * DAY,
            session_without_refresh: 8 * HOUR,
            refresh_grace: 2 * MINUTE,
            revocation_delay: Duration::from_secs(1),
            stream_check: Duration::from_secs(5),
            provider_token_fallback: HOUR,
            provider_token_longest: DAY,
            provider_refresh_margin: MINUTE,
            provider_call: Duration::from_secs(10),
            provider_outage_tolerance: HOUR,
            outbox: 7 * DAY,
            outbox_check: MINUTE,
            clock_skew: Duration::from_secs(5),
            unused_client: 30 * DAY,
            pressed_client: HOUR,
            used_client: 90 * DAY,
            client_document_stale: DAY,
        }
    }
}

impl Lifetimes {
    /// The longest grace window that every client gets (D5).
    pub const MAX_REFRESH_GRACE: Duration = Duration::from_mins(10);

    /// The largest difference between clocks that is put up with.
    pub const MAX_CLOCK_SKEW: Duration = Duration::from_mins(1);

    /// The longest life of an access token that others verify by themselves: they learn of a
    /// revocation only when it ends.
    pub const MAX_PUBLIC_ACCESS_TOKEN: Duration = Duration::from_mins(10);

    /// The longest that is accepted of any lifetime: far beyond anything useful, and far from where sums of Unix seconds overflow.
    const LONGEST: Duration = Duration::from_hours(10 * 365 * 24);

    /// How long one process may hold the right to call the provider for a grant (D6).
    pub(crate) fn lease(&self) -> Duration {
        self.provider_call * 3
    }

    /// How long an access token lives that is issued when `left` of the provider's token is left;
    /// `None` if nothing is known of its end.
    pub(crate) fn access_token_for(&self, left: Option<Duration>) -> Duration {
        match (self.access_token_basis, left) {
            (AccessTokenBasis::Provider, Some(left)) => {
                left.max(self.access_token_floor).min(self.access_token)
            }
            (AccessTokenBasis::Provider, None) | (AccessTokenBasis::Fixed, _) => self.access_token,
        }
    }

    /// What is wrong with these lifetimes, in words for the operator.
    pub(crate) fn complaint(&self) -> Option<String> {
        let positive = [
            ("consent", self.consent),
            ("transaction", self.transaction),
            ("code", self.code),
            ("code_memory", self.code_memory),
            ("access_token", self.access_token),
            ("access_token_floor", self.access_token_floor),
            ("outage_access_token", self.outage_access_token),
            ("refresh_idle", self.refresh_idle),
            ("refresh_absolute", self.refresh_absolute),
            ("session_without_refresh", self.session_without_refresh),
            ("stream_check", self.stream_check),
            ("provider_token_fallback", self.provider_token_fallback),
            ("provider_token_longest", self.provider_token_longest),
            ("provider_call", self.provider_call),
            ("outbox", self.outbox),
            ("outbox_check", self.outbox_check),
            ("unused_client", self.unused_client),
            ("pressed_client", self.pressed_client),
            ("used_client", self.used_client),
        ];
        for (name, lifetime) in positive {
            if lifetime < Duration::from_secs(1) {
                return Some(format!("lifetime `{name}` is {lifetime:?}; it must be at least 1 s"));
            }
        }
        let every = positive.into_iter().chain([
            ("revocation_delay", self.revocation_delay),
            ("provider_refresh_margin", self.provider_refresh_margin),
            ("provider_outage_tolerance", self.provider_outage_tolerance),
            ("client_document_stale", self.client_document_stale),
        ]);
        for (name, lifetime) in every {
            if lifetime > Self::LONGEST {
                return Some(format!("lifetime `{name}` is {lifetime:?}; it must be at most 10 y"));
            }
        }
        if self.clock_skew > Self::MAX_CLOCK_SKEW {
            return Some(format!(
                "lifetime `clock_skew` is {:?}; it must be at most {:?}: set the clocks",
                self.clock_skew,
                Self::MAX_CLOCK_SKEW
            ));
        }
        if self.refresh_grace > Self::MAX_REFRESH_GRACE {
            return Some(format!(
                "lifetime `refresh_grace` is {:?}; it must be at most {:?}",
                self.refresh_grace,
                Self::MAX_REFRESH_GRACE
            ));
        }
        if self.code_memory < self.code {
            return Some("lifetime `code_memory` must not be shorter than `code`".to_owned());
        }
        None
    }
}

/// What the routes read; made once by the builder, never changed.
#[derive(Debug)]
pub(crate) struct Config {
    /// The issuer is the base URL, byte for byte, without a trailing slash (D1).
    pub(crate) issuer: String,
    /// The path of the issuer: empty, or `/x` without a trailing slash.
    pub(crate) base_path: String,
    /// Where the provider returns, below `base_path`.
    pub(crate) callback_path: String,
    /// Whether cookies carry `Secure` and the `__Host-` prefix (D9).
    pub(crate) secure_cookies: bool,
    /// The protected resources; the first is the default.
    pub(crate) resources: Resources,
    /// What a token must have to use a resource, and what a client that asks for nothing gets.
    pub(crate) required_scopes: ScopeSet,
    /// What a client may ask for.
    pub(crate) supported_scopes: ScopeSet,
    /// Which redirect URIs may be registered.
    pub(crate) redirect_policy: RedirectPolicy,
    /// Which clients may be described by a document of their own.
    pub(crate) client_documents: ClientDocuments,
    /// Who may ask about tokens, each with its resource.
    pub(crate) resource_servers: Vec<ResourceServer>,
    /// Who may log in.
    pub(crate) access: AccessPolicy,
    /// How the consent page names the provider.
    pub(crate) provider_name: String,
    /// All lifetimes.
    pub(crate) lifetimes: Lifetimes,
    /// What holds for some clients instead.
    pub(crate) client_rules: ClientRules,
    /// How many proxies in front are believed about where a request came from.
    pub(crate) trusted_proxies: usize,
}

impl Config {
    /// An absolute URL below the issuer.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }

    /// Scheme, host and port of the issuer, as browsers write it in `Origin`.
    pub(crate) fn origin(&self) -> &str {
        self.issuer.strip_suffix(&self.base_path).unwrap_or(&self.issuer)
    }

    /// Our RFC 8414 document: the well-known name goes between host and path.
    pub(crate) fn metadata_url(&self) -> String {
        format!("{}/.well-known/oauth-authorization-server{}", self.origin(), self.base_path)
    }

    /// The redirect URI that is registered at the provider.
    pub(crate) fn callback_url(&self) -> String {
        self.url(&self.callback_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_accepted() {
        assert_eq!(Lifetimes::default().complaint(), None);
    }

    #[test]
    fn a_lifetime_out_of_bounds_is_named() {
        let zero = Lifetimes { access_token: Duration::ZERO, ..Lifetimes::default() };
        assert!(zero.complaint().unwrap().contains("`access_token`"));
        let grace = Lifetimes { refresh_grace: HOUR, ..Lifetimes::default() };
        assert!(grace.complaint().unwrap().contains("`refresh_grace`"));
        let endless = Lifetimes { revocation_delay: Duration::MAX, ..Lifetimes::default() };
        assert!(endless.complaint().unwrap().contains("`revocation_delay`"));
        let skew = Lifetimes { clock_skew: HOUR, ..Lifetimes::default() };
        assert!(skew.complaint().unwrap().contains("`clock_skew`"));
        let memory = Lifetimes { code_memory: MINUTE, ..Lifetimes::default() };
        assert!(memory.complaint().unwrap().contains("`code_memory`"));
    }
}
