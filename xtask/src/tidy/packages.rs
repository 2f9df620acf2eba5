//! What is compiled: the packages of `cargo tree`, and those that must not be among them.
//!
//! `cargo tree` and not `cargo metadata`: the latter draws edges for optional dependencies that
//! nobody turned on.

use super::Violation;

/// The `--format` that [`parse`] reads: package, license, features.
pub(super) const FORMAT: &str = "{p}|{l}|{f}";

/// A package that is compiled.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression, or nothing.
    pub(super) license: String,
    features: Vec<String>,
}

/// Reads the lines of `cargo tree --prefix none`, each package once.
pub(super) fn parse(tree: &str) -> Vec<Package> {
    let mut packages: Vec<Package> = tree
        .lines()
        .filter_map(|line| {
            // A package that was listed before ends with a mark instead of its dependencies.
            let line = line.strip_suffix(" (*)").unwrap_or(line);
            let [package, license, features] =
                line.split('|').collect::<Vec<_>>().try_into().ok()?;
            let mut words = package.split_whitespace();
            Some(Package {
                name: words.next()?.into(),
                version: words.next()?.trim_start_matches('v').into(),
                license: license.into(),
                features: features
                    .split(',')
                    .filter(|name| !name.is_empty())
                    .map(Into::into)
                    .collect(),
            })
        })
        .collect();
    packages.sort();
    packages.dedup();
    packages
}

/// Packages that no build may compile, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "one TLS stack: rustls with aws-lc"),
    ("openssl-sys", "one TLS stack: rustls with aws-lc"),
    ("openssl-src", "one TLS stack: rustls with aws-lc"),
    ("native-tls", "one TLS stack: rustls with aws-lc"),
    ("ring", "one crypto provider: two make rustls panic at run time"),
];

/// Features that no build may turn on: package, feature, why.
const BANNED_FEATURES: &[(&str, &str, &str)] = &[
    ("hyper-rustls", "webpki-roots", PLATFORM_TRUST),
    ("jsonwebtoken", "rust_crypto", "with two backends it panics at run time; use aws_lc_rs"),
    ("tokio", "full", "name the features that are used"),
];

/// Features that a package must have if it is compiled: package, feature, why.
const REQUIRED_FEATURES: &[(&str, &str, &str)] =
    // Its only feature for aws-lc brings the list webpki-roots; this one takes precedence.
    &[("sqlx-core", "rustls-native-certs", PLATFORM_TRUST)];

const PLATFORM_TRUST: &str =
    "trust is the operator's: the platform's store, not a list in the binary";

/// Nothing of [`BANNED`] and [`BANNED_FEATURES`] is compiled, and [`REQUIRED_FEATURES`] are on.
pub(super) fn banned(compiled: &[Package]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in compiled {
        let reasons = BANNED.iter().filter(|(name, _)| *name == package.name);
        violations.extend(reasons.map(|(name, reason)| Violation::new(*name, *reason)));
        let has = |feature: &str| package.features.iter().any(|name| name == feature);
        let features = BANNED_FEATURES
            .iter()
            .filter(|(name, feature, _)| *name == package.name && has(feature));
        violations.extend(
            features.map(|(name, feature, reason)| {
                Violation::new(format!("{name}/{feature}"), *reason)
            }),
        );
    }
    // Once for the build and once for a macro that runs at build time: one of them must have it.
    for (name, feature, reason) in REQUIRED_FEATURES {
        let mut variants = compiled.iter().filter(|package| package.name == *name).peekable();
        if variants.peek().is_some()
            && !variants.any(|package| package.features.iter().any(|name| name == feature))
        {
            violations
                .push(Violation::new(*name, format!("lacks the feature {feature}: {reason}")));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_once_each() {
        let tree = "a v0.1.0 (/w/a)|Apache-2.0|default,x\nb v1.2.3|MIT|\n\nb v1.2.3|MIT| (*)\n";
        let packages = parse(tree);
        assert_eq!(packages.len(), 2, "{packages:?}");
        assert_eq!((packages[1].name.as_str(), packages[1].version.as_str()), ("b", "1.2.3"));
        assert_eq!(packages[0].features, ["default", "x"]);
    }

    #[test]
    fn a_second_tls_stack_is_reported() {
        let found =
            banned(&parse("openssl-sys v0.9.0|MIT|\nnative-tls v0.2.0|MIT|\nring v0.17.0|ISC|\n"));
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(banned(&parse("openssl-probe v0.2.0|MIT|\nrustls v0.23.0|MIT|aws_lc_rs\n")), []);
    }

    #[test]
    fn a_list_of_roots_in_the_binary_is_reported() {
        assert_eq!(banned(&parse("sqlx-core v0.9.0|MIT|webpki-roots\n")).len(), 1);
        assert_eq!(banned(&parse("hyper-rustls v0.27.0|MIT|webpki-roots\n")).len(), 1);
        let native = "sqlx-core v0.9.0|MIT|rustls-native-certs,webpki-roots\n";
        assert_eq!(banned(&parse(native)), []);
    }

    #[test]
    fn a_second_jwt_backend_is_reported() {
        let found = banned(&parse("jsonwebtoken v11.1.0|MIT|aws_lc_rs,rust_crypto\n"));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].place, "jsonwebtoken/rust_crypto");
        assert_eq!(banned(&parse("jsonwebtoken v11.1.0|MIT|aws_lc_rs\n")), []);
    }
}
