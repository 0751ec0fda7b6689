//! A bounded number of connections, shared out between those who open them.
//!
//! There is always room for one more. When all places are taken, whoever holds the most loses the one it has held for
//! longest: a crowd from a few addresses only pushes out its own, and one that comes alone stays. Whether a connection
//! is being used does not count, since a call can be kept open for as long as one likes.
//!
//! Owns who holds which place. Invariant: never more places than the limit are held; who has lost one hears of it at
//! once, and lets its connection go.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The places of one kind of connection, by who holds them.
pub struct Places<K: Hash + Eq + Clone> {
    limit: usize,
    held: Mutex<Held<K>>,
}

struct Held<K> {
    /// Each holder's places in the order in which they were taken.
    by_holder: HashMap<K, BTreeMap<u64, CancellationToken>>,
    count: usize,
    next: u64,
}

/// A place, until it is dropped.
pub struct Place<K: Hash + Eq + Clone> {
    places: Arc<Places<K>>,
    holder: K,
    number: u64,
    lost: CancellationToken,
}

impl<K: Hash + Eq + Clone> Places<K> {
    /// So many places, all free.
    pub fn new(limit: usize) -> Arc<Self> {
        let held = Held { by_holder: HashMap::new(), count: 0, next: 0 };
        Arc::new(Self { limit, held: Mutex::new(held) })
    }

    /// A place for one more connection of `holder`.
    pub fn take(self: &Arc<Self>, holder: K) -> Place<K> {
        let lost = CancellationToken::new();
        let mut held = self.lock();
        let number = held.next;
        held.next += 1;
        held.count += 1;
        held.by_holder.entry(holder.clone()).or_default().insert(number, lost.clone());
        let one_too_many = held.count > self.limit;
        let loser = one_too_many.then(|| held.take_from_who_holds_most()).flatten();
        drop(held);
        if let Some(loser) = loser {
            loser.cancel();
        }
        Place { places: self.clone(), holder, number, lost }
    }

    fn lock(&self) -> MutexGuard<'_, Held<K>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Held<K> {
    /// The oldest place of whoever holds most; of several who do, the oldest.
    fn take_from_who_holds_most(&mut self) -> Option<CancellationToken> {
        let oldest = |places: &BTreeMap<u64, _>| places.first_key_value().map(|(number, _)| *number);
        let (holder, places) =
            self.by_holder.iter().max_by_key(|(_, places)| (places.len(), std::cmp::Reverse(oldest(places))))?;
        let (holder, number) = (holder.clone(), oldest(places)?);
        self.free(&holder, number)
    }

    fn free(&mut self, holder: &K, number: u64) -> Option<CancellationToken> {
        let places = self.by_holder.get_mut(holder)?;
        let freed = places.remove(&number)?;
        if places.is_empty() {
            self.by_holder.remove(holder);
        }
        self.count -= 1;
        Some(freed)
    }
}

impl<K: Hash + Eq + Clone> Place<K> {
    /// Cancelled when the place has gone to somebody else.
    pub fn lost(&self) -> CancellationToken {
        self.lost.clone()
    }
}

impl<K: Hash + Eq + Clone> Drop for Place<K> {
    fn drop(&mut self) {
        // One that was lost is free already.
        self.places.lock().free(&self.holder, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(place: &Place<&'static str>) -> bool {
        place.lost.is_cancelled()
    }

    #[test]
    fn a_crowd_pushes_out_its_own_and_a_single_newcomer_stays() {
        let places = Places::new(4);
        let crowd: Vec<_> = (0..4).map(|_| places.take("crowd")).collect();
        let alone = places.take("alone");
        assert!(lost(&crowd[0]) && !lost(&crowd[1]), "the oldest of who holds most");
        let more: Vec<_> = (0..100).map(|_| places.take("crowd")).collect();
        assert!(!lost(&alone) && crowd.iter().all(lost));
        assert_eq!(more.iter().filter(|place| !lost(place)).count(), 3);
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let places = Places::new(2);
        let (first, second) = (places.take("a"), places.take("b"));
        let third = places.take("c");
        assert!(lost(&first) && !lost(&second) && !lost(&third));
    }

    #[test]
    fn what_is_dropped_or_lost_is_free_once() {
        let places = Places::new(2);
        let (first, second) = (places.take("a"), places.take("a"));
        let third = places.take("a");
        assert!(lost(&first));
        drop((first, second));
        assert_eq!(places.lock().count, 1);
        let fourth = places.take("b");
        assert!(!lost(&third) && !lost(&fourth));
        drop((third, fourth));
        assert!(places.lock().by_holder.is_empty(), "holders are forgotten");
    }
}
