//! The error for a setting that cannot work.

/// A setting of the provider's side that cannot work; says which, and the way out.
#[derive(Debug, thiserror::Error)]
#[error("{setting} {reason}")]
#[non_exhaustive]
pub struct InvalidSetting {
    /// The setting's name, as the builders call it.
    pub setting: &'static str,
    /// What is wrong and what to do, to be read after the name.
    pub reason: String,
}

impl InvalidSetting {
    /// An error about `setting`; `reason` goes on after its name.
    pub fn new(setting: &'static str, reason: impl Into<String>) -> Self {
        Self { setting, reason: reason.into() }
    }
}
