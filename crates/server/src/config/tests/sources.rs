//! Flags, environment and file: who wins, how it is spelled, what cannot be read.

use std::fs;

use insta::assert_snapshot;
use secrecy::ExposeSecret;

use super::{ENOUGH, load, load_file, load_in, sources};
use crate::config::Config;

#[test]
fn an_unreadable_file_hides_no_other_complaint_and_makes_none_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    fs::write(&path, "client_id = 'a\n").unwrap();
    let path = path.to_str().unwrap();
    let wrong = [("config", path), ("listen", "here"), ("storage", "memory:")];
    let environment =
        [("OIDC_PROXY_BASE_URL", "https://mcp.example.com"), ("OIDC_PROXY_MCP_PAHT", "/")];
    let problems = Config::load(&sources(&wrong, &environment)).unwrap_err().to_string();
    assert_eq!(problems.lines().count(), 3, "{problems}");
    for name in ["OIDC_PROXY_MCP_PAHT", "is not TOML", "--listen"] {
        assert!(problems.contains(name), "{problems}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    let secret = directory.path().join("secret");
    fs::write(&path, "audience = 'file'\nmcp_path = '/file'\nclient_secret = 'file'\n").unwrap();
    fs::write(&secret, "from a file\n").unwrap();
    let path = path.to_str().unwrap();
    let load = |flags: &[(&str, &str)], environment: &[(&str, &str)]| {
        let flags: Vec<_> = ENOUGH.iter().chain(flags).copied().collect();
        Config::load(&sources(&flags, environment)).unwrap()
    };
    let file = ("OIDC_PROXY_CONFIG", path);

    let config = load(&[], &[file]);
    assert_eq!(config.audience.as_deref(), Some("file"));
    let config = load(&[], &[file, ("OIDC_PROXY_AUDIENCE", "environment")]);
    assert_eq!(config.audience.as_deref(), Some("environment"));
    assert_eq!(config.mcp_path, "/file");
    let config = load(&[("audience", "flag")], &[file, ("OIDC_PROXY_AUDIENCE", "environment")]);
    assert_eq!(config.audience.as_deref(), Some("flag"));

    // The file of a secret counts as much as the secret.
    let config = load(&[], &[file, ("OIDC_PROXY_CLIENT_SECRET_FILE", secret.to_str().unwrap())]);
    assert_eq!(config.client_secret.unwrap().expose_secret(), "from a file");
    // The file that a flag names is read, not the other one.
    let config = load(&[("config", path)], &[("OIDC_PROXY_CONFIG", "/nowhere")]);
    assert_eq!(config.mcp_path, "/file");
}

#[test]
fn an_empty_variable_is_none() {
    assert!(load_in(&[("OIDC_PROXY_AUDIENCE", "")]).unwrap().audience.is_none());
}

#[test]
fn lists_are_separated_in_every_usual_way() {
    let scopes = |text| load(&[("required-scopes", text)]).unwrap().required_scopes;
    for text in ["openid read", "openid,read", " openid ,  read,", r#"["openid", "read"]"#] {
        assert_eq!(scopes(text), ["openid", "read"], "{text}");
    }
    let twice = load(&[("required-scopes", "openid"), ("required-scopes", "read")]).unwrap();
    assert_eq!(twice.required_scopes, ["openid", "read"]);
    for toml in ["required_scopes = ['openid', 'read']", "required_scopes = 'openid read'"] {
        assert_eq!(load_file(toml).unwrap().required_scopes, ["openid", "read"]);
    }
}

#[test]
fn an_unfilled_template_is_no_rule() {
    for flag in ["allow-group", "allow-claim", "allow-email-domain", "required-scopes"] {
        let problems = load(&[(flag, r#"["", "x=y"]"#)]).unwrap_err();
        assert!(problems.contains("one of its items is empty"), "{flag}: {problems}");
    }
    assert!(load_file("allow_group = ['  ']").unwrap_err().contains("one of its items is empty"));
    assert!(load(&[("allow-group", " ")]).unwrap_err().contains("one of its items is empty"));
}

#[test]
fn a_service_of_our_name_in_kubernetes_does_no_harm() {
    let variables = [
        ("OIDC_PROXY_SERVICE_HOST", "10.0.0.1"),
        ("OIDC_PROXY_SERVICE_PORT", "80"),
        ("OIDC_PROXY_SERVICE_PORT_HTTP", "80"),
        ("OIDC_PROXY_PORT", "tcp://10.0.0.1:80"),
        ("OIDC_PROXY_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("OIDC_PROXY_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(load_in(&variables).is_ok());
    assert!(load_in(&[("OIDC_PROXY_PORT", "8000")]).is_err());
}

#[test]
fn one_of_a_secret_and_its_file_is_enough() {
    let problems = load(&[("client-secret", "hush"), ("client-secret-file", "/x")]).unwrap_err();
    assert!(problems.contains("are both given (flag); one of them is enough"), "{problems}");
    assert!(!problems.contains("hush"), "{problems}");
}

#[test]
fn unknown_names_are_refused_with_the_nearest_known_one() {
    let problems = load_in(&[
        ("OIDC_PROXY_BASEURL", "x"),
        ("OIDC_PROXY_ISSUER", "x"),
        ("OIDC_PROXY_client_id", "x"),
        ("OIDC_PROXYX", "not ours"),
        ("HOME", "not ours"),
    ]);
    assert_snapshot!(problems.unwrap_err(), @r#"
    error: the environment variable OIDC_PROXY_BASEURL is no setting; did you mean OIDC_PROXY_BASE_URL?
    error: the environment variable OIDC_PROXY_ISSUER is no setting; did you mean OIDC_PROXY_LISTEN?
    error: the environment variable OIDC_PROXY_client_id is no setting; did you mean OIDC_PROXY_CLIENT_ID?
    "#);
    let problems =
        load_file("baseurl = 'x'\nconfig = 'x'\nclient-id = 'x'\n[storage]\nurl = 'x'\n");
    assert_snapshot!(problems.unwrap_err(), @r#"
    error: "baseurl" in x.toml is no setting; did you mean base_url?
    error: "client-id" in x.toml is no setting; did you mean client_id?
    error: "config" in x.toml is no setting; did you mean config_url?
    error: --storage (environment OIDC_PROXY_STORAGE, TOML storage): it is a table in x.toml, not a text, true, false or an array of texts
    "#);
}

#[test]
fn a_kill_point_is_no_setting() {
    let problems = load_in(&[("OIDC_PROXY_KILL_POINT", "before grants 1")]).unwrap_err();
    assert!(problems.contains("OIDC_PROXY_KILL_POINT is no setting"), "{problems}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_without_what_is_in_it() {
    let broken = load_file("audience = 'x'\nclient_secret = 'hush\n").unwrap_err();
    let typed = load_file("client_secret = 12\nallow_group = [1]\nproduction = 1979-05-27\n");
    let listed = load_file("client_secret = ['hush']\n");
    assert_snapshot!(format!("{broken}{}{}", typed.unwrap_err(), listed.unwrap_err()), @r#"
    error: --config (environment OIDC_PROXY_CONFIG): line 2 of x.toml is not TOML: invalid literal string, expected `'`
    error: --allow-group (environment OIDC_PROXY_ALLOW_GROUP, TOML allow_group): it is an array of other things than texts in x.toml, not a text, true, false or an array of texts
    error: --client-secret (environment OIDC_PROXY_CLIENT_SECRET, TOML client_secret): it is a number in x.toml, not a text, true, false or an array of texts
    error: --production (environment OIDC_PROXY_PRODUCTION, TOML production): it is a date in x.toml, not a text, true, false or an array of texts
    error: --client-secret (environment OIDC_PROXY_CLIENT_SECRET, TOML client_secret): it is an array; one text is expected
    "#);
    // Nobody knows what is missing as long as the file is.
    let nowhere = Config::load(&sources(&[("config", "/nowhere.toml")], &[])).unwrap_err();
    assert_eq!(
        nowhere.to_string(),
        "error: --config (environment OIDC_PROXY_CONFIG): /nowhere.toml could not be read: \
         No such file or directory (os error 2)\n"
    );
}
