//! The agent of one node: session with the managers, task.db, task runners, reports.
//!
//! Pure, usable without a runtime (a simulation does): [`assignments`] and [`task_machine`].

pub mod assignments;
pub mod task_machine;

mod agent;
mod leftovers;
mod managers;
mod node_message;
mod peer_service;
mod reporter;
mod route;
mod runner;
mod session;
mod session_state;
mod task_db;
mod worker;

pub use leftovers::remove_leftovers;
pub use managers::Managers;
pub use session_state::{Link, SessionState};
pub use task_db::panic_is_contained;
pub use worker::{Worker, WorkerConfig};
