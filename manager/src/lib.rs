//! The manager: the services of port 2377 and, while this manager leads, one loop per component of the swarm.
//!
//! [`Manager`] is the way in. What decides lives in `skep-core`, what is replicated in `skep-store`, how in
//! `skep-raft`; this crate waits, asks them and carries the answers.
//!
//! | Module | What it does |
//! |---|---|
//! | `manager`, `config`, `status`, `bootstrap` | one manager, from start to shutdown |
//! | `lead`, `leader_term` | becoming leader, everything that runs only then, and ceasing to be it |
//! | `drive`, `loops` | the one way a component waits, plans and proposes; the components |
//! | `dispatcher` | agents: sessions, liveness, assignments, reports |
//! | `control` | what people ask |
//! | `authority`, `ca_service`, `membership_service` | nodes getting certificates, managers joining and leaving consensus |
//! | `announce` | the other side of it: asking to join, saying where one is reached, asking to leave |
//! | `journal` | who changed what, and what became of it, kept for weeks |
//! | `log_broker` | log lines gathered from the nodes |
//! | `forward`, `local` | calls passed on to the leader; this node's own calls |
//! | `swarm`, `burst`, `answer`, `role_source`, `strangers`, `peers` | reading, watching and writing the state, and what callers are told |

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
mod swarm;
mod troubles;

pub use announce::{join, leave};
pub use config::{Bootstrap, ManagerConfig, Place, Start};
pub use local::{LocalControl, LocalControlClient};
pub use log_broker::{LogSelector, LogStream, TaskLog};
pub use manager::{Manager, ManagerError};
pub use status::{ManagerStatus, Membership};
