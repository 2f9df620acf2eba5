//! The application that the administrator registered at the provider, and the requests it makes.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Method, Request, Response, header};
use outbound_http::Client;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use url::{Url, form_urlencoded};

use super::{
    AuthorizeRequest, ExchangeRequest, ProviderError, ProviderTokens,
    answer::{Answer, Sent},
    token_response,
};

mod auth_method;
mod builder;

pub use auth_method::ClientAuthMethod;
pub use builder::ApplicationBuilder;

/// The one ordinary application that stands registered at the provider.
///
/// Knows how requests look on the wire and how to read the answers; where they go is told at each
/// call, so that fixed and discovered endpoints share it.
#[derive(Clone)]
pub struct Application {
    client_id: String,
    client_secret: Option<SecretString>,
    auth_method: Option<ClientAuthMethod>,
    scopes: Vec<String>,
    audience: Option<String>,
    extra_authorize_params: Vec<(String, String)>,
    extra_token_params: Vec<(String, String)>,
    http: Client,
}

/// A provider endpoint at which the application authenticates.
#[derive(Clone, Copy, Debug)]
pub struct TokenEndpoint<'a> {
    /// Its URL.
    pub url: &'a str,
    /// The methods that the provider advertises, by their wire names; empty if it says nothing.
    pub auth_methods_supported: &'a [String],
}

impl Application {
    /// Starts with the client id that the provider assigned.
    pub fn builder(client_id: impl Into<String>) -> ApplicationBuilder {
        ApplicationBuilder::new(client_id.into())
    }

    /// The client id that the provider assigned.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The secret that the provider assigned; `None` for a public client.
    pub fn client_secret(&self) -> Option<&SecretString> {
        self.client_secret.as_ref()
    }

    /// The scopes to ask for, as configured.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }

    /// Replaces the scopes to ask for.
    #[must_use]
    pub fn with_scopes(mut self, scopes: Vec<String>) -> Self {
        self.scopes = scopes;
        self
    }

    /// The HTTP client that the requests go through.
    pub fn http(&self) -> &Client {
        &self.http
    }

    /// The URL for the person's browser (RFC 6749 §4.1.1), with PKCE always (RFC 7636 §4.3).
    ///
    /// A query that the endpoint already has stays as it is (RFC 6749 §3.1). The nonce goes along
    /// when the scopes contain `openid`.
    ///
    /// # Errors
    ///
    /// [`ProviderError::Refused`] if `endpoint` is not an absolute http or https URL.
    pub fn authorize_url(
        &self,
        endpoint: &str,
        request: &AuthorizeRequest,
    ) -> Result<String, ProviderError> {
        let parsed = Url::parse(endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| ProviderError::Refused {
                reason: "the provider's authorization endpoint is not an http or https URL"
                    .to_owned(),
            })?;
        let scope = self.scopes.join(" ");
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.client_id)
            .append_pair("redirect_uri", &request.redirect_uri)
            .append_pair("state", &request.state)
            .append_pair("code_challenge", &request.code_challenge)
            .append_pair("code_challenge_method", "S256");
        if !scope.is_empty() {
            query.append_pair("scope", &scope);
        }
        if self.scopes.iter().any(|scope| scope == "openid") {
            query.append_pair("nonce", &request.nonce);
        }
        query.extend_pairs(self.with_audience(&self.extra_authorize_params));
        let base = endpoint.split('#').next().unwrap_or(endpoint);
        let separator = match parsed.query() {
            None => "?",
            Some("") => "",
            Some(query) if query.ends_with('&') => "",
            Some(_) => "&",
        };
        Ok(format!("{base}{separator}{}", query.finish()))
    }

    /// Exchanges the provider's code (RFC 6749 §4.1.3).
    ///
    /// # Errors
    ///
    /// See [`ProviderError`].
    pub async fn exchange(
        &self,
        endpoint: TokenEndpoint<'_>,
        request: &ExchangeRequest,
    ) -> Result<ProviderTokens, ProviderError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", request.code.expose_secret()),
            ("redirect_uri", &request.redirect_uri),
            ("code_verifier", request.code_verifier.expose_secret()),
        ];
        let sent = self.sent([&request.code, &request.code_verifier]);
        let params = self.with_audience(&self.extra_token_params);
        let form = self.form_request(endpoint, form.into_iter().chain(params));
        let response = self.send("token endpoint", form).await?;
        let answer = Answer::new("token endpoint", &response, &sent)
            .with_redirect_uri(&request.redirect_uri)
            .json()?;
        token_response::read(answer)
    }

    /// Obtains fresh tokens (RFC 6749 §6).
    ///
    /// # Errors
    ///
    /// See [`ProviderError`].
    pub async fn refresh(
        &self,
        endpoint: TokenEndpoint<'_>,
        refresh_token: &SecretString,
    ) -> Result<ProviderTokens, ProviderError> {
        let form =
            [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
        let sent = self.sent([refresh_token]);
        let params = self.with_audience(&self.extra_token_params);
        let form = self.form_request(endpoint, form.into_iter().chain(params));
        let response = self.send("token endpoint", form).await?;
        token_response::read(Answer::new("token endpoint", &response, &sent).json()?)
    }

    /// Tells the provider that a token is no longer needed (RFC 7009 §2.1).
    ///
    /// A token that the provider no longer knows is as good as revoked.
    ///
    /// # Errors
    ///
    /// See [`ProviderError`].
    pub async fn revoke(
        &self,
        endpoint: TokenEndpoint<'_>,
        token: &SecretString,
    ) -> Result<(), ProviderError> {
        let form = [("token", token.expose_secret())];
        let sent = self.sent([token]);
        let form = self.form_request(endpoint, form.into_iter());
        let response = self.send("revocation endpoint", form).await?;
        if response.status().is_success() {
            return Ok(());
        }
        Answer::new("revocation endpoint", &response, &sent).revocation()
    }

    /// Asks the userinfo endpoint who the access token stands for (OpenID Connect Core §5.3).
    ///
    /// # Errors
    ///
    /// [`ProviderError::Refused`] if the provider does not accept the token or answers with a
    /// signed document, [`ProviderError::Unavailable`] if it does not answer with JSON.
    pub async fn userinfo(
        &self,
        url: &str,
        access_token: &SecretString,
    ) -> Result<Map<String, Value>, ProviderError> {
        const ENDPOINT: &str = "userinfo endpoint";
        let bearer = format!("Bearer {}", access_token.expose_secret());
        let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| ProviderError::Refused {
            reason: "the access token contains characters that no header can carry".to_owned(),
        })?;
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(Method::GET)
            .uri(url)
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, bearer)
            .body(Vec::new());
        let response = self.send(ENDPOINT, request).await?;
        Answer::new(ENDPOINT, &response, &self.sent([access_token])).userinfo()
    }

    /// A form with the application's own authentication.
    fn form_request<'a>(
        &self,
        endpoint: TokenEndpoint<'_>,
        params: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Request<Vec<u8>>, http::Error> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(params);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(endpoint.url)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        match (self.auth_method_at(endpoint), &self.client_secret) {
            (ClientAuthMethod::ClientSecretBasic, Some(secret)) => {
                request = request.header(header::AUTHORIZATION, self.basic(secret));
            }
            (ClientAuthMethod::ClientSecretPost, Some(secret)) => {
                form.append_pair("client_id", &self.client_id)
                    .append_pair("client_secret", secret.expose_secret());
            }
            _ => {
                form.append_pair("client_id", &self.client_id);
            }
        }
        request.body(form.finish().into_bytes())
    }

    async fn send(
        &self,
        name: &'static str,
        request: Result<Request<Vec<u8>>, http::Error>,
    ) -> Result<Response<Vec<u8>>, ProviderError> {
        let request = request.map_err(|_| ProviderError::Refused {
            reason: format!("the provider's {name} is not a usable URL"),
        })?;
        self.http.send(request).await.map_err(|error| {
            let reason = format!("{name}: {}", crate::error::chain(&error));
            match error {
                outbound_http::Error::Forbidden { .. }
                | outbound_http::Error::InvalidUrl { .. } => ProviderError::Refused { reason },
                _ => ProviderError::Unavailable { reason, retry_after: None },
            }
        })
    }

    /// The configured method, else the best that both sides know.
    ///
    /// A provider that says nothing gets Basic, the default of OpenID Connect Discovery §3.
    fn auth_method_at(&self, endpoint: TokenEndpoint<'_>) -> ClientAuthMethod {
        if let Some(method) = self.auth_method {
            return method;
        }
        if self.client_secret.is_none() {
            return ClientAuthMethod::None;
        }
        let knows = |method: ClientAuthMethod| {
            endpoint.auth_methods_supported.iter().any(|name| name == method.as_str())
        };
        if knows(ClientAuthMethod::ClientSecretPost) && !knows(ClientAuthMethod::ClientSecretBasic)
        {
            ClientAuthMethod::ClientSecretPost
        } else {
            ClientAuthMethod::ClientSecretBasic
        }
    }

    fn basic(&self, secret: &SecretString) -> HeaderValue {
        let encode =
            |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
        let pair = format!("{}:{}", encode(&self.client_id), encode(secret.expose_secret()));
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
            .expect("base64 is ASCII");
        value.set_sensitive(true);
        value
    }

    /// The extra parameters, and the audience unless they name one themselves.
    fn with_audience<'a>(
        &'a self,
        extra: &'a [(String, String)],
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let audience =
            self.audience.as_deref().filter(|_| !extra.iter().any(|(name, _)| name == "audience"));
        audience
            .map(|audience| ("audience", audience))
            .into_iter()
            .chain(extra.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// What must not come back in an error text.
    fn sent<const N: usize>(&self, secrets: [&SecretString; N]) -> Sent {
        Sent::new(secrets.into_iter().chain(&self.client_secret))
    }
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("client_id", &self.client_id)
            .field("auth_method", &self.auth_method)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
