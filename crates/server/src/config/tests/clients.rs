//! What clients see: names, listeners, algorithms.

use std::fs;

use oidc_proxy::{ClientDocuments, SigningAlgorithm};

use super::load;

#[test]
fn the_algorithm_is_one_of_three() {
    for algorithm in SigningAlgorithm::ALL {
        let config = load(&[("signing-algorithm", algorithm.as_str())]).unwrap();
        assert_eq!(config.signing_algorithm, algorithm);
    }
    for other in ["RS256", "none", "eddsa"] {
        let problems = load(&[("signing-algorithm", other)]).unwrap_err();
        assert!(problems.contains("it is none of HS256, ES256, EdDSA"), "{problems}");
    }
}

#[test]
fn a_listener_beyond_this_machine_is_noticed() {
    for (listen, loopback) in [
        ("127.0.0.1:0", true),
        ("[::1]:8000", true),
        ("localhost:8000", true),
        ("0.0.0.0:8000", false),
        ("[::]:8000", false),
        ("192.0.2.1:8000", false),
    ] {
        let public = ("base-url", "https://mcp.example");
        let config = load(&[("listen", listen), public]).unwrap();
        assert_eq!(config.listen.is_loopback(), loopback, "{listen}");
        // Plain cookies stay on this machine.
        assert_eq!(load(&[("listen", listen)]).is_ok(), loopback, "{listen}");
    }
    for (base_url, loopback) in [
        ("http://localhost:8000", true),
        ("http://[::1]:8000", true),
        ("https://mcp.localhost", true),
        ("https://mcp.example", false),
        ("https://127.0.0.1.example", false),
    ] {
        // Off loopback it is production, which refuses this.
        let trying = load(&[("base-url", base_url), ("storage", "memory:")]);
        assert_eq!(trying.is_ok(), loopback, "{base_url}");
    }
}

#[test]
fn who_may_ask_about_tokens_has_an_id_and_a_secret_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (good, short) = (file("good", "0123456789abcdef\n"), file("short", "hush\n"));
    let given = format!("rs={good}");
    let config = load(&[("introspection-client", &given)]).unwrap();
    assert_eq!(config.resource_servers[0].id(), "rs");
    for (wrong, why) in [
        (good.as_str(), "expected ID=FILE"),
        (&format!("={good}"), "its id is empty"),
        (&format!("rs={short}"), "shorter than 16 bytes"),
        ("rs=/nowhere", "could not be read"),
    ] {
        let problems = load(&[("introspection-client", wrong)]).unwrap_err();
        assert!(problems.contains(why) && !problems.contains("hush"), "{problems}");
    }
}

#[test]
fn hosts_that_describe_clients_are_named_or_all_or_none() {
    let documents = |settings: &[(&str, &str)]| load(settings).unwrap().client_documents;
    let hosts = ("client-metadata-hosts", "claude.ai *.corp.example");
    let off = ("client-metadata-documents", "false");
    let loopback = ("danger-client-metadata-on-loopback", "true");
    assert_eq!(documents(&[]), ClientDocuments::default());
    assert_eq!(documents(&[hosts]), ClientDocuments::only(["claude.ai", "*.corp.example"]));
    assert_eq!(documents(&[off]), ClientDocuments::off());
    assert_eq!(documents(&[loopback]), ClientDocuments::default().danger_loopback());

    let public = ("base-url", "https://mcp.example");
    let problems = load(&[loopback, public]).unwrap_err();
    assert!(problems.contains("with a base URL on loopback"), "{problems}");
    for wrong in ["https://claude.ai", "claude.ai/", "10.0.0.1", "localhost", "[]"] {
        let problems = load(&[("client-metadata-hosts", wrong)]).unwrap_err();
        assert!(problems.contains("--client-metadata-hosts"), "{wrong}: {problems}");
    }
}
