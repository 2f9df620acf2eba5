//! Which client is calling (OAuth 2.1 §2.4): `none`, `client_secret_basic`, `client_secret_post`.

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, header};
use jwt_issuer::sha256_base64url;
use percent_encoding::percent_decode_str;
use subtle::ConstantTimeEq;

use crate::{
    app::App,
    cimd::{ClientUrl, Named, NoClient, RETRY_AFTER, assertion_client_id},
    client::{Client, ClientRecord},
    error::{ErrorCode, OAuthError},
    params::Params,
    record::{grant::Grant, mark::Once, transaction::ClientSnapshot},
    store::{StoreError, Stored},
};

/// What the request says about the client; nothing in it is believed yet.
pub(crate) struct Presented {
    pub(crate) client_id: String,
    /// The ways in which the secret may have been meant: Python and Rust form-encode it in the
    /// header, TypeScript does not.
    secrets: Vec<String>,
    basic: bool,
    /// A signed one (RFC 7523 §2.2).
    assertion: Option<String>,
}

/// The one kind of client assertion that there is (RFC 7523 §2.2).
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Longer than any id that we give; a longer one is unknown, and no key for the store.
const MAX_CLIENT_ID_BYTES: usize = 256;

/// Finds the client that an authorization request names, for which nothing has to be proven.
///
/// What a browser loads as a part of a page has no document looked for that nobody knows: a page
/// can make every visitor's browser ask for any number of them.
pub(crate) async fn named(
    app: &App,
    id: &str,
    headers: &HeaderMap,
) -> Result<Arc<Client>, NoClient> {
    match app.config.client_documents.read(id) {
        Named::Registration => match registered(app, id).await {
            Ok(Some(stored)) => Ok(Arc::new(stored.record.client())),
            Ok(None) => Err(NoClient::Unknown),
            Err(error) => Err(NoClient::Unavailable(error.into())),
        },
        Named::Document(url) => {
            app.documents.client(&url, is_embedded(headers), &app.config, &app.clock).await
        }
        Named::Nothing(why) => Err(NoClient::Refused(why.into())),
    }
}

/// Whether a browser says that no person opened this (Fetch Metadata): a page loads it as a part of
/// itself, or it is loaded ahead of a person's decision. Programs say nothing.
fn is_embedded(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_some_and(|what| what != "document")
        || headers.contains_key("sec-purpose")
}

/// The registration of a client, if there is one.
pub(crate) async fn registered(
    app: &App,
    id: &str,
) -> Result<Option<Stored<ClientRecord>>, StoreError> {
    if id.len() > MAX_CLIENT_ID_BYTES {
        return Ok(None);
    }
    app.store.get(id).await
}

/// Who calls the token or revocation endpoint.
pub(crate) enum Caller {
    /// A registered client, which has proven who it is.
    Registered(Box<Stored<ClientRecord>>),
    /// A client with a metadata document. The document is not asked for, since its host may be down
    /// (D7): codes and grants say whose they are, and what [`Caller::prove`] must show.
    Described {
        url: ClientUrl,
        /// What it signed, if it did.
        assertion: Option<String>,
    },
}

impl Caller {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Registered(stored) => &stored.record.client_id,
            Self::Described { url, .. } => url.as_str(),
        }
    }

    /// Whether it proves who it is when it uses a grant of `client`.
    pub(crate) fn is_confidential(&self, client: &ClientSnapshot) -> bool {
        match self {
            Self::Registered(stored) => stored.record.is_confidential(),
            Self::Described { .. } => client.signs,
        }
    }

    /// Has a client with keys prove that it is the one of this grant, before anything becomes of
    /// the grant.
    ///
    /// # Errors
    ///
    /// 401 `invalid_client` without a good assertion that was not used before, and if the document's
    /// host says that there is no such client; 503 if its keys, or whether it was used, cannot be
    /// found out (D7).
    pub(crate) async fn prove(&self, app: &App, grant: &Grant) -> Result<(), OAuthError> {
        let Self::Described { url, assertion } = self else { return Ok(()) };
        if !grant.client.signs {
            return Ok(());
        }
        let refuse = |why: String| OAuthError::new(ErrorCode::InvalidClient, why);
        let Some(assertion) = assertion else {
            return Err(refuse("this client must authenticate with `private_key_jwt`".to_owned()));
        };
        let person = format!("{}\0{}", grant.issuer, grant.subject);
        let good = app.documents.verify(assertion, url, person, &app.config, &app.clock).await;
        let good = good.map_err(|none| match none {
            NoClient::Unavailable(error) => error,
            NoClient::Unusable(why) => OAuthError::new(ErrorCode::TemporarilyUnavailable, why)
                .with_retry_after(RETRY_AFTER),
            NoClient::Refused(why) => refuse(why),
            NoClient::Unknown => refuse("this client is not known here".to_owned()),
        })?;
        let key = format!("client-assertion\0{}\0{}", url.as_str(), good.jti);
        let ttl = Duration::from_secs(good.remember_for);
        if app.store.put_if_absent(&sha256_base64url(key.as_bytes()), &Once, ttl).await? {
            Ok(())
        } else {
            Err(refuse("the client assertion was used before; its `jti` is good once".to_owned()))
        }
    }
}

/// Authenticates the client of a token or revocation request.
///
/// # Errors
///
/// 401 `invalid_client` if it is unknown or its secret is wrong: that makes clients register anew.
pub(crate) async fn authenticate(
    app: &App,
    headers: &HeaderMap,
    params: &Params,
) -> Result<Caller, OAuthError> {
    let presented = presented(headers, params)?;
    let refuse = |why: &'static str| {
        let error = OAuthError::new(ErrorCode::InvalidClient, why);
        if presented.basic { error.with_basic_challenge() } else { error }
    };
    match app.config.client_documents.read(&presented.client_id) {
        Named::Registration => {}
        Named::Document(url) => {
            return Ok(Caller::Described { url, assertion: presented.assertion });
        }
        Named::Nothing(why) => return Err(refuse(why)),
    }
    let Some(stored) = registered(app, &presented.client_id).await? else {
        return Err(refuse("this client is not registered here; register again"));
    };
    match &stored.record.secret_hash {
        Some(expected) if !presented.proves(expected) => {
            Err(refuse("the client secret is missing or wrong"))
        }
        _ => Ok(Caller::Registered(Box::new(stored))),
    }
}

impl Presented {
    /// Whether the secret is the one with this hash. Constant time.
    pub(crate) fn proves(&self, secret_hash: &str) -> bool {
        self.secrets.iter().any(|secret| {
            bool::from(sha256_base64url(secret.as_bytes()).as_bytes().ct_eq(secret_hash.as_bytes()))
        })
    }
}

/// Who the request says is calling.
pub(crate) fn presented(headers: &HeaderMap, params: &Params) -> Result<Presented, OAuthError> {
    let assertion = assertion(params)?;
    let named = assertion.and_then(assertion_client_id);
    let id = params.one("client_id")?.or(named.as_deref());
    let assertion = assertion.map(str::to_owned);
    let secret = params.one("client_secret")?;
    let Some((basic_id, basic_secret)) = basic(headers)? else {
        let Some(id) = id else {
            return Err(OAuthError::new(
                ErrorCode::InvalidClient,
                "the parameter `client_id` is missing",
            ));
        };
        let secrets = secret.map(str::to_owned).into_iter().collect();
        return Ok(Presented { client_id: id.to_owned(), secrets, basic: false, assertion });
    };
    if secret.is_some() {
        return Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "the client authenticates twice: in the header and in the body",
        ));
    }
    let client_id = form_decoded(&basic_id);
    if id.is_some_and(|id| id != client_id && id != basic_id) {
        return Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "the header and the body name different clients",
        ));
    }
    let decoded = form_decoded(&basic_secret);
    Ok(Presented { client_id, secrets: vec![basic_secret, decoded], basic: true, assertion })
}

/// The client assertion, if there is one.
fn assertion(params: &Params) -> Result<Option<&str>, OAuthError> {
    let Some(assertion) = params.one("client_assertion")? else { return Ok(None) };
    if params.one("client_assertion_type")? != Some(ASSERTION_TYPE) {
        return Err(OAuthError::new(
            ErrorCode::InvalidRequest,
            "`client_assertion_type` must be that of a JWT (RFC 7523 section 2.2)",
        ));
    }
    Ok(Some(assertion))
}

/// Id and secret of an `Authorization: Basic` header, not form-decoded yet.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, OAuthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let malformed =
        || OAuthError::new(ErrorCode::InvalidRequest, "the `Authorization` header is malformed");
    if values.next().is_some() {
        return Err(malformed());
    }
    let value = value.to_str().map_err(|_| malformed())?;
    let Some((scheme, encoded)) = value.split_once(' ') else { return Err(malformed()) };
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).map_err(|_| malformed())?;
    let text = String::from_utf8(decoded).map_err(|_| malformed())?;
    let (id, secret) = text.split_once(':').ok_or_else(malformed)?;
    Ok(Some((id.to_owned(), secret.to_owned())))
}

/// RFC 6749 §2.3.1 form-encodes both parts of the header.
fn form_decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn with_basic(pair: &str) -> HeaderMap {
        let value = format!("Basic {}", BASE64_STANDARD.encode(pair));
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(&value).unwrap())])
    }

    #[test]
    fn what_a_browser_opens_for_nobody_is_told_apart() {
        for (name, value, embedded) in [
            ("sec-fetch-dest", "document", false),
            ("sec-fetch-mode", "navigate", false),
            ("sec-fetch-dest", "image", true),
            ("sec-fetch-dest", "iframe", true),
            ("sec-fetch-dest", "empty", true),
            ("sec-fetch-dest", "", true),
            ("sec-purpose", "prefetch", true),
        ] {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )]);
            assert_eq!(is_embedded(&headers), embedded, "{name}: {value}");
        }
        assert!(!is_embedded(&HeaderMap::new()), "a program");
    }

    #[test]
    fn basic_is_read_with_and_without_form_encoding() {
        let params = Params::parse(b"grant_type=x").unwrap();
        let presented = presented(&with_basic("a%2Db:s%2Bt"), &params).unwrap();
        assert_eq!(presented.client_id, "a-b");
        assert_eq!(presented.secrets, ["s%2Bt", "s+t"]);
        assert!(presented.basic);
    }

    #[test]
    fn two_ways_at_once_are_refused() {
        let both = Params::parse(b"client_secret=s").unwrap();
        assert!(presented(&with_basic("a:s"), &both).is_err());
        let other = Params::parse(b"client_id=b").unwrap();
        assert!(presented(&with_basic("a:s"), &other).is_err());
    }

    #[test]
    fn a_malformed_header_is_a_bad_request_not_a_panic() {
        let params = Params::parse(b"client_id=a").unwrap();
        for value in ["Basic", "Basic !!!", "Basic YQ==", "Bearer x", "Basic /w=="] {
            let headers =
                HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
            let error = presented(&headers, &params).err().unwrap();
            assert_eq!(error.code(), ErrorCode::InvalidRequest, "{value}");
        }
    }
}
