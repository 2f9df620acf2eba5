//! What the builder refuses, and how it says so.

use oidc_proxy::{
    AccessPolicy, BuildError, ClientAuthMethod, KeyRing, MasterKey, OidcProxy, OidcProxyBuilder,
};

/// Everything that is required.
fn complete() -> OidcProxyBuilder {
    OidcProxy::builder("https://idp.example/.well-known/openid-configuration")
        .client_id("id")
        .client_secret("the client's secret".into())
        .base_url("https://mcp.example")
        .storage(kv_storage::Memory::new())
        .signing_keys(KeyRing::new(MasterKey::generate()))
        .access(AccessPolicy::any_user())
}

#[test]
fn what_is_required_is_enough_and_nothing_is_fetched() {
    let proxy = complete().build().unwrap();
    assert_eq!(proxy.issuer(), "https://mcp.example");
    assert_eq!(proxy.callback_url(), "https://mcp.example/auth/callback");
    assert_eq!(proxy.resource(), "https://mcp.example/mcp");
}

#[test]
fn names_are_as_configured() {
    let proxy = complete().resource("/files").redirect_path("/back").build().unwrap();
    assert_eq!(proxy.resource(), "https://mcp.example/files");
    assert_eq!(proxy.callback_url(), "https://mcp.example/back");
}

#[test]
fn an_error_names_the_method_and_the_way_out() {
    let start = || OidcProxy::builder("https://idp.example");
    let cases: [(OidcProxyBuilder, &str); 10] = [
        (start(), ".client_id(…)"),
        (start().client_id("id"), ".base_url(…)"),
        (start().client_id("id").base_url("https://mcp.example"), ".storage(…)"),
        (complete().client_secret("".into()), "client_secret"),
        (
            complete().token_endpoint_auth_method(ClientAuthMethod::None),
            "token_endpoint_auth_method",
        ),
        (complete().extra_authorize_params([("state", "x")]), "extra_authorize_params"),
        (complete().extra_token_params([("grant_type", "x")]), "extra_token_params"),
        (complete().id_token_algorithms(["none"]), "id_token_algorithms"),
        (complete().base_url("https://mcp.example/"), "slash"),
        (complete().access(AccessPolicy::nobody()), ".access(…)"),
    ];
    for (builder, hint) in cases {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.contains(hint), "{error}");
    }
    let error = OidcProxy::builder("http://idp.example")
        .client_id("id")
        .base_url("https://mcp.example")
        .build()
        .unwrap_err();
    assert!(matches!(error, BuildError::ConfigUrl(_)), "{error}");
}

#[test]
fn debug_shows_no_secret() {
    let builder = complete().extra_token_params([("k", "p4ram")]);
    let text = format!("{builder:?}");
    let text = format!("{text} {:?}", builder.build().unwrap());
    assert!(!text.contains("the client's secret") && !text.contains("p4ram"), "{text}");
}

#[tokio::test]
async fn a_provider_that_is_down_is_noticed_when_asked_for() {
    let proxy = OidcProxy::builder("http://127.0.0.1:1")
        .client_id("id")
        .base_url("http://localhost:8000")
        .storage(kv_storage::Memory::new())
        .signing_keys(KeyRing::new(MasterKey::generate()))
        .access(AccessPolicy::any_user())
        .build()
        .unwrap();
    assert!(proxy.check_provider().await.unwrap_err().is_temporary());
    proxy.health().await.unwrap();
    proxy.shutdown().await;
}
