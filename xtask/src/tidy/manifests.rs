//! What every manifest of the workspace has in common.

use super::{Violation, metadata::Member, repository::TextFile};

/// The integration binary of a crate, and those that have a part of their own.
const BINARIES: &[&str] = &["it", "end_to_end", "clients", "deployment", "replicas", "storage"];

/// A crate has one integration binary, under the name that `cargo xtask integration` selects.
///
/// One, because each is linked with everything; this name, because another one would never run.
pub(super) fn one_integration_binary(members: &[Member]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for member in members {
        let others = member.tests.iter().filter(|name| !BINARIES.contains(&name.as_str()));
        violations.extend(others.map(|name| {
            Violation::new(
                &member.directory,
                format!("test target `{name}` would not run; make it a module of tests/it"),
            )
        }));
    }
    violations
}

/// Members take lints and versions from the workspace.
pub(super) fn inherit(files: &[TextFile]) -> Vec<Violation> {
    let is_member = |file: &&TextFile| file.path.ends_with("/Cargo.toml");
    files.iter().filter(is_member).flat_map(inherits).collect()
}

fn inherits(manifest: &TextFile) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut section = "";
    let mut has_lints = false;
    for (number, line) in manifest.lines() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
        } else if section == "[lints]" {
            has_lints |= line == "workspace = true";
        } else if is_dependencies(section) && line.contains('=') && !line.starts_with('#') {
            let inherited =
                line.contains(".workspace = true") || line.contains("workspace = true,");
            let here = line.contains("{ workspace = true }") || line.contains("path = ");
            if !inherited && !here {
                let place = format!("{}:{number}", manifest.path);
                violations
                    .push(Violation::new(place, "versions stand in [workspace.dependencies]"));
            }
        }
    }
    if !has_lints {
        violations.push(Violation::new(&manifest.path, "has no `[lints] workspace = true`"));
    }
    violations
}

fn is_dependencies(section: &str) -> bool {
    section.trim_matches(['[', ']']).ends_with("dependencies")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_integration_binary_is_reported() {
        let member = Member { tests: vec!["it".into(), "flow".into()], ..Member::default() };
        assert_eq!(one_integration_binary(&[member]).len(), 1);
    }

    #[test]
    fn a_version_of_its_own_is_reported() {
        let manifest = "\
[lints]
workspace = true

[dependencies]
a.workspace = true
b = { workspace = true, features = [\"x\"] }
# c = \"1\" is a comment
d = \"1\"
f = { path = \"../f\" }

[dev-dependencies]
e = { version = \"2\" }
";
        let found = inherit(&[TextFile::new("crates/a/Cargo.toml", manifest)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].place, "crates/a/Cargo.toml:8");
        assert_eq!(found[1].place, "crates/a/Cargo.toml:12");
    }

    #[test]
    fn missing_lints_are_reported() {
        let found = inherit(&[TextFile::new("xtask/Cargo.toml", "[package]\nname = \"xtask\"\n")]);
        assert_eq!(found.len(), 1);
    }
}
