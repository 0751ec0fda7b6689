//! The agent of one node: session with the managers, task.db, task runners, reports.
//!
//! Pure, usable without a runtime (a simulation does): [`assignments`] and [`task_machine`].

pub mod assignments;
pub mod task_machine;
