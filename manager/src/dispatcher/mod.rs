//! The leader's side of every agent: sessions, heartbeats, assignments, reports.
//!
//! [`DispatcherService`] is what agents call on any manager; a follower names the leader and does nothing else. What a
//! leader keeps of its agents is in [`DispatcherTerm`] and ends with its term.

mod assignments;
mod facts;
mod liveness;
mod service;
mod session;
mod sessions;
mod statuses;
mod term;

pub(crate) use service::DispatcherService;
pub(crate) use term::DispatcherTerm;
