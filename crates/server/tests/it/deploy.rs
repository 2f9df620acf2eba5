//! The files in `deploy/`, read by the binary that they start.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::process::run_in;

fn file(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

/// What stands behind `start` in the lines that begin with it.
fn values<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> + Clone {
    text.lines().filter_map(move |line| line.strip_prefix(start))
}

/// `config check` with these settings; what it said.
fn check(environment: &[(String, String)], config: &Path) -> (Option<i32>, String) {
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let config = config.display().to_string();
    let output = run_in(&environment, ["config", "check", "--config", &config]);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn pair(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap();
    (name.to_owned(), value.to_owned())
}

#[test]
fn the_unit_starts_it_with_settings_that_it_takes() {
    let unit = file("oidc-proxy.service");
    let start: Vec<&str> = values(&unit, "ExecStart=").collect();
    let config = "/etc/oidc-proxy/proxy.toml";
    assert_eq!(start, [format!("/usr/local/bin/oidc-proxy serve --config {config}")]);

    let place = tempfile::tempdir().unwrap();
    let credentials = place.path().join("credentials");
    fs::create_dir(&credentials).unwrap();
    let keys = run_in(&[], ["keys", "generate"]);
    let keys = String::from_utf8(keys.stdout).unwrap();
    let key = |name| values(&keys, name).next().unwrap();
    for credential in values(&unit, "LoadCredential=") {
        let (name, from) = credential.split_once(':').unwrap();
        assert_eq!(from, format!("/etc/oidc-proxy/{name}"));
        let secret = match name {
            "client-secret" => "a secret",
            "storage-keys" => key("OIDC_PROXY_STORAGE_ENCRYPTION_KEY="),
            "signing-keys" => key("OIDC_PROXY_JWT_SIGNING_KEY="),
            _ => panic!("nobody reads {name}"),
        };
        fs::write(credentials.join(name), secret).unwrap();
    }
    let here = |text: &str| {
        text.replace("%d", &credentials.display().to_string())
            .replace("%S", &place.path().display().to_string())
    };
    let environment: Vec<_> = values(&unit, "Environment=").map(|line| pair(&here(line))).collect();
    let directory = values(&unit, "StateDirectory=").next().unwrap();
    let storage = format!("sqlite://{}/{directory}/state.sqlite", place.path().display());
    assert!(environment.contains(&("OIDC_PROXY_STORAGE".to_owned(), storage)), "{environment:?}");

    let (code, said) = check(&environment, &path("proxy.toml"));
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("mcp-users"), "{said}");
    assert!(said.contains("https://mcp.example.com/auth/callback"), "{said}");

    // What must not be started again is what it says of wrong settings.
    let wrong = place.path().join("wrong.toml");
    fs::write(&wrong, "allow_grup = [\"mcp-users\"]\n").unwrap();
    let (code, said) = check(&environment, &wrong);
    assert_eq!(values(&unit, "RestartPreventExitStatus=").next(), Some("2"));
    assert_eq!(code, Some(2), "{said}");
}

#[test]
fn the_image_is_built_and_started_by_names_that_exist() {
    let image = file("Dockerfile");
    let from: Vec<&str> = values(&image, "FROM ").collect();
    assert_eq!(from[0], format!("rust:{}-bookworm AS build", env!("CARGO_PKG_RUST_VERSION")));
    // The C library of the build is that of the image.
    assert_eq!(from[1], "debian:bookworm-slim");

    let build = values(&image, "RUN cargo build ").next().unwrap();
    let package = format!("--package {}", env!("CARGO_PKG_NAME"));
    for words in
        [package.as_str(), "--locked", "--release", "--bin oidc-proxy", "--no-default-features"]
    {
        assert!(build.contains(words), "{words}");
    }
    assert_eq!(Path::new(env!("CARGO_BIN_EXE_oidc-proxy")).file_stem().unwrap(), "oidc-proxy");
    let copied: Vec<&str> = values(&image, "COPY --from=build ").collect();
    assert!(copied.contains(&"/src/target/release/oidc-proxy /usr/local/bin/oidc-proxy"));
    assert!(image.contains("ENTRYPOINT [\"/usr/local/bin/oidc-proxy\"]\nCMD [\"serve\"]"));
    assert!(values(&image, "USER ").all(|user| user != "0" && user != "root"));

    // What `docker run` adds is the file of settings and the secret.
    let place = tempfile::tempdir().unwrap();
    let secret = place.path().join("client-secret");
    fs::write(&secret, "a secret").unwrap();
    let mut environment: Vec<_> = values(&image, "ENV ").map(pair).collect();
    let volume = values(&image, "VOLUME ").next().unwrap();
    let storage = format!("sqlite://{volume}/state.sqlite");
    assert!(environment.contains(&("OIDC_PROXY_STORAGE".to_owned(), storage)));
    environment.retain(|(name, _)| name != "OIDC_PROXY_STORAGE");
    let storage = format!("sqlite://{}/state.sqlite", place.path().display());
    environment.push(("OIDC_PROXY_STORAGE".to_owned(), storage));
    let secret = secret.display().to_string();
    environment.push(("OIDC_PROXY_CLIENT_SECRET_FILE".to_owned(), secret));
    let (code, said) = check(&environment, &path("proxy.toml"));
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn the_image_gets_every_member_of_the_workspace() {
    let ignored = file("Dockerfile.dockerignore");
    let kept: Vec<&str> = values(&ignored, "!").collect();
    let manifest = fs::read_to_string(path("../Cargo.toml")).unwrap();
    let members = values(&manifest, "members = [").next().unwrap();
    let members = members.trim_end_matches(']').split(", ");
    for member in members {
        let top = member.trim_matches('"').split('/').next().unwrap();
        assert!(kept.contains(&top), "{top}");
    }
    assert!(kept.contains(&"Cargo.toml") && kept.contains(&"Cargo.lock"));
}
