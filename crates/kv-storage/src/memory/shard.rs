use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    mem,
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use hashbrown::HashTable;

use super::budget::Share;
use crate::Version;

/// How many entries of [`Shard::due`] there may be for each slot, out of date ones included.
const DUE_PER_SLOT: usize = 2;

/// A part of a collection's records: where each is, their order, and when they expire.
#[derive(Default)]
pub(super) struct Shard {
    /// By the hash that also chose the shard: hashing once is a good part of what `Memory` takes.
    places: HashTable<usize>,
    /// Where the records are; one that is rewritten stays where it is.
    slots: Vec<Slot>,
    /// The places in `slots` that hold no record.
    free: Vec<usize>,
    /// For scans, without those in `unordered`: most records come and go unscanned.
    order: BTreeMap<Arc<str>, usize>,
    /// Each place once that was given to a record since the last scan.
    unordered: Vec<usize>,
    /// When to look at which slot, soonest first; out of date unless it is the slot's `due`.
    due: BinaryHeap<Reverse<(i64, usize)>>,
    /// What may be added without asking the collection.
    pub(super) share: Share,
}

#[cfg(test)]
thread_local! {
    /// How often this thread asked whether a record is live.
    pub(super) static LOOKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[derive(Default)]
struct Slot {
    record: Option<Record>,
    /// The hash of the record's key, or of the last one.
    hash: u64,
    place_in_order: PlaceInOrder,
    /// When the slot is looked at next, not after its record expires: a record that is rewritten
    /// with a later expiry, as most are, costs nothing here until its first time has come.
    due: Option<i64>,
}

/// Where the next scan finds a slot.
#[derive(Clone, Copy, Default, Eq, PartialEq)]
enum PlaceInOrder {
    #[default]
    Nowhere,
    Unordered,
    Ordered,
}

/// A key and its hash.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) text: &'a str,
    pub(super) hash: u64,
}

pub(super) struct Record {
    key: Arc<str>,
    pub(super) value: Bytes,
    pub(super) version: Version,
    pub(super) expires_at: Option<i64>,
}

impl Record {
    pub(super) fn is_live(&self, now: i64) -> bool {
        #[cfg(test)]
        LOOKS.set(LOOKS.get() + 1);
        self.expires_at.is_none_or(|at| at > now)
    }

    /// What it uses of the collection's bound in bytes.
    pub(super) fn size(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

impl Shard {
    /// Where the record is, live or not.
    pub(super) fn find(&self, key: Key<'_>) -> Option<usize> {
        self.places.find(key.hash, |place| &*self.record(*place).key == key.text).copied()
    }

    /// The record in a place that was found.
    pub(super) fn record(&self, place: usize) -> &Record {
        self.slots[place].record.as_ref().expect("there is a record where one was found")
    }

    /// Writes a record that is not there yet, or over the one that is in `place`, whose value is
    /// returned.
    pub(super) fn write(
        &mut self,
        place: Option<usize>,
        key: Key<'_>,
        value: Bytes,
        version: Version,
        expires_at: Option<i64>,
    ) -> Option<Bytes> {
        if let Some(place) = place {
            let record = self.change(place, version, expires_at);
            return Some(mem::replace(&mut record.value, value));
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() - 1
        });
        let slot = &mut self.slots[place];
        slot.record = Some(Record { key: key.text.into(), value, version, expires_at });
        slot.hash = key.hash;
        if slot.place_in_order == PlaceInOrder::Nowhere {
            slot.place_in_order = PlaceInOrder::Unordered;
            self.unordered.push(place);
        }
        self.places.insert_unique(key.hash, place, |place| self.slots[*place].hash);
        self.schedule(place, expires_at);
        None
    }

    /// Gives the record another version and expiry.
    pub(super) fn change(
        &mut self,
        place: usize,
        version: Version,
        expires_at: Option<i64>,
    ) -> &mut Record {
        self.schedule(place, expires_at);
        let record = &mut self.slots[place].record;
        let record = record.as_mut().expect("there is a record where one was found");
        record.version = version;
        record.expires_at = expires_at;
        record
    }

    /// Removes the record in a place that was found.
    pub(super) fn remove(&mut self, place: usize) -> Record {
        let slot = &mut self.slots[place];
        let record = slot.record.take().expect("there is a record where one was found");
        if slot.place_in_order == PlaceInOrder::Ordered {
            slot.place_in_order = PlaceInOrder::Nowhere;
            self.order.remove(&record.key);
        }
        if let Ok(entry) = self.places.find_entry(slot.hash, |found| *found == place) {
            entry.remove();
        }
        self.free.push(place);
        record
    }

    /// Removes a record that has expired.
    ///
    /// Looks at up to `looks` slots that are due and takes that much off.
    pub(super) fn expired(&mut self, now: i64, looks: &mut usize) -> Option<Record> {
        while *looks > 0 && self.due.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            *looks -= 1;
            let Reverse((at, place)) = self.due.pop()?;
            let slot = &mut self.slots[place];
            if slot.due != Some(at) {
                continue;
            }
            slot.due = None;
            match slot.record.as_ref().map(|record| (record.is_live(now), record.expires_at)) {
                Some((false, _)) => return Some(self.remove(place)),
                Some((true, expires_at)) => self.schedule(place, expires_at),
                None => {}
            }
        }
        None
    }

    /// Sees to it that the slot is looked at when its record expires, or earlier.
    fn schedule(&mut self, place: usize, expires_at: Option<i64>) {
        let slot = &mut self.slots[place];
        let Some(at) = expires_at.filter(|at| slot.due.is_none_or(|due| *at < due)) else {
            return;
        };
        slot.due = Some(at);
        self.due.push(Reverse((at, place)));
        if self.due.len() > DUE_PER_SLOT * self.slots.len() {
            let due = |(place, slot): (usize, &Slot)| Some(Reverse((slot.due?, place)));
            self.due = self.slots.iter().enumerate().filter_map(due).collect();
        }
    }

    /// The live keys with `prefix` in order, from `start` on.
    pub(super) fn keys<'a>(
        &'a mut self,
        start: Bound<&'a str>,
        prefix: &'a str,
        now: i64,
    ) -> impl Iterator<Item = &'a str> {
        for place in self.unordered.drain(..) {
            let slot = &mut self.slots[place];
            slot.place_in_order = PlaceInOrder::Nowhere;
            if let Some(record) = &slot.record {
                slot.place_in_order = PlaceInOrder::Ordered;
                self.order.insert(Arc::clone(&record.key), place);
            }
        }
        let shard = &*self;
        shard
            .order
            .range::<str, _>((start, Bound::Unbounded))
            .map(|(key, place)| (&**key, *place))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .filter(move |(_, place)| shard.record(*place).is_live(now))
            .map(|(key, _)| key)
    }

    #[cfg(test)]
    pub(super) fn due(&self) -> usize {
        self.due.len()
    }
}
