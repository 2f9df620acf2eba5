//! An OAuth client that sends exactly what a test tells it to.

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::browser::{Browser, Intent};

/// Where our authorization responses go; nobody listens there, the browser stops before.
pub const REDIRECT_URI: &str = "http://127.0.0.1:51999/callback";

/// What the newest MCP revision wants in the headers of a request.
const PROTOCOL: &str = "2026-07-28";

/// A proof key (RFC 7636).
#[derive(Debug, Clone)]
pub struct Pkce {
    /// What only the client knows until it redeems.
    pub verifier: String,
    /// Its SHA-256.
    pub challenge: String,
}

/// An authorization response that was not redeemed yet.
#[derive(Debug, Clone)]
pub struct Authorized {
    /// The code.
    pub code: String,
    /// The proof key of the request.
    pub pkce: Pkce,
    /// All parameters of the response.
    pub response: Url,
}

/// An answer in JSON, or in nothing.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; null if it is no JSON.
    pub json: Value,
    /// Its body as it came.
    pub text: String,
}

/// A registered client, and what it knows of its server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// The resource.
    pub resource: String,
    /// The authorization server's metadata.
    pub metadata: Value,
    /// What the registration answered.
    pub registration: Value,
}

/// The tokens of a token answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
}

impl Pkce {
    /// A fresh one.
    ///
    /// # Panics
    ///
    /// When the system has no randomness.
    pub fn new() -> Self {
        let verifier = random();
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        Self { verifier, challenge }
    }
}

impl Default for Pkce {
    fn default() -> Self {
        Self::new()
    }
}

/// 256 random bits in base64url.
///
/// # Panics
///
/// When the system has no randomness.
pub fn random() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Answer {
    /// Reads an answer to its end.
    ///
    /// # Errors
    ///
    /// When it breaks off.
    pub async fn read(response: reqwest::Response) -> anyhow::Result<Self> {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.context("the answer broke off")?;
        let json = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self { status, headers, json, text })
    }

    /// A header as text; nothing if it is absent.
    pub fn header(&self, name: impl header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The `error` of an OAuth error; nothing if there is none.
    pub fn error(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }

    /// The tokens of a token answer.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn tokens(&self) -> anyhow::Result<Tokens> {
        ensure!(self.status == StatusCode::OK, "{}: {}", self.status, self.text);
        let text = |name: &str| {
            let token =
                self.json[name].as_str().with_context(|| format!("no {name} in {}", self.text))?;
            anyhow::Ok(token.to_owned())
        };
        Ok(Tokens { access: text("access_token")?, refresh: text("refresh_token")? })
    }
}

impl Client {
    /// Finds the authorization server of an MCP endpoint as the specification says, and registers.
    ///
    /// # Errors
    ///
    /// When a step does not lead to the next.
    pub async fn register(mcp_endpoint: &str) -> anyhow::Result<Self> {
        let http = crate::http()?;
        let challenge = Answer::read(http.get(mcp_endpoint).send().await?).await?;
        ensure!(
            challenge.status == StatusCode::UNAUTHORIZED,
            "{}: {}",
            challenge.status,
            challenge.text
        );
        let challenge = challenge.header(header::WWW_AUTHENTICATE).to_owned();
        let resource_metadata = parameter(&challenge, "resource_metadata")
            .with_context(|| format!("no resource_metadata in {challenge}"))?;
        let document = Answer::read(http.get(resource_metadata).send().await?).await?.json;
        let issuer =
            document["authorization_servers"][0].as_str().context("no authorization server")?;
        let metadata_url = format!("{issuer}/.well-known/oauth-authorization-server");
        let metadata = Answer::read(http.get(metadata_url).send().await?).await?.json;
        let resource = document["resource"].as_str().context("no resource")?.to_owned();

        let mut client = Self { http, resource, metadata, registration: Value::Null };
        let answer = client
            .register_with(&json!({"client_name": "End to end", "redirect_uris": [REDIRECT_URI]}))
            .await?;
        ensure!(answer.status == StatusCode::CREATED, "{}: {}", answer.status, answer.text);
        client.registration = answer.json;
        Ok(client)
    }

    /// The same client, which keeps so many connections to each server: where a race is about the
    /// requests and no server is restarted.
    ///
    /// # Errors
    ///
    /// When reqwest cannot be set up.
    pub fn keeping_connections(&self, connections: usize) -> anyhow::Result<Self> {
        Ok(Self { http: crate::http_keeping(connections)?, ..self.clone() })
    }

    /// Sends a registration request; the client remains who it is.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn register_with(&self, body: &Value) -> anyhow::Result<Answer> {
        let request = self.http.post(self.endpoint("registration_endpoint")?).json(body);
        Answer::read(request.send().await?).await
    }

    /// An endpoint from the metadata.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn endpoint(&self, name: &str) -> anyhow::Result<&str> {
        self.metadata[name].as_str().with_context(|| format!("no {name} in the metadata"))
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.registration["client_id"].as_str().unwrap_or_default()
    }

    /// An authorization request with everything in it; `change` may replace or, with nothing,
    /// remove parameters.
    ///
    /// # Errors
    ///
    /// When the metadata has no authorization endpoint.
    pub fn authorization_request(
        &self,
        pkce: &Pkce,
        change: &[(&str, Option<&str>)],
    ) -> anyhow::Result<Url> {
        let state = random();
        let parameters = [
            ("response_type", "code"),
            ("client_id", self.id()),
            ("redirect_uri", REDIRECT_URI),
            ("code_challenge", pkce.challenge.as_str()),
            ("code_challenge_method", "S256"),
            ("resource", &self.resource),
            ("state", &state),
        ];
        let mut url: Url = self.endpoint("authorization_endpoint")?.parse()?;
        url.query_pairs_mut().extend_pairs(changed(&parameters, change));
        Ok(url)
    }

    /// Logs in with `browser`.
    ///
    /// # Errors
    ///
    /// When the way does not end with a code.
    pub async fn authorize(
        &self,
        browser: &mut Browser,
        intent: &Intent,
    ) -> anyhow::Result<Authorized> {
        let pkce = Pkce::new();
        let url = self.authorization_request(&pkce, &[])?;
        let state = query(&url, "state");
        let response = browser.authorize(url, REDIRECT_URI, intent).await?;
        ensure!(query(&response, "state") == state, "another state came back: {response}");
        let code = query(&response, "code").with_context(|| format!("no code: {response}"))?;
        Ok(Authorized { code, pkce, response })
    }

    /// Posts a form to an endpoint of the metadata.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn post(
        &self,
        endpoint: &str,
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<Answer> {
        let request = self.http.post(self.endpoint(endpoint)?).form(parameters);
        Answer::read(request.send().await?).await
    }

    /// Posts a form to the token endpoint.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn token(&self, parameters: &[(&str, &str)]) -> anyhow::Result<Answer> {
        self.post("token_endpoint", parameters).await
    }

    /// Redeems a code; `change` may replace or, with nothing, remove parameters.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn redeem(
        &self,
        authorized: &Authorized,
        change: &[(&str, Option<&str>)],
    ) -> anyhow::Result<Answer> {
        let parameters = [
            ("grant_type", "authorization_code"),
            ("code", authorized.code.as_str()),
            ("client_id", self.id()),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", &authorized.pkce.verifier),
            ("resource", &self.resource),
        ];
        self.token(&changed(&parameters, change)).await
    }

    /// Uses a refresh token.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn refresh(&self, refresh_token: &str) -> anyhow::Result<Answer> {
        let parameters = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
            ("client_id", self.id()),
            ("resource", &self.resource),
        ];
        self.token(&parameters).await
    }

    /// Revokes a token of either kind.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn revoke(&self, token: &str) -> anyhow::Result<Answer> {
        self.post("revocation_endpoint", &[("token", token), ("client_id", self.id())]).await
    }

    /// Logs in and redeems the code.
    ///
    /// # Errors
    ///
    /// When a step fails.
    pub async fn log_in(&self, browser: &mut Browser, intent: &Intent) -> anyhow::Result<Tokens> {
        let authorized = self.authorize(browser, intent).await?;
        self.redeem(&authorized, &[]).await?.tokens()
    }

    /// The call of a tool without any session, as the newest MCP revision does, not yet sent.
    pub fn call_request(
        &self,
        access_token: &str,
        tool: &str,
        arguments: &Value,
    ) -> reqwest::RequestBuilder {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": PROTOCOL,
            "io.modelcontextprotocol/clientInfo": {"name": "end-to-end", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {},
            "progressToken": "progress",
        });
        let body = json!({
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": meta},
        });
        self.http
            .post(&self.resource)
            .bearer_auth(access_token)
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", PROTOCOL)
            .header("mcp-method", "tools/call")
            .header("mcp-name", tool)
            .json(&body)
    }

    /// Calls a tool and leaves the answer unread.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn call(
        &self,
        access_token: &str,
        tool: &str,
        arguments: Value,
    ) -> anyhow::Result<reqwest::Response> {
        let request = self.call_request(access_token, tool, &arguments);
        request.send().await.context("no answer to the call")
    }

    /// The status of a harmless call with this access token.
    ///
    /// # Errors
    ///
    /// When nobody answers.
    pub async fn status_with(&self, access_token: &str) -> anyhow::Result<StatusCode> {
        Ok(self.call(access_token, "echo", json!({"text": "hello"})).await?.status())
    }
}

/// `parameters` with some replaced, added or removed.
fn changed<'a>(
    parameters: &[(&'a str, &'a str)],
    change: &[(&'a str, Option<&'a str>)],
) -> Vec<(&'a str, &'a str)> {
    let is_changed = |name: &str| change.iter().any(|(changed, _)| *changed == name);
    let kept = parameters.iter().copied().filter(|(name, _)| !is_changed(name));
    let new = change.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    kept.chain(new).collect()
}

/// The only value of a query parameter.
pub fn query(url: &Url, name: &str) -> Option<String> {
    let mut values =
        url.query_pairs().filter(|(found, _)| found == name).map(|(_, value)| value.into_owned());
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// A quoted parameter of a challenge.
pub fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
    Some(rest.split_once('"')?.0)
}
