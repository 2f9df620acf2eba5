//! Everything that the rules look at, read once.

use std::path::Path;

use anyhow::Context as _;
use xshell::{Shell, cmd};

use super::{
    metadata::Metadata,
    packages::{self, Package},
};

/// The repository as it is in the working tree.
pub(crate) struct Repository {
    pub(super) metadata: Metadata,
    /// Every text file that is tracked or would be.
    pub(super) files: Vec<TextFile>,
    /// What a build of the workspace compiles for this machine, dev-dependencies left out.
    pub(super) compiled: Vec<Package>,
    /// The same with dev-dependencies.
    pub(super) all_packages: Vec<Package>,
    /// `cargo tree` with features, of the server without its default features.
    pub(super) plain_features: String,
    /// The same, of the server as it is built by default.
    pub(super) default_features: String,
}

/// A file of text.
#[derive(Debug)]
pub(super) struct TextFile {
    /// From the workspace root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
}

impl TextFile {
    #[cfg(test)]
    pub(super) fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.into() }
    }

    /// Its lines with their numbers.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    pub(super) fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    pub(super) fn is_markdown(&self) -> bool {
        self.has_extension("md")
    }
}

impl Repository {
    /// Asks git for the files and cargo for the rest.
    pub(crate) fn load(shell: &Shell) -> anyhow::Result<Self> {
        let metadata = Metadata::load(shell)?;
        let server = "oidc-proxy-server";
        let all = ["--workspace", "--all-features"];
        Ok(Self {
            metadata,
            files: text_files(shell)?,
            compiled: packages::parse(&tree(shell, &all, "normal,build", packages::FORMAT)?),
            all_packages: packages::parse(&tree(
                shell,
                &all,
                "normal,build,dev",
                packages::FORMAT,
            )?),
            plain_features: tree(
                shell,
                &["-p", server, "--no-default-features"],
                "features,normal",
                WITH_FEATURES,
            )?,
            default_features: tree(shell, &["-p", server], "features,normal", WITH_FEATURES)?,
        })
    }
}

/// The package and its own features: those of the selected one have no line of their own.
const WITH_FEATURES: &str = "{p} {f}";

fn tree(shell: &Shell, selection: &[&str], edges: &str, format: &str) -> anyhow::Result<String> {
    cmd!(
        shell,
        "cargo tree --locked {selection...} --edges {edges} --prefix none --format {format}"
    )
    .quiet()
    .ignore_stderr()
    .read()
    .context("cargo tree failed")
}

/// Tracked files and new ones that are not ignored; what is not UTF-8 is no text.
fn text_files(shell: &Shell) -> anyhow::Result<Vec<TextFile>> {
    let list =
        cmd!(shell, "git ls-files --cached --others --exclude-standard -z").quiet().read()?;
    let mut files = Vec::new();
    for path in list.split('\0').filter(|path| !path.is_empty()) {
        // Listed and gone: deleted in the working tree, not yet in the index.
        let Ok(bytes) = shell.read_binary_file(path) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(TextFile { path: path.into(), text });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    Ok(files)
}
