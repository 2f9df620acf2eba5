//! What a client-ID metadata document says (draft §4), and whether it makes a client.

use serde_json::Value;

use super::ClientUrl;
use crate::{
    client::{Client, Request, accept_grant_types, accept_redirect_uris},
    error::OAuthError,
    record::transaction::ClientSnapshot,
    redirect_uri::RedirectPolicy,
};

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
pub(super) fn client(
    body: &[u8],
    url: &ClientUrl,
    policy: &RedirectPolicy,
) -> Result<Client, String> {
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
    check_auth_method(&request)?;
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
        refreshes: crate::client::may_refresh(&grant_types),
    };
    Ok(Client { snapshot, redirect_uris })
}

/// A client whose registration is public has no secret with us.
fn check_auth_method(request: &Request) -> Result<(), String> {
    match request.0.get("token_endpoint_auth_method") {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(method)) if method == "none" => Ok(()),
        Some(_) => Err("the `token_endpoint_auth_method` in the client's metadata document must \
                        be `none`"
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

    fn read(document: &Value) -> Result<Client, String> {
        client(document.to_string().as_bytes(), &url(), &RedirectPolicy::default())
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
            assert!(client(body, &url(), &RedirectPolicy::default()).is_err());
        }
    }
}
