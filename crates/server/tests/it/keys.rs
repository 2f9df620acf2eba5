//! `oidc-proxy keys`: keys that are kept, keys that are given, and people who stay logged in.

use std::{fs, path::Path, process::Output};

use url::Url;

use crate::{
    login::{Around, log_in, send},
    process::{Serve, run, run_in},
    serve::free_port,
};

fn keys<'a>(storage: &'a str, words: &[&'a str]) -> Output {
    run(["keys"].iter().chain(words).copied().chain([storage]))
}

/// What a command printed that went well.
#[track_caller]
fn said(output: Output) -> String {
    let (out, err) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
    assert!(output.status.success(), "{out:?} {err:?}");
    out.unwrap()
}

/// Why a command did not.
#[track_caller]
fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

fn ids(list: &str, which: &str) -> Vec<String> {
    let lines = list.lines().filter(|line| line.starts_with(which));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
}

#[test]
fn kept_keys_are_rotated_and_nobody_is_logged_out() {
    let port = free_port();
    let around = Around::start(port);
    let directory = tempfile::tempdir().unwrap();
    let storage = format!("--storage=sqlite://{}/state.sqlite", directory.path().display());
    let mut arguments = around.arguments(port);
    arguments.extend(["--allow-any-user".to_owned(), storage.clone()]);
    let base = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let mcp = base.join("/mcp").unwrap();
    let works = |token: &str| {
        let bearer = format!("Bearer {token}");
        send("POST", &mcp, &[("authorization", &bearer)], "").status == 200
    };

    let mut serve = Serve::start(&arguments);
    serve.wait_for("answers");
    let mut tokens = vec![log_in(&base, "alice", "wonderland")];
    let before = said(keys(&storage, &["list"]));
    assert_eq!((ids(&before, "signing").len(), ids(&before, "storage").len()), (1, 1), "{before}");

    for step in ["rotate", "promote"] {
        for ring in ["signing", "storage"] {
            // While it runs: it reads its keys at the next start.
            let told = said(keys(&storage, &[step, ring]));
            assert!(told.contains("Restart every server"), "{told}");
        }
        assert_eq!(serve.stop().0, Some(0));
        serve = Serve::start(&arguments);
        serve.wait_for("answers");
        assert!(tokens.iter().all(|token| works(token)), "after {step}");
        tokens.push(log_in(&base, "alice", "wonderland"));
    }
    let after = said(keys(&storage, &["list"]));
    for ring in ["signing", "storage"] {
        let (before, after) = (ids(&before, ring), ids(&after, ring));
        assert_eq!((after.len(), &after[1]), (2, &before[0]), "the old one is behind the new one");
        let why = refused(keys(&storage, &["retire", ring]));
        assert!(why.contains("--force") && why.contains(&before[0]), "{why}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;

        let file = directory.path().join("state.sqlite.signing-keys");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    // By force: what the new key signed goes on, the rest does not.
    said(keys(&storage, &["retire", "signing", "--force"]));
    assert_eq!(serve.stop().0, Some(0));
    let mut serve = Serve::start(&arguments);
    serve.wait_for("answers");
    let alive: Vec<bool> = tokens.iter().map(|token| works(token)).collect();
    assert_eq!(alive, [false, false, true]);
    let (_, log) = serve.stop();
    let file = fs::read_to_string(directory.path().join("state.sqlite.signing-keys")).unwrap();
    let key = file.lines().find(|line| !line.starts_with('#')).unwrap();
    assert!(!log.contains(key.split_whitespace().next().unwrap()));
}

#[test]
fn given_keys_are_printed_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    let made = said(run(["keys", "generate"]));
    let key = made.lines().find_map(|line| line.split_once("JWT_SIGNING_KEY=")).unwrap().1;
    fs::write(&file, format!("{key}\n")).unwrap();
    let given = format!("--jwt-signing-key-file={}", file.display());

    let output = keys(&given, &["rotate", "signing"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("yours to keep"));
    let printed = said(output);
    assert_eq!(printed.lines().count(), 2, "{printed}");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{key}\n"));
    // What was printed is what the file may hold.
    fs::write(&file, &printed).unwrap();
    let promoted = said(keys(&given, &["promote", "signing"]));
    fs::write(&file, &promoted).unwrap();
    assert!(refused(keys(&given, &["retire", "signing"])).contains("--force"));
    config_is_good(&given, directory.path());

    let environment = [("OIDC_PROXY_JWT_SIGNING_KEY", key)];
    let value = said(run_in(&environment, ["keys", "rotate", "signing"]));
    assert!(value.starts_with(&format!("{key},")) && value.lines().count() == 1, "{value}");
    assert!(!directory.path().join("state.sqlite.signing-keys").exists());
}

fn config_is_good(given: &str, directory: &Path) {
    let storage = format!("--storage=sqlite://{}/state.sqlite", directory.display());
    said(run([
        "config",
        "check",
        given,
        &storage,
        "--base-url=http://localhost:8000",
        "--config-url=http://localhost:1",
        "--backend=http://localhost:2/mcp",
        "--client-id=x",
        "--allow-any-user",
    ]));
}

#[test]
fn where_there_are_no_keys_it_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let storage = format!("--storage=sqlite://{}/state.sqlite", directory.path().display());
    let list = said(keys(&storage, &["list"]));
    assert!(list.contains("none: could not read"), "{list}");
    let why = refused(keys(&storage, &["rotate", "signing"]));
    assert!(why.contains("could not"), "{why}");
    let why = refused(keys("--storage=memory:", &["rotate", "storage"]));
    assert!(why.contains("this storage keeps none"), "{why}");
    assert_eq!(keys(&storage, &["rotate"]).status.code(), Some(2));
    assert_eq!(keys("--storage=nonsense:", &["list"]).status.code(), Some(2));
}
