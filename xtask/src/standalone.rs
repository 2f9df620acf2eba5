//! A three-line crate outside the workspace that takes `kv-storage` alone.
//!
//! Somebody who wants the storage only must not compile a database driver. Built offline with our
//! lock file, so that it needs nothing that the workspace has not fetched already.

use std::path::Path;

use anyhow::{Context as _, ensure};
use xshell::{Shell, cmd};

/// Packages that belong to backends which this crate did not ask for.
const UNASKED: &[&str] = &["sqlx", "sqlx-core", "libsqlite3-sys", "redis", "redb", "fernet"];

const MAIN: &str = "\
fn main() {
    println!(\"{:?}\", kv_storage::Memory::new());
}
";

/// Builds and runs the crate and looks at what it compiled; returns how many things were checked.
pub(crate) fn run(shell: &Shell, target: &Path) -> anyhow::Result<u64> {
    let root = shell.current_dir();
    let directory = shell.create_temp_dir().context("cannot create a temporary directory")?;
    let at = directory.path();
    shell.write_file(at.join("Cargo.toml"), manifest(&root))?;
    shell.write_file(at.join("src/main.rs"), MAIN)?;
    shell.copy_file(root.join("Cargo.lock"), at.join("Cargo.lock"))?;

    let inside = shell.push_dir(at);
    let target = target.join("standalone");
    let tree = cmd!(shell, "cargo tree --offline -e normal,build --prefix none").quiet().read()?;
    let output =
        cmd!(shell, "cargo run --offline --quiet --target-dir {target}").quiet().output()?;
    drop(inside);

    let found = unasked(&tree);
    ensure!(found.is_empty(), "kv-storage alone compiles {}", found.join(", "));
    ensure!(
        output.stdout.starts_with(b"Memory"),
        "the crate printed something else than its store"
    );
    Ok(2)
}

fn manifest(root: &Path) -> String {
    let kv_storage = root.join("crates/kv-storage");
    let kv_storage = kv_storage.display();
    format!(
        "\
[package]
name = \"standalone\"
version = \"0.0.0\"
edition = \"2024\"

[dependencies]
kv-storage = {{ path = '{kv_storage}' }}

[profile.dev]
debug = false

[workspace]
"
    )
}

/// The packages of [`UNASKED`] in the lines of `cargo tree --prefix none`.
fn unasked(tree: &str) -> Vec<&str> {
    tree.lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| UNASKED.contains(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::unasked;

    #[test]
    fn a_driver_is_found() {
        let tree =
            "standalone v0.0.0 (/x)\nkv-storage v0.0.0\nsqlx v0.9.0\nsqlx-macros v0.9.0 (*)\n";
        assert_eq!(unasked(tree), ["sqlx"]);
        assert!(unasked("kv-storage v0.0.0\nbytes v1.0.0").is_empty());
    }
}
