//! `oidc-proxy sessions` and `clients`: with a running server, and without.

use std::{fs, process::Output};

use serde_json::Value;
use url::Url;

use crate::{
    login::{Around, call, log_in},
    process::{Serve, eventually, request_with, run},
    serve::free_port,
};

/// What the program printed, if it ended well.
fn printed(output: &Output) -> String {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn entries(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn an_operator_sees_and_ends_sessions() {
    let (port, admin) = (free_port(), free_port());
    let around = Around::start(port);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("proxy.toml");
    let database = directory.path().join("state.sqlite");
    let settings = format!(
        "admin_listen = \"localhost:{admin}\"\nstorage = \"sqlite://{}\"\nallow_any_user = true\n\
         revocation_delay = \"0s\"\n",
        database.display()
    );
    fs::write(&file, settings).unwrap();
    let config = format!("--config={}", file.display());
    let audit = directory.path().join("audit.jsonl");
    let mut arguments = around.arguments(port);
    arguments.push(config.clone());
    arguments.push(format!("--audit-log={}", audit.display()));
    let base = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    // What the operator types: the settings file says where the server and the token are.
    let operate = |words: &str| run(words.split(' ').chain([&*config]));

    let mut serve = Serve::start(&arguments);
    serve.wait_for("answers");
    let token_file = format!("{}.admin-token", database.display());
    assert!(serve.log.contains(&token_file), "{}", serve.log);
    let (alice, bob) =
        (log_in(&base, "alice", "wonderland"), log_in(&base, "bob", "can-we-fix-it"));

    // Page by page.
    let all = entries(&printed(&operate("sessions list --json")));
    assert_eq!(all.len(), 2);
    let first = operate("sessions list --json --limit 1");
    let seen = entries(&printed(&first));
    let said = String::from_utf8(first.stderr).unwrap();
    let (_, cursor) = said.trim().split_once("--cursor ").expect(&said);
    let second = entries(&printed(&operate(&format!("sessions list --json --cursor {cursor}"))));
    let ids = |entries: &[Value]| -> Vec<String> {
        let mut ids: Vec<_> = entries.iter().map(|entry| entry["id"].to_string()).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&[seen, second].concat()), ids(&all));
    let text = printed(&operate("sessions list --user user-alice"));
    assert!(text.contains("user-alice") && text.contains("active"), "{text}");
    assert!(!text.contains("user-bob") && !text.contains(&alice), "{text}");

    // Nobody is meant by mistake.
    assert_eq!(operate("sessions revoke").status.code(), Some(2));
    assert_eq!(operate("sessions revoke --all --user user-bob").status.code(), Some(2));
    assert_eq!(call(&base, "/mcp", &alice).status, 200);

    assert_eq!(printed(&operate("sessions revoke --user user-alice")), "1 session ended.\n");
    assert_eq!(call(&base, "/mcp", &alice).status, 401);
    assert_eq!(call(&base, "/mcp", &bob).status, 200);
    assert!(complaint(&operate("sessions revoke --id unknown")).contains("no such session"));

    let clients = entries(&printed(&operate("clients list --json")));
    assert_eq!(clients.len(), 2);
    let bobs = &entries(&printed(&operate("sessions list --json")))[0]["client_id"];
    let delete = format!("clients delete {}", bobs.as_str().unwrap());
    let deleted = printed(&operate(&delete));
    assert!(deleted.ends_with("; 1 session ended.\n"), "{deleted}");
    assert_eq!(call(&base, "/mcp", &bob).status, 401);
    assert!(complaint(&operate(&delete)).contains("there is no client"));

    // An auditor learns from where, and which events belong together.
    let events = eventually(|| {
        let text = fs::read_to_string(&audit).ok()?;
        let events = entries(&text[..=text.rfind('\n')?]);
        events.iter().any(|event| event["event"] == "client_deleted").then_some(events)
    });
    for name in ["operator_revoked", "client_deleted"] {
        let event = events.iter().find(|event| event["event"] == name).unwrap();
        let peer = event["peer"].as_str().unwrap_or_default();
        assert!(["127.0.0.1", "::1"].contains(&peer), "{event}");
        let same = |other: &&Value| other["request"] == event["request"];
        let joined = events.iter().filter(same).find(|other| other["event"] == "grant_revoked");
        assert!(event["request"].is_string() && joined.is_some(), "{events:?}");
    }

    // Without a server it can be done as well, but not beside it.
    let offline =
        |words: &str| run(words.split(' ').map(str::to_owned).chain(arguments.iter().cloned()));
    let refused = complaint(&offline("sessions list --offline"));
    assert!(refused.contains("is in use by another oidc-proxy"), "{refused}");
    let again_bob = log_in(&base, "bob", "can-we-fix-it");
    assert_eq!(serve.stop().0, Some(0));
    let refused = complaint(&operate("sessions list"));
    assert!(refused.contains("does the server run?"), "{refused}");
    assert_eq!(entries(&printed(&offline("sessions list --offline --json"))).len(), 1);
    let ended = printed(&offline("sessions revoke --offline --all --json"));
    assert_eq!(ended, "{\"revoked\":1}\n");
    let again = Serve::start(&arguments);
    assert_eq!(call(&base, "/mcp", &again_bob).status, 401);
    assert_eq!(again.stop().0, Some(0));
}

#[test]
fn only_who_has_the_token_administers() {
    let (port, admin) = (free_port(), free_port());
    let around = Around::start(port);
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = around.arguments(port);
    arguments.extend([
        format!("--admin-listen=localhost:{admin}"),
        format!("--storage=sqlite://{}/x", directory.path().display()),
        "--allow-any-user".to_owned(),
    ]);
    let mut serve = Serve::start(&arguments);
    let token = fs::read_to_string(directory.path().join("x.admin-token")).unwrap();
    let (host, good) = (("host", "localhost"), format!("Bearer {token}"));
    for (method, path) in [
        ("GET", "/admin/sessions"),
        ("DELETE", "/admin/sessions?all=true"),
        ("DELETE", "/admin/sessions/x"),
        ("GET", "/admin/clients"),
        ("DELETE", "/admin/clients/x"),
    ] {
        let head = format!("{method} {path}");
        let without = request_with(admin, &head, &[host]);
        assert!(without.starts_with("HTTP/1.1 401 "), "{head}: {without}");
        let wrong = format!("{good}x");
        let wrong = request_with(admin, &head, &[host, ("authorization", &wrong)]);
        assert!(wrong.starts_with("HTTP/1.1 401 "), "{head}: {wrong}");
        let with = request_with(admin, &head, &[host, ("authorization", &good)]);
        assert!(!with.starts_with("HTTP/1.1 401 "), "{head}: {with}");
        // Not even with the token from a web page.
        let page = [host, ("authorization", &*good), ("origin", "https://page.example")];
        assert!(request_with(admin, &head, &page).starts_with("HTTP/1.1 403 "), "{head}");
        // And not in public.
        let public = request_with(port, &head, &[host, ("authorization", &good)]);
        assert!(public.starts_with("HTTP/1.1 404 "), "{head}: {public}");
    }
    let authorized = [host, ("authorization", &*good)];
    let nobody = request_with(admin, "DELETE /admin/sessions", &authorized);
    assert!(nobody.starts_with("HTTP/1.1 400 "), "{nobody}");
    serve.wait_for("without the admin token");

    let other = directory.path().join("other");
    fs::write(&other, "x".repeat(40)).unwrap();
    let url = format!("--admin-url=http://localhost:{admin}");
    let file = format!("--admin-token-file={}", other.display());
    let refused = complaint(&run(["sessions", "list", &url, &file]));
    assert!(refused.contains("does not accept the admin token"), "{refused}");
    let nowhere = complaint(&run(["clients", "list", &file]));
    assert!(nowhere.contains("where is the server?"), "{nowhere}");
    let (code, log) = serve.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains(&token), "{log}");
}
