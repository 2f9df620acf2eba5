//! Authorization requests: what a client may ask for, and how it is told no.

use serde::{Deserialize, Serialize};
use url::Url;

use crate::{config::Config, params::Params};

/// The scopes that mean something here; others are ignored, as OpenID Connect Core §3.1.2.1 asks.
pub(crate) const SCOPES: [&str; 5] = ["openid", "profile", "email", "groups", "offline_access"];

/// A valid request: client and redirect URI are registered, the rest is well-formed.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct AuthorizationRequest {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    pub(crate) state: Option<String>,
    pub(crate) nonce: Option<String>,
    pub(crate) scopes: Vec<String>,
    pub(crate) code_challenge: Option<String>,
    pub(crate) prompt: Vec<String>,
    /// Seconds since the last real login that the client accepts.
    pub(crate) max_age: Option<u64>,
    pub(crate) login_hint: Option<String>,
}

/// How a request is refused.
pub(crate) enum Refusal {
    /// To the person: whoever asks is not known well enough to be redirected to.
    Page(String),
    /// To the client, at its redirect URI.
    Redirect(ErrorResponse),
}

/// An authorization error response (RFC 6749 §4.1.2.1).
pub(crate) struct ErrorResponse {
    redirect_uri: String,
    state: Option<String>,
    code: &'static str,
    description: &'static str,
}

impl AuthorizationRequest {
    /// Checks a request: first who asks, then what.
    pub(crate) fn parse(params: &Params, config: &Config) -> Result<Self, Refusal> {
        let page = |text: &str| Refusal::Page(text.to_owned());
        let repeated = params.repeated();
        if let Some(name @ ("client_id" | "redirect_uri" | "state")) = repeated {
            return Err(Refusal::Page(format!("The parameter “{name}” occurs twice.")));
        }
        let client = params
            .get("client_id")
            .and_then(|id| config.client(id))
            .ok_or_else(|| page("No application is registered under this client_id."))?;
        let redirect_uri = params
            .get("redirect_uri")
            .filter(|uri| client.redirect_uris.iter().any(|registered| registered == uri))
            .ok_or_else(|| page("This redirect_uri is not registered for the application."))?;

        let state = params.get("state").map(str::to_owned);
        let refuse = |code, description| {
            Refusal::Redirect(ErrorResponse {
                redirect_uri: redirect_uri.to_owned(),
                state: state.clone(),
                code,
                description,
            })
        };
        if repeated.is_some() {
            return Err(refuse("invalid_request", "a parameter occurs twice"));
        }
        check_unsupported(params).map_err(|(code, description)| refuse(code, description))?;
        let code_challenge = code_challenge(params, client.client_secret.is_none())
            .map_err(|description| refuse("invalid_request", description))?;
        let prompt = words(params.get("prompt"));
        if prompt.len() > 1 && prompt.iter().any(|value| value == "none") {
            return Err(refuse("invalid_request", "prompt=none excludes every other prompt"));
        }
        let max_age = match params.get("max_age").map(str::parse) {
            None => None,
            Some(Ok(seconds)) => Some(seconds),
            Some(Err(_)) => return Err(refuse("invalid_request", "max_age is not a number")),
        };
        let mut scopes = words(params.get("scope"));
        scopes.retain(|scope| SCOPES.contains(&scope.as_str()));
        if scopes.is_empty() {
            return Err(refuse("invalid_scope", "no known scope is requested"));
        }
        Ok(Self {
            client_id: client.client_id.clone(),
            redirect_uri: redirect_uri.to_owned(),
            nonce: params.get("nonce").map(str::to_owned),
            login_hint: params.get("login_hint").map(str::to_owned),
            state,
            scopes,
            code_challenge,
            prompt,
            max_age,
        })
    }

    pub(crate) fn prompts(&self, value: &str) -> bool {
        self.prompt.iter().any(|prompt| prompt == value)
    }

    pub(crate) fn error(&self, code: &'static str, description: &'static str) -> ErrorResponse {
        ErrorResponse {
            redirect_uri: self.redirect_uri.clone(),
            state: self.state.clone(),
            code,
            description,
        }
    }

    /// Where the browser goes with a code. `iss` is left out only by a misbehaving provider.
    pub(crate) fn success_location(&self, code: &str, iss: Option<&str>) -> String {
        location(
            &self.redirect_uri,
            &[("code", Some(code)), ("state", self.state.as_deref()), ("iss", iss)],
        )
    }
}

impl ErrorResponse {
    /// Where the browser goes with the error.
    pub(crate) fn location(&self, iss: Option<&str>) -> String {
        location(
            &self.redirect_uri,
            &[
                ("error", Some(self.code)),
                ("error_description", Some(self.description)),
                ("state", self.state.as_deref()),
                ("iss", iss),
            ],
        )
    }
}

fn check_unsupported(params: &Params) -> Result<(), (&'static str, &'static str)> {
    if params.get("request").is_some() {
        return Err(("request_not_supported", "request objects are not supported"));
    }
    if params.get("request_uri").is_some() {
        return Err(("request_uri_not_supported", "request_uri is not supported"));
    }
    match params.get("response_type") {
        Some("code") => {}
        Some(_) => return Err(("unsupported_response_type", "only code is supported")),
        None => return Err(("invalid_request", "response_type is missing")),
    }
    match params.get("response_mode") {
        None | Some("query") => Ok(()),
        Some(_) => Err(("invalid_request", "only the response mode query is supported")),
    }
}

/// The challenge (RFC 7636 §4.2): S256 only, and required of public clients.
fn code_challenge(params: &Params, required: bool) -> Result<Option<String>, &'static str> {
    let method = params.get("code_challenge_method");
    match params.get("code_challenge") {
        None if method.is_some() => Err("code_challenge_method comes without code_challenge"),
        None if required => Err("this client must use PKCE: code_challenge is missing"),
        None => Ok(None),
        Some(_) if method != Some("S256") => Err("code_challenge_method must be S256"),
        // The base64url form of a SHA-256 always has 43 characters.
        Some(challenge) if challenge.len() != 43 => Err("code_challenge is not an S256 challenge"),
        Some(challenge) => Ok(Some(challenge.to_owned())),
    }
}

fn words(text: Option<&str>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.unwrap_or_default().split_ascii_whitespace() {
        if !words.iter().any(|other| other == word) {
            words.push(word.to_owned());
        }
    }
    words
}

/// Appends parameters to a registered redirect URI, keeping a query that it has.
fn location(redirect_uri: &str, params: &[(&str, Option<&str>)]) -> String {
    let Ok(mut url) = Url::parse(redirect_uri) else {
        unreachable!("redirect URIs are parsed when the provider is built");
    };
    url.query_pairs_mut()
        .extend_pairs(params.iter().filter_map(|(name, value)| Some((*name, (*value)?))));
    url.into()
}
