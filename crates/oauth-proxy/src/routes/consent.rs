//! `GET`/`POST /consent` (D9): the person decides before the provider is asked.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use jwt_issuer::{random_token, sha256_base64url};
use secrecy::SecretString;

use crate::{
    app::App,
    audit::{AuditAction, AuditEvent},
    cimd::{ClientUrl, Named, Withdrawn},
    client_auth,
    consent::{ConsentProblem, ConsentRequest},
    context,
    cookie::{self, Binding, CsrfCookie},
    error::{ErrorCode, OAuthError},
    measure,
    pages::{self, ConsentPage, ErrorPage},
    params::Params,
    pkce,
    provider::AuthorizeRequest,
    record::{
        mark::Once,
        transaction::{Authorization, Transaction},
    },
    redirect_uri,
    routes::{authorize::to_client, redirect},
};

/// An answer is remembered this much longer than its page can be good.
const ONCE_MARGIN: Duration = Duration::from_mins(1);

/// The page again, for a request that is still sealed and fresh.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match reopened(&app, query.unwrap_or_default().as_bytes()) {
        Ok(request) => {
            let csrf = CsrfCookie::of(&app.config, &headers);
            page(&app, &request.rebound(&csrf.value), &csrf)
        }
        Err(problem) => problem.into_response(),
    }
}

/// The person's answer.
pub(crate) async fn post(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    params: Result<Params, OAuthError>,
) -> Response {
    match params {
        Ok(params) => match answered(&app, &headers, &params).await {
            Ok(response) | Err(response) => response,
        },
        Err(error) => pages::refusal(&error),
    }
}

/// Shows who asks for what.
pub(crate) fn page(app: &App, request: &ConsentRequest, csrf: &CsrfCookie) -> Response {
    let sealed = match request.seal(app) {
        Ok(sealed) => sealed,
        Err(error) => {
            return OAuthError::new(ErrorCode::ServerError, "the page could not be made")
                .with_cause(error)
                .into_response();
        }
    };
    let authorization = &request.authorization;
    let client = match app.config.client_documents.read(&authorization.client.id) {
        Named::Document(url) => Some(url),
        Named::Registration | Named::Nothing(_) => None,
    };
    let redirect_uri = authorization.redirect_uri.as_str();
    let loopback = redirect_uri::is_loopback(redirect_uri);
    let scopes: Vec<_> = authorization
        .scopes
        .iter()
        .map(|scope| (scope.to_owned(), pages::scope_meaning(scope).to_owned()))
        .collect();
    let page = ConsentPage {
        client_name: authorization.client.name.as_deref().unwrap_or_default(),
        client_id: &authorization.client.id,
        client_host: client.as_ref().map_or("", ClientUrl::host),
        redirect_host: &redirect_uri::display_host(redirect_uri),
        redirect_uri,
        loopback,
        elsewhere: !loopback && client.as_ref().is_some_and(|url| !url.vouches_for(redirect_uri)),
        scopes: &scopes,
        resource: &authorization.resource,
        provider_name: &app.config.provider_name,
        action_url: &app.config.url("/consent"),
        request: &sealed,
        csrf: &csrf.value,
    };
    measure::consent_shown();
    let mut response = page.into_response(StatusCode::OK);
    csrf.set(&app.config, response.headers_mut());
    response
}

fn reopened(app: &App, query: &[u8]) -> Result<ConsentRequest, ConsentProblem> {
    let params = Params::parse(query).map_err(|_| ConsentProblem::Unreadable)?;
    let sealed = params.required("request").map_err(|_| ConsentProblem::Missing)?;
    ConsentRequest::open(app, sealed)
}

/// `Err` is a response as well: one that was refused.
async fn answered(app: &App, headers: &HeaderMap, params: &Params) -> Result<Response, Response> {
    let refused = |error: OAuthError| pages::refusal(&error);
    let problem = ConsentProblem::into_response;
    if is_cross_site(app, headers) {
        return Err(problem(ConsentProblem::Forged));
    }
    let sealed = params.required("request").map_err(refused)?;
    let request = ConsentRequest::open(app, sealed).map_err(problem)?;
    context::belongs_to_login(&request.authorization.login);
    let cookie = cookie::read_csrf(&app.config, headers);
    request.check_csrf(params.one("csrf").map_err(refused)?, cookie.as_deref()).map_err(problem)?;
    let approved = match params.required("action").map_err(refused)? {
        "approve" => true,
        "deny" => false,
        _ => {
            let error =
                OAuthError::new(ErrorCode::InvalidRequest, "`action` must be `approve` or `deny`");
            return Err(refused(error));
        }
    };
    still_registered(app, &request).await?;
    let first = app
        .store
        .put_if_absent(&request.once_key(), &Once, app.config.lifetimes.consent + ONCE_MARGIN)
        .await
        .map_err(|error| refused(error.into()))?;
    if !first {
        return Err(answered_before());
    }
    let authorization = &request.authorization;
    if !approved {
        app.audit(&AuditEvent::new(AuditAction::LoginDeclined).authorization(authorization));
        let error = OAuthError::new(ErrorCode::AccessDenied, "the person did not approve");
        return Ok(to_client(
            app,
            &authorization.redirect_uri,
            authorization.state.as_deref(),
            &error,
        ));
    }
    app.audit(&AuditEvent::new(AuditAction::LoginApproved).authorization(authorization));
    begin(app, headers, request).await
}

/// A client that was deleted, or lost the redirect URI, gets nothing from an older page.
///
/// A client's document is not asked for again: no copy of it is younger for certain than the page.
async fn still_registered(app: &App, request: &ConsentRequest) -> Result<(), Response> {
    let Authorization { client, redirect_uri, .. } = &request.authorization;
    let is_registered = |uris: &[String]| redirect_uri::is_registered(uris, redirect_uri);
    let is_good = match app.config.client_documents.read(&client.id) {
        Named::Document(url) => match app.documents.known(&url).await {
            Ok(known) => known.is_none_or(|client| is_registered(&client.redirect_uris)),
            Err(Withdrawn) => false,
        },
        Named::Registration => {
            let stored = client_auth::registered(app, &client.id).await;
            let stored = stored.map_err(|error| pages::refusal(&error.into()))?;
            stored.is_some_and(|stored| is_registered(&stored.record.redirect_uris))
        }
        Named::Nothing(_) => false,
    };
    if is_good { Ok(()) } else { Err(pages::unknown_client(&app.config.issuer)) }
}

/// Creates the transaction and sends the browser to the provider.
async fn begin(
    app: &App,
    headers: &HeaderMap,
    request: ConsentRequest,
) -> Result<Response, Response> {
    let authorization = request.authorization;
    let state = random_token::<32>();
    let code_verifier = random_token::<32>();
    let nonce = random_token::<32>();
    let key = sha256_base64url(state.as_bytes());
    let upstream = AuthorizeRequest::new(
        app.config.callback_url(),
        state,
        nonce.clone(),
        pkce::challenge(&code_verifier),
    );
    let back = |error: &OAuthError| {
        to_client(app, &authorization.redirect_uri, authorization.state.as_deref(), error)
    };
    let asked = measure::provider("authorize_url", app.provider.authorize_url(&upstream)).await;
    let location = match asked {
        Ok(location) => location,
        Err(error) => {
            tracing::warn!(cause = %error, "the provider cannot be asked for a login");
            return Err(back(&error.into()));
        }
    };
    let now = app.clock.now();
    let binding = Binding::new(&key, now);
    let transaction = Transaction {
        authorization: authorization.clone(),
        code_verifier: SecretString::from(code_verifier),
        nonce: SecretString::from(nonce),
        binding: binding.hash(),
        created_at: now,
    };
    if let Err(error) = app.store.put(&key, &transaction, app.config.lifetimes.transaction).await {
        let error = OAuthError::from(error);
        tracing::warn!(cause = %crate::error::chain(&error), "a transaction could not be stored");
        return Err(back(&error));
    }
    let mut response = redirect(StatusCode::SEE_OTHER, &location);
    binding.set(&app.config, headers, response.headers_mut());
    Ok(response)
}

/// What browsers say of a form that another site's page submitted.
fn is_cross_site(app: &App, headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("sec-fetch-site").is_some_and(|site| site != "same-origin" && site != "none") {
        return true;
    }
    // A page with `Referrer-Policy: no-referrer` posts with the origin `null`.
    text(header::ORIGIN.as_str())
        .is_some_and(|origin| origin != "null" && origin != app.config.origin())
}

fn answered_before() -> Response {
    ErrorPage {
        title: "This was answered already",
        what: "This request was approved or denied before.",
        expected: "Each request can be answered once.",
        fix: "If nothing happened in your app, start the login there again.",
        return_url: "",
        correlation_id: &pages::correlation_id("consent answered before"),
    }
    .into_response(StatusCode::BAD_REQUEST)
}

impl IntoResponse for ConsentProblem {
    fn into_response(self) -> Response {
        let (title, what, log) = match self {
            Self::Missing => (
                "Nothing to approve here",
                "This page is part of a login that begins in an app.",
                "consent page without a request",
            ),
            Self::Unreadable => (
                "This page cannot be used",
                "The login request in this page is damaged, or the server changed its keys.",
                "consent form unreadable",
            ),
            Self::Expired => (
                "This page is too old",
                "The login request in this page has expired.",
                "consent form expired",
            ),
            Self::Forged => (
                "This answer was not accepted",
                "The answer did not come from the page that this browser was shown.",
                "consent form forged",
            ),
        };
        let status = match self {
            Self::Forged => StatusCode::FORBIDDEN,
            _ => StatusCode::BAD_REQUEST,
        };
        ErrorPage {
            title,
            what,
            expected: "The page must be answered in the browser that opened it, within 15 minutes, \
                       with cookies allowed for this site.",
            fix: "Go back to your app and start the login again.",
            return_url: "",
            correlation_id: &pages::correlation_id(log),
        }
        .into_response(status)
    }
}
