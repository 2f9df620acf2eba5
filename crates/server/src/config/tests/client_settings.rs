//! What holds for some clients: tables of the file.

use std::{fs, time::Duration};

use insta::assert_snapshot;
use jwt_issuer::{KeyRing, MasterKey};
use kv_storage::Memory;
use oidc_proxy::ClientSettings;

use super::{ENOUGH, load_file, load_in, sources};
use crate::config::{Given, effective};

const GOOD: &str = r#"
audience = "x"

[[client_settings]]
redirect_host = "app.example.com"
refresh_grace = "11m"

[[client_settings]]
client_id = "mcp_1"
danger_public_without_rotation = true
refresh_absolute_lifetime = "30d"

[[client_settings]]
confidential = true
without_rotation = true
"#;

#[test]
fn tables_of_the_file_say_what_holds_for_some_clients() {
    let config = load_file(GOOD).unwrap();
    let expected = [
        ClientSettings::of_redirect_host("app.example.com").refresh_grace(Duration::from_mins(11)),
        ClientSettings::of_client("mcp_1")
            .danger_public_without_rotation()
            .refresh_absolute(Duration::from_hours(30 * 24)),
        ClientSettings::of_confidential_clients().without_rotation(),
    ];
    assert_eq!(config.client_settings, expected);
    // They reach the proxy: one of them again is once too often.
    let twice = config
        .proxy()
        .client_settings(ClientSettings::of_client("mcp_1"))
        .storage(Memory::new())
        .signing_keys(KeyRing::new(MasterKey::generate()))
        .build();
    let why = format!("{:#}", anyhow::Error::from(twice.unwrap_err()));
    assert!(why.contains("mcp_1") && why.contains("given twice"), "{why}");
    assert!(load_file("").unwrap().client_settings.is_empty());
    // False is as good as nothing.
    let off =
        "[[client_settings]]\nclient_id = 'x'\nwithout_rotation = false\nconfidential = false";
    assert_eq!(load_file(off).unwrap().client_settings, [ClientSettings::of_client("x")]);
    // What all have bounds what some have.
    let short = "refresh_absolute_lifetime = '30d'\n[[client_settings]]\nclient_id = 'x'\n\
                 danger_public_without_rotation = true";
    assert!(load_file(short).is_ok());
}

#[test]
fn everything_wrong_about_some_clients_is_said_with_the_rest() {
    let wrong = r#"
listen = "here"

[[client_settings]]
client_id = "mcp_1"
refresh_grase = "1m"

[[client_settings]]
client_id = "mcp_2"
redirect_host = "app.example.com"

[[client_settings]]
refresh_grace = "1m"

[[client_settings]]
redirect_host = "app.example.com"
refresh_grace = "61m"

[[client_settings]]
redirect_host = "localhost"

[[client_settings]]
client_id = 7

[[client_settings]]
client_id = "mcp_3"
without_rotation = "yes"

[[client_settings]]
client_id = "mcp_3"
refresh_grace = "soon"

[[client_settings]]
client_id = "mcp_3"
danger_public_without_rotation = true

[[client_settings]]
client_id = "mcp_3"
danger_public_without_rotation = true
refresh_absolute_lifetime = "31d"

[[client_settings]]
client_id = "mcp_1"
"#;
    assert_snapshot!(load_file(wrong).unwrap_err(), @r#"
    error: [[client_settings]] 1 in x.toml: "refresh_grase" is no key; did you mean refresh_grace?
    error: --listen (environment OIDC_PROXY_LISTEN, TOML listen): "here" is not an address and a port like 127.0.0.1:8000, [::]:8000 or localhost:8000
    error: [[client_settings]] 2 in x.toml: it must say whose settings these are by one of client_id, redirect_host and confidential
    error: [[client_settings]] 3 in x.toml: it must say whose settings these are by one of client_id, redirect_host and confidential
    error: [[client_settings]] 4 in x.toml: the settings of the redirect host "app.example.com" cannot be used: its grace window is 3660s; it must be at most 3600s
    error: [[client_settings]] 5 in x.toml: the settings of the redirect host "localhost" cannot be used: every program on a person's computer can listen on loopback
    error: [[client_settings]] 6 in x.toml: client_id is not a text
    error: [[client_settings]] 7 in x.toml: without_rotation is neither true nor false
    error: [[client_settings]] 8 in x.toml: refresh_grace: "soon": expected a number and a unit, as in 2s
    error: [[client_settings]] 9 in x.toml: the settings of the client "mcp_3" cannot be used: without rotation the logins of a public client must end after 2592000s at most, not after 7776000s: give them an earlier absolute end
    error: [[client_settings]] 10 in x.toml: the settings of the client "mcp_3" cannot be used: without rotation the logins of a public client must end after 2592000s at most, not after 2678400s: give them an earlier absolute end
    error: [[client_settings]] 11 in x.toml: the settings of the client "mcp_1" cannot be used: they are given twice
    "#);
    assert_snapshot!(load_file("client_settings = 'x'").unwrap_err(), @r#"error: "client_settings" in x.toml is no array of tables; each begins with [[client_settings]]"#);
    assert_snapshot!(load_file("client_settings = ['x']").unwrap_err(), @r#"error: item 1 of "client_settings" in x.toml is no table"#);
    assert_snapshot!(load_file("[[client_setting]]\nclient_id = 'x'").unwrap_err(), @r#"error: "client_setting" in x.toml is no setting; did you mean client_settings?"#);
    assert_snapshot!(load_in(&[("OIDC_PROXY_CLIENT_SETTINGS", "x")]).unwrap_err(), @r#"error: the environment variable OIDC_PROXY_CLIENT_SETTINGS is no setting: client_settings are tables of the file with settings"#);
}

#[test]
fn what_holds_for_some_clients_is_printed_with_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.toml");
    fs::write(&path, GOOD).unwrap();
    let path = path.to_str().unwrap();
    let flags: Vec<_> = ENOUGH.into_iter().chain([("config", path)]).collect();
    let printed = effective(&Given::collect(&sources(&flags, &[])).0).replace(path, "x.toml");
    let tables = &printed[printed.find("\n[[client_settings]]").unwrap()..];
    assert_snapshot!(tables, @r#"
    [[client_settings]]  # x.toml
    redirect_host = "app.example.com"
    refresh_grace = "11m"

    [[client_settings]]  # x.toml
    client_id = "mcp_1"
    danger_public_without_rotation = true
    refresh_absolute_lifetime = "30d"

    [[client_settings]]  # x.toml
    confidential = true
    without_rotation = true
    "#);
    assert!(load_file(&printed).is_ok(), "what is printed can be given");
}
