//! Settings of the application, checked once.

use std::fmt;

use outbound_http::Client;
use secrecy::{ExposeSecret, SecretString};

use super::{Application, ClientAuthMethod};
use crate::provider::InvalidSetting;

/// Parameters of the authorization request that carry our side of the protocol.
///
/// `response_mode`, `request` and `request_uri` would change where the others travel.
const RESERVED_AUTHORIZE_PARAMS: [&str; 11] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "request",
    "request_uri",
    "response_mode",
    "response_type",
    "scope",
    "state",
];

/// Parameters of the token request that carry our side of the protocol.
const RESERVED_TOKEN_PARAMS: [&str; 7] = [
    "client_id",
    "client_secret",
    "code",
    "code_verifier",
    "grant_type",
    "redirect_uri",
    "refresh_token",
];

/// Collects the settings of an [`Application`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ApplicationBuilder {
    client_id: String,
    client_secret: Option<SecretString>,
    auth_method: Option<ClientAuthMethod>,
    scopes: Vec<String>,
    audience: Option<String>,
    extra_authorize_params: Vec<(String, String)>,
    extra_token_params: Vec<(String, String)>,
    http: Option<Client>,
}

impl ApplicationBuilder {
    pub(super) fn new(client_id: String) -> Self {
        Self {
            client_id,
            client_secret: None,
            auth_method: None,
            scopes: Vec::new(),
            audience: None,
            extra_authorize_params: Vec::new(),
            extra_token_params: Vec::new(),
            http: None,
        }
    }

    /// The client id that the provider assigned.
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// The secret that the provider assigned; without one the application is a public client.
    pub fn client_secret(mut self, secret: SecretString) -> Self {
        self.client_secret = Some(secret);
        self
    }

    /// How to authenticate at the token endpoint; by default what the provider advertises.
    pub fn auth_method(mut self, method: ClientAuthMethod) -> Self {
        self.auth_method = Some(method);
        self
    }

    /// The scopes to ask for.
    pub fn scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// An `audience` parameter for authorization and token requests (Auth0 and others).
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// More parameters for the authorization request, such as `prompt` or `access_type`.
    pub fn extra_authorize_params<N: Into<String>, V: Into<String>>(
        mut self,
        params: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.extra_authorize_params = owned(params);
        self
    }

    /// More parameters for token requests, both exchange and refresh.
    pub fn extra_token_params<N: Into<String>, V: Into<String>>(
        mut self,
        params: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.extra_token_params = owned(params);
        self
    }

    /// The HTTP client to use; by default one with `outbound-http`'s own limits.
    pub fn http(mut self, client: Client) -> Self {
        self.http = Some(client);
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    ///
    /// [`InvalidSetting`] names the setting that cannot work.
    pub fn build(self) -> Result<Application, InvalidSetting> {
        if self.client_id.is_empty() || self.client_id.chars().any(char::is_control) {
            return Err(InvalidSetting::new(
                "client_id",
                "is empty or contains control characters; copy it from the provider's console",
            ));
        }
        if self.client_secret.as_ref().is_some_and(|secret| secret.expose_secret().is_empty()) {
            return Err(InvalidSetting::new(
                "client_secret",
                "is empty; leave it out if the application is a public client",
            ));
        }
        match (self.auth_method, &self.client_secret) {
            (Some(ClientAuthMethod::None), Some(_)) => {
                return Err(InvalidSetting::new(
                    "token_endpoint_auth_method",
                    "is `none` although there is a client secret; leave one of the two out",
                ));
            }
            (Some(method), None) if method != ClientAuthMethod::None => {
                return Err(InvalidSetting::new(
                    "client_secret",
                    format!("is missing although token_endpoint_auth_method is `{method}`"),
                ));
            }
            _ => {}
        }
        refuse_reserved(
            "extra_authorize_params",
            &self.extra_authorize_params,
            &RESERVED_AUTHORIZE_PARAMS,
        )?;
        refuse_reserved("extra_token_params", &self.extra_token_params, &RESERVED_TOKEN_PARAMS)?;
        let http = match self.http {
            Some(client) => client,
            None => Client::builder()
                .build()
                .map_err(|error| InvalidSetting::new("http", format!("cannot be made: {error}")))?,
        };
        Ok(Application {
            client_id: self.client_id,
            client_secret: self.client_secret,
            auth_method: self.auth_method,
            scopes: self.scopes,
            audience: self.audience,
            extra_authorize_params: self.extra_authorize_params,
            extra_token_params: self.extra_token_params,
            http,
        })
    }
}

impl fmt::Debug for ApplicationBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApplicationBuilder")
            .field("client_id", &self.client_id)
            .field("auth_method", &self.auth_method)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

fn owned<N: Into<String>, V: Into<String>>(
    params: impl IntoIterator<Item = (N, V)>,
) -> Vec<(String, String)> {
    params.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn refuse_reserved(
    setting: &'static str,
    params: &[(String, String)],
    reserved: &[&str],
) -> Result<(), InvalidSetting> {
    match params.iter().find(|(name, _)| reserved.contains(&name.as_str())) {
        None => Ok(()),
        Some((name, _)) => Err(InvalidSetting::new(
            setting,
            format!("contains `{name}`, which the proxy sets itself; leave it out"),
        )),
    }
}
