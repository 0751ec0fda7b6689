//! Calls of Raft members that this member does not know.
//!
//! They are refused (see docs/adr/0013). But a member that hears no leader and gets such calls may have been away while all
//! members it knew were replaced: then only an operator can bring it back. Owns when one was last refused.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Silence of the leader after which a refused call is reported as a problem.
const LONG: Duration = Duration::from_secs(15);

/// The last refused call. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strangers(Arc<Mutex<Option<Instant>>>);

impl Strangers {
    /// A call was refused.
    pub(crate) fn refused(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The problem to report of a member that has heard no leader for `silence`.
    pub(crate) fn trouble(&self, silence: Duration) -> Option<String> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = last.is_some_and(|last| last.elapsed() < LONG);
        (lately && silence >= LONG).then(|| {
            "this manager hears none of the managers it knows, and does not know those that call it: if the managers were \
            replaced while it was away, bring it back with \"swarm leave --force\" and \
            \"swarm join --token TOKEN MANAGER:2377\""
                .to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_member_that_hears_strangers_and_no_leader_is_shut_out() {
        let strangers = Strangers::default();
        assert_eq!(strangers.trouble(LONG), None, "alone");
        strangers.refused();
        assert_eq!(strangers.trouble(Duration::from_secs(1)), None, "it hears its leader");
        assert!(strangers.clone().trouble(LONG).is_some_and(|text| text.contains("swarm leave --force")));
    }
}
