//! Snapshots being sent to other members, and which log entries those will need afterwards.
//!
//! A member that has received a snapshot goes on from the entry after it. If the log were purged beyond that in the meantime,
//! it would be sent the next snapshot, and so on for ever.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// By member: the last entry in the snapshot that it is being sent, or was sent last.
#[derive(Debug, Default)]
pub(crate) struct Transfers(Mutex<BTreeMap<u64, Sent>>);

#[derive(Debug, Clone, Copy)]
struct Sent {
    index: u64,
    arrived: bool,
}

impl Transfers {
    /// A snapshot up to `index` goes to `member`.
    pub(super) fn begin(self: &Arc<Self>, member: u64, index: u64) -> Transfer {
        self.all().insert(member, Sent { index, arrived: false });
        Transfer { transfers: self.clone(), member }
    }

    /// The last entry that `member`, which has all up to `matched`, does not need from the log because of a snapshot.
    pub(crate) fn covered(&self, member: u64, matched: u64) -> Option<u64> {
        let mut all = self.all();
        let sent = *all.get(&member)?;
        if sent.arrived && matched >= sent.index {
            all.remove(&member);
            return None;
        }
        Some(sent.index)
    }

    /// Forgets members that cannot be reached any more and have nothing under way.
    pub(crate) fn keep(&self, is_reachable: impl Fn(u64) -> bool) {
        self.all().retain(|member, sent| !sent.arrived || is_reachable(*member));
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Sent>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One transfer, which fails when it is dropped before it has arrived.
pub(super) struct Transfer {
    transfers: Arc<Transfers>,
    member: u64,
}

impl Transfer {
    /// The member has it, and goes on from it.
    pub(super) fn arrived(&self) {
        if let Some(sent) = self.transfers.all().get_mut(&self.member) {
            sent.arrived = true;
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let mut all = self.transfers.all();
        if all.get(&self.member).is_some_and(|sent| !sent.arrived) {
            all.remove(&self.member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_behind_a_snapshot_is_needed_until_the_member_has_gone_on_from_it() {
        let transfers = Arc::new(Transfers::default());
        let transfer = transfers.begin(7, 100);
        assert_eq!(transfers.covered(7, 3), Some(100));
        transfers.keep(|_| false);
        transfer.arrived();
        drop(transfer);
        assert_eq!(transfers.covered(7, 3), Some(100), "it has yet to say so");
        assert_eq!(transfers.covered(7, 100), None);
        assert_eq!(transfers.covered(7, 3), None);
    }

    #[test]
    fn a_transfer_that_breaks_off_holds_nothing() {
        let transfers = Arc::new(Transfers::default());
        drop(transfers.begin(7, 100));
        assert_eq!(transfers.covered(7, 3), None);
        let arrived = transfers.begin(7, 100);
        arrived.arrived();
        drop(arrived);
        transfers.keep(|_| false);
        assert_eq!(transfers.covered(7, 3), None, "it is gone");
    }
}
