//! When to believe that this node was removed.
//!
//! Owns the refusals since the last session. One manager may lag behind and not know a node *yet*; so it takes a
//! majority of the known managers, over some time.
//!
//! A list most of whose managers are gone for good has no such majority, and the node then keeps its tasks until it is told to
//! leave: who does not answer may be cut off together with it, and to stop its tasks by mistake is the worse error.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::Instant;

/// How long a node must have been refused: longer than a manager that answers at all lags behind.
const CERTAIN_AFTER: Duration = Duration::from_secs(5);

/// The refusals.
#[derive(Debug, Default)]
pub(super) struct Removal {
    since: Option<Instant>,
    by: BTreeSet<String>,
}

impl Removal {
    /// The manager at `addr`, one of `managers`, does not know this node. True when that can be believed.
    pub(super) fn refused_by(&mut self, addr: &str, managers: usize, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        self.by.insert(addr.to_owned());
        self.by.len() * 2 > managers && now.duration_since(since) >= CERTAIN_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_a_majority_and_some_time() {
        let early = Instant::now();
        let late = early + CERTAIN_AFTER;
        let mut removal = Removal::default();
        assert!(!removal.refused_by("a", 3, early));
        assert!(!removal.refused_by("a", 3, late), "one manager of three may be wrong for long");
        assert!(removal.refused_by("b", 3, late));

        let mut removal = Removal::default();
        assert!(!removal.refused_by("a", 1, early), "a manager may not know a new node yet");
        assert!(removal.refused_by("a", 1, late));
    }
}
