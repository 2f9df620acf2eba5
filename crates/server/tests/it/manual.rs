//! What the manual says of settings, against the binary.

use std::{collections::BTreeSet, fs, path::Path};

use crate::process::run;

fn printed(arguments: &[&str]) -> String {
    String::from_utf8(run(arguments.iter().copied()).stdout).unwrap()
}

/// What stands between backticks in a text.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The page that maps FastMCP's names maps them to names that exist.
#[test]
fn what_fastmcp_users_are_told_exists() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fastmcp.md");
    let page = fs::read_to_string(page).unwrap();
    let reference = printed(&["config", "reference"]);
    let known: BTreeSet<&str> = code(&reference).collect();
    assert!(known.contains("OIDC_PROXY_BASE_URL") && known.contains("base_url"), "{reference}");

    let variables =
        code(&page).filter(|name| name.starts_with("OIDC_PROXY_") && *name != "OIDC_PROXY_NAME");
    // The second column of the tables of parameters; a dash says that there is none.
    let parameters = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").nth(1))
        .flat_map(code)
        .filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    let told: BTreeSet<&str> = variables.chain(parameters).collect();
    assert!(told.len() > 25, "{told:?}");
    let unknown: Vec<_> = told.difference(&known).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
