//! Whether what was learned of the servers' arrangement still holds.

use std::sync::atomic::{AtomicBool, Ordering};

/// Raised by whoever meets something else.
#[derive(Debug, Default)]
pub(super) struct Doubt(AtomicBool);

/// Somebody asks anew. The doubt is back if that ends without an answer, or is given up.
#[derive(Debug)]
pub(super) struct Asking<'a> {
    doubt: &'a Doubt,
    answered: bool,
}

impl Doubt {
    pub(super) fn raise(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(super) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// What goes wrong from here on is to be asked about again.
    pub(super) fn ask(&self) -> Asking<'_> {
        self.0.store(false, Ordering::Release);
        Asking { doubt: self, answered: false }
    }
}

impl Asking<'_> {
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.doubt.raise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_ends_a_doubt() {
        let doubt = Doubt::default();
        doubt.raise();
        drop(doubt.ask());
        assert!(doubt.is_raised(), "the question was given up");
        doubt.ask().answered();
        assert!(!doubt.is_raised());
        let asking = doubt.ask();
        doubt.raise();
        asking.answered();
        assert!(doubt.is_raised(), "something went wrong after the question");
    }
}
