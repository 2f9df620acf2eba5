//! The submitted login page.

use axum::{body::Bytes, extract::State, response::Response};
use http::{HeaderMap, StatusCode, header};

use crate::{
    DevIdp,
    authorization_request::AuthorizationRequest,
    client_authentication::secrets_match,
    config::User,
    page::{self, Failure},
    params::Params,
    routes::{authorize, cookie},
    sealed_form::SealedForm,
    store::Session,
};

pub(super) async fn post(
    State(provider): State<DevIdp>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::parse(&body);
    let Some(request) = request(&provider, &headers, &params) else {
        let text = "This page is too old, or was not made for this browser.";
        return page::render(StatusCode::BAD_REQUEST, &Failure { text });
    };
    if params.get("action") == Some("deny") {
        provider.counters().denials.count();
        let error = request.error("access_denied", "the user said no");
        return authorize::refuse(&provider, &error);
    }
    if params.get("signed_in").is_some() {
        return match authorize::session(&provider, &headers) {
            Some(session) => authorize::issue_code(&provider, &request, &session),
            None => authorize::login_page(&provider, &headers, &request, None, None),
        };
    }
    let username = params.get("username").unwrap_or_default();
    let password = params.get("password").unwrap_or_default();
    let Some(user) = log_in(&provider.config().users, username, password) else {
        provider.counters().failed_logins.count();
        return authorize::login_page(&provider, &headers, &request, None, Some(username));
    };
    accept(&provider, &request, user)
}

fn request(
    provider: &DevIdp,
    headers: &HeaderMap,
    params: &Params,
) -> Option<AuthorizationRequest> {
    let browser = cookie::read(headers, cookie::BROWSER)?;
    let form = params.get("form")?;
    SealedForm::open(form, &provider.store(), browser, provider.now()).map(|form| form.request)
}

fn log_in<'a>(users: &'a [User], username: &str, password: &str) -> Option<&'a User> {
    let user = users.iter().find(|user| user.username == username);
    // An unknown name costs the same comparison as a wrong password.
    let expected = user.map_or("", |user| user.password.as_str());
    let good = secrets_match(expected, password);
    user.filter(|_| good)
}

fn accept(provider: &DevIdp, request: &AuthorizationRequest, user: &User) -> Response {
    let now = provider.now();
    let lifetime = provider.config().lifetimes.session;
    let session =
        Session { sub: user.sub.clone(), auth_time: now, expires_at: now + lifetime.as_secs() };
    let mut response = authorize::issue_code(provider, request, &session);
    if provider.config().single_sign_on {
        let added = provider.store().add_session(session);
        match added {
            Ok(value) => {
                let value = cookie::set(provider, cookie::SESSION, &value, Some(lifetime));
                response.headers_mut().append(header::SET_COOKIE, value);
            }
            // The login itself is good; only the next one will ask again.
            Err(error) => tracing::warn!(%error, "could not keep a session"),
        }
    }
    response
}
