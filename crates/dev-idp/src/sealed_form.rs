//! What a login page carries from its display to its submission.
//!
//! The provider stores nothing for a page: the checked request travels in a hidden field, under
//! a MAC that also covers a cookie of the browser. A form that another site submits, or that was
//! made for another browser, is refused (login CSRF).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{authorization_request::AuthorizationRequest, store::Store};

#[derive(Serialize, Deserialize)]
pub(crate) struct SealedForm {
    pub(crate) request: AuthorizationRequest,
    pub(crate) expires_at: u64,
}

impl SealedForm {
    pub(crate) fn seal(&self, store: &Store, browser: &str) -> String {
        let json = serde_json::to_vec(self).expect("strings and numbers are JSON");
        let payload = URL_SAFE_NO_PAD.encode(json);
        let tag = store.tag(&["login page", browser, &payload]);
        format!("{payload}.{tag}")
    }

    /// The form, if this browser got it from us and its time is not over.
    pub(crate) fn open(sealed: &str, store: &Store, browser: &str, now: u64) -> Option<Self> {
        let (payload, tag) = sealed.split_once('.')?;
        if !store.tag_is_good(&["login page", browser, payload], tag) {
            return None;
        }
        let form: Self = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        (form.expires_at > now).then_some(form)
    }
}
