//! Connection limit: a bounded number of permits, shared fairly between clients.
//!
//! A new connection always gets a permit. When all are taken, the client that has most of them loses its oldest: a crowd
//! from a few addresses only pushes out its own connections, and a client that comes alone stays. Whether a connection is
//! being used does not count, since a call can be kept open for as long as one likes.
//!
//! Owns which client has which permits. Invariant: never more than the limit; a connection whose permit is revoked is told
//! at once, and closes.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

/// The permits of one kind of connection, by client.
pub struct Permits<K: Hash + Eq + Clone> {
    limit: usize,
    issued: Mutex<Issued<K>>,
}

struct Issued<K> {
    /// Each client's permits in the order in which they were taken.
    by_client: HashMap<K, BTreeMap<u64, CancellationToken>>,
    count: usize,
    next: u64,
}

/// Permission for one connection; given back when it is dropped.
pub struct Permit<K: Hash + Eq + Clone> {
    permits: Arc<Permits<K>>,
    client: K,
    number: u64,
    revoked: CancellationToken,
}

impl<K: Hash + Eq + Clone> Permits<K> {
    /// As many permits, none of them taken.
    pub fn new(limit: usize) -> Arc<Self> {
        let issued = Issued { by_client: HashMap::new(), count: 0, next: 0 };
        Arc::new(Self { limit, issued: Mutex::new(issued) })
    }

    /// A permit for one more connection of `client`.
    pub fn acquire(self: &Arc<Self>, client: K) -> Permit<K> {
        let revoked = CancellationToken::new();
        let mut issued = self.lock();
        let number = issued.next;
        issued.next += 1;
        issued.count += 1;
        issued.by_client.entry(client.clone()).or_default().insert(number, revoked.clone());
        let one_too_many = issued.count > self.limit;
        let evicted = one_too_many.then(|| issued.revoke_oldest_of_largest()).flatten();
        drop(issued);
        if let Some(evicted) = evicted {
            evicted.cancel();
        }
        Permit { permits: self.clone(), client, number, revoked }
    }

    fn lock(&self) -> MutexGuard<'_, Issued<K>> {
        self.issued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Hash + Eq + Clone> Issued<K> {
    /// Revokes the oldest permit of the client that has most; of several clients that do, the oldest of all.
    fn revoke_oldest_of_largest(&mut self) -> Option<CancellationToken> {
        let oldest = |permits: &BTreeMap<u64, _>| permits.first_key_value().map(|(number, _)| *number);
        let (client, permits) =
            self.by_client.iter().max_by_key(|(_, permits)| (permits.len(), std::cmp::Reverse(oldest(permits))))?;
        let (client, number) = (client.clone(), oldest(permits)?);
        self.free(&client, number)
    }

    fn free(&mut self, client: &K, number: u64) -> Option<CancellationToken> {
        let permits = self.by_client.get_mut(client)?;
        let freed = permits.remove(&number)?;
        if permits.is_empty() {
            self.by_client.remove(client);
        }
        self.count -= 1;
        Some(freed)
    }
}

impl<K: Hash + Eq + Clone> Permit<K> {
    /// Cancelled when the permit is revoked in favour of another client.
    pub fn revoked(&self) -> CancellationToken {
        self.revoked.clone()
    }
}

impl<K: Hash + Eq + Clone> Drop for Permit<K> {
    fn drop(&mut self) {
        // A revoked one was given back when it was revoked.
        self.permits.lock().free(&self.client, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revoked(permit: &Permit<&'static str>) -> bool {
        permit.revoked.is_cancelled()
    }

    #[test]
    fn a_crowd_pushes_out_its_own_and_a_single_newcomer_stays() {
        let permits = Permits::new(4);
        let crowd: Vec<_> = (0..4).map(|_| permits.acquire("crowd")).collect();
        let alone = permits.acquire("alone");
        assert!(revoked(&crowd[0]) && !revoked(&crowd[1]), "the oldest of the client that has most");
        let more: Vec<_> = (0..100).map(|_| permits.acquire("crowd")).collect();
        assert!(!revoked(&alone) && crowd.iter().all(revoked));
        assert_eq!(more.iter().filter(|permit| !revoked(permit)).count(), 3);
    }

    #[test]
    fn among_equals_the_oldest_goes() {
        let permits = Permits::new(2);
        let (first, second) = (permits.acquire("a"), permits.acquire("b"));
        let third = permits.acquire("c");
        assert!(revoked(&first) && !revoked(&second) && !revoked(&third));
    }

    #[test]
    fn what_is_dropped_or_lost_is_free_once() {
        let permits = Permits::new(2);
        let (first, second) = (permits.acquire("a"), permits.acquire("a"));
        let third = permits.acquire("a");
        assert!(revoked(&first));
        drop((first, second));
        assert_eq!(permits.lock().count, 1);
        let fourth = permits.acquire("b");
        assert!(!revoked(&third) && !revoked(&fourth));
        drop((third, fourth));
        assert!(permits.lock().by_client.is_empty(), "clients are forgotten");
    }
}
