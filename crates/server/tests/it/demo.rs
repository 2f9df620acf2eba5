//! `oidc-proxy demo`.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use crate::process::{Demo, request, run};

#[test]
fn it_prints_how_to_connect_challenges_and_stops_cleanly() {
    let demo = Demo::start::<&str>([]);
    let (proxy, idp, mcp) =
        (demo.port("MCP endpoint"), demo.port("provider"), demo.port("MCP server"));
    for needed in ["alice", "bob", "claude mcp add", "code --add-mcp", "inspector", "curl -i"] {
        assert!(demo.printed.contains(needed), "{needed}: {}", demo.printed);
    }
    assert!(!demo.printed.contains(":0/"), "{}", demo.printed);

    // RFC 9728 §5.1: the challenge leads to the metadata, which leads to us.
    let challenge = request(proxy, "POST /mcp", "{}").to_ascii_lowercase();
    assert!(challenge.starts_with("http/1.1 401 "), "{challenge}");
    assert!(challenge.contains("www-authenticate: bearer "), "{challenge}");
    let metadata = format!("http://localhost:{proxy}/.well-known/oauth-protected-resource/mcp");
    assert!(challenge.contains(&metadata), "{challenge}");
    let resource = request(proxy, "GET /.well-known/oauth-protected-resource/mcp", "");
    assert!(resource.contains(&format!("\"http://localhost:{proxy}\"")), "{resource}");

    // Below the resource everything is guarded as well, beside it there is nothing.
    for path in ["/mcp/", "/mcp/below", "/mcp/a/b?c=d"] {
        let answer = request(proxy, &format!("GET {path}"), "");
        assert!(answer.starts_with("HTTP/1.1 401 "), "{path}: {answer}");
    }
    assert!(request(proxy, "GET /mcpx", "").starts_with("HTTP/1.1 404 "));

    let server = request(proxy, "GET /.well-known/oauth-authorization-server", "");
    assert!(server.starts_with("HTTP/1.1 200 "), "{server}");
    let provider = request(idp, "GET /.well-known/openid-configuration", "");
    assert!(provider.starts_with("HTTP/1.1 200 "), "{provider}");
    assert!(!provider.contains("registration_endpoint"), "{provider}");
    assert!(TcpStream::connect(("localhost", mcp)).is_ok());

    let ended = demo.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert!(ended.printed.is_empty(), "{:?}", ended.printed);
    for port in [proxy, idp, mcp] {
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    }
}

#[test]
fn ctrl_c_stops_it_too_and_nothing_is_left() {
    let temporary = tempfile::tempdir().unwrap();
    let demo = Demo::start_in(temporary.path());
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 1);
    demo.signal("INT");
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn a_busy_port_is_one_sentence_with_its_flag_and_nothing_else() {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let busy = other.local_addr().unwrap().port();
    let parent = tempfile::tempdir().unwrap();
    let keep = parent.path().join("data");
    for flag in ["--port", "--idp-port", "--mcp-port"] {
        let mut arguments = vec!["demo".to_owned(), format!("--keep={}", keep.display())];
        for each in ["--port", "--idp-port", "--mcp-port"] {
            arguments.push(format!("{each}={}", if each == flag { busy } else { 0 }));
        }
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            String::from_utf8(output.stderr).unwrap(),
            format!(
                "error: port {busy} is in use by another program; choose another one with {flag}\n"
            )
        );
        assert!(output.stdout.is_empty());
        assert!(!keep.exists());
    }
}

#[test]
fn two_servers_cannot_share_a_port() {
    let output = run(["demo", "--port=8123", "--mcp-port=8123"]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("--port and --mcp-port are both 8123"), "{complaint}");
}

#[test]
fn a_kept_directory_has_one_user_and_is_used_again() {
    let parent = tempfile::tempdir().unwrap();
    let keep = format!("--keep={}", parent.path().join("data").display());
    let first = Demo::start([&keep]);
    assert!(first.printed.contains("kept in"), "{}", first.printed);
    let port = first.port("MCP endpoint");

    let second = run(["demo", "--port=0", "--idp-port=0", "--mcp-port=0", &keep]);
    assert_eq!(second.status.code(), Some(1));
    let complaint = String::from_utf8(second.stderr).unwrap();
    assert!(complaint.ends_with("is in use by another oidc-proxy\n"), "{complaint}");

    let keys = || fs::read(parent.path().join("data/signing-keys")).unwrap();
    let made = keys();
    assert_eq!(first.stop().status.code(), Some(0));

    let again = Demo::start([keep, format!("--port={port}")]);
    assert_eq!(again.port("MCP endpoint"), port);
    assert_eq!(keys(), made);
    assert_eq!(again.stop().status.code(), Some(0));
}

#[test]
fn query_strings_are_not_logged() {
    let demo = Demo::start::<&str>([]);
    let proxy = demo.port("MCP endpoint");
    for path in ["/authorize", "/consent", "/auth/callback", "/mcp", "/nowhere"] {
        request(proxy, &format!("GET {path}?state=do-not-tell&code=do-not-tell"), "");
    }
    request(proxy, "POST /token", "code=do-not-tell");
    let ended = demo.stop();
    assert!(!ended.log.contains("do-not-tell"), "{}", ended.log);
}

#[test]
fn kept_state_needs_its_keys() {
    let parent = tempfile::tempdir().unwrap();
    let keep = format!("--keep={}", parent.path().display());
    let first = Demo::start([&keep]);
    let port = first.port("MCP endpoint");
    assert_eq!(first.stop().status.code(), Some(0));

    fs::remove_file(parent.path().join("storage-keys")).unwrap();
    let output = run(["demo", "--idp-port=0", "--mcp-port=0", &format!("--port={port}"), &keep]);
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("was encrypted with other storage keys"), "{complaint}");
    assert!(output.stdout.is_empty());
}
