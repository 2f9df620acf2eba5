//! What library code must not reach for, beyond what `clippy.toml` can say.

use super::{Violation, repository::TextFile};

/// Crates that are programs, or parts of one: they may read what surrounds them.
const PROGRAMS: &[&str] = &["crates/server/"];

/// What reads the surroundings: the words, the crates that may, and why nobody else.
const AMBIENT: &[(&[&str], &[&str], &str)] = &[
    (
        &["std::env", "env::var", "env::args", "env::temp_dir", "env::current_dir"],
        &[],
        "libraries do not read the environment; take it as an argument",
    ),
    (
        &["std::fs", "tokio::fs", "fs::read", "fs::write", "File::open", "File::create"],
        // kv-storage has its own files, dev-idp keeps its users' sessions where it is told.
        &["crates/kv-storage/", "crates/dev-idp/"],
        "libraries do not read files; take the content as an argument",
    ),
    (
        &["Utc::now", "OffsetDateTime::now", "Timestamp::now", "Zoned::now", "UNIX_EPOCH.elapsed"],
        &[],
        "libraries take a clock",
    ),
];

/// A task that nobody owns outlives the thing that started it.
const BARE_SPAWN: &[&str] = &["tokio::spawn(", "task::spawn(", "thread::spawn("];

/// Libraries get what surrounds them as arguments.
pub(super) fn ambient(files: &[TextFile]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (words, may, reason) in AMBIENT {
        let bound = |file: &&TextFile| !may.iter().any(|prefix| file.path.starts_with(prefix));
        for file in files.iter().filter(|file| is_library(file)).filter(bound) {
            violations.extend(lines_with(file, words).map(|place| Violation::new(place, *reason)));
        }
    }
    violations
}

/// Libraries start tasks in a `JoinSet` or a `TaskTracker`, which somebody waits for.
pub(super) fn tasks(files: &[TextFile]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| is_library(file)) {
        let found = lines_with(file, BARE_SPAWN);
        violations.extend(found.map(|place| {
            Violation::new(place, "use a JoinSet or a TaskTracker that somebody awaits")
        }));
    }
    violations
}

/// Source files of library crates that are not tests.
fn is_library(file: &TextFile) -> bool {
    file.is_rust()
        && file.path.starts_with("crates/")
        && file.path.contains("/src/")
        && !file.path.ends_with("/tests.rs")
        && !file.path.contains("/tests/")
        && !PROGRAMS.iter().any(|prefix| file.path.starts_with(prefix))
}

/// Where the code of `file`, its comments and its inline test module left out, has one of `words`.
fn lines_with<'a>(file: &'a TextFile, words: &'a [&str]) -> impl Iterator<Item = String> + use<'a> {
    let inline_tests = file.text.find("#[cfg(test)]\nmod tests {").unwrap_or(file.text.len());
    let code_lines = file.text[..inline_tests].lines().count();
    file.lines()
        .take(code_lines)
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
        .map(|(number, _)| format!("{}:{number}", file.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(violations: &[Violation]) -> Vec<&str> {
        violations.iter().map(|violation| violation.place.as_str()).collect()
    }

    #[test]
    fn ambient_input_is_reported_in_libraries_only() {
        let text = "// std::env is not for us\nlet home = std::env::var(\"HOME\");\n";
        let files = [
            TextFile::new("crates/a/src/lib.rs", text),
            TextFile::new("crates/server/src/main.rs", text),
            TextFile::new("crates/a/src/lib/tests.rs", text),
            TextFile::new("crates/a/tests/it/main.rs", text),
            TextFile::new("xtask/src/main.rs", text),
        ];
        assert_eq!(places(&ambient(&files)), ["crates/a/src/lib.rs:2"]);
    }

    #[test]
    fn files_are_for_storage_only() {
        let text = "let text = std::fs::read_to_string(path)?;\n";
        let files = [
            TextFile::new("crates/kv-storage/src/disk.rs", text),
            TextFile::new("crates/oauth-proxy/src/lib.rs", text),
        ];
        assert_eq!(places(&ambient(&files)), ["crates/oauth-proxy/src/lib.rs:1"]);
    }

    #[test]
    fn another_clock_is_reported() {
        let files = [TextFile::new("crates/a/src/lib.rs", "let now = Utc::now();\n")];
        assert_eq!(places(&ambient(&files)), ["crates/a/src/lib.rs:1"]);
    }

    #[test]
    fn inline_tests_are_tests() {
        let text = "fn f() {}\n\n#[cfg(test)]\nmod tests {\n    tokio::spawn(async {});\n}\n";
        assert_eq!(tasks(&[TextFile::new("crates/a/src/lib.rs", text)]), []);
    }

    #[test]
    fn a_task_without_an_owner_is_reported() {
        let text = "fn f() {\n    tokio::spawn(async {});\n    tracker.spawn(async {});\n}\n";
        assert_eq!(
            places(&tasks(&[TextFile::new("crates/a/src/lib.rs", text)])),
            ["crates/a/src/lib.rs:2"]
        );
    }
}
