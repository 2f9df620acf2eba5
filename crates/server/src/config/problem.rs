//! What is wrong with the settings, in sentences for the person who wrote them.

use std::fmt;

use super::setting::{Name, Setting};

/// Everything that is wrong, at least one thing; one line each.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Problems(Vec<String>);

impl Problems {
    /// Nothing wrong so far.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Something that is not about one setting.
    pub(crate) fn add(&mut self, sentence: impl Into<String>) {
        self.0.push(sentence.into());
    }

    /// A value that cannot be used.
    pub(crate) fn wrong(&mut self, name: Name, why: impl fmt::Display) {
        self.add(format!("{name}: {why}"));
    }

    /// A value that has no default and was not given.
    pub(crate) fn missing(&mut self, setting: &Setting) {
        self.add(format!("{} is missing: {}", setting.own_name(), setting.help));
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sentence in &self.0 {
            writeln!(f, "error: {sentence}")?;
        }
        Ok(())
    }
}
