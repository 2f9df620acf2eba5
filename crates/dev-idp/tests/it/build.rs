//! Configurations that make no sense are refused in words.

use dev_idp::{ClientConfig, DevIdp, Error, SigningKey, User};

use crate::support::{base, signing_key};

fn refusal(builder: dev_idp::Builder) -> String {
    match builder.build() {
        Err(error @ Error::Config(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn issuers_are_plain_urls_without_trailing_slash() {
    for (issuer, why) in [
        ("", "not a URL"),
        ("localhost:9000", "neither http"),
        ("ftp://localhost", "neither http"),
        ("http://localhost:9000/", "ends with a slash"),
        ("http://localhost:9000?x=1", "query"),
        ("http://localhost:9000/a#b", "fragment"),
        ("http://user@localhost", "user name"),
        ("http://localhost/{tenant}", "braces"),
        ("http://localhost/:tenant", "in its path"),
        ("http://localhost/*", "in its path"),
        ("http://LOCALHOST:9000", "plain form"),
        ("https://idp.example:443", "plain form"),
        ("http://localhost/a/../b", "plain form"),
    ] {
        let text = refusal(base(issuer));
        assert!(text.contains(why), "{issuer}: {text}");
    }
    base("https://idp.example/tenant/1").build().unwrap();
}

#[test]
fn clients_and_users_are_checked() {
    let none = DevIdp::builder().issuer("http://localhost").signing_key(signing_key());
    assert!(refusal(none).contains("no client"));

    let client = |id: &str, secret: Option<&str>, uri: &str| ClientConfig {
        client_id: id.to_owned(),
        client_secret: secret.map(str::to_owned),
        redirect_uris: vec![uri.to_owned()],
    };
    let with = |client| refusal(base("http://localhost").client(client));
    assert!(with(client("proxy", None, "http://localhost/")).contains("used twice"));
    assert!(with(client("", None, "http://localhost/")).contains("empty"));
    assert!(with(client("x", Some(""), "http://localhost/")).contains("secret"));
    assert!(with(client("x", None, "/callback")).contains("redirect URI"));
    assert!(with(client("x", None, "http://localhost/#x")).contains("redirect URI"));

    let twice = base("http://localhost").user(User::alice()).user(User::alice());
    assert!(refusal(twice).contains("used twice"));
}

#[test]
fn a_signing_key_is_an_rsa_key() {
    assert!(matches!(SigningKey::from_pkcs8(b"no key"), Err(Error::Key)));
}

#[test]
fn debug_shows_no_secret() {
    let idp = base("http://localhost").build().unwrap();
    let text = format!("{idp:?} {:?} {:?}", base("http://localhost"), signing_key());
    for secret in [crate::support::SECRET, "wonderland", "can-we-fix-it"] {
        assert!(!text.contains(secret), "{text}");
    }
}
