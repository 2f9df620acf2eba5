//! Where the keys are, for the commands that change them.

use std::{path::PathBuf, time::Duration};

use oidc_proxy::Lifetimes;
use secrecy::SecretString;

use super::{Given, Problems, Sources, check, setting::Name};
use crate::keys::Which;

/// Where one ring is.
#[derive(Debug)]
pub(crate) enum KeyPlace {
    /// In a file that the server made.
    Kept(PathBuf),
    /// Given as a setting.
    Given {
        /// The name that was used.
        name: Name,
        /// Whether it names a file.
        is_file: bool,
        text: SecretString,
    },
    /// Not given, and not kept.
    Nowhere,
}

/// Where both rings are, and how long what they protect may live.
#[derive(Debug)]
pub(crate) struct KeyPlaces {
    pub(super) signing: KeyPlace,
    pub(super) storage: KeyPlace,
    pub(super) lifetimes: Lifetimes,
}

impl KeyPlaces {
    /// Reads no other settings than those that it needs, so that the command works where only the
    /// keys and the storage are known.
    ///
    /// # Errors
    ///
    /// What is wrong with these settings.
    pub(crate) fn load(sources: &Sources) -> Result<Self, Problems> {
        let (given, problems) = Given::collect(sources);
        check::key_places(&given, problems)
    }

    pub(crate) fn of(&self, which: Which) -> &KeyPlace {
        match which {
            Which::Signing => &self.signing,
            Which::Storage => &self.storage,
        }
    }

    /// How long after its last use a key may still be needed.
    pub(crate) fn longest(&self, which: Which) -> Duration {
        match which {
            // Refresh tokens, and the rows that list a person's logins.
            Which::Signing => self.lifetimes.refresh_absolute,
            // The registration of a client that is used as long as a login can last.
            Which::Storage => self.lifetimes.refresh_absolute + self.lifetimes.used_client,
        }
    }
}
