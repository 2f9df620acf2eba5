//! Random bytes in small pieces, without a system call for each.

use std::cell::RefCell;

use chacha20::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use zeroize::{Zeroize, Zeroizing};

use crate::{Error, ErrorKind, Result};

/// How much is made at once: a page, which is 256 versions. The operating system itself takes
/// some 4 ns for each byte of it, which is half of what `Memory` takes to write a record.
const POOL_BYTES: usize = 4096;

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool::new()) };
}

/// `N` random bytes that nobody else is given.
///
/// Each thread makes a page at a time, by `ChaCha20` from a new seed of the operating system, and
/// hands it out piece by piece. A piece is overwritten with zeros as it is handed out, and what is
/// left when the thread ends. A process that goes on as two, by `fork` without `exec` or from
/// a snapshot of its memory, would hand out the rest of the page twice.
///
/// # Errors
///
/// [`ErrorKind::Unavailable`] if the operating system has no randomness; `action` says what for.
pub(crate) fn bytes<const N: usize>(action: &'static str) -> Result<[u8; N]> {
    POOL.with_borrow_mut(Pool::piece)
        .map_err(|error| Error::new(ErrorKind::Unavailable, action).with_source(error))
}

/// What a thread has made and not handed out yet.
struct Pool {
    /// Empty before the first piece is wanted: threads that want none cost nothing.
    bytes: Vec<u8>,
    /// So many at the beginning are left.
    left: usize,
}

impl Pool {
    const fn new() -> Self {
        Self { bytes: Vec::new(), left: 0 }
    }

    fn piece<const N: usize>(&mut self) -> Result<[u8; N], getrandom::Error> {
        const { assert!(N <= POOL_BYTES, "a piece lies in one pool") };
        if self.left < N {
            let mut seed = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *seed)?;
            self.bytes.resize(POOL_BYTES, 0);
            ChaCha20Rng::from_seed(*seed).fill_bytes(&mut self.bytes);
            self.left = POOL_BYTES;
        }
        let mut piece = [0; N];
        let drawn = &mut self.bytes[self.left - N..self.left];
        piece.copy_from_slice(drawn);
        drawn.zeroize();
        self.left -= N;
        Ok(piece)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.bytes.as_mut_slice().zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::{POOL_BYTES, Pool, bytes};

    #[test]
    fn no_piece_comes_twice_in_any_thread() {
        const THREADS: usize = 8;
        // Each thread goes through several pools.
        const PIECES: usize = 5 * POOL_BYTES / 16 + 7;
        let draw = || (0..PIECES).map(|_| bytes::<16>("draw").unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..THREADS).map(|_| thread::spawn(draw)).collect();
        let pieces: HashSet<[u8; 16]> =
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(pieces.len(), THREADS * PIECES);
    }

    #[test]
    fn pieces_of_all_lengths_share_no_byte_of_the_pool() {
        let mut pool = Pool::new();
        pool.piece::<0>().unwrap();
        pool.piece::<1>().unwrap();
        let mut drawn = pool.bytes[..pool.left].to_vec();
        while pool.left >= 48 {
            let short = pool.piece::<16>().unwrap();
            assert_eq!(drawn.split_off(drawn.len() - 16), short);
            let long = pool.piece::<32>().unwrap();
            assert_eq!(drawn.split_off(drawn.len() - 32), long);
        }
        assert_eq!(drawn.len(), pool.left);
    }

    #[test]
    fn a_rest_that_is_too_short_is_overwritten_and_not_handed_out() {
        let mut pool = Pool::new();
        pool.piece::<{ POOL_BYTES - 8 }>().unwrap();
        let rest = pool.bytes[..8].to_vec();
        let piece = pool.piece::<16>().unwrap();
        assert_eq!(pool.left, POOL_BYTES - 16);
        assert!(!piece.starts_with(&rest) && !piece.ends_with(&rest));
        assert_ne!(pool.bytes[..8], rest);
    }

    #[test]
    fn what_was_handed_out_is_wiped() {
        let mut pool = Pool::new();
        for _ in 0..3 {
            assert_ne!(pool.piece::<32>().unwrap(), [0; 32]);
            let (left, handed_out) = pool.bytes.split_at(pool.left);
            assert!(handed_out.iter().all(|byte| *byte == 0));
            assert!(left.iter().any(|byte| *byte != 0));
        }
    }
}
