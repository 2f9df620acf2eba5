//! The authorization request on its way through the consent page: sealed into the form, stored
//! nowhere (D9).

use jwt_issuer::{random_token, sha256_base64url};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use crate::{app::App, params::MAX_PARAMS_BYTES, record::transaction::Authorization};

/// Separates this use of the key from any other.
const CONTEXT: &[u8] = b"consent-form/1";

/// A validated authorization request that waits for a person's answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ConsentRequest {
    /// The answer is taken once.
    pub(crate) id: String,
    /// Unix seconds.
    expires_at: u64,
    /// SHA-256 of the browser's CSRF cookie.
    csrf: String,
    pub(crate) authorization: Authorization,
}

/// Why a consent form was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConsentProblem {
    /// The page was opened by hand: it asks about nothing.
    Missing,
    /// Not sealed by us, or by a key that is gone.
    Unreadable,
    Expired,
    /// Not from the page that this browser was shown.
    Forged,
}

impl ConsentRequest {
    pub(crate) fn new(app: &App, authorization: Authorization, csrf: &str) -> Self {
        Self {
            id: random_token::<16>(),
            expires_at: app.clock.now() + app.config.lifetimes.consent.as_secs(),
            csrf: sha256_base64url(csrf.as_bytes()),
            authorization,
        }
    }

    /// The same request for a page in another browser: its id and its end stay.
    pub(crate) fn rebound(self, csrf: &str) -> Self {
        Self { csrf: sha256_base64url(csrf.as_bytes()), ..self }
    }

    /// For the form's hidden field.
    pub(crate) fn seal(&self, app: &App) -> Result<String, serde_json::Error> {
        Ok(app.keys.consent.seal(&serde_json::to_vec(self)?, CONTEXT))
    }

    /// Opens the form's hidden field.
    pub(crate) fn open(app: &App, sealed: &str) -> Result<Self, ConsentProblem> {
        if sealed.len() > MAX_PARAMS_BYTES {
            return Err(ConsentProblem::Unreadable);
        }
        let plain =
            app.keys.consent.open(sealed, CONTEXT).map_err(|_| ConsentProblem::Unreadable)?;
        let request: Self =
            serde_json::from_slice(&plain).map_err(|_| ConsentProblem::Unreadable)?;
        if app.clock.now() > request.expires_at {
            return Err(ConsentProblem::Expired);
        }
        Ok(request)
    }

    /// Double submit: the form's token, the browser's cookie and the sealed hash are one.
    pub(crate) fn check_csrf(
        &self,
        field: Option<&str>,
        cookie: Option<&str>,
    ) -> Result<(), ConsentProblem> {
        let (Some(field), Some(cookie)) = (field, cookie) else {
            return Err(ConsentProblem::Forged);
        };
        let same = field.as_bytes().ct_eq(cookie.as_bytes());
        let ours = sha256_base64url(cookie.as_bytes()).as_bytes().ct_eq(self.csrf.as_bytes());
        if bool::from(same & ours) { Ok(()) } else { Err(ConsentProblem::Forged) }
    }

    /// Where the `once` collection remembers that this request was answered.
    pub(crate) fn once_key(&self) -> String {
        let owner = &self.authorization.client.id;
        sha256_base64url(format!("consent\0{owner}\0{}", self.id).as_bytes())
    }
}
