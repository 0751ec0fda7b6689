//! The manager: the services of port 2377 and, while this manager leads, one loop per component of the swarm.
//!
//! [`Manager`] is the entry point. Decisions are in `skep-core`, the replicated state in `skep-store`, consensus in
//! `skep-raft`; this crate does the waiting and the I/O between them.
//!
//! | Module | What it does |
//! |---|---|
//! | `manager`, `config`, `status`, `bootstrap` | one manager, from start to shutdown |
//! | `lead`, `leader_term` | becoming leader and stepping down; everything that runs only on the leader |
//! | `drive`, `loops` | the reconcile loop that runs a component: wait, plan, propose; the components |
//! | `dispatcher` | agents: sessions, liveness, assignments, status reports |
//! | `control` | the API of users |
//! | `authority`, `ca_service`, `membership_service` | issuing certificates; managers joining and leaving the Raft group |
//! | `announce` | the client side of that: asking to join, announcing an address, asking to leave |
//! | `journal` | audit log: who changed what, and its effects, kept for weeks |
//! | `log_broker` | task logs gathered from the nodes |
//! | `forward`, `local` | calls forwarded to the leader; this node's own calls |
//! | `swarm_state`, `burst`, `answer`, `role_source`, `strangers`, `peers` | reading, watching and writing the state; errors for callers |

mod announce;
mod answer;
mod authority;
mod bootstrap;
mod burst;
mod ca_service;
mod config;
mod control;
mod dispatcher;
mod drive;
mod forward;
mod journal;
mod lead;
mod leader_term;
mod local;
mod log_broker;
mod loops;
mod manager;
mod membership_service;
mod peers;
mod role_source;
mod status;
mod strangers;
mod swarm_state;
mod troubles;

pub use announce::{join, leave};
pub use config::{Bootstrap, Joined, ManagerConfig, Start};
pub use local::{LocalControl, LocalControlClient};
pub use log_broker::{LogSelector, LogStream, TaskLog};
pub use manager::{Manager, ManagerError};
pub use status::{ManagerStatus, Membership};
