//! The authorization endpoint (RFC 6749 §4.1.1, OpenID Connect Core §3.1.2).

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    DevIdp,
    authorization_request::{AuthorizationRequest, ErrorResponse, Refusal},
    page::{self, Failure, Login},
    params::Params,
    routes::cookie,
    sealed_form::SealedForm,
    store::{Code, Session, random},
};

pub(super) async fn get(
    State(provider): State<DevIdp>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    answer(&provider, &headers, &Params::parse(query.unwrap_or_default().as_bytes()))
}

pub(super) async fn post(
    State(provider): State<DevIdp>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    answer(&provider, &headers, &Params::parse(&body))
}

fn answer(provider: &DevIdp, headers: &HeaderMap, params: &Params) -> Response {
    provider.counters().authorization_calls.count();
    let request = match AuthorizationRequest::parse(params, provider.config()) {
        Ok(request) => request,
        Err(Refusal::Page(text)) => {
            return page::render(StatusCode::BAD_REQUEST, &Failure { text: &text });
        }
        Err(Refusal::Redirect(error)) => return refuse(provider, &error),
    };
    let session = session(provider, headers).filter(|session| {
        let age = provider.now().saturating_sub(session.auth_time);
        // 0 means: log in now (OpenID Connect Core §3.1.2.1).
        request.max_age.is_none_or(|most| most > 0 && age <= most)
    });
    let ask = |session: Option<&Session>| login_page(provider, headers, &request, session, None);
    match session {
        None if request.prompts("none") => {
            refuse(provider, &request.error("login_required", "nobody is logged in"))
        }
        None => ask(None),
        Some(_) if request.prompts("login") || request.prompts("select_account") => ask(None),
        Some(session) if request.prompts("consent") => ask(Some(&session)),
        Some(session) => issue_code(provider, &request, &session),
    }
}

/// The live single sign-on session of this browser.
pub(super) fn session(provider: &DevIdp, headers: &HeaderMap) -> Option<Session> {
    if !provider.config().single_sign_on {
        return None;
    }
    let value = cookie::read(headers, cookie::SESSION)?;
    provider.store().session(value, provider.now()).cloned()
}

/// The login page; `rejected` is the user name that was just typed with a wrong password.
pub(super) fn login_page(
    provider: &DevIdp,
    headers: &HeaderMap,
    request: &AuthorizationRequest,
    session: Option<&Session>,
    rejected: Option<&str>,
) -> Response {
    // Pages open in other tabs stay good: a browser keeps the cookie that it has.
    let browser = cookie::read(headers, cookie::BROWSER).map_or_else(random, str::to_owned);
    let form = SealedForm {
        request: request.clone(),
        expires_at: provider.now() + provider.config().lifetimes.login_page.as_secs(),
    };
    let form = form.seal(&provider.store(), &browser);
    let signed_in = session.and_then(|session| provider.config().user(&session.sub));
    let page = Login {
        action: &provider.inner.endpoints.login,
        form: &form,
        client_id: &request.client_id,
        redirect_uri: &request.redirect_uri,
        scopes: &request.scopes,
        username: rejected.or(request.login_hint.as_deref()).unwrap_or_default(),
        signed_in: signed_in.map(|user| user.name.as_str()),
        wrong_password: rejected.is_some(),
    };
    let status = if rejected.is_some() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
    let mut response = page::render(status, &page);
    if cookie::read(headers, cookie::BROWSER).is_none() {
        let value = cookie::set(provider, cookie::BROWSER, &browser, None);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

/// Sends the browser back with a code.
pub(super) fn issue_code(
    provider: &DevIdp,
    request: &AuthorizationRequest,
    session: &Session,
) -> Response {
    provider.counters().logins.count();
    let now = provider.now();
    let code = Code {
        client_id: request.client_id.clone(),
        redirect_uri: request.redirect_uri.clone(),
        challenge: request.code_challenge.clone(),
        nonce: request.nonce.clone(),
        scopes: request.scopes.clone(),
        sub: session.sub.clone(),
        auth_time: session.auth_time,
        expires_at: now + provider.config().lifetimes.code.as_secs(),
        redeemed_as: None,
    };
    let code = provider.store().add_code(code, now);
    redirect(&request.success_location(&code, iss_parameter(provider)))
}

/// Sends the browser back with an error.
pub(super) fn refuse(provider: &DevIdp, error: &ErrorResponse) -> Response {
    redirect(&error.location(iss_parameter(provider)))
}

#[cfg(not(feature = "misbehave"))]
#[expect(clippy::unnecessary_wraps, reason = "a misbehaving provider leaves it out")]
fn iss_parameter(provider: &DevIdp) -> Option<&str> {
    Some(provider.issuer())
}

#[cfg(feature = "misbehave")]
fn iss_parameter(provider: &DevIdp) -> Option<&str> {
    provider.misbehave().iss_parameter(provider.issuer())
}

/// 303, so that a submitted form is followed by a GET.
fn redirect(location: &str) -> Response {
    let location = HeaderValue::from_str(location).expect("`Url` writes ASCII");
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}
