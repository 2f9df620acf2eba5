use std::sync::OnceLock;

use super::{Bounds, collection::Collection};

/// Programs have tens of collections: few of them share a chain.
const CHAINS: usize = 64;

/// All collections of a store. They are made and never removed, so that finding one takes no lock
/// and writes to no memory that other threads read.
pub(super) struct Collections {
    chains: [Chain; CHAINS],
}

#[derive(Default)]
struct Chain {
    link: OnceLock<Box<Link>>,
}

struct Link {
    collection: Collection,
    next: Chain,
}

impl Collections {
    pub(super) fn new() -> Self {
        Self { chains: std::array::from_fn(|_| Chain::default()) }
    }

    /// The collection if anything was ever written to it.
    pub(super) fn find(&self, name: &str) -> Option<&Collection> {
        let mut chain = self.chain(name);
        loop {
            let link = chain.link.get()?;
            if link.collection.name() == name {
                return Some(&link.collection);
            }
            chain = &link.next;
        }
    }

    /// The collection, made with these bounds if there is none.
    pub(super) fn find_or_make(&self, name: &str, bounds: Bounds) -> &Collection {
        let mut chain = self.chain(name);
        loop {
            let link = chain.link.get_or_init(|| {
                let collection = Collection::new(name, bounds);
                Box::new(Link { collection, next: Chain::default() })
            });
            if link.collection.name() == name {
                return &link.collection;
            }
            chain = &link.next;
        }
    }

    fn chain(&self, name: &str) -> &Chain {
        let mix = |sum: usize, byte: u8| sum.wrapping_mul(31).wrapping_add(byte.into());
        &self.chains[name.bytes().fold(0, mix) % CHAINS]
    }
}

#[cfg(test)]
mod tests {
    use super::{Bounds, CHAINS, Collections};

    const BOUNDS: Bounds = Bounds { entries: 1, bytes: 1 };

    #[test]
    fn collections_that_share_a_chain_are_found() {
        let collections = Collections::new();
        let names: Vec<String> = (0..3 * CHAINS).map(|index| format!("c{index}")).collect();
        for name in &names {
            assert!(collections.find(name).is_none());
            assert_eq!(collections.find_or_make(name, BOUNDS).name(), name);
        }
        for name in &names {
            let found = collections.find(name).unwrap();
            assert_eq!(found.name(), name);
            assert!(std::ptr::eq(found, collections.find_or_make(name, BOUNDS)));
        }
    }

    #[test]
    fn racing_makers_get_the_same_collection() {
        let collections = Collections::new();
        let found: Vec<usize> = std::thread::scope(|scope| {
            let make = || std::ptr::from_ref(collections.find_or_make("c", BOUNDS)).addr();
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(make)).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(found.iter().all(|one| *one == found[0]));
    }
}
