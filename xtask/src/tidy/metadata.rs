//! The workspace as `cargo metadata` tells it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;
use xshell::{Shell, cmd};

/// What the rules need to know of the workspace.
#[derive(Debug)]
pub(crate) struct Metadata {
    pub(super) members: Vec<Member>,
}

/// A package of this workspace.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) name: String,
    /// Its directory under the workspace root, with `/`.
    pub(super) directory: String,
    pub(super) dependencies: Vec<Dependency>,
    /// The names of its integration test targets.
    pub(super) tests: Vec<String>,
}

/// A dependency as the manifest states it.
#[derive(Debug)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) dev: bool,
    pub(super) optional: bool,
}

impl Metadata {
    /// Asks cargo; fails when `Cargo.lock` does not fit the manifests.
    pub(super) fn load(shell: &Shell) -> anyhow::Result<Self> {
        let json = cmd!(shell, "cargo metadata --locked --no-deps --format-version 1")
            .quiet()
            .read()
            .context("the manifests or Cargo.lock are not in order")?;
        Self::parse(&json)
    }

    fn parse(json: &str) -> anyhow::Result<Self> {
        let value: Value = serde_json::from_str(json).context("cargo metadata is no JSON")?;
        let root = text(&value, "workspace_root")?;
        let members = list(&value, "packages").map(|package| member(package, Path::new(root)));
        Ok(Self { members: members.collect::<anyhow::Result<_>>()? })
    }
}

/// Where cargo puts what it builds.
pub(crate) fn target_directory(shell: &Shell) -> anyhow::Result<PathBuf> {
    let json = cmd!(shell, "cargo metadata --no-deps --format-version 1").quiet().read()?;
    let value: Value = serde_json::from_str(&json).context("cargo metadata is no JSON")?;
    Ok(text(&value, "target_directory")?.into())
}

fn member(package: &Value, root: &Path) -> anyhow::Result<Member> {
    let manifest = Path::new(text(package, "manifest_path")?);
    let directory = manifest.parent().and_then(|directory| directory.strip_prefix(root).ok());
    let directory = directory.context("a workspace member lies outside the workspace")?;
    let dependencies = list(package, "dependencies").map(|dependency| {
        Ok(Dependency {
            name: text(dependency, "name")?.into(),
            dev: dependency["kind"] == "dev",
            optional: dependency["optional"] == true,
        })
    });
    let is_test = |target: &&Value| list(target, "kind").any(|kind| kind == "test");
    let tests =
        list(package, "targets").filter(is_test).map(|target| text(target, "name").map(Into::into));
    Ok(Member {
        name: text(package, "name")?.into(),
        directory: directory.to_string_lossy().replace('\\', "/"),
        dependencies: dependencies.collect::<anyhow::Result<_>>()?,
        tests: tests.collect::<anyhow::Result<_>>()?,
    })
}

fn text<'a>(value: &'a Value, name: &str) -> anyhow::Result<&'a str> {
    value[name].as_str().with_context(|| format!("cargo metadata has no {name}"))
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[name].as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::Metadata;

    #[test]
    fn members_are_read_with_their_dependencies_and_tests() {
        let json = r#"{"workspace_root": "/w", "packages": [{
            "name": "a", "manifest_path": "/w/crates/a/Cargo.toml",
            "dependencies": [
                {"name": "x", "kind": null, "optional": true},
                {"name": "y", "kind": "dev", "optional": false}
            ],
            "targets": [{"name": "a", "kind": ["lib"]}, {"name": "it", "kind": ["test"]}]
        }]}"#;
        let metadata = Metadata::parse(json).unwrap();
        let [member] = &metadata.members[..] else { panic!("{metadata:?}") };
        assert_eq!((member.name.as_str(), member.directory.as_str()), ("a", "crates/a"));
        assert_eq!(member.tests, ["it"]);
        let [x, y] = &member.dependencies[..] else { panic!("{member:?}") };
        assert!(x.name == "x" && x.optional && !x.dev);
        assert!(y.name == "y" && !y.optional && y.dev);
    }
}
