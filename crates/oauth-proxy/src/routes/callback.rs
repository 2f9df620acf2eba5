//! `GET /auth/callback`: where the provider returns.

use std::sync::Arc;

use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use http::{HeaderMap, StatusCode};
use jwt_issuer::sha256_base64url;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    app::App,
    audit::{AuditAction, AuditEvent},
    context, cookie,
    error::{ErrorCode, OAuthError, chain},
    grants, measure, outbox,
    pages::{self, DeniedPage, ErrorPage},
    params::Params,
    provider::{ExchangeRequest, Identity, ProviderError, ProviderTokens},
    record::transaction::{Authorization, Transaction},
    redirect_uri,
    routes::{
        authorize::{error_location, to_client},
        redirect,
    },
};

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    match returned(&app, &headers, query.unwrap_or_default().as_bytes()).await {
        Ok(response) => response,
        Err(trouble) => trouble.into_response(),
    }
}

/// Why the browser is not sent on: nothing proves where it should go.
enum Trouble {
    Refused(OAuthError),
    UnknownTransaction,
    OtherBrowser,
}

async fn returned(app: &Arc<App>, headers: &HeaderMap, query: &[u8]) -> Result<Response, Trouble> {
    let params = Params::parse(query).map_err(Trouble::Refused)?;
    let one = |name| params.one(name).map_err(Trouble::Refused);
    let state = params.required("state").map_err(Trouble::Refused)?;
    let (iss, code, error) = (one("iss")?, one("code")?, one("error")?);
    let key = sha256_base64url(state.as_bytes());
    let storage = |error: crate::store::StoreError| Trouble::Refused(error.into());

    // The browser is checked before anything is consumed: a stranger who learned the state cannot
    // end the login of its owner.
    let Some(pending) = app.store.get::<Transaction>(&key).await.map_err(storage)? else {
        return Err(Trouble::UnknownTransaction);
    };
    context::belongs_to_login(&pending.record.authorization.login);
    if !cookie::is_bound(&app.config, headers, &key, &pending.record.binding) {
        refused(app, &pending.record.authorization, "it was finished in another browser");
        return Err(Trouble::OtherBrowser);
    }
    let Some(transaction) = app.store.take::<Transaction>(&key).await.map_err(storage)? else {
        return Err(Trouble::UnknownTransaction);
    };
    let mut response = match app.provider.check_response_issuer(iss).await {
        Ok(()) => match (code, error) {
            (Some(code), None) => finish(app, transaction, code).await,
            (_, error) => refused_by_provider(app, &transaction.authorization, error),
        },
        Err(error) => {
            tracing::warn!(cause = %error, "an authorization response was not the provider's");
            refused(app, &transaction.authorization, "the answer was not the provider's");
            failed(app, &transaction.authorization, error)
        }
    };
    cookie::clear_binding(&app.config, &key, response.headers_mut());
    Ok(response)
}

/// The provider's code becomes a grant and a code of ours.
async fn finish(app: &Arc<App>, transaction: Transaction, code: &str) -> Response {
    let authorization = &transaction.authorization;
    let exchange = ExchangeRequest::new(
        SecretString::from(code),
        app.config.callback_url(),
        transaction.code_verifier.clone(),
    );
    let (tokens, identity) = match logged_in(app, &exchange, &transaction.nonce).await {
        Ok(login) => login,
        Err(error) => {
            tracing::warn!(cause = %error, "a login at the provider could not be used");
            refused(app, authorization, "the provider's answer could not be used");
            return failed(app, authorization, error);
        }
    };
    if !app.config.access.allows(&identity.claims) {
        outbox::disown(app, &identity, &tokens).await;
        return denied(app, authorization, &identity);
    }
    match grants::create(app, &transaction, identity, &tokens).await {
        Ok(None) => {
            refused(app, authorization, "an operator ended it while it was under way");
            let error = OAuthError::new(
                ErrorCode::AccessDenied,
                "the operator ended this login while it was under way; start it again",
            );
            to_client(app, &authorization.redirect_uri, authorization.state.as_deref(), &error)
        }
        Ok(Some(code)) => {
            let mut params = vec![("code", code.expose_secret())];
            params.extend(authorization.state.as_deref().map(|state| ("state", state)));
            params.push(("iss", &app.config.issuer));
            let location = redirect_uri::with_params(&authorization.redirect_uri, &params);
            redirect(StatusCode::FOUND, &location)
        }
        Err(error) => {
            let error = OAuthError::from(error);
            tracing::error!(cause = %chain(&error), "a grant could not be stored");
            refused(app, authorization, "the grant could not be stored");
            to_client(app, &authorization.redirect_uri, authorization.state.as_deref(), &error)
        }
    }
}

async fn logged_in(
    app: &App,
    exchange: &ExchangeRequest,
    nonce: &SecretString,
) -> Result<(ProviderTokens, Identity), ProviderError> {
    let tokens = measure::provider("exchange", app.provider.exchange(exchange)).await?;
    let check = app.provider.identify(&tokens, Some(nonce.expose_secret()));
    match measure::provider("identify", check).await? {
        Some(identity) => Ok((tokens, identity)),
        None => Err(ProviderError::Refused {
            reason: "the provider's answer does not say who logged in".to_owned(),
        }),
    }
}

/// No login came of it.
fn refused(app: &App, authorization: &Authorization, why: &str) {
    let event = AuditEvent::new(AuditAction::LoginRefused).authorization(authorization);
    app.audit(&event.reason(why));
}

/// What the client hears of the provider's trouble; the person is in the client's hands again.
fn failed(app: &App, authorization: &Authorization, error: ProviderError) -> Response {
    let error = match error {
        ProviderError::Unavailable { .. } => OAuthError::from(error),
        other => OAuthError::new(
            ErrorCode::ServerError,
            "the login at the identity provider could not be used; the server's log says why",
        )
        .with_cause(other),
    };
    to_client(app, &authorization.redirect_uri, authorization.state.as_deref(), &error)
}

/// The provider answered with an error (RFC 6749 §4.1.2.1): its text stays in our log.
fn refused_by_provider(app: &App, authorization: &Authorization, error: Option<&str>) -> Response {
    let code = error.unwrap_or("nothing");
    tracing::info!(provider_error = code.escape_default().to_string(), "no login at the provider");
    let why = match code {
        "access_denied" => "the provider denied access",
        _ => "the provider answered with an error",
    };
    refused(app, authorization, why);
    let error = match code {
        "access_denied" => {
            OAuthError::new(ErrorCode::AccessDenied, "the login was refused at the provider")
        }
        "temporarily_unavailable" => {
            OAuthError::new(ErrorCode::TemporarilyUnavailable, "the provider asks to try later")
        }
        _ => OAuthError::new(
            ErrorCode::ServerError,
            "the identity provider answered with an error; the server's log says which",
        ),
    };
    to_client(app, &authorization.redirect_uri, authorization.state.as_deref(), &error)
}

/// The rules say no: the person learns why, and takes the news to the client (D10).
fn denied(app: &App, authorization: &Authorization, identity: &Identity) -> Response {
    let event = AuditEvent::new(AuditAction::LoginDenied).authorization(authorization);
    app.audit(&event.identity(identity));
    let error = OAuthError::new(
        ErrorCode::AccessDenied,
        "this person may not use this server; its operator decides who may",
    );
    let state = authorization.state.as_deref();
    let who = crate::access::vouched_email(&identity.claims).unwrap_or(&identity.subject);
    DeniedPage {
        who,
        resource: &authorization.resource,
        return_url: &error_location(app, &authorization.redirect_uri, state, &error),
        correlation_id: &pages::correlation_id("access denied"),
    }
    .into_response(StatusCode::FORBIDDEN)
}

impl Trouble {
    fn into_response(self) -> Response {
        let (status, title, what, log) = match self {
            Self::Refused(error) => return pages::refusal(&error),
            Self::UnknownTransaction => (
                StatusCode::BAD_REQUEST,
                "This login is not known",
                "The login was finished already, or it took longer than 15 minutes.",
                "unknown transaction",
            ),
            Self::OtherBrowser => (
                StatusCode::FORBIDDEN,
                "This login began in another browser",
                "The login was not approved in this browser, so it is not finished here.",
                "transaction of another browser",
            ),
        };
        ErrorPage {
            title,
            what,
            expected: "A login is approved and finished in the same browser, with cookies allowed \
                       for this site.",
            fix: "Go back to your app and start the login again. If somebody sent you a link that \
                  led here, do not use it.",
            return_url: "",
            correlation_id: &pages::correlation_id(log),
        }
        .into_response(status)
    }
}
