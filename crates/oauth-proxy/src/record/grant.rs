//! One authorization: the thing that is revoked (D4).

use std::{collections::BTreeSet, time::Duration};

use jwt_issuer::AccessClaims;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    config::Lifetimes,
    provider::{Identity, ProviderTokens},
    record::{secret, transaction::ClientSnapshot},
    scope::ScopeSet,
    store::Record,
};

/// A pending grant lives this much longer than its code, so that a redemption in the last second
/// still finds it.
const PENDING_MARGIN: Duration = Duration::from_mins(1);

/// Stored under its id. Deleting it kills every token of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) id: String,
    pub(crate) phase: Phase,
    /// The provider that vouched for the subject.
    pub(crate) issuer: String,
    pub(crate) subject: String,
    pub(crate) claims: Map<String, Value>,
    /// Which of the claims are asked for again at a renewal without an ID token.
    #[serde(default)]
    pub(crate) from_userinfo: BTreeSet<String>,
    pub(crate) client: ClientSnapshot,
    /// Where the code went, if that is a site on the web: what the operator set for it holds.
    #[serde(default)]
    pub(crate) redirect_host: Option<String>,
    pub(crate) scopes: ScopeSet,
    pub(crate) resource: String,
    pub(crate) provider: ProviderSession,
    /// Random; every refresh token of this grant is computed from it (D5).
    #[serde(with = "secret")]
    pub(crate) seed: SecretString,
    /// Counts rotations; the refresh token of this generation is the current one.
    pub(crate) generation: u64,
    /// Generations that were current within the grace window.
    pub(crate) retired: Vec<Retired>,
    /// Who may call the provider now (D6).
    pub(crate) refreshing: Option<Lease>,
    pub(crate) created_at: u64,
    /// When the provider last let it be known who this is; 0 in grants that are older than this.
    #[serde(default)]
    pub(crate) judged_at: u64,
    /// Last redemption or rotation.
    pub(crate) used_at: u64,
    /// The grant ends here whatever happens.
    pub(crate) not_after: u64,
}

/// Where a grant stands in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Phase {
    /// The code was not redeemed yet.
    Pending,
    /// Redeemed by this attempt.
    Active { attempt: String },
}

/// The provider's side of a grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProviderSession {
    #[serde(with = "secret")]
    pub(crate) access_token: SecretString,
    #[serde(with = "secret::option")]
    pub(crate) refresh_token: Option<SecretString>,
    /// Unix seconds: when it must be renewed, or when it ends if it cannot be. Absent if the
    /// provider did not say and gave nothing to renew with.
    pub(crate) expires_at: Option<u64>,
    /// Unix seconds: when the provider gave it.
    #[serde(default)]
    pub(crate) obtained_at: u64,
}

/// A generation and when it was retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retired {
    pub(crate) generation: u64,
    pub(crate) at: u64,
}

/// The right to call the provider, until a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    pub(crate) holder: String,
    pub(crate) until: u64,
}

impl Record for Grant {
    const COLLECTION: &'static str = "grants";
    const FORMAT: u8 = 1;
}

impl ProviderSession {
    pub(crate) fn new(tokens: &ProviderTokens, now: u64, lifetimes: &Lifetimes) -> Self {
        let mut session = Self {
            access_token: tokens.access_token.clone(),
            refresh_token: tokens.refresh_token.clone(),
            expires_at: tokens.expires_in.map(|lifetime| now.saturating_add(lifetime.as_secs())),
            obtained_at: now,
        };
        session.bound(now, lifetimes);
        session
    }

    /// Makes sure that a session that can be renewed will be.
    fn bound(&mut self, now: u64, lifetimes: &Lifetimes) {
        if self.refresh_token.is_some() {
            let after = |lifetime: Duration| now.saturating_add(lifetime.as_secs());
            let end = self.expires_at.unwrap_or(after(lifetimes.provider_token_fallback));
            self.expires_at = Some(end.min(after(lifetimes.provider_token_longest)));
        }
    }

    /// Takes over what a refresh brought; a provider that does not rotate sends no refresh token.
    pub(crate) fn renew(&mut self, tokens: &ProviderTokens, now: u64, lifetimes: &Lifetimes) {
        let kept = self.refresh_token.take();
        *self = Self::new(tokens, now, lifetimes);
        if self.refresh_token.is_none() {
            self.refresh_token = kept;
            self.bound(now, lifetimes);
        }
    }

    /// Whether the access token has not ended, as far as the provider said.
    pub(crate) fn is_good(&self, now: u64) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// How much of it is left; `None` if nobody said, or if it has ended for good.
    pub(crate) fn left(&self, now: u64) -> Option<Duration> {
        let end = self.expires_at.filter(|_| self.refresh_token.is_some() || self.is_good(now))?;
        Some(Duration::from_secs(end.saturating_sub(now)))
    }

    /// Whether it is time to renew, and possible.
    pub(crate) fn is_due(&self, now: u64, margin: Duration) -> bool {
        self.renew_at(margin).is_some_and(|at| at <= now)
    }

    /// When it is time to renew, if that is possible: so long before the end, but not before half
    /// of its life is over.
    pub(crate) fn renew_at(&self, margin: Duration) -> Option<u64> {
        let end = self.refresh_token.as_ref().and(self.expires_at)?;
        let life = end.saturating_sub(self.obtained_at);
        Some(end.saturating_sub(margin.as_secs().min(life / 2)))
    }
}

impl Grant {
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Active { .. })
    }

    /// Who logged in, as far as is known now.
    pub(crate) fn identity(&self) -> Identity {
        Identity {
            issuer: self.issuer.clone(),
            subject: self.subject.clone(),
            claims: self.claims.clone(),
            from_userinfo: self.from_userinfo.clone(),
        }
    }

    /// Whether it stands behind an access token that says this.
    pub(crate) fn backs(&self, claims: &AccessClaims) -> bool {
        self.is_active()
            && self.client.id == claims.client_id
            && self.subject == claims.sub
            && self.resource == claims.aud
    }

    /// How long a login counts of which nobody finds out whether the person is still welcome, in
    /// Unix seconds: the provider is to be asked once in its longest token, give or take an outage.
    pub(crate) fn judged_until(&self, lifetimes: &Lifetimes) -> u64 {
        let unasked = lifetimes.provider_token_longest + lifetimes.provider_outage_tolerance;
        self.judged_at.max(self.created_at).saturating_add(unasked.as_secs())
    }

    /// Ends it so long after its login at the latest.
    pub(crate) fn end_within(&mut self, absolute: Duration) {
        self.not_after = self.not_after.min(self.created_at.saturating_add(absolute.as_secs()));
    }

    /// How long the store keeps the record from now on.
    pub(crate) fn ttl(&self, now: u64, lifetimes: &Lifetimes) -> Duration {
        match self.phase {
            Phase::Pending => lifetimes.code + PENDING_MARGIN,
            Phase::Active { .. } => {
                let left = Duration::from_secs(self.not_after.saturating_sub(now));
                left.min(lifetimes.refresh_idle).max(Duration::from_secs(1))
            }
        }
    }

    /// Whether somebody holds the right to call the provider.
    pub(crate) fn is_leased(&self, now: u64) -> bool {
        self.refreshing.as_ref().is_some_and(|lease| lease.until > now)
    }
}

#[cfg(test)]
impl Grant {
    /// One whose code was not redeemed yet, from second 1,000 to 100,000.
    pub(crate) fn example() -> Self {
        Self {
            id: "grant".to_owned(),
            phase: Phase::Pending,
            issuer: "https://idp.example".to_owned(),
            subject: "alice".to_owned(),
            claims: Map::new(),
            from_userinfo: BTreeSet::new(),
            client: ClientSnapshot {
                id: "client".to_owned(),
                name: None,
                refreshes: true,
                signs: false,
            },
            redirect_host: None,
            scopes: ScopeSet::parse("openid"),
            resource: "https://mcp.example/mcp".to_owned(),
            provider: ProviderSession {
                access_token: SecretString::from("provider"),
                refresh_token: None,
                expires_at: None,
                obtained_at: 0,
            },
            seed: SecretString::from("seed"),
            generation: 0,
            retired: Vec::new(),
            refreshing: None,
            created_at: 1_000,
            judged_at: 1_000,
            used_at: 1_000,
            not_after: 100_000,
        }
    }
}
