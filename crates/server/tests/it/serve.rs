//! `oidc-proxy serve`, `config` and `keys`.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
};

use crate::process::{Serve, request, run, run_in};

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// What must be given, with a provider and a backend that are down.
pub(crate) fn enough(port: u16, directory: &Path) -> Vec<String> {
    vec![
        format!("--base-url=http://localhost:{port}"),
        format!("--listen=localhost:{port}"),
        format!("--config-url=http://localhost:{}", free_port()),
        format!("--backend=http://localhost:{}/mcp", free_port()),
        "--client-id=the-client".to_owned(),
        "--allow-email=alice@example.com".to_owned(),
        format!("--storage=sqlite://{}/state.sqlite", directory.display()),
    ]
}

fn with(mut arguments: Vec<String>, more: &str) -> Vec<String> {
    arguments.push(more.to_owned());
    arguments
}

#[test]
fn everything_wrong_is_said_at_once_before_a_port_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let storage = directory.path().join("data");
    let environment = [("OIDC_PROXY_BACKED", "x"), ("OIDC_PROXY_IDENTITY", "asertion")];
    // A port that could not be bound: it would be a complaint, and another exit code.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let listen = format!("--listen={}", other.local_addr().unwrap());
    let storage_flag = format!("--storage=sqlite://{}/state.sqlite", storage.display());
    for command in [&["serve"][..], &["config", "check"]] {
        let given = [&listen, &storage_flag, "--base-url=http://mcp.example"];
        let output = run_in(&environment, command.iter().copied().chain(given));
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let complaints = String::from_utf8(output.stderr).unwrap();
        let named = [
            "OIDC_PROXY_BACKED is no setting; did you mean OIDC_PROXY_BACKEND?",
            "--config-url (environment OIDC_PROXY_CONFIG_URL, TOML config_url) is missing",
            "--client-id (environment OIDC_PROXY_CLIENT_ID, TOML client_id) is missing",
            "--base-url (environment OIDC_PROXY_BASE_URL, TOML base_url): the base URL",
            "nobody could log in",
            "--backend (environment OIDC_PROXY_BACKEND, TOML backend) is missing",
            "\"asertion\" is none of headers, assertion, provider-token, none",
        ];
        for sentence in named {
            assert!(complaints.contains(sentence), "{sentence}: {complaints}");
        }
        assert_eq!(complaints.lines().count(), named.len(), "{complaints}");
        assert!(complaints.lines().all(|line| line.starts_with("error: ")), "{complaints}");
    }
    assert!(!storage.exists());
}

#[test]
fn it_starts_while_the_provider_is_down_and_keeps_its_keys() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let port = free_port();
    let arguments = enough(port, &data);
    let mut serve = Serve::start(&arguments);
    serve.wait_for("nobody can log in until the provider answers");
    for said in [
        "may log in: whoever has the verified e-mail address alice@example.com",
        &format!(
            "the callback URL to register at the provider is http://localhost:{port}/auth/callback"
        ),
        "whoever copies its directory copies it",
    ] {
        assert!(serve.log.contains(said), "{said}: {}", serve.log);
    }
    let challenge = request(port, "POST /mcp", "{}");
    assert!(challenge.starts_with("HTTP/1.1 401 "), "{challenge}");
    let metadata = request(port, "GET /.well-known/oauth-authorization-server", "");
    assert!(metadata.contains(&format!("\"issuer\":\"http://localhost:{port}\"")), "{metadata}");

    let second = run(["serve"].into_iter().map(str::to_owned).chain(arguments.clone()));
    assert_eq!(second.status.code(), Some(1));
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert!(complaint.contains("is in use by another oidc-proxy"), "{complaint}");

    let (code, log) = serve.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());

    let keys = || fs::read(data.join("state.sqlite.signing-keys")).unwrap();
    let made = keys();
    let (code, log) = Serve::start(&arguments).stop();
    assert_eq!((code, keys()), (Some(0), made), "{log}");
    assert!(!log.contains("made a key"), "{log}");
}

#[test]
fn other_storage_keys_stop_it_before_a_port_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let arguments = enough(port, directory.path());
    assert_eq!(Serve::start(&arguments).stop().0, Some(0));

    fs::remove_file(directory.path().join("state.sqlite.storage-keys")).unwrap();
    let _other = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let output = run(["serve".to_owned()].into_iter().chain(arguments));
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("was encrypted with other storage keys"), "{complaint}");
}

#[test]
fn other_signing_keys_stop_it_before_a_port_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let arguments = enough(port, directory.path());
    assert_eq!(Serve::start(&arguments).stop().0, Some(0));

    let file = directory.path().join("state.sqlite.signing-keys");
    let kept = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    for _ in 0..2 {
        let output = run(["serve".to_owned()].into_iter().chain(arguments.clone()));
        assert_eq!(output.status.code(), Some(1));
        let complaint = String::from_utf8(output.stderr).unwrap();
        for said in ["signs with the key ", "put back the file", "--danger-replace-signing-keys"] {
            assert!(complaint.contains(said), "{said}: {complaint}");
        }
    }
    drop(taken);
    // Both ways out: the keys of before, or none of what they signed.
    let new = fs::read(&file).unwrap();
    fs::write(&file, &kept).unwrap();
    assert_eq!(Serve::start(&arguments).stop().0, Some(0));
    fs::write(&file, &new).unwrap();
    let insisting = with(arguments.clone(), "--danger-replace-signing-keys");
    assert_eq!(Serve::start(&insisting).stop().0, Some(0));
    assert_eq!(Serve::start(&arguments).stop().0, Some(0));
}

#[test]
fn a_taken_port_is_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = other.local_addr().unwrap();
    let arguments = with(enough(free_port(), directory.path()), &format!("--listen={address}"));
    let output = run(["serve".to_owned()].into_iter().chain(arguments));
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    let sentence = format!("error: could not listen on {address}; choose another with --listen");
    assert!(complaint.contains(&sentence), "{complaint}");
}

#[test]
fn generated_keys_are_ready_to_use() {
    let output = run(["keys", "generate"]);
    assert!(output.status.success());
    let lines = String::from_utf8(output.stdout).unwrap();
    let keys: Vec<_> = lines.lines().map(|line| line.split_once('=').unwrap()).collect();
    let names: Vec<_> = keys.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["OIDC_PROXY_STORAGE_ENCRYPTION_KEY", "OIDC_PROXY_JWT_SIGNING_KEY"]);
    assert_ne!(run(["keys", "generate"]).stdout, lines.as_bytes());

    let directory = tempfile::tempdir().unwrap();
    let arguments = enough(free_port(), directory.path());
    let check = ["config", "check"].map(str::to_owned).into_iter().chain(arguments);
    let output = run_in(&keys, check);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for needed in ["The settings are good.", "/auth/callback (register it", "alice@example.com"] {
        assert!(text.contains(needed), "{text}");
    }
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none(), "checking made something");
}

#[test]
fn printing_shows_sources_and_no_secret_and_then_what_is_wrong() {
    let arguments = ["config", "print", "--client-secret=hush", "--audience=a", "--listen=x"];
    let output = run_in(&[("OIDC_PROXY_ALLOW_GROUP", "ops")], arguments);
    assert_eq!(output.status.code(), Some(2));
    let printed = String::from_utf8(output.stdout).unwrap();
    for line in [
        "audience = \"a\"  # flag",
        "allow_group = [\"ops\"]  # environment",
        "# client_secret: redacted  # flag",
    ] {
        assert!(printed.lines().any(|printed| printed == line), "{line}: {printed}");
    }
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(complaints.contains("--listen") && complaints.contains("--client-id"), "{complaints}");
    assert!(!printed.contains("hush") && !complaints.contains("hush"));
}

#[test]
fn nothing_about_storage_needs_to_be_said() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().to_str().unwrap();
    let output = run_in(&[("XDG_DATA_HOME", data)], ["config", "print"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    let line = format!("storage = \"sqlite://{data}/oidc-proxy/state.sqlite\"  # default");
    assert!(printed.lines().any(|printed| printed == line), "{printed}");
}

#[test]
fn programs_get_a_json_object_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = with(enough(free_port(), directory.path()), "--log-format=json");
    let (code, log) = Serve::start(arguments).stop();
    assert_eq!(code, Some(0), "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
}

#[test]
fn the_version_is_one_line() {
    let output = run(["--version"]);
    assert!(output.status.success());
    let line = format!("oidc-proxy {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), line);
}
