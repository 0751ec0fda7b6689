//! The control API: what users ask of the swarm. Always answered by the leader; see
//! [`OnLeader`](crate::forward::OnLeader).
//!
//! Invariants: reads are linearizable; every spec is validated before it is proposed; an update names the version it was
//! made from and is refused when the object has changed since; the root CA's secrets are never returned.

mod cluster;
mod explain;
mod filters;
mod nodes;
mod page;
mod service;
mod services;
mod tasks;
mod watch;
mod what_if;

pub(crate) use cluster::new_token;
pub(crate) use service::ControlService;
