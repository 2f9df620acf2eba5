//! What a client-ID metadata document says (draft §4), and whether it makes a client.

use std::sync::Arc;

use serde_json::Value;
use token_verifier::PublicKeys;

use super::{ClientDocuments, ClientUrl, Described, Keys, Named, PRIVATE_KEY_JWT};
use crate::{
    client::{Client, Request, accept_grant_types, accept_redirect_uris, may_refresh},
    error::OAuthError,
    record::transaction::ClientSnapshot,
    redirect_uri::RedirectPolicy,
};

/// The largest document in bytes (draft §6.6 recommends 5 kilobytes).
const MAX_DOCUMENT_BYTES: usize = 5 * 1024;

/// Members of a JWK that make it a private key or a secret (RFC 7518 §6).
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// Members that cannot be in a document which everybody can read (draft §4.1).
const FORBIDDEN: [&str; 2] = ["client_secret", "client_secret_expires_at"];

/// Reads the document at `url`.
///
/// Lenient where a registration is (D11): unknown members, grant types and members of the wrong
/// type do not count, a redirect URI that cannot be accepted is left out as long as one remains.
/// `client_name` is required by the MCP specification.
///
/// # Errors
///
/// What is wrong with it, in words for the client's developer.
pub(super) fn read(
    body: &[u8],
    url: &ClientUrl,
    policy: &RedirectPolicy,
    documents: &ClientDocuments,
) -> Result<Described, String> {
    if body.len() > MAX_DOCUMENT_BYTES {
        return Err(format!(
            "the client's metadata document is longer than {MAX_DOCUMENT_BYTES} bytes"
        ));
    }
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else {
        return Err("the client's metadata document is not a JSON object".to_owned());
    };
    let request = Request(members);
    match request.0.get("client_id").and_then(Value::as_str) {
        Some(id) if id == url.as_str() => {}
        Some(_) => {
            return Err("the `client_id` in the client's metadata document is not the URL of the \
                        document, character by character"
                .to_owned());
        }
        None => return Err("the client's metadata document has no `client_id`".to_owned()),
    }
    for member in FORBIDDEN {
        if request.0.get(member).is_some_and(|value| !value.is_null()) {
            return Err(format!("the client's metadata document must not have `{member}`"));
        }
    }
    let keys = keys(&request, documents)?;
    let Some(name) = request.name() else {
        return Err("the client's metadata document has no `client_name`".to_owned());
    };
    let because =
        |error: OAuthError| format!("the client's metadata document: {}", error.description());
    let (redirect_uris, dropped_redirect_uris) =
        accept_redirect_uris(&request, policy).map_err(because)?;
    if dropped_redirect_uris > 0 {
        tracing::info!(client = url.as_str(), dropped_redirect_uris, "some URIs were left out");
    }
    let grant_types = accept_grant_types(&request).map_err(because)?;
    let snapshot = ClientSnapshot {
        id: url.as_str().to_owned(),
        name: Some(name),
        refreshes: may_refresh(&grant_types),
        signs: !matches!(keys, Keys::None),
    };
    Ok(Described { client: Arc::new(Client { snapshot, redirect_uris }), keys })
}

/// A client whose registration everybody can read has no secret with us; it may have keys.
fn keys(request: &Request, documents: &ClientDocuments) -> Result<Keys, String> {
    match request.0.get("token_endpoint_auth_method") {
        None | Some(Value::Null) => return Ok(Keys::None),
        Some(Value::String(method)) if method == "none" => return Ok(Keys::None),
        Some(Value::String(method)) if method == PRIVATE_KEY_JWT => {}
        Some(_) => {
            return Err("the `token_endpoint_auth_method` in the client's metadata document must \
                        be `none` or `private_key_jwt`"
                .to_owned());
        }
    }
    let member = |name| request.0.get(name).filter(|value| !value.is_null());
    match (member("jwks"), member("jwks_uri")) {
        (Some(set), None) => inline(set),
        (None, Some(Value::String(uri))) => match documents.read(uri) {
            Named::Document(place) => Ok(Keys::At(place)),
            Named::Registration => Err("`jwks_uri` in the client's metadata document is no \
                                        `https` URL"
                .to_owned()),
            Named::Nothing(why) => Err(format!(
                "`jwks_uri` in the client's metadata document goes by the rules of \
                             client ids: {why}"
            )),
        },
        _ => Err("a client's metadata document with `private_key_jwt` must have either `jwks` or \
                  `jwks_uri`"
            .to_owned()),
    }
}

fn inline(set: &Value) -> Result<Keys, String> {
    let members = set.get("keys").and_then(Value::as_array).into_iter().flatten();
    if members.into_iter().any(|key| PRIVATE.iter().any(|name| key.get(name).is_some())) {
        return Err("`jwks` in the client's metadata document has a private key in it, which is \
                    known to everybody now"
            .to_owned());
    }
    match PublicKeys::from_key_set(set) {
        Some(keys) if !keys.is_empty() => Ok(Keys::Inline(Arc::new(keys))),
        _ => Err("`jwks` in the client's metadata document has no key that verifies signatures"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::*, *};

    const URL: &str = "https://app.example/client";

    fn url() -> ClientUrl {
        match ClientDocuments::default().read(URL) {
            Named::Document(url) => url,
            other => panic!("{other:?}"),
        }
    }

    fn good() -> Value {
        json!({
            "client_id": URL,
            "client_name": "App",
            "redirect_uris": ["https://app.example/callback", "http://127.0.0.1/"],
        })
    }

    fn described(document: &Value) -> Result<Described, String> {
        let (policy, documents) = (RedirectPolicy::default(), ClientDocuments::default());
        super::read(document.to_string().as_bytes(), &url(), &policy, &documents)
    }

    fn read(document: &Value) -> Result<Arc<Client>, String> {
        described(document).map(|described| described.client)
    }

    fn with(member: &str, value: Value) -> Value {
        let mut document = good();
        document[member] = value;
        document
    }

    #[test]
    fn a_document_makes_a_client() {
        let client = read(&good()).unwrap();
        assert_eq!(client.snapshot.id, URL);
        assert_eq!(client.snapshot.name.as_deref(), Some("App"));
        assert!(client.snapshot.refreshes);
        assert_eq!(client.redirect_uris, ["https://app.example/callback", "http://127.0.0.1/"]);
    }

    #[test]
    fn what_does_not_matter_spoils_nothing() {
        for document in [
            with("token_endpoint_auth_method", json!("none")),
            with("token_endpoint_auth_method", Value::Null),
            with("client_secret", Value::Null),
            with("logo_uri", json!(7)),
            with("unknown", json!({"deep": [1]})),
            with("scope", json!("everything")),
            // VS Code.
            with(
                "grant_types",
                json!(["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"]),
            ),
            with("redirect_uris", json!(["javascript:alert(1)", "https://app.example/callback"])),
        ] {
            assert!(read(&document).is_ok(), "{document}");
        }
        let once = with("grant_types", json!(["authorization_code"]));
        assert!(!read(&once).unwrap().snapshot.refreshes);
    }

    fn signing(member: &str, value: Value) -> Value {
        let mut document = with("token_endpoint_auth_method", json!("private_key_jwt"));
        document[member] = value;
        document
    }

    fn key() -> Value {
        json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"})
    }

    #[test]
    fn a_client_with_keys_signs() {
        let inline = described(&signing("jwks", json!({"keys": [key()]}))).unwrap();
        assert!(inline.client.snapshot.signs && matches!(inline.keys, Keys::Inline(_)));
        let elsewhere = "https://keys.example/jwks.json";
        let at = described(&signing("jwks_uri", json!(elsewhere))).unwrap();
        match at.keys {
            Keys::At(place) => assert_eq!(place.as_str(), elsewhere),
            other => panic!("{other:?}"),
        }
        let public = described(&with("jwks_uri", json!(elsewhere))).unwrap();
        assert!(!public.client.snapshot.signs, "keys are one thing, to be asked for them another");
    }

    #[test]
    fn each_defect_of_keys_is_named() {
        let private = json!({"kty": "RSA", "n": "AQAB", "e": "AQAB", "d": "AQAB"});
        let mut both = signing("jwks", json!({"keys": [key()]}));
        both["jwks_uri"] = json!("https://app.example/jwks");
        for (document, why) in [
            (with("token_endpoint_auth_method", json!("private_key_jwt")), "either"),
            (both, "either"),
            (signing("jwks", json!({"keys": []})), "no key"),
            (signing("jwks", json!([key()])), "no key"),
            (signing("jwks", json!({"keys": [{"kty": "oct"}]})), "no key"),
            (signing("jwks", json!({"keys": [{"kty": "oct", "k": "AAAA"}]})), "private key"),
            (signing("jwks", json!({"keys": [key(), private]})), "private key"),
            (signing("jwks_uri", json!("http://app.example/jwks")), "https://"),
            (signing("jwks_uri", json!("https://127.0.0.1/jwks")), "public name"),
            (signing("jwks_uri", json!("https://app.example:22/jwks")), "default port"),
            (signing("jwks_uri", json!("data:,x")), "no `https` URL"),
        ] {
            let complaint = described(&document).expect_err(why);
            assert!(complaint.contains(why), "{document}: {complaint}");
        }
    }

    #[test]
    fn each_defect_of_a_document_is_named() {
        let uris = "redirect";
        for (document, why) in [
            (json!([]), "not a JSON object"),
            (json!("text"), "not a JSON object"),
            (with("client_id", Value::Null), "has no `client_id`"),
            (with("client_id", json!([URL])), "has no `client_id`"),
            (with("client_id", json!("https://app.example/client/")), "not the URL"),
            (with("client_id", json!("https://app.example/CLIENT")), "not the URL"),
            (with("client_id", json!("https://bank.example/client")), "not the URL"),
            (with("client_secret", json!("s")), "`client_secret`"),
            (with("client_secret_expires_at", json!(0)), "`client_secret_expires_at`"),
            (with("token_endpoint_auth_method", json!("client_secret_basic")), "auth_method"),
            (with("token_endpoint_auth_method", json!("client_secret_post")), "auth_method"),
            (with("token_endpoint_auth_method", json!("client_secret_jwt")), "auth_method"),
            (with("token_endpoint_auth_method", json!(["none"])), "auth_method"),
            (with("client_name", Value::Null), "`client_name`"),
            (with("client_name", json!("  ")), "`client_name`"),
            (with("redirect_uris", Value::Null), uris),
            (with("redirect_uris", json!([])), uris),
            (with("redirect_uris", json!("https://app.example/callback")), uris),
            (with("redirect_uris", json!(["http://app.example/callback"])), uris),
            (with("redirect_uris", json!(["https://*.app.example/callback"])), uris),
            (with("redirect_uris", json!(["javascript:alert(1)"])), uris),
            (with("redirect_uris", json!(["unknown-app://callback"])), uris),
            (with("redirect_uris", json!(vec!["https://a.example/"; 33])), uris),
            (with("grant_types", json!(["client_credentials"])), "grant_types"),
            (with("response_types", json!(["token"])), "response_types"),
        ] {
            let complaint = read(&document).expect_err(why);
            assert!(complaint.contains(why), "{document}: {complaint}");
        }
    }

    #[test]
    fn no_bytes_make_a_panic() {
        for body in [&b""[..], b"{", b"\xff\xfe", b"<!doctype html>", &[b'['; 5000]] {
            let (policy, documents) = (RedirectPolicy::default(), ClientDocuments::default());
            assert!(super::read(body, &url(), &policy, &documents).is_err());
        }
    }
}
