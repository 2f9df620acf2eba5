//! A tiny crate outside the workspace that takes `kv-storage` alone, with one feature at a time.
//!
//! Somebody who wants the storage only must not compile a database driver, each feature must
//! compile without the others, and whoever names a backend that was compiled out must learn which
//! feature to turn on. Built offline with our lock file, so that it needs nothing that the
//! workspace has not fetched already, and in its target directory with its profile, so that most
//! of what it needs is built already.

use std::path::Path;

use anyhow::{Context as _, ensure};
use xshell::{Shell, cmd};

/// Packages that belong to backends and ciphers, which the crate gets only if it asked for them.
const BY_FEATURE: &[&str] = &[
    "sqlx",
    "sqlx-core",
    "sqlx-postgres",
    "sqlx-sqlite",
    "libsqlite3-sys",
    "redis",
    "redb",
    "fernet",
    "aws-lc-rs",
    "metrics",
];

/// What the crate does: it opens the storage URLs that it is given, those that need no wait.
const MAIN: &str = "\
use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

fn main() {
    for url in std::env::args().skip(1) {
        match pin!(kv_storage::open(&url)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(store)) => println!(\"{store:?}\"),
            Poll::Ready(Err(error)) => println!(\"{error}\"),
            Poll::Pending => println!(\"it waits\"),
        }
    }
}
";

/// The features that it takes one after the other, and which of [`BY_FEATURE`] each brings.
const CASES: &[(&str, &[&str])] = &[
    ("memory", &[]),
    ("disk", &["redb"]),
    ("fernet", &["fernet"]),
    ("aes-gcm", &["aws-lc-rs"]),
    ("redis", &["redis", "aws-lc-rs"]),
    ("postgres", &["sqlx", "sqlx-core", "sqlx-postgres", "aws-lc-rs"]),
    ("sqlite", &["sqlx", "sqlx-core", "sqlx-sqlite", "libsqlite3-sys"]),
];

/// Storage URLs, and the feature that each needs.
const URLS: &[(&str, &str)] = &[
    ("memory:", "memory"),
    ("disk:///kv", "disk"),
    ("sqlite:///kv.sqlite", "sqlite"),
    ("postgres://host/database", "postgres"),
    ("postgresql://host/database", "postgres"),
    ("redis://host", "redis"),
    ("rediss+cluster://host", "redis"),
];

/// The features with which it is run, and not only checked: with the one or the other, every
/// backend is compiled out.
const RUN: [&str; 2] = ["memory", "disk"];

/// Looks at what the crate compiles with each of some features, and checks or runs it; returns
/// how many things were checked.
pub(crate) fn run(shell: &Shell, target: &Path) -> anyhow::Result<u64> {
    let root = shell.current_dir();
    let directory = shell.create_temp_dir().context("cannot create a temporary directory")?;
    let at = directory.path();
    shell.write_file(at.join("src/main.rs"), MAIN)?;
    let mut checked = 0;
    let _inside = shell.push_dir(at);
    for (feature, brings) in CASES {
        shell.write_file(at.join("Cargo.toml"), manifest(&root, feature))?;
        // Anew for each: the one that is there lists only what the last one needed.
        shell.copy_file(root.join("Cargo.lock"), at.join("Cargo.lock"))?;
        let tree = cmd!(shell, "cargo tree --offline -e normal,build --prefix none");
        let tree = tree.quiet().read()?;
        let found = unasked(&tree, brings);
        ensure!(
            found.is_empty(),
            "kv-storage with the feature {feature} compiles {}",
            found.join(", ")
        );
        ensure!(
            brings.iter().all(|package| names(&tree).any(|name| name == *package)),
            "kv-storage with the feature {feature} does not compile its engine"
        );
        if RUN.contains(feature) {
            opens_its_own_only(shell, target, feature)?;
        } else {
            compiles(shell, target, feature)?;
        }
        checked += 1;
    }
    Ok(checked)
}

/// The crate compiles with that feature alone, without a warning.
fn compiles(shell: &Shell, target: &Path, feature: &str) -> anyhow::Result<()> {
    let check = cmd!(shell, "cargo check --offline --quiet --target-dir {target}");
    let output = check.quiet().ignore_status().output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success() && said.trim().is_empty(),
        "kv-storage with the feature {feature} alone does not compile as it should:\n{said}"
    );
    Ok(())
}

/// The crate opens what that feature stands for, and says of every other URL what is missing.
fn opens_its_own_only(shell: &Shell, target: &Path, feature: &str) -> anyhow::Result<()> {
    let foreign = || URLS.iter().filter(|(_, needed)| *needed != feature);
    let urls = foreign().map(|(url, _)| url);
    let run = cmd!(shell, "cargo run --offline --quiet --target-dir {target} -- {urls...}");
    let said = run.quiet().read()?;
    ensure!(
        said.lines().count() == foreign().count(),
        "kv-storage with the feature {feature} alone answered:\n{said}"
    );
    for ((url, needed), said) in foreign().zip(said.lines()) {
        ensure!(
            names_feature(said, needed),
            "kv-storage with the feature {feature} alone answers to {url}: {said}"
        );
    }
    Ok(())
}

/// Whether an error says which feature to turn on.
fn names_feature(said: &str, feature: &str) -> bool {
    said.ends_with(&format!(
        "is not compiled into this build: turn on feature {feature} of kv-storage"
    ))
}

fn manifest(root: &Path, feature: &str) -> String {
    let kv_storage = root.join("crates/kv-storage");
    let kv_storage = kv_storage.display();
    format!(
        "\
[package]
name = \"standalone\"
version = \"0.0.0\"
edition = \"2024\"

[dependencies.kv-storage]
path = '{kv_storage}'
default-features = false
features = [\"{feature}\"]

[profile.dev]
debug = \"line-tables-only\"

[profile.dev.package.\"*\"]
debug = false

[workspace]
"
    )
}

/// The packages in the lines of `cargo tree --prefix none`.
fn names(tree: &str) -> impl Iterator<Item = &str> {
    tree.lines().filter_map(|line| line.split_whitespace().next())
}

/// Those of them that are in [`BY_FEATURE`] and not in `brings`.
fn unasked<'a>(tree: &'a str, brings: &[&str]) -> Vec<&'a str> {
    names(tree).filter(|name| BY_FEATURE.contains(name) && !brings.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::{names_feature, unasked};

    #[test]
    fn a_driver_is_found() {
        let tree =
            "standalone v0.0.0 (/x)\nkv-storage v0.0.0\nsqlx v0.9.0\nsqlx-macros v0.9.0 (*)\n";
        assert_eq!(unasked(tree, &[]), ["sqlx"]);
        assert!(unasked(tree, &["sqlx"]).is_empty());
        assert!(unasked("kv-storage v0.0.0\nbytes v1.0.0", &[]).is_empty());
    }

    #[test]
    fn an_error_names_the_feature_that_is_missing() {
        let said = "storage disk:///path/to/directory is not compiled into this build: turn on \
                    feature disk of kv-storage";
        assert!(names_feature(said, "disk"));
        assert!(!names_feature(said, "redis"));
        assert!(!names_feature("Memory { .. }", "disk"));
    }
}
