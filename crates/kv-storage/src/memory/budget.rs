use std::{
    mem,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::{Bounds, collection::SHARDS};

/// How many entries a shard takes beyond what it needs.
const SPARE_ENTRIES: usize = 64;

/// How many bytes a shard takes beyond what it needs.
const SPARE_BYTES: usize = 64 * 1024;

/// How much more a collection may hold.
///
/// Its shards take more of it than they need, where there is plenty, and keep some of what becomes
/// free: memory that many threads write to is slow, and most operations touch their shard's
/// [`Share`] only.
pub(super) struct Budget {
    entries: Stock,
    bytes: Stock,
}

/// What one shard may still use.
#[derive(Default)]
pub(super) struct Share {
    entries: usize,
    bytes: usize,
}

/// What there is not enough of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Short {
    Entries,
    Bytes,
}

impl Budget {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            entries: Stock { left: bounds.entries.into(), spare: SPARE_ENTRIES },
            bytes: Stock { left: bounds.bytes.into(), spare: SPARE_BYTES },
        }
    }

    /// Takes so much, or nothing.
    ///
    /// # Errors
    ///
    /// What there is not enough of, but perhaps in another shard's share.
    pub(super) fn take(
        &self,
        share: &mut Share,
        entries: usize,
        bytes: usize,
    ) -> Result<(), Short> {
        if !self.entries.take(&mut share.entries, entries) {
            return Err(Short::Entries);
        }
        if !self.bytes.take(&mut share.bytes, bytes) {
            self.entries.free(&mut share.entries, entries);
            return Err(Short::Bytes);
        }
        Ok(())
    }

    /// So much is used no more.
    pub(super) fn free(&self, share: &mut Share, entries: usize, bytes: usize) {
        self.entries.free(&mut share.entries, entries);
        self.bytes.free(&mut share.bytes, bytes);
    }

    /// Leaves the shard nothing that others could use.
    pub(super) fn reclaim(&self, share: &mut Share) {
        let Share { entries, bytes } = mem::take(share);
        self.entries.left.fetch_add(entries, Ordering::Relaxed);
        self.bytes.left.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How many entries and bytes are in no shard's share.
    #[cfg(test)]
    pub(super) fn left(&self) -> (usize, usize) {
        (self.entries.left.load(Ordering::Relaxed), self.bytes.left.load(Ordering::Relaxed))
    }
}

/// What is left of one thing.
struct Stock {
    left: AtomicUsize,
    /// How much a share has beyond need: at most twice that.
    spare: usize,
}

impl Stock {
    fn take(&self, share: &mut usize, amount: usize) -> bool {
        if let Some(rest) = share.checked_sub(amount) {
            *share = rest;
            return true;
        }
        let missing = amount - *share;
        // Nobody keeps anything spare of the last that there is.
        let spare =
            |rest: usize| if rest >= 4 * usize::from(SHARDS) * self.spare { self.spare } else { 0 };
        let after = |left: usize| left.checked_sub(missing).map(|rest| rest - spare(rest));
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after) {
            Ok(before) => {
                *share = spare(before - missing);
                true
            }
            Err(_) => false,
        }
    }

    fn free(&self, share: &mut usize, amount: usize) {
        *share += amount;
        if *share > 2 * self.spare {
            self.left.fetch_add(*share - self.spare, Ordering::Relaxed);
            *share = self.spare;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, Budget, SPARE_BYTES, SPARE_ENTRIES, Share, Short};

    const PLENTY: Bounds = Bounds { entries: 1 << 20, bytes: 1 << 30 };

    #[test]
    fn with_plenty_most_operations_touch_their_share_only() {
        let budget = Budget::new(PLENTY);
        let mut share = Share::default();
        budget.take(&mut share, 1, 100).unwrap();
        let left = budget.left();
        assert_eq!(left, (PLENTY.entries - 1 - SPARE_ENTRIES, PLENTY.bytes - 100 - SPARE_BYTES));
        for _ in 0..10_000 {
            budget.free(&mut share, 1, 100);
            budget.take(&mut share, 1, 100).unwrap();
        }
        assert_eq!(budget.left(), left);
    }

    #[test]
    fn of_little_nothing_is_spare_and_all_can_be_used() {
        let budget = Budget::new(Bounds { entries: 3, bytes: 100 });
        let mut shares: [Share; 3] = Default::default();
        for share in &mut shares {
            budget.take(share, 1, 30).unwrap();
        }
        assert_eq!(budget.left(), (0, 10));
        assert_eq!(budget.take(&mut shares[0], 1, 1), Err(Short::Entries));
        assert_eq!(budget.take(&mut shares[0], 0, 11), Err(Short::Bytes));
        budget.take(&mut shares[0], 0, 10).unwrap();
        assert_eq!(budget.left(), (0, 0));
    }

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let budget = Budget::new(Bounds { entries: 10, bytes: 100 });
        let mut share = Share::default();
        assert_eq!(budget.take(&mut share, 1, 101), Err(Short::Bytes));
        assert_eq!(budget.take(&mut share, 11, 1), Err(Short::Entries));
        budget.reclaim(&mut share);
        assert_eq!(budget.left(), (10, 100));
    }

    #[test]
    fn a_share_has_a_bound_and_can_be_reclaimed() {
        let budget = Budget::new(PLENTY);
        let mut share = Share::default();
        budget.take(&mut share, 1000, 1 << 20).unwrap();
        budget.free(&mut share, 1000, 1 << 20);
        assert!(share.entries <= 2 * SPARE_ENTRIES && share.bytes <= 2 * SPARE_BYTES);
        budget.reclaim(&mut share);
        assert_eq!(budget.left(), (PLENTY.entries, PLENTY.bytes));
    }
}
