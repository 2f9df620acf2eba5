//! Which crate may depend on which, and which may name a given foreign crate.
//!
//! The figure is in `docs/architecture.md`. Dev-dependencies are free.

use std::collections::{BTreeMap, BTreeSet};

use super::{Violation, metadata::Member, repository::TextFile};

/// The edges of the figure, from each member to the siblings right below it.
///
/// What a sibling may name follows too, except through an edge of [`GATED`].
const EDGES: &[(&str, &[&str])] = &[
    ("oidc-proxy-server", &["oidc-proxy", "forwarder", "dev-idp", "dev-mcp"]),
    ("oidc-proxy", &["oauth-proxy", "oidc-discovery"]),
    ("oauth-proxy", &["jwt-issuer", "kv-storage", "token-verifier", "outbound-http"]),
    ("token-verifier", &["oidc-discovery", "outbound-http"]),
    ("oidc-discovery", &["outbound-http"]),
    ("outbound-http", &[]),
    ("jwt-issuer", &[]),
    ("kv-storage", &[]),
    ("forwarder", &[]),
    ("dev-idp", &[]),
    ("dev-mcp", &[]),
    ("xtask", &[]),
    ("end-to-end", &["dev-idp", "dev-mcp", "test-servers"]),
    ("test-servers", &[]),
];

/// Edges that exist behind a feature only; who depends on the first does not get the second by it.
const GATED: &[(&str, &str)] = &[
    ("token-verifier", "oidc-discovery"),
    ("oidc-proxy-server", "dev-idp"),
    ("oidc-proxy-server", "dev-mcp"),
];

/// Foreign crates that few may name: the crate, who may, and why.
const OWNED: &[(&[&str], &[&str], &str)] = &[
    (
        &["redis", "sqlx", "sqlx-core", "redb", "fernet"],
        &["kv-storage"],
        "storage engines are kv-storage's",
    ),
    (
        &["hkdf", "aes-gcm"],
        &["jwt-issuer", "kv-storage"],
        "keys are derived and secrets sealed in one place",
    ),
    (&["openidconnect", "oauth2"], &["oidc-proxy"], "the provider leg is one module"),
    (
        &["jsonwebtoken"],
        &["jwt-issuer", "token-verifier", "dev-idp"],
        "JWTs are signed and checked in one place each",
    ),
    (
        &["clap", "toml", "tracing-subscriber", "metrics-exporter-prometheus"],
        &["oidc-proxy-server"],
        "only the binary has a command line, a configuration and outputs",
    ),
    (
        &["anyhow"],
        &["oidc-proxy-server", "xtask", "end-to-end", "test-servers"],
        "libraries have typed errors",
    ),
    (&["reqwest"], &["outbound-http", "end-to-end"], "outbound requests go through outbound-http"),
    (&["hyper-rustls"], &["forwarder"], "outbound requests go through outbound-http"),
    (&["rmcp"], &["dev-mcp", "end-to-end"], "the proxy does not speak MCP"),
    (&["xflags", "xshell"], &["xtask"], "developer commands only"),
    (
        &["axum", "axum-extra"],
        &["token-verifier", "oauth-proxy", "oidc-proxy", "oidc-proxy-server", "dev-idp", "dev-mcp"],
        "below oauth-proxy it is tower and http types",
    ),
];

/// Dependencies that must be optional: who, and on what.
const OPTIONAL: &[(&str, &[&str])] = &[
    ("oidc-proxy-server", &["dev-idp", "dev-mcp"]),
    ("token-verifier", &["axum", "oidc-discovery", "jsonwebtoken"]),
    ("kv-storage", &["sqlx", "sqlx-core", "redis", "redb", "fernet", "aws-lc-rs", "hkdf"]),
];

/// Dependencies between members point downward, along the figure.
pub(super) fn edges(members: &[Member]) -> Vec<Violation> {
    let allowed = closure();
    let mut violations = Vec::new();
    for member in members {
        let Some(allowed) = allowed.get(member.name.as_str()) else {
            violations.push(Violation::new(
                &member.name,
                "is not in the figure: add it to EDGES in xtask",
            ));
            continue;
        };
        let siblings = member
            .dependencies
            .iter()
            .filter(|dependency| !dependency.dev)
            .map(|dependency| dependency.name.as_str())
            .filter(|name| members.iter().any(|member| member.name == **name));
        let wrong = siblings.filter(|name| !allowed.contains(name));
        violations.extend(
            wrong.map(|name| Violation::new(&member.name, format!("must not depend on {name}"))),
        );
    }
    violations
}

/// For each member everything that it may depend on.
fn closure() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let direct: BTreeMap<_, _> = EDGES.iter().copied().collect();
    let mut allowed = BTreeMap::new();
    for (member, below) in EDGES {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&str> = below.to_vec();
        while let Some(name) = open.pop() {
            if reached.insert(name) {
                let next = direct.get(name).copied().unwrap_or_default();
                open.extend(next.iter().filter(|below| !GATED.contains(&(name, **below))));
            }
        }
        allowed.insert(*member, reached);
    }
    allowed
}

/// Crates of [`OWNED`] are named by their owners only.
pub(super) fn named_crates(members: &[Member]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for member in members {
        for dependency in member.dependencies.iter().filter(|dependency| !dependency.dev) {
            for (names, owners, reason) in OWNED {
                if names.contains(&dependency.name.as_str())
                    && !owners.contains(&member.name.as_str())
                {
                    let message = format!("must not depend on {}: {reason}", dependency.name);
                    violations.push(Violation::new(&member.name, message));
                }
            }
        }
    }
    violations
}

/// What a user selects by a feature is not forced on everybody.
pub(super) fn optional(members: &[Member]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (name, must) in OPTIONAL {
        for member in members.iter().filter(|member| member.name == *name) {
            let forced = member
                .dependencies
                .iter()
                .filter(|dependency| !dependency.dev && !dependency.optional)
                .filter(|dependency| must.contains(&dependency.name.as_str()));
            violations.extend(forced.map(|dependency| {
                Violation::new(*name, format!("{} must be optional", dependency.name))
            }));
        }
    }
    violations
}

/// One module speaks `openidconnect`, so that another library could take its place.
pub(super) fn openidconnect(files: &[TextFile]) -> Vec<Violation> {
    let names = |file: &&TextFile| {
        file.is_rust()
            && file.path.starts_with("crates/")
            && file.lines().any(|(_, line)| {
                let line = line.trim_start();
                !line.starts_with("//")
                    && (line.contains("openidconnect::") || line.contains("use openidconnect"))
            })
    };
    let files: Vec<&str> = files.iter().filter(names).map(|file| file.path.as_str()).collect();
    // A module is a file, or a directory with a file of its name.
    let module = files.first().map(|path| path.trim_end_matches(".rs")).unwrap_or_default();
    files
        .iter()
        .filter(|path| !path.starts_with(module))
        .map(|path| Violation::new(*path, format!("names openidconnect, and so does {module}.rs")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::metadata::Dependency;

    fn member(name: &str, dependencies: &[&str]) -> Member {
        let dependency =
            |name: &&str| Dependency { name: (*name).into(), dev: false, optional: false };
        Member {
            name: name.into(),
            dependencies: dependencies.iter().map(dependency).collect(),
            ..Member::default()
        }
    }

    #[test]
    fn an_edge_upward_is_reported() {
        let members = [member("kv-storage", &["jwt-issuer"]), member("jwt-issuer", &[])];
        let found = edges(&members);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "kv-storage: must not depend on jwt-issuer");
    }

    #[test]
    fn what_follows_from_the_figure_is_allowed() {
        let names = ["jwt-issuer", "kv-storage", "oauth-proxy", "oidc-proxy", "outbound-http"];
        let mut members: Vec<Member> = names.iter().map(|name| member(name, &[])).collect();
        members.push(member("oidc-proxy-server", &names));
        assert_eq!(edges(&members), []);
    }

    #[test]
    fn a_gated_edge_gives_nothing_to_those_above() {
        let members = [member("oauth-proxy", &["oidc-discovery"]), member("oidc-discovery", &[])];
        assert_eq!(edges(&members).len(), 1);
        let members =
            [member("token-verifier", &["oidc-discovery"]), member("oidc-discovery", &[])];
        assert_eq!(edges(&members), []);
    }

    #[test]
    fn a_new_crate_must_be_placed() {
        assert_eq!(edges(&[member("newcomer", &[])]).len(), 1);
    }

    #[test]
    fn dev_dependencies_are_free() {
        let mut member = member("kv-storage", &["oauth-proxy", "reqwest"]);
        member.dependencies.iter_mut().for_each(|dependency| dependency.dev = true);
        let members = [member, self::member("oauth-proxy", &[])];
        assert_eq!(edges(&members), []);
        assert_eq!(named_crates(&members), []);
    }

    #[test]
    fn a_crate_in_the_wrong_hands_is_reported() {
        let found = named_crates(&[
            member("oauth-proxy", &["sqlx", "axum"]),
            member("jwt-issuer", &["axum"]),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].message.contains("sqlx") && found[1].message.contains("axum"));
    }

    #[test]
    fn a_forced_option_is_reported() {
        let mut server = member("oidc-proxy-server", &["dev-idp", "clap"]);
        assert_eq!(optional(&[member("kv-storage", &["sqlx"])]).len(), 1);
        assert_eq!(optional(std::slice::from_ref(&server)).len(), 1);
        server.dependencies[0].optional = true;
        assert_eq!(optional(&[server]), []);
    }

    #[test]
    fn a_second_module_with_openidconnect_is_reported() {
        let files = [
            TextFile::new(
                "crates/oidc-proxy/src/provider.rs",
                "use openidconnect::core::CoreClient;",
            ),
            TextFile::new("crates/oidc-proxy/src/provider/tests.rs", "use openidconnect::Nonce;"),
            TextFile::new(
                "crates/oidc-proxy/src/preset.rs",
                "let x = openidconnect::Nonce::new_random();",
            ),
            TextFile::new("crates/oidc-proxy/src/lib.rs", "//! Uses openidconnect::core."),
        ];
        let sorted = |files: &[TextFile]| openidconnect(files).len();
        assert_eq!(sorted(&files[..2]), 0);
        assert_eq!(sorted(&files), 1);
    }
}
