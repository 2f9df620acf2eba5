//! Words that no file may have.
//!
//! The words are put together here from halves, so that this file does not break its own rules.

use super::{Violation, repository::TextFile};

/// Marks of something left for later.
const OPEN_ENDS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];

/// The attribute of a test that nobody runs.
const IGNORE: &str = concat!("#[ig", "nore");

/// Places that exist on one machine only, and addresses that cargo and npm know by themselves.
const MACHINE: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/home/", "runner"),
    concat!("registry.", "npmjs"),
    concat!("static.", "crates.io"),
    concat!("index.", "crates.io"),
    concat!("files.", "pythonhosted"),
    concat!("https://", "pypi.org"),
    concat!("deb.", "debian.org"),
];

/// What a lock file says when it says where something comes from.
const ADDRESSES: &[&str] =
    &["\"resolved\"", "://", "--index-url", "--extra-index-url", "--find-links", "--trusted-host"];

/// What is left for later has an issue: the mark is followed by its number, as in `(#12)`.
pub(super) fn open_ends(files: &[TextFile]) -> Vec<Violation> {
    find(files, |_, line| {
        let mark = OPEN_ENDS.iter().find(|mark| lacks_number(line, mark))?;
        Some(format!("{mark} without the number of its issue, as in {mark}(#12)"))
    })
}

fn lacks_number(line: &str, mark: &str) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + mark.len()..]);
        let inside_a_word = before.ends_with(is_word) || after.starts_with(is_word);
        let number = after
            .strip_prefix("(#")
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        !inside_a_word && !number
    })
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_' || character == '-'
}

/// A test runs or is deleted.
pub(super) fn ignored_tests(files: &[TextFile]) -> Vec<Violation> {
    find(files, |file, line| {
        (file.is_rust() && line.contains(IGNORE)).then(|| "a test runs or is deleted".into())
    })
}

/// Nothing that holds on one machine only.
pub(super) fn machine(files: &[TextFile]) -> Vec<Violation> {
    find(files, |_, line| {
        let found = MACHINE.iter().find(|word| line.contains(*word))?;
        Some(format!("`{found}` means something on one machine only"))
    })
}

/// Lock files of npm and pip say what by version and hash, not where from: each machine has its own
/// way to the registry. (Cargo's names the registry by a constant.)
pub(super) fn addresses_in_locks(files: &[TextFile]) -> Vec<Violation> {
    let is_lock = |file: &TextFile| {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        matches!(name, "package-lock.json" | "npm-shrinkwrap.json" | ".npmrc" | "pip.conf")
            || (name.starts_with("requirements") && name != "requirements.in")
    };
    find(files, |file, line| {
        // Where the money goes is no download.
        let said = is_lock(file) && !line.trim_start().starts_with("\"url\":");
        let found = ADDRESSES.iter().find(|word| said && line.contains(*word))?;
        Some(format!("`{found}`: a lock file has versions and hashes, no addresses"))
    })
}

/// Every line of which `rule` says something.
fn find(files: &[TextFile], rule: impl Fn(&TextFile, &str) -> Option<String>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files {
        for (number, line) in file.lines() {
            if let Some(message) = rule(file, line) {
                violations.push(Violation::new(format!("{}:{number}", file.path), message));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_end_needs_its_issue() {
        let mark = OPEN_ENDS[0];
        let text = format!(
            "// {mark}: later\n// {mark}(#12): later\nlet my{mark} = 1;\n// {mark}(soon)\n"
        );
        let found = open_ends(&[TextFile::new("a.rs", &text)]);
        let places: Vec<&str> = found.iter().map(|violation| violation.place.as_str()).collect();
        assert_eq!(places, ["a.rs:1", "a.rs:4"]);
    }

    #[test]
    fn an_ignored_test_is_reported() {
        let text = format!("#[test]\n{IGNORE} = \"slow\"]\nfn f() {{}}\n");
        assert_eq!(ignored_tests(&[TextFile::new("a.rs", &text)]).len(), 1);
        assert_eq!(ignored_tests(&[TextFile::new("a.md", &text)]), []);
    }

    #[test]
    fn a_path_of_this_machine_is_reported() {
        let text = format!("see {}shared\nresolved = https://{}.org/x\n", MACHINE[0], MACHINE[3]);
        assert_eq!(machine(&[TextFile::new("README.md", &text)]).len(), 2);
        assert_eq!(machine(&[TextFile::new("README.md", "see docs/homework/a.md")]), []);
    }

    #[test]
    fn an_address_in_a_lock_file_is_reported() {
        let npm = "\"integrity\": \"sha512-x\",\n\"resolved\": \"elsewhere.tgz\",\n\"funding\": {\n\"url\": \"https://a.example\"\n";
        let found = addresses_in_locks(&[TextFile::new("tests/clients/package-lock.json", npm)]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].place.ends_with(":2"));
        let pip = "a==1 \\\n    --hash=sha256:0\n--index-url https://mirror.example\n";
        assert_eq!(addresses_in_locks(&[TextFile::new("requirements.lock", pip)]).len(), 1);
        assert_eq!(addresses_in_locks(&[TextFile::new("docs/a.md", pip)]), []);
    }
}
