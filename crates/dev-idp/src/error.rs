//! Why a provider could not be built.

use std::{io, path::PathBuf};

/// Why [`Builder::build`](crate::Builder::build) failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration makes no sense; the text says which part of it.
    #[error("{0}")]
    Config(String),
    /// A file of the state directory could not be read or written.
    #[error("could not access `{}`", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The state file is not one of ours, or of another format version.
    /// Removing it ends all provider sessions and is otherwise harmless.
    #[error("could not understand the state file `{}`", path.display())]
    State {
        /// The file.
        path: PathBuf,
    },
    /// The signing key could not be made, or is no RSA key in PKCS#8 form.
    #[error("could not use the signing key")]
    Key,
}
