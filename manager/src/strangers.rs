//! Nodes that speak as members of consensus and are none that this member knows.
//!
//! They are believed nothing (see docs/adr/0013). But a member that hears no leader and is called by such nodes may have been
//! away while all those it knew were replaced: then only a person can bring it back. Owns who called last.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A member that has heard no leader for this long, and a stranger since, is told of.
const LONG: Duration = Duration::from_secs(15);

/// Who was refused as a member. Clones know the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strangers(Arc<Mutex<Option<Instant>>>);

impl Strangers {
    /// One has called.
    pub(crate) fn refused(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// What a person has to know of a member that has heard no leader for `silence`.
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
