//! When each member last answered a call of this one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use skep_common::clock::Clock;

/// A member that answered within this time is reachable. A leader calls each of them many times a second.
const RECENT: Duration = Duration::from_secs(2);

pub(crate) struct Contacts {
    clock: Arc<dyn Clock>,
    answered: Mutex<HashMap<u64, Duration>>,
}

impl Contacts {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, answered: Mutex::default() }
    }

    pub(crate) fn answered(&self, raft_id: u64) {
        let now = self.clock.monotonic();
        self.answers().insert(raft_id, now);
    }

    /// Whether the member answered lately.
    pub(crate) fn is_reachable(&self, raft_id: u64) -> bool {
        self.silence(raft_id).is_some_and(|silence| silence <= RECENT)
    }

    /// How long ago the member answered last.
    pub(crate) fn silence(&self, raft_id: u64) -> Option<Duration> {
        let answered = self.answers().get(&raft_id).copied();
        answered.map(|answered| self.clock.monotonic().saturating_sub(answered))
    }

    /// Forgets members that are none any more.
    pub(crate) fn keep(&self, is_member: impl Fn(u64) -> bool) {
        self.answers().retain(|raft_id, _| is_member(*raft_id));
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<u64, Duration>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use skep_common::clock::{ManualClock, Timestamp};

    use super::*;

    #[test]
    fn who_answered_lately_is_reachable() {
        let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
        let contacts = Contacts::new(clock.clone());
        assert!(!contacts.is_reachable(7));
        contacts.answered(7);
        clock.advance(RECENT);
        assert!(contacts.is_reachable(7));
        clock.advance(Duration::from_millis(1));
        assert!(!contacts.is_reachable(7));
        contacts.keep(|raft_id| raft_id != 7);
        assert_eq!(contacts.silence(7), None);
    }
}
