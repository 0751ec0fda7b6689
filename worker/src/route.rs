//! Which manager to ask next.
//!
//! Owns what was tried since the last session. Invariants: every known manager is asked before one is asked again; a
//! hint is followed at once, but never back to a manager that has just failed, so two confused managers cannot send
//! a node to and fro.

use std::collections::BTreeSet;

use skep_proto::v1::PeerManager;

/// The search for the leader.
#[derive(Debug, Default)]
pub(crate) struct Route {
    tried: BTreeSet<String>,
    hint: Option<String>,
}

impl Route {
    /// The address to try next; `None` when no manager is known. Leaders first, as far as the list knows.
    pub(crate) fn next(&mut self, managers: &[PeerManager]) -> Option<String> {
        if let Some(hint) = self.hint.take() {
            return Some(hint);
        }
        if managers.iter().all(|manager| self.tried.contains(&manager.addr)) {
            self.tried.clear();
        }
        let untried = || managers.iter().filter(|manager| !self.tried.contains(&manager.addr));
        let next = untried().find(|manager| manager.leader).or_else(|| untried().next())?;
        Some(next.addr.clone())
    }

    /// `addr` is not the leader and names `hint` as the one who is. True when that is worth following without delay.
    pub(crate) fn redirected(&mut self, addr: &str, hint: &str) -> bool {
        self.tried.insert(addr.to_owned());
        let follow = !hint.is_empty() && !self.tried.contains(hint);
        if follow {
            self.hint = Some(hint.to_owned());
        }
        follow
    }

    /// `addr` failed, or its session broke.
    pub(crate) fn failed(&mut self, addr: &str) {
        self.tried.insert(addr.to_owned());
    }

    /// A session is open: the next search begins afresh.
    pub(crate) fn arrived(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn managers(list: &[(&str, bool)]) -> Vec<PeerManager> {
        list.iter()
            .map(|(addr, leader)| PeerManager { addr: (*addr).into(), leader: *leader, ..Default::default() })
            .collect()
    }

    #[test]
    fn the_leader_is_asked_first_then_everyone_in_turn() {
        let list = managers(&[("a", false), ("b", true), ("c", false)]);
        let mut route = Route::default();
        let mut asked = Vec::new();
        for _ in 0..5 {
            let next = route.next(&list).unwrap();
            route.failed(&next);
            asked.push(next);
        }
        assert_eq!(asked, ["b", "a", "c", "b", "a"]);
        assert_eq!(route.next(&[]), None);
    }

    #[test]
    fn hints_are_followed_but_not_back() {
        let list = managers(&[("a", true), ("b", false)]);
        let mut route = Route::default();
        assert_eq!(route.next(&list).as_deref(), Some("a"));
        // A manager the list does not know yet.
        assert!(route.redirected("a", "new"));
        assert_eq!(route.next(&list).as_deref(), Some("new"));
        assert!(!route.redirected("new", "a"), "a has just said that it is not");
        assert_eq!(route.next(&list).as_deref(), Some("b"));
        assert!(!route.redirected("b", ""));
    }

    #[test]
    fn after_a_session_the_search_begins_afresh() {
        let list = managers(&[("a", true), ("b", false)]);
        let mut route = Route::default();
        route.failed("a");
        route.arrived();
        assert_eq!(route.next(&list).as_deref(), Some("a"));
    }
}
