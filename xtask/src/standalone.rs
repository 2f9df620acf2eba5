//! A three-line crate outside the workspace that takes `kv-storage` alone.
//!
//! Somebody who wants the storage only must not compile a database driver. Built offline with our
//! lock file, so that it needs nothing that the workspace has not fetched already.

use std::path::Path;

use anyhow::{Context as _, ensure};
use xshell::{Shell, cmd};

/// Packages that belong to backends and ciphers, which the crate gets only if it asked for them.
const BY_FEATURE: &[&str] = &[
    "sqlx",
    "sqlx-core",
    "libsqlite3-sys",
    "redis",
    "redb",
    "fernet",
    "aes-gcm",
    "aws-lc-rs",
    "metrics",
];

/// What the crate does; with `memory`, the default.
const MAIN: &str = "\
fn main() {
    println!(\"{:?}\", kv_storage::Memory::new());
}
";

/// The features that it takes one after the other, and what each may bring.
const CASES: &[(&str, &[&str])] = &[("memory", &[]), ("disk", &["redb"])];

/// Looks at what the crate compiles with each of some features, and builds and runs it with the
/// default; returns how many things were checked.
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
        checked += 1;
    }
    shell.write_file(at.join("Cargo.toml"), manifest(&root, "memory"))?;
    shell.copy_file(root.join("Cargo.lock"), at.join("Cargo.lock"))?;
    let target = target.join("standalone");
    let output =
        cmd!(shell, "cargo run --offline --quiet --target-dir {target}").quiet().output()?;
    ensure!(
        output.stdout.starts_with(b"Memory"),
        "the crate printed something else than its store"
    );
    Ok(checked + 1)
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

[dependencies]
kv-storage = {{ path = '{kv_storage}', features = [\"{feature}\"] }}

[profile.dev]
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
    use super::unasked;

    #[test]
    fn a_driver_is_found() {
        let tree =
            "standalone v0.0.0 (/x)\nkv-storage v0.0.0\nsqlx v0.9.0\nsqlx-macros v0.9.0 (*)\n";
        assert_eq!(unasked(tree, &[]), ["sqlx"]);
        assert!(unasked(tree, &["sqlx"]).is_empty());
        assert!(unasked("kv-storage v0.0.0\nbytes v1.0.0", &[]).is_empty());
    }
}
