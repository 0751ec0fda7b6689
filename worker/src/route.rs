//! Which manager to ask next.
//!
//! Owns what was tried since the last session. Invariants: every known manager is asked before one is asked again; a
//! hint is followed at once, but never back to a manager that has just failed, so two confused managers cannot send
//! a node to and fro.

use std::collections::BTreeSet;

use skep_proto::v1::PeerManager;

/// Where a manager is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Hint {
    /// host:port.
    pub(crate) addr: String,
    /// The node that another manager has named; empty for any that is known to be a manager.
    pub(crate) node_id: String,
}

/// The search for the leader.
#[derive(Debug, Default)]
pub(crate) struct Route {
    tried: BTreeSet<String>,
    hint: Option<Hint>,
}

impl Route {
    /// The manager to try next; `None` when no manager is known. Leaders first, as far as the list knows.
    pub(crate) fn next(&mut self, managers: &[PeerManager]) -> Option<Hint> {
        if let Some(hint) = self.hint.take() {
            return Some(hint);
        }
        if managers.iter().all(|manager| self.tried.contains(&manager.addr)) {
            self.tried.clear();
        }
        let untried = || managers.iter().filter(|manager| !self.tried.contains(&manager.addr));
        let next = untried().find(|manager| manager.leader).or_else(|| untried().next())?;
        Some(Hint { addr: next.addr.clone(), node_id: String::new() })
    }

    /// `addr` is not the leader and names `hint` as the one who is. True when that is worth following without delay.
    pub(crate) fn redirected(&mut self, addr: &str, hint: Hint) -> bool {
        self.tried.insert(addr.to_owned());
        let follow = !hint.addr.is_empty() && !self.tried.contains(&hint.addr);
        if follow {
            self.hint = Some(hint);
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

    fn hint(addr: &str) -> Hint {
        Hint { addr: addr.into(), node_id: format!("node {addr}") }
    }

    fn next(route: &mut Route, list: &[PeerManager]) -> Option<String> {
        route.next(list).map(|next| next.addr)
    }

    #[test]
    fn the_leader_is_asked_first_then_everyone_in_turn() {
        let list = managers(&[("a", false), ("b", true), ("c", false)]);
        let mut route = Route::default();
        let mut asked = Vec::new();
        for _ in 0..5 {
            let next = next(&mut route, &list).unwrap();
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
        assert_eq!(next(&mut route, &list).as_deref(), Some("a"));
        // A manager the list does not know yet.
        assert!(route.redirected("a", hint("new")));
        assert_eq!(route.next(&list), Some(hint("new")), "and which node that is");
        assert!(!route.redirected("new", hint("a")), "a has just said that it is not");
        assert_eq!(next(&mut route, &list).as_deref(), Some("b"));
        assert!(!route.redirected("b", Hint::default()));
    }

    #[test]
    fn after_a_session_the_search_begins_afresh() {
        let list = managers(&[("a", true), ("b", false)]);
        let mut route = Route::default();
        route.failed("a");
        route.arrived();
        assert_eq!(next(&mut route, &list).as_deref(), Some("a"));
    }
}
