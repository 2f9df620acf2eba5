//! What `oidc-proxy serve` encrypts with, and where it keeps what it encrypts.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use kv_storage::{Disk, Encrypted, Fernet, KeyValue, SealedWith, Sqlite};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::{
    process::{Serve, request, request_with, run},
    serve::{enough, free_port},
};

fn with(mut arguments: Vec<String>, more: &[&str]) -> Vec<String> {
    arguments.extend(more.iter().map(|more| (*more).to_owned()));
    arguments
}

/// What `serve` complains of before it opens a port.
fn refused(port: u16, arguments: Vec<String>) -> String {
    // A port that could not be bound: it would be another complaint.
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let output = run(["serve".to_owned()].into_iter().chain(arguments));
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

/// Which cipher the canary is sealed with.
async fn sealed_with(store: impl KeyValue, port: u16) -> Option<SealedWith> {
    let found = SealedWith::detect(&store, &format!("http://localhost:{port}")).await.unwrap();
    store.close().await;
    found
}

#[test]
fn new_storage_gets_aes_gcm_unless_fernet_is_asked_for() {
    let runtime = Runtime::new().unwrap();
    for (asked, sealed) in [
        (&[][..], SealedWith::Aes256Gcm),
        (&["--storage-cipher=aes-gcm"][..], SealedWith::Aes256Gcm),
        (&["--storage-cipher=fernet"][..], SealedWith::Fernet),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let arguments = with(enough(port, directory.path()), asked);
        let (code, log) = Serve::start(&arguments).stop();
        assert_eq!(code, Some(0), "{log}");
        let found = runtime.block_on(async {
            let database = Sqlite::open(directory.path().join("state.sqlite")).await.unwrap();
            sealed_with(database, port).await
        });
        assert_eq!(found, Some(sealed), "{asked:?}");
    }
}

/// As an earlier version left it.
async fn written_with_fernet(directory: &Path, port: u16) {
    let key = Fernet::generate_key();
    let kept = format!("# Storage keys (Fernet) of oidc-proxy\n{}\n", key.expose_secret());
    fs::write(directory.join("state.sqlite.storage-keys"), kept).unwrap();
    let database = Sqlite::open(directory.join("state.sqlite")).await.unwrap();
    let cipher = Fernet::new(&[key]).unwrap();
    let store = Encrypted::new(database, cipher, &format!("http://localhost:{port}"));
    store.check_keys().await.unwrap();
    store.close().await;
}

#[test]
fn what_fernet_wrote_goes_on_with_fernet_and_another_choice_is_refused() {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    runtime.block_on(written_with_fernet(directory.path(), port));
    let arguments = enough(port, directory.path());

    let place = directory.path().join("state.sqlite");
    let complaint = refused(port, with(arguments.clone(), &["--storage-cipher=aes-gcm"]));
    let sentence = format!(
        "error: the state in sqlite://{} is encrypted with fernet, not with aes-gcm; \
         say --storage-cipher fernet, or use another place\n",
        place.display()
    );
    assert!(complaint.ends_with(&sentence), "{complaint}");

    for (asked, said) in [(&[][..], true), (&["--storage-cipher=fernet"][..], false)] {
        let (code, log) = Serve::start(with(arguments.clone(), asked)).stop();
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(log.contains("stays encrypted with fernet"), said, "{log}");
    }
    let found =
        runtime.block_on(async { sealed_with(Sqlite::open(place).await.unwrap(), port).await });
    assert_eq!(found, Some(SealedWith::Fernet));
}

#[test]
fn a_directory_keeps_everything_over_a_restart_for_one_process_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("data/state");
    let port = free_port();
    let storage = format!("--storage=disk://{}", state.display());
    let arguments = with(enough(port, directory.path()), &[&storage]);
    let serve = Serve::start(&arguments);
    let body = r#"{"redirect_uris":["http://localhost:1/callback"]}"#;
    let registered = register(port, body);
    let text = |name: &str| registered[name].as_str().unwrap().to_owned();
    let management = text("registration_client_uri");
    let path = management.strip_prefix(&format!("http://localhost:{port}")).unwrap();
    let bearer = format!("Bearer {}", text("registration_access_token"));

    let second = run(["serve".to_owned()].into_iter().chain(arguments.clone()));
    assert_eq!(second.status.code(), Some(1));
    let complaint = String::from_utf8(second.stderr).unwrap();
    let sentence = format!("{} is in use by another oidc-proxy", state.display());
    assert!(complaint.contains(&sentence), "{complaint}");
    let (code, log) = serve.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("made a key"), "{log}");

    let keys = ["signing-keys", "storage-keys"].map(|name| state.with_extension(name));
    for file in &keys {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // `keys` finds them.
    let rotate = ["keys", "rotate", "storage"].map(str::to_owned);
    let rotated = run(rotate.into_iter().chain([storage]));
    assert!(rotated.status.success(), "{}", String::from_utf8_lossy(&rotated.stderr));
    assert_eq!(fs::metadata(&keys[1]).unwrap().permissions().mode() & 0o777, 0o600);

    let serve = Serve::start(&arguments);
    let host = format!("localhost:{port}");
    let headers = [("host", host.as_str()), ("authorization", &bearer)];
    let answer = request_with(port, &format!("GET {path}"), &headers);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (code, log) = serve.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("made a key"), "{log}");
    let found = Runtime::new()
        .unwrap()
        .block_on(async { sealed_with(Disk::open(&state).await.unwrap(), port).await });
    assert_eq!(found, Some(SealedWith::Aes256Gcm));
}

fn register(port: u16, body: &str) -> Value {
    let answer = request(port, "POST /register", body);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 201 "), "{answer}");
    serde_json::from_str(body).unwrap()
}
