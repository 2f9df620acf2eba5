//! The size of files, and the README that each crate has.

use super::{Violation, metadata::Member, repository::TextFile};

/// A file that a reader can hold in mind.
const LINES: usize = 600;

/// Tests are lists of cases, and may be longer.
const TEST_LINES: usize = 900;

/// No Rust file is longer than it may be.
pub(super) fn sizes(files: &[TextFile]) -> Vec<Violation> {
    let too_long =
        |file: &&TextFile| file.is_rust() && file.text.lines().count() > limit(&file.path);
    files
        .iter()
        .filter(too_long)
        .map(|file| {
            let (lines, limit) = (file.text.lines().count(), limit(&file.path));
            Violation::new(&file.path, format!("{lines} lines, the limit is {limit}"))
        })
        .collect()
}

fn limit(path: &str) -> usize {
    if path.contains("/tests/") || path.ends_with("/tests.rs") { TEST_LINES } else { LINES }
}

/// Every crate under `crates/` has a README, and a library shows it as its documentation, so that
/// its example is compiled.
pub(super) fn readmes(members: &[Member], files: &[TextFile]) -> Vec<Violation> {
    let find = |path: String| files.iter().find(|file| file.path == path);
    let mut violations = Vec::new();
    for directory in
        members.iter().map(|member| &member.directory).filter(|path| path.starts_with("crates/"))
    {
        if find(format!("{directory}/README.md")).is_none_or(|readme| readme.text.trim().is_empty())
        {
            violations.push(Violation::new(directory, "has no README.md"));
        }
        let library = find(format!("{directory}/src/lib.rs"));
        if library.is_some_and(|library| {
            !library.text.contains("#![doc = include_str!(\"../README.md\")]")
        }) {
            violations.push(Violation::new(
                format!("{directory}/src/lib.rs"),
                "does not include ../README.md",
            ));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_reported_and_tests_may_be_longer() {
        let lines = |count| "x\n".repeat(count);
        let files = [
            TextFile::new("crates/a/src/lib.rs", &lines(600)),
            TextFile::new("crates/a/src/long.rs", &lines(601)),
            TextFile::new("crates/a/src/long/tests.rs", &lines(900)),
            TextFile::new("crates/a/tests/it/main.rs", &lines(901)),
            TextFile::new("docs/long.md", &lines(5000)),
        ];
        let found = sizes(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].to_string(), "crates/a/src/long.rs: 601 lines, the limit is 600");
    }

    #[test]
    fn a_missing_or_unused_readme_is_reported() {
        let member =
            |name: &str| Member { directory: format!("crates/{name}"), ..Member::default() };
        let include = "#![doc = include_str!(\"../README.md\")]";
        let files = [
            TextFile::new("crates/good/README.md", "Good."),
            TextFile::new("crates/good/src/lib.rs", include),
            TextFile::new("crates/bare/src/lib.rs", include),
            TextFile::new("crates/unused/README.md", "Unused."),
            TextFile::new("crates/unused/src/lib.rs", "//! Something else."),
        ];
        let found = readmes(&[member("good"), member("bare"), member("unused")], &files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].place, "crates/bare");
        assert_eq!(found[1].place, "crates/unused/src/lib.rs");
    }
}
