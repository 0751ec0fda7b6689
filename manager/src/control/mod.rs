//! What people ask of the swarm. Always answered by the leader; see [`OnLeader`](crate::forward::OnLeader).
//!
//! Invariants: reads are linearizable; nothing is proposed that was not checked; an update names the version it was
//! made from and is refused when the object has moved on; secrets of the cluster's root never leave.

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
