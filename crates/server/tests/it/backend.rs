//! Backends on https with a certificate of a private authority, and on a Unix socket.

use std::{fs, net::Ipv4Addr, path::Path, sync::Arc, thread};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;
use url::Url;

use crate::{
    login::{Answer, Around, log_in, send},
    process::{Serve, run},
    serve::free_port,
};

/// For `localhost`, good for a century; the authority's key is gone.
const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../forwarder/tests/it/tls");

/// Says `from behind TLS` on a port of its own until the runtime ends.
fn tls_backend(runtime: &Runtime) -> u16 {
    let file = |name: &str| Path::new(CERTIFICATES).join(name);
    let certificate = CertificateDer::from_pem_file(file("backend.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("backend.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 15\r\n\r\n\
                          from behind TLS";
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

/// What a person gets who calls the backend through `serve` with these arguments.
fn called(arguments: &[String]) -> Answer {
    let port = free_port();
    let around = Around::start(port);
    let mut all = around.arguments(port);
    all.extend(["--allow-any-user".to_owned(), "--storage=memory:".to_owned()]);
    all.extend_from_slice(arguments);
    let base = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let mut serve = Serve::start(&all);
    serve.wait_for("answers");
    let bearer = format!("Bearer {}", log_in(&base, "alice", "wonderland"));
    let answer = send("POST", &base.join("/mcp").unwrap(), &[("authorization", &bearer)], "");
    assert_eq!(serve.stop().0, Some(0));
    answer
}

#[test]
fn whoever_is_revoked_while_the_backend_thinks_is_told_as_by_the_guard() {
    let port = free_port();
    let around = Around::start(port);
    let silent = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut all = around.arguments(port);
    all.extend([
        "--allow-any-user".to_owned(),
        "--storage=memory:".to_owned(),
        "--stream-check=1s".to_owned(),
        format!("--backend=http://{}/mcp", silent.local_addr().unwrap()),
    ]);
    let base = Url::parse(&format!("http://127.0.0.1:{port}")).unwrap();
    let mut serve = Serve::start(&all);
    serve.wait_for("answers");
    let token = log_in(&base, "alice", "wonderland");
    let ask = {
        let (url, bearer) = (base.join("/mcp").unwrap(), format!("Bearer {token}"));
        move || send("POST", &url, &[("authorization", &bearer)], "")
    };
    let waiting = thread::spawn(ask.clone());
    let thinking = silent.accept().unwrap();

    let payload = token.split('.').nth(1).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    let body = format!("token={token}&client_id={}", claims["client_id"].as_str().unwrap());
    let form = ("content-type", "application/x-www-form-urlencoded");
    assert_eq!(send("POST", &base.join("/revoke").unwrap(), &[form], &body).status, 200);

    let (told, guards) = (waiting.join().unwrap(), ask());
    drop(thinking);
    let challenge = |answer: &Answer| answer.headers("www-authenticate").collect::<String>();
    assert_eq!((told.status, &told.body), (401, &guards.body));
    assert_eq!(challenge(&told), challenge(&guards));
    assert!(challenge(&told).contains("resource_metadata="), "{}", told.head);
    assert_eq!(serve.stop().0, Some(0));
}

#[test]
fn a_private_authority_vouches_for_the_backend() {
    let runtime = Runtime::new().unwrap();
    let backend = format!("--backend=https://localhost:{}/mcp", tls_backend(&runtime));
    let authority = format!("--backend-ca-file={CERTIFICATES}/ca.pem");
    let answer = called(&[backend.clone(), authority.clone()]);
    assert_eq!((answer.status, &*answer.body), (200, "from behind TLS"));
    // Nobody else vouches for it, and what speaks no TLS is no https backend.
    let plain = format!("--backend=https://localhost:{}/mcp", free_port());
    for arguments in [vec![backend], vec![plain, authority]] {
        let answer = called(&arguments);
        assert_eq!(answer.status, 502, "{arguments:?} {}", answer.body);
        assert!(answer.body.contains("\"error\":\"backend_unreachable\""), "{}", answer.body);
    }
}

#[test]
fn a_backend_can_listen_on_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("mcp.sock");
    let argument = format!("--backend=unix:{}:/mcp", socket.display());
    let answer = called(std::slice::from_ref(&argument));
    assert_eq!(answer.status, 502, "{}", answer.body);

    let runtime = Runtime::new().unwrap();
    let listener = runtime.block_on(async { UnixListener::bind(&socket) }).unwrap();
    runtime.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).await.unwrap_or_default();
            let is_asked = head[..length].starts_with(b"POST /mcp HTTP/1.1\r\n");
            let status = if is_asked { 200 } else { 500 };
            let answer = format!(
                "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: 13\r\n\r\nfrom a socket"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    let answer = called(&[argument]);
    assert_eq!((answer.status, &*answer.body), (200, "from a socket"));
}

#[test]
fn a_file_without_authorities_is_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.pem");
    fs::write(&empty, "nothing\n").unwrap();
    for (file, backend, why) in [
        (empty.clone(), "https://localhost/mcp", "it holds no certificate"),
        (directory.path().join("absent.pem"), "https://localhost/mcp", "absent.pem"),
        (Path::new(CERTIFICATES).join("ca.pem"), "http://localhost/mcp", "is for an https backend"),
    ] {
        let output = run([
            "config".to_owned(),
            "check".to_owned(),
            "--base-url=http://localhost:8000".to_owned(),
            "--config-url=http://localhost:1".to_owned(),
            "--client-id=x".to_owned(),
            "--allow-any-user".to_owned(),
            "--storage=memory:".to_owned(),
            format!("--backend={backend}"),
            format!("--backend-ca-file={}", file.display()),
        ]);
        assert_eq!(output.status.code(), Some(2));
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains(why) && complaint.lines().count() == 1, "{complaint}");
    }
}
