//! The well-known documents: RFC 8414, OpenID Connect Discovery 1.0, RFC 9728, and our key set.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::OriginalUri,
    response::{IntoResponse, Response},
    routing,
};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Serialize;
use serde_json::json;

use crate::{
    app::App,
    cimd::{ASSERTION_ALGORITHMS, PRIVATE_KEY_JWT},
    client::{AuthMethod, GRANT_TYPES},
    config::Config,
    resource::{self, METADATA},
    routes::{introspect, register},
    scope::{OFFLINE_ACCESS, ScopeSet},
};

/// Long enough to spare us a client's every reconnect, short enough for a change of configuration.
const CACHE_CONTROL: &str = "public, max-age=300";

/// Where our key set is, below the issuer.
const JWKS_PATH: &str = "/.well-known/jwks.json";

/// Serves every well-known document, at every address where a client looks for it.
///
/// The bodies are made here, once. Below a `/.well-known/` of ours everything else is a JSON 404,
/// because clients stumble over the HTML of a catch-all; nothing here can answer 5xx or 429 (D7).
pub(crate) fn router(app: &App) -> Router {
    let config = &app.config;
    let documents = Arc::new(Documents::new(app));
    let get = move |OriginalUri(uri): OriginalUri| {
        let answer = documents.answer(uri.path());
        async move { answer }
    };
    let mut router = Router::new().without_v07_checks();
    for path in places(config) {
        router = router.route(&format!("{path}/.well-known/{{*name}}"), routing::get(get.clone()));
    }
    router
}

/// The paths below which clients look for a `/.well-known/`: the root, the issuer's, each resource's.
fn places(config: &Config) -> BTreeSet<&str> {
    let named = config.resources.iter().map(resource::path);
    named.chain(["", config.base_path.as_str()]).collect()
}

/// The body of each document by its path.
#[derive(Debug)]
struct Documents(HashMap<String, Bytes>);

impl Documents {
    fn new(app: &App) -> Self {
        let config = &app.config;
        let mut documents = HashMap::new();
        let server = body(&AuthorizationServer::new(config));
        for path in places(config) {
            for name in ["oauth-authorization-server", "openid-configuration"] {
                for (before, after) in [("", path), (path, ""), (path, path)] {
                    let address = format!("{before}/.well-known/{name}{after}");
                    documents.insert(address, server.clone());
                }
            }
        }
        for url in config.resources.iter() {
            let resource = body(&ProtectedResource::new(config, url));
            for path in prm_paths(resource::path(url)) {
                documents.insert(path, resource.clone());
            }
        }
        // Whoever asks at a place that is no resource's means the default resource.
        let default = body(&ProtectedResource::new(config, config.resources.first()));
        for path in ["", config.base_path.as_str()].into_iter().flat_map(prm_paths) {
            documents.entry(path).or_insert_with(|| default.clone());
        }
        let keys = body(&app.keys.public);
        documents.insert(JWKS_PATH.to_owned(), keys.clone());
        documents.insert(format!("{}{JWKS_PATH}", config.base_path), keys);
        Self(documents)
    }

    /// The document at `path`; a trailing slash does not matter.
    fn answer(&self, path: &str) -> Response {
        let path = path.strip_suffix('/').unwrap_or(path);
        if let Some(body) = self.0.get(path) {
            let headers = [
                (header::CONTENT_TYPE, "application/json"),
                (header::CACHE_CONTROL, CACHE_CONTROL),
            ];
            return (headers, body.clone()).into_response();
        }
        let body = json!({
            "error": "not_found",
            "error_description": "there is no such well-known document on this server",
        });
        (StatusCode::NOT_FOUND, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
    }
}

/// Where clients look for the metadata of the resource at `path`: RFC 9728 §3.1, and appended.
fn prm_paths(path: &str) -> [String; 2] {
    [format!("{METADATA}{path}"), format!("{path}{METADATA}")]
}

fn body(document: &impl Serialize) -> Bytes {
    serde_json::to_vec(document).expect("strings and lists are always JSON").into()
}

/// RFC 8414 §2, with the members that OpenID Connect Discovery 1.0 §3 requires beyond that.
#[derive(Serialize)]
struct AuthorizationServer<'a> {
    issuer: &'a str,
    authorization_endpoint: String,
    token_endpoint: String,
    registration_endpoint: String,
    revocation_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection_endpoint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    introspection_endpoint_auth_methods_supported: Option<[AuthMethod; 2]>,
    jwks_uri: String,
    /// With `offline_access`: only where it is listed do clients ask for it (SEP-2207).
    scopes_supported: Vec<&'a str>,
    response_types_supported: [&'static str; 1],
    response_modes_supported: [&'static str; 1],
    grant_types_supported: [&'static str; 2],
    token_endpoint_auth_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_endpoint_auth_signing_alg_values_supported: Option<[&'static str; 9]>,
    revocation_endpoint_auth_methods_supported: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_endpoint_auth_signing_alg_values_supported: Option<[&'static str; 9]>,
    code_challenge_methods_supported: [&'static str; 1],
    authorization_response_iss_parameter_supported: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id_metadata_document_supported: Option<bool>,
    /// We issue no ID tokens; OpenID clients demand the member, and `RS256` in it.
    id_token_signing_alg_values_supported: [&'static str; 1],
    subject_types_supported: [&'static str; 1],
}

impl<'a> AuthorizationServer<'a> {
    fn new(config: &'a Config) -> Self {
        let introspects = !config.resource_servers.is_empty();
        let described = config.client_documents.is_on();
        let mut auth_methods = AuthMethod::ALL.map(AuthMethod::as_str).to_vec();
        auth_methods.extend(described.then_some(PRIVATE_KEY_JWT));
        let algorithms = described.then_some(ASSERTION_ALGORITHMS);
        Self {
            introspection_endpoint: introspects.then(|| config.url(introspect::PATH)),
            introspection_endpoint_auth_methods_supported: introspects
                .then_some([AuthMethod::ClientSecretBasic, AuthMethod::ClientSecretPost]),
            issuer: &config.issuer,
            authorization_endpoint: config.url("/authorize"),
            token_endpoint: config.url("/token"),
            registration_endpoint: config.url(register::PATH),
            revocation_endpoint: config.url("/revoke"),
            jwks_uri: config.url(JWKS_PATH),
            scopes_supported: config.supported_scopes.iter().collect(),
            response_types_supported: ["code"],
            response_modes_supported: ["query"],
            grant_types_supported: GRANT_TYPES,
            token_endpoint_auth_methods_supported: auth_methods.clone(),
            token_endpoint_auth_signing_alg_values_supported: algorithms,
            revocation_endpoint_auth_methods_supported: auth_methods,
            revocation_endpoint_auth_signing_alg_values_supported: algorithms,
            code_challenge_methods_supported: ["S256"],
            authorization_response_iss_parameter_supported: true,
            client_id_metadata_document_supported: described.then_some(true),
            id_token_signing_alg_values_supported: ["RS256"],
            subject_types_supported: ["public"],
        }
    }
}

/// RFC 9728 §2.
#[derive(Serialize)]
struct ProtectedResource<'a> {
    resource: &'a str,
    authorization_servers: [&'a str; 1],
    /// What is needed, not everything that exists: clients ask for all of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<String>,
    bearer_methods_supported: [&'static str; 1],
}

impl<'a> ProtectedResource<'a> {
    fn new(config: &'a Config, resource: &'a str) -> Self {
        let scopes: ScopeSet = config.required_scopes.without(OFFLINE_ACCESS);
        Self {
            resource,
            authorization_servers: [&config.issuer],
            scopes_supported: scopes.iter().map(str::to_owned).collect(),
            bearer_methods_supported: ["header"],
        }
    }
}
