//! The admin listener and the audit log, from outside.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use serde_json::Value;

use crate::{
    process::{Serve, eventually, request, request_with, run},
    serve::{enough, free_port},
};

fn json(answer: &str) -> Value {
    let (_, body) = answer.split_once("\r\n\r\n").expect(answer);
    serde_json::from_str(body).expect(answer)
}

fn with_admin(port: u16, admin: u16, directory: &Path) -> Vec<String> {
    let mut arguments = enough(port, directory);
    arguments.push(format!("--admin-listen=localhost:{admin}"));
    arguments
}

#[test]
fn health_is_told_part_by_part() {
    let directory = tempfile::tempdir().unwrap();
    let (port, admin, backend) = (free_port(), free_port(), free_port());
    let mut arguments = with_admin(port, admin, directory.path());
    arguments.push(format!("--backend=http://127.0.0.1:{backend}/mcp"));
    let serve = Serve::start(&arguments);

    let alive = request(admin, "GET /healthz", "");
    assert!(alive.starts_with("HTTP/1.1 200 ") && alive.ends_with("\r\n\r\nok\n"), "{alive}");
    let down = request(admin, "GET /readyz", "");
    assert!(down.starts_with("HTTP/1.1 503 "), "{down}");
    let report = json(&down);
    assert_eq!(report["status"], "unavailable");
    assert_eq!(report["storage"]["status"], "ok");
    assert_eq!(report["storage"]["kind"], "sqlite");
    assert!(report["storage"]["once"].as_str().unwrap().contains("kept"));
    assert_eq!(report["keys"]["detail"], "signs with HS256");
    assert_eq!(report["provider"]["status"], "unavailable");
    assert_eq!(report["backend"]["status"], "unavailable");
    assert_eq!(report["audit"]["status"], "off");

    // With a backend, but nobody to log in with: those who are logged in go on.
    let _backend = TcpListener::bind((Ipv4Addr::LOCALHOST, backend)).unwrap();
    let report = eventually(|| {
        let answer = request(admin, "GET /readyz", "");
        answer.starts_with("HTTP/1.1 200 ").then(|| json(&answer))
    });
    assert_eq!(
        (&report["status"], &report["backend"]["status"]),
        (&"degraded".into(), &"ok".into())
    );
    assert!(request(port, "GET /readyz", "").starts_with("HTTP/1.1 404 "), "it is not public");
    let (code, log) = serve.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn metrics_count_and_quote_no_stranger() {
    let directory = tempfile::tempdir().unwrap();
    let (port, admin) = (free_port(), free_port());
    let serve = Serve::start(with_admin(port, admin, directory.path()));
    for path in ["/invented-by-a-stranger", "/invented-too", "/.well-known/openid-configuration"] {
        request(port, &format!("GET {path}"), "");
    }
    let registration = r#"{"redirect_uris":["http://localhost:1/cb"],"client_name":"A stranger"}"#;
    assert!(request(port, "POST /register", registration).starts_with("HTTP/1.1 201 "));
    request(port, "POST /mcp", "{}");

    let metrics = request(admin, "GET /metrics", "");
    assert!(metrics.contains("text/plain; version=0.0.4"), "{metrics}");
    for line in [
        r#"oauth_proxy_requests_total{route="unknown",status="404"} 2"#,
        r#"oauth_proxy_requests_total{route="/.well-known",status="200"} 1"#,
        r#"oauth_proxy_requests_total{route="/register",status="201"} 1"#,
        r#"oauth_proxy_requests_total{route="/mcp",status="401"} 1"#,
        r#"oauth_proxy_logins_total{step="registered"} 1"#,
        r#"oauth_proxy_events_total{event="client_registered"} 1"#,
        r#"kv_storage_operations_total{operation="put",collection="clients",outcome="done"} 1"#,
        "oidc_proxy_audit_events_lost_total 0",
        concat!("oidc_proxy_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "# TYPE oauth_proxy_request_seconds histogram",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("invented") && !metrics.contains("stranger"), "{metrics}");
    assert_eq!(serve.stop().0, Some(0));
}

#[test]
fn web_pages_cannot_speak_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (port, admin) = (free_port(), free_port());
    let mut arguments = with_admin(port, admin, directory.path());
    arguments.push("--admin-host=proxy.internal".to_owned());
    let serve = Serve::start(&arguments);
    for path in ["/healthz", "/readyz", "/metrics", "/nowhere"] {
        let head = format!("GET {path}");
        let local = ("host", "127.0.0.1:9000");
        for headers in [
            vec![("host", "rebound.example:9000")],
            vec![local, ("origin", "http://127.0.0.1:9000")],
            vec![local, ("sec-fetch-site", "cross-site")],
            vec![],
        ] {
            let answer = request_with(admin, &head, &headers);
            // A request without a name is hyper's to refuse, or ours.
            let refused = ["HTTP/1.1 403 ", "HTTP/1.1 400 "];
            assert!(refused.iter().any(|line| answer.starts_with(line)), "{headers:?}: {answer}");
        }
    }
    let named = request_with(admin, "GET /healthz", &[("host", "proxy.internal")]);
    assert!(named.starts_with("HTTP/1.1 200 "), "{named}");
    assert_eq!(serve.stop().0, Some(0));
}

#[test]
fn it_is_never_where_clients_are() {
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let arguments = with_admin(port, port, directory.path());
    let output = run(["serve".to_owned()].into_iter().chain(arguments));
    assert_eq!(output.status.code(), Some(2));
    let complaint = String::from_utf8(output.stderr).unwrap();
    for name in ["--admin-listen", "OIDC_PROXY_ADMIN_LISTEN", "admin_listen", "of its own"] {
        assert!(complaint.contains(name), "{complaint}");
    }
}

#[test]
fn the_audit_log_is_written_moved_and_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let (audit, moved) = (directory.path().join("audit.jsonl"), directory.path().join("moved"));
    let (port, admin) = (free_port(), free_port());
    let mut arguments = with_admin(port, admin, directory.path());
    arguments.push(format!("--audit-log={}", audit.display()));
    arguments.push("--trusted-proxies=1".to_owned());
    let mut serve = Serve::start(&arguments);
    let register = || {
        let registration = r#"{"redirect_uris":["http://localhost:1/cb"],"client_name":"Editor"}"#;
        let answer = request(port, "POST /register", registration);
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        answer
    };
    let event = |path: &Path| {
        eventually(|| {
            let text = fs::read_to_string(path).ok()?;
            text.ends_with('\n').then(|| serde_json::from_str::<Value>(&text).expect(&text))
        })
    };

    let answer = register();
    let first = event(&audit);
    assert_eq!(
        (&first["event"], &first["outcome"]),
        (&"client_registered".into(), &"success".into())
    );
    assert_eq!(first["client"], json(&answer)["client_id"]);
    assert_eq!(first["client_name"], "Editor");
    assert!(answer.contains(&format!("x-request-id: {}\r\n", first["request"].as_str().unwrap())));
    // Nobody stood in between: the peer itself.
    let peer = first["peer"].as_str().unwrap();
    assert!(["127.0.0.1", "::1"].contains(&peer), "{peer}");

    fs::rename(&audit, &moved).unwrap();
    serve.signal("HUP");
    serve.wait_for("the audit log was reopened");
    register();
    let second = event(&audit);
    assert_ne!(second["client"], first["client"]);
    assert_eq!(event(&moved), first);
    assert_eq!(json(&request(admin, "GET /readyz", ""))["audit"]["status"], "ok");
    let (code, log) = serve.stop();
    assert_eq!(code, Some(0), "{log}");
    // The log has the event as well, joined by the same id.
    assert!(log.contains(first["request"].as_str().unwrap()), "{log}");
}

#[test]
fn an_audit_log_that_cannot_be_opened_keeps_it_from_starting() {
    let directory = tempfile::tempdir().unwrap();
    let mut arguments = enough(free_port(), directory.path());
    arguments.push(format!("--audit-log={}/no/such/directory/x", directory.path().display()));
    let output = run(["serve".to_owned()].into_iter().chain(arguments));
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("could not open the audit log"), "{complaint}");
}
