//! A provider that does as it is told and counts what it is asked.

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use oauth_proxy::provider::{
    AuthorizeRequest, ExchangeRequest, Identity, Provider, ProviderError, ProviderTokens,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// What the provider does next; every field can be changed while it runs.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) expires_in: Option<Duration>,
    pub(crate) gives_refresh_token: bool,
    pub(crate) rotates: bool,
    /// Whether a refresh token may be used twice.
    pub(crate) reusable: bool,
    pub(crate) identity: Option<Identity>,
    /// After a refresh; `None` is normal.
    pub(crate) refreshed_identity: Option<Identity>,
    pub(crate) exchange_fails: Option<fn() -> ProviderError>,
    pub(crate) identify_fails: Option<fn() -> ProviderError>,
    pub(crate) refresh_fails: Option<fn() -> ProviderError>,
    pub(crate) revoke_fails: Option<fn() -> ProviderError>,
    pub(crate) expected_iss: Option<&'static str>,
}

#[derive(Debug)]
pub(crate) struct FakeProvider {
    pub(crate) plan: Mutex<Plan>,
    pub(crate) exchanges: AtomicUsize,
    pub(crate) refreshes: AtomicUsize,
    pub(crate) revoked: Mutex<Vec<String>>,
    /// Who was known at each refresh.
    pub(crate) known: Mutex<Vec<Identity>>,
    /// Refreshes wait for a permit: tests hold them back.
    pub(crate) refresh_gate: Semaphore,
    /// Revocations wait for a permit.
    pub(crate) revoke_gate: Semaphore,
    /// Revocations that were begun, failed ones included.
    pub(crate) revocations: AtomicUsize,
    minted: AtomicUsize,
    used: Mutex<BTreeSet<String>>,
}

pub(crate) fn person(subject: &str, claims: &Value) -> Identity {
    Identity::new("https://idp.example", subject, claims.as_object().unwrap().clone())
}

impl Default for FakeProvider {
    fn default() -> Self {
        let plan = Plan {
            expires_in: Some(Duration::from_hours(24)),
            gives_refresh_token: true,
            rotates: true,
            reusable: true,
            identity: Some(person("alice", &json!({"name": "Alice"}))),
            refreshed_identity: None,
            exchange_fails: None,
            identify_fails: None,
            refresh_fails: None,
            revoke_fails: None,
            expected_iss: None,
        };
        Self {
            plan: Mutex::new(plan),
            exchanges: AtomicUsize::new(0),
            refreshes: AtomicUsize::new(0),
            revoked: Mutex::default(),
            known: Mutex::default(),
            refresh_gate: Semaphore::new(Semaphore::MAX_PERMITS),
            revoke_gate: Semaphore::new(Semaphore::MAX_PERMITS),
            revocations: AtomicUsize::new(0),
            minted: AtomicUsize::new(0),
            used: Mutex::default(),
        }
    }
}

impl FakeProvider {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().unwrap());
    }

    pub(crate) fn refreshes(&self) -> usize {
        self.refreshes.load(Ordering::SeqCst)
    }

    pub(crate) fn told(&self) -> Vec<String> {
        let mut told = self.revoked.lock().unwrap().clone();
        told.sort_unstable();
        told
    }

    fn tokens(&self, plan: &Plan, with_refresh_token: bool) -> ProviderTokens {
        let number = self.minted.fetch_add(1, Ordering::SeqCst);
        ProviderTokens {
            access_token: SecretString::from(format!("provider-access-{number}")),
            refresh_token: with_refresh_token
                .then(|| SecretString::from(format!("provider-refresh-{number}"))),
            id_token: None,
            expires_in: plan.expires_in,
            // Never what a client was granted: nobody may get it from here.
            scope: Some("openid admin everything".to_owned()),
        }
    }
}

#[async_trait]
impl Provider for FakeProvider {
    async fn authorize_url(&self, request: &AuthorizeRequest) -> Result<String, ProviderError> {
        let AuthorizeRequest { redirect_uri, state, nonce, code_challenge, .. } = request;
        Ok(format!(
            "https://idp.example/authorize?redirect_uri={redirect_uri}&state={state}\
             &nonce={nonce}&code_challenge={code_challenge}"
        ))
    }

    async fn check_response_issuer(&self, iss: Option<&str>) -> Result<(), ProviderError> {
        let expected = self.plan.lock().unwrap().expected_iss;
        if expected.is_none() || iss == expected {
            return Ok(());
        }
        Err(ProviderError::Refused { reason: "`iss` is not the provider's".to_owned() })
    }

    async fn exchange(&self, request: &ExchangeRequest) -> Result<ProviderTokens, ProviderError> {
        self.exchanges.fetch_add(1, Ordering::SeqCst);
        assert_eq!(request.code.expose_secret(), "provider-code");
        let plan = self.plan.lock().unwrap();
        match plan.exchange_fails {
            Some(error) => Err(error()),
            None => Ok(self.tokens(&plan, plan.gives_refresh_token)),
        }
    }

    async fn identify(
        &self,
        _tokens: &ProviderTokens,
        nonce: Option<&str>,
    ) -> Result<Option<Identity>, ProviderError> {
        let plan = self.plan.lock().unwrap();
        if let Some(error) = plan.identify_fails {
            return Err(error());
        }
        Ok(if nonce.is_some() { plan.identity.clone() } else { plan.refreshed_identity.clone() })
    }

    async fn identify_again(
        &self,
        tokens: &ProviderTokens,
        known: &Identity,
    ) -> Result<Option<Identity>, ProviderError> {
        self.known.lock().unwrap().push(known.clone());
        self.identify(tokens, None).await
    }

    async fn refresh(&self, token: &SecretString) -> Result<ProviderTokens, ProviderError> {
        assert!(token.expose_secret().starts_with("provider-refresh-"));
        self.refreshes.fetch_add(1, Ordering::SeqCst);
        let _permit = self.refresh_gate.acquire().await.unwrap();
        let plan = self.plan.lock().unwrap();
        if let Some(error) = plan.refresh_fails {
            return Err(error());
        }
        let first = self.used.lock().unwrap().insert(token.expose_secret().to_owned());
        if !first && !plan.reusable {
            let reason = "the token was used before".to_owned();
            return Err(ProviderError::InvalidGrant { reason });
        }
        Ok(self.tokens(&plan, plan.rotates))
    }

    async fn revoke(&self, token: &SecretString) -> Result<(), ProviderError> {
        self.revocations.fetch_add(1, Ordering::SeqCst);
        let _permit = self.revoke_gate.acquire().await.unwrap();
        if let Some(error) = self.plan.lock().unwrap().revoke_fails {
            return Err(error());
        }
        self.revoked.lock().unwrap().push(token.expose_secret().to_owned());
        Ok(())
    }
}
