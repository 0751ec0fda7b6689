//! Black-box tests: a swarm of real daemons made by `scripts/cluster`, driven by the real `docker` CLI and by `skep`.
//!
//! [`Cluster`] is one such swarm; it is taken down, and checked to have left nothing, when it goes out of scope.
//! Invariant: nothing here waits for a time; [`until`] waits for a condition and says what it waited for.

mod cluster;
mod command;
mod http;
mod leftovers;
mod task;

pub use cluster::Cluster;
pub use command::{Outcome, run, until};
pub use http::request;
pub use task::Task;
