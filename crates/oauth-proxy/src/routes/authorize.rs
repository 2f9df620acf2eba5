//! `GET`/`POST /authorize` (OAuth 2.1 §4.1.1): checks the request, stores nothing, asks the person.

use std::sync::Arc;

use axum::{
    Json,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jwt_issuer::random_token;
use serde::Serialize;

use crate::{
    app::App,
    cimd::NoClient,
    client::Client,
    client_auth,
    consent::ConsentRequest,
    context,
    cookie::CsrfCookie,
    error::{ErrorCode, OAuthError},
    pages,
    params::Params,
    pkce,
    record::transaction::{Authorization, ClientSnapshot},
    redirect_uri,
    routes::{consent, redirect},
    scope::{OFFLINE_ACCESS, ScopeSet},
};

/// The longest `state` that we carry: it goes into the sealed form and back into a URL.
const MAX_STATE_BYTES: usize = 8 * 1024;

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let params = Params::parse(query.unwrap_or_default().as_bytes());
    respond(&app, &headers, params).await
}

pub(crate) async fn post(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    params: Result<Params, OAuthError>,
) -> Response {
    respond(&app, &headers, params).await
}

async fn respond(app: &App, headers: &HeaderMap, params: Result<Params, OAuthError>) -> Response {
    let authorization = match params {
        Ok(params) => authorization(app, headers, &params).await,
        Err(error) => Err(Refusal::Here(error)),
    };
    match authorization {
        Ok(authorization) => {
            context::belongs_to_login(&authorization.login);
            tracing::info!(client = authorization.client.id, "a person is asked for consent");
            let csrf = CsrfCookie::of(&app.config, headers);
            let request = ConsentRequest::new(app, authorization, &csrf.value);
            consent::page(app, &request, &csrf)
        }
        Err(refusal) => refusal.into_response(app, headers),
    }
}

/// Where a refusal goes.
enum Refusal {
    /// The client is unknown: a page or JSON that helps it to register.
    UnknownClient,
    /// The client's document makes it none: a page that says why, or JSON that helps it to register.
    BadDocument(String),
    /// Nothing proves that the redirect URI is the client's: the person sees it, nobody else.
    Here(OAuthError),
    /// Back to the client (RFC 6749 §4.1.2.1).
    Client { redirect_uri: String, state: Option<String>, error: OAuthError },
}

/// Checks an authorization request.
async fn authorization(
    app: &App,
    headers: &HeaderMap,
    params: &Params,
) -> Result<Authorization, Refusal> {
    let here = Refusal::Here;
    let client_id = params.required("client_id").map_err(here)?;
    let client = client_auth::named(app, client_id, headers).await?;
    let redirect_uri = chosen_redirect_uri(&client, params.one("redirect_uri").map_err(here)?)
        .map_err(here)?
        .to_owned();
    let state = params.one("state").map_err(here)?.map(str::to_owned);
    match checked(app, params, &client, &redirect_uri, state.clone()) {
        Ok(authorization) => Ok(authorization),
        Err(error) => Err(Refusal::Client { redirect_uri, state, error }),
    }
}

/// The redirect URI must be registered; one that is the only one may be left out.
fn chosen_redirect_uri<'a>(
    client: &'a Client,
    requested: Option<&'a str>,
) -> Result<&'a str, OAuthError> {
    match (requested, client.redirect_uris.as_slice()) {
        (Some(uri), registered) if redirect_uri::is_registered(registered, uri) => Ok(uri),
        (None, [only]) => Ok(only),
        (Some(_), _) => Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "`redirect_uri` is not one that this client registered; it must match exactly",
        )),
        (None, _) => Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "the parameter `redirect_uri` is missing and the client registered several",
        )),
    }
}

/// Everything about which the client may hear itself.
fn checked(
    app: &App,
    params: &Params,
    client: &Client,
    redirect_uri: &str,
    state: Option<String>,
) -> Result<Authorization, OAuthError> {
    if state.as_ref().is_some_and(|state| state.len() > MAX_STATE_BYTES) {
        return Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "`state` is too long: at most 8 KiB are carried",
        ));
    }
    refuse_unsupported(params)?;
    if params.required("response_type")? != "code" {
        return Err(OAuthError::new(
            ErrorCode::UnsupportedResponseType,
            "`response_type` must be `code`",
        ));
    }
    let challenge = params.required("code_challenge")?;
    // An absent method means `plain` (RFC 7636 §4.3), which we do not do.
    if params.one("code_challenge_method")? != Some("S256") || !pkce::check_challenge(challenge) {
        return Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "PKCE is required with `code_challenge_method` `S256` and a challenge of 43 characters",
        ));
    }
    let resource = app.config.resources.resolve(params.resource()?)?;
    let requested = params.one("scope")?.map(ScopeSet::parse);
    let refreshes = client.snapshot.refreshes
        || requested.as_ref().is_some_and(|scopes| scopes.contains(OFFLINE_ACCESS));
    Ok(Authorization {
        login: random_token::<12>(),
        client: ClientSnapshot { refreshes, ..client.snapshot.clone() },
        redirect_uri: redirect_uri.to_owned(),
        state,
        code_challenge: challenge.to_owned(),
        scopes: granted(app, requested),
        resource: resource.to_owned(),
    })
}

/// Refuses what would be answered otherwise than the client expects if it were left unread.
/// Everything else that is unknown is ignored (OAuth 2.1 §3.1).
fn refuse_unsupported(params: &Params) -> Result<(), OAuthError> {
    let refuse = |code, why: &'static str| Err(OAuthError::new(code, why));
    if params.one("request")?.is_some() {
        let why = "`request` is not supported: send the parameters as they are";
        return refuse(ErrorCode::RequestNotSupported, why);
    }
    if params.one("request_uri")?.is_some() {
        let why = "`request_uri` is not supported: send the parameters as they are";
        return refuse(ErrorCode::RequestUriNotSupported, why);
    }
    // OAuth 2.0 Multiple Response Type Encoding Practices §2.1.
    if params.one("response_mode")?.is_some_and(|mode| mode != "query") {
        return refuse(ErrorCode::InvalidRequest, "`response_mode` must be `query`");
    }
    // Clients of MCP send `consent`, more than once if the endpoint's URL has it, too: a person is
    // asked anyway.
    if params.all("prompt").flat_map(str::split_ascii_whitespace).any(|prompt| prompt == "none") {
        let why = "a person is asked at every login: `prompt` cannot be `none`";
        return refuse(ErrorCode::InteractionRequired, why);
    }
    Ok(())
}

/// Unknown scopes are dropped; a client that asks for nothing we know gets what is required.
fn granted(app: &App, requested: Option<ScopeSet>) -> ScopeSet {
    let known = requested.unwrap_or_default().intersect(&app.config.supported_scopes);
    if known.without(OFFLINE_ACCESS).is_empty() {
        return app.config.required_scopes.iter().chain(known.iter()).collect();
    }
    known
}

impl From<NoClient> for Refusal {
    fn from(none: NoClient) -> Self {
        match none {
            NoClient::Unknown => Self::UnknownClient,
            NoClient::Refused(why) | NoClient::Unusable(why) => Self::BadDocument(why),
            NoClient::Unavailable(error) => Self::Here(error),
        }
    }
}

impl Refusal {
    fn into_response(self, app: &App, headers: &HeaderMap) -> Response {
        match self {
            Self::UnknownClient if wants_html(headers) => {
                help_to_register(app, pages::unknown_client(&app.config.issuer))
            }
            Self::UnknownClient => {
                let why = "this client id is not registered with this server; register again";
                help_to_register(app, no_client(app, why))
            }
            Self::BadDocument(why) if wants_html(headers) => {
                help_to_register(app, pages::bad_client_document(&why))
            }
            Self::BadDocument(why) => help_to_register(app, no_client(app, &why)),
            Self::Here(error) if wants_html(headers) => pages::refusal(&error),
            Self::Here(error) => error.into_response(),
            Self::Client { redirect_uri, state, error }
                if wants_html(headers) && !may_be_followed_unasked(&redirect_uri) =>
            {
                let location = error_location(app, &redirect_uri, state.as_deref(), &error);
                pages::refusal_with_return(&error, &location)
            }
            Self::Client { redirect_uri, state, error } => {
                to_client(app, &redirect_uri, state.as_deref(), &error)
            }
        }
    }
}

/// Whether a browser may be sent there before a person has agreed to anything.
///
/// Anybody can register a redirect URI, so no mere link sends a browser to a strange site (RFC 9700
/// §4.11.2, OAuth 2.1 §7.12.2), nor has it start a program: browsers ask, or were told never to ask
/// again, in our name. A program that listens on this very machine waits for the answer and has no
/// other way to hear of the error; any link leads there without us.
fn may_be_followed_unasked(redirect_uri: &str) -> bool {
    redirect_uri::is_loopback(redirect_uri) && !redirect_uri::starts_a_program(redirect_uri)
}

/// An error response to the client's redirect URI, always with our `iss` (RFC 9207 §2).
pub(crate) fn to_client(
    app: &App,
    redirect_uri: &str,
    state: Option<&str>,
    error: &OAuthError,
) -> Response {
    tracing::info!(error = error.code().as_str(), "an authorization ended with an error");
    redirect(StatusCode::FOUND, &error_location(app, redirect_uri, state, error))
}

/// The URL that tells the client what went wrong.
pub(crate) fn error_location(
    app: &App,
    redirect_uri: &str,
    state: Option<&str>,
    error: &OAuthError,
) -> String {
    let mut params =
        vec![("error", error.code().as_str()), ("error_description", error.description())];
    params.extend(state.map(|state| ("state", state)));
    params.push(("iss", &app.config.issuer));
    redirect_uri::with_params(redirect_uri, &params)
}

#[derive(Serialize)]
struct UnknownClient<'a> {
    error: &'static str,
    error_description: &'a str,
    registration_endpoint: &'a str,
    authorization_server_metadata: &'a str,
}

/// What mcp-remote and others read to find out that they must register anew.
fn no_client(app: &App, why: &str) -> Response {
    let body = UnknownClient {
        error: ErrorCode::InvalidClient.as_str(),
        error_description: why,
        registration_endpoint: &app.config.url("/register"),
        authorization_server_metadata: &app.config.metadata_url(),
    };
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

/// Says where to register, and that this answer is for now.
fn help_to_register(app: &App, mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let registration = app.config.url("/register");
    let link = format!("<{registration}>; rel=\"http://oauth.net/core/2.1/#registration\"");
    if let Ok(link) = HeaderValue::from_str(&link) {
        headers.insert(header::LINK, link);
    }
    response
}

fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}
