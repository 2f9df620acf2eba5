//! Links between the documents of this repository lead somewhere.

use std::collections::BTreeSet;

use super::{Violation, repository::TextFile};

/// Relative links of Markdown files name a file of the repository, and a heading that is in it.
pub(super) fn relative(files: &[TextFile]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for file in files.iter().filter(|file| file.is_markdown()) {
        for (number, target) in links(file) {
            if let Err(message) = resolve(files, file, &target) {
                violations.push(Violation::new(format!("{}:{number}", file.path), message));
            }
        }
    }
    violations
}

/// Targets of `[text](target)` with their lines; those with a scheme are not ours, and code is not
/// prose.
fn links(file: &TextFile) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut fenced = false;
    for (number, line) in file.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second piece between backquotes is code.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
        for (at, _) in prose.match_indices("](") {
            let rest = &prose[at + 2..];
            let target = rest[..rest.find(')').unwrap_or(rest.len())]
                .split_whitespace()
                .next()
                .unwrap_or_default();
            let elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !target.is_empty() && !elsewhere {
                links.push((number, target.into()));
            }
        }
    }
    links
}

fn resolve(files: &[TextFile], from: &TextFile, target: &str) -> Result<(), String> {
    let (path, fragment) = match target.split_once('#') {
        Some((path, fragment)) => (path, Some(fragment)),
        None => (target, None),
    };
    let path = if path.is_empty() { from.path.clone() } else { join(&from.path, path) };
    let directory = format!("{}/", path.trim_end_matches('/'));
    let Some(file) = files.iter().find(|file| file.path == path) else {
        let is_directory = files.iter().any(|file| file.path.starts_with(&directory));
        return if is_directory { Ok(()) } else { Err(format!("`{target}`: there is no {path}")) };
    };
    match fragment {
        Some(fragment) if file.is_markdown() && !headings(file).contains(fragment) => {
            Err(format!("`{target}`: {path} has no such heading"))
        }
        _ => Ok(()),
    }
}

/// `target` as seen from the directory of the file `from`.
fn join(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors that GitHub gives to the headings.
fn headings(file: &TextFile) -> BTreeSet<String> {
    file.lines()
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let text = line.trim_start_matches('#').trim().to_lowercase();
            let keep = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            text.chars().filter(keep).map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let files = [
            TextFile::new("docs/flow.md", text),
            TextFile::new("docs/architecture.md", "# Bird's eye\n\n## The `code` map\n"),
            TextFile::new("crates/a/README.md", "A."),
        ];
        relative(&files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_link_to_nowhere_is_reported() {
        let found = found(
            "[a](architecture.md)\n[b](missing.md) [c](../crates/a/README.md)\n[d](../crates)\n",
        );
        assert_eq!(found, ["docs/flow.md:2: `missing.md`: there is no docs/missing.md"]);
    }

    #[test]
    fn a_missing_heading_is_reported() {
        let found = found(
            "# Top\n[a](architecture.md#the-code-map) [b](#top) [c](architecture.md#birds-eye)\n[d](#no)\n",
        );
        assert_eq!(found, ["docs/flow.md:3: `#no`: docs/flow.md has no such heading"]);
    }

    #[test]
    fn other_sites_and_code_are_not_looked_at() {
        assert!(
            found("[a](https://example.com) `[b](c)`\n```\n[x](y)\n```\n[m](mailto:a@b)\n")
                .is_empty()
        );
    }
}
