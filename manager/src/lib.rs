//! The manager: the services of port 2377 and, while this manager leads, one loop per component of the swarm.
//!
//! [`Manager`] is the way in. What decides lives in `skep-core`, what is replicated in `skep-store`, how in
//! `skep-raft`; this crate waits, asks them and carries the answers.

mod config;
mod log_broker;
mod manager;
mod status;

pub use config::{Bootstrap, ManagerConfig, Start};
pub use log_broker::{LogSelector, LogStream, TaskLog};
pub use manager::{LocalControl, LocalControlClient, Manager, ManagerError};
pub use status::{ManagerStatus, Membership};
