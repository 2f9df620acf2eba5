//! What must not be in a server that is meant to serve.

use super::Violation;

/// Storage that fails on command.
const FAULTS: &str = "kv-storage feature \"testing\"";

/// A server that dies on command.
const KILL_POINTS: &str = "kill-points";

/// A server without its default features has nothing of the demo in it.
pub(super) fn plain(tree: &str) -> Vec<Violation> {
    absent(tree, &["dev-idp", "dev-mcp", "misbehave", FAULTS, KILL_POINTS])
}

/// Not even the demo can misbehave.
pub(super) fn default(tree: &str) -> Vec<Violation> {
    absent(tree, &["misbehave", FAULTS, KILL_POINTS])
}

/// Lines of `cargo tree --edges features` that name one of `words`.
fn absent(tree: &str, words: &[&str]) -> Vec<Violation> {
    if !tree.contains("oidc-proxy-server") {
        return vec![Violation::new("oidc-proxy-server", "cargo tree says nothing of it")];
    }
    let names = |line: &&str| words.iter().any(|word| line.contains(word));
    tree.lines()
        .filter(names)
        .map(|line| Violation::new("oidc-proxy-server", format!("has `{}`", line.trim())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_in_a_plain_server_is_reported() {
        let tree = "oidc-proxy-server v0.0.0 (/w)\ndev-idp v0.0.0\naxum v0.8.9\n";
        assert_eq!(plain(tree).len(), 1);
        assert_eq!(default(tree), []);
    }

    #[test]
    fn misbehavior_is_reported_in_any_server() {
        let tree = "oidc-proxy-server v0.0.0 (/w)\ndev-idp feature \"misbehave\"\n";
        assert_eq!(default(tree).len(), 1);
        assert_eq!(plain(tree).len(), 1);
    }

    #[test]
    fn kill_points_are_reported_in_any_server() {
        let tree = "oidc-proxy-server v0.0.0 (/w) default,demo,kill-points\n";
        assert_eq!(default(tree).len(), 1);
        assert_eq!(plain(tree).len(), 1);
    }

    #[test]
    fn an_empty_answer_is_no_proof() {
        assert_eq!(plain("").len(), 1);
        assert_eq!(default("").len(), 1);
    }
}
