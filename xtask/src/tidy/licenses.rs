//! Every package is under a license that an Apache-2.0 binary may carry.

use super::{Violation, packages::Package, repository::TextFile};

/// Licenses that may be linked. `deny.toml` has the same list.
const ALLOWED: [&str; 15] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // The certificates of webpki-roots: data.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    // Copyleft by file; the `fernet` crate is used as it is.
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Every license expression can be met with [`ALLOWED`] licenses.
pub(super) fn allowed(packages: &[Package]) -> Vec<Violation> {
    packages
        .iter()
        .filter(|package| !is_met(&package.license))
        .map(|package| {
            let license = if package.license.is_empty() { "no license" } else { &package.license };
            Violation::new(
                format!("{} {}", package.name, package.version),
                format!("{license} is not on the list"),
            )
        })
        .collect()
}

/// `deny.toml` allows the same.
pub(super) fn same_in_deny(files: &[TextFile]) -> Vec<Violation> {
    let Some(deny) = files.iter().find(|file| file.path == "deny.toml") else {
        return vec![Violation::new("deny.toml", "is missing")];
    };
    let (_, list) = deny.text.split_once("[licenses]\nallow = [").unwrap_or_default();
    let (list, _) = list.split_once(']').unwrap_or_default();
    let listed: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    let differs = listed != ALLOWED;
    differs
        .then(|| Violation::new("deny.toml", "allows other licenses than tidy"))
        .into_iter()
        .collect()
}

/// Whether the SPDX expression can be met; `/` is the old way to write `OR`.
fn is_met(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    any(&mut rest) == Some(true) && rest.is_empty()
}

/// `all (OR all)*`; `None` is a syntax error.
fn any(tokens: &mut &[&str]) -> Option<bool> {
    let mut met = all(tokens)?;
    while let Some((&"OR", rest)) = tokens.split_first() {
        *tokens = rest;
        met |= all(tokens)?;
    }
    Some(met)
}

/// `one (AND one)*`
fn all(tokens: &mut &[&str]) -> Option<bool> {
    let mut met = one(tokens)?;
    while let Some((&"AND", rest)) = tokens.split_first() {
        *tokens = rest;
        met &= one(tokens)?;
    }
    Some(met)
}

/// `( any )`, `name` or `name WITH exception`
fn one(tokens: &mut &[&str]) -> Option<bool> {
    let (&name, rest) = tokens.split_first()?;
    *tokens = rest;
    if name == "(" {
        let met = any(tokens)?;
        let (&")", rest) = tokens.split_first()? else { return None };
        *tokens = rest;
        return Some(met);
    }
    if let [with, exception, rest @ ..] = *tokens
        && *with == "WITH"
    {
        *tokens = rest;
        return Some(ALLOWED.contains(&format!("{name} WITH {exception}").as_str()));
    }
    Some(ALLOWED.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::packages::parse;

    #[test]
    fn expressions() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
            "ISC AND (Apache-2.0 OR ISC)",
        ] {
            assert!(is_met(good), "{good}");
        }
        for bad in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR ISC) AND AGPL-3.0",
            "GPL-2.0 WITH LLVM-exception",
            "(MIT",
        ] {
            assert!(!is_met(bad), "{bad}");
        }
    }

    #[test]
    fn another_list_in_deny_toml_is_reported() {
        let list = ALLOWED.map(|name| format!("    \"{name}\",\n")).concat();
        let deny =
            |list: &str| TextFile::new("deny.toml", &format!("[licenses]\nallow = [\n{list}]\n"));
        assert_eq!(same_in_deny(&[deny(&list)]), []);
        assert_eq!(same_in_deny(&[deny("\"GPL-3.0\"")]).len(), 1);
        assert_eq!(same_in_deny(&[]).len(), 1);
    }

    #[test]
    fn a_copyleft_package_is_reported() {
        let found = allowed(&parse("good v1.0.0|MIT|\nbad v2.0.0|AGPL-3.0|\nbare v3.0.0||\n"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].to_string(), "bad 2.0.0: AGPL-3.0 is not on the list");
        assert_eq!(found[1].to_string(), "bare 3.0.0: no license is not on the list");
    }
}
