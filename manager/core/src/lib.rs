//! Every decision of the swarm, as pure functions from a view of the state and a time to a plan.
//!
//! | Module | Decides |
//! |---|---|
//! | [`orchestrator`] | which tasks a service has and the desired state of each: [`replicated`], [`global`], [`slot`], [`restart`] |
//! | [`enforcer`] | whether a task may stay on its node, or must be moved (evicted) |
//! | [`rollout`], [`drain`], [`rebalance`] | when a running task is replaced: by an update, to leave its node, to spread its service evenly |
//! | [`job`], [`cron`], [`schedule`] | the runs of a job: which there are, what their tasks are, and when the next begins |
//! | [`allocator`] | what a new task needs before it can be scheduled: NEW → PENDING |
//! | [`scheduler`] | which node a task is assigned to: PENDING → ASSIGNED |
//! | [`reaper`] | which ended tasks and old revisions are removed, and which lost tasks are orphaned |
//! | [`status`] | which status reports of the agents are accepted |
//! | [`liveness`] | which nodes are ready, and which are down: heartbeats |
//! | [`reconcile`] | when each planner runs, and for which services |
//! | [`assign`] | the assignments a node is sent |
//! | [`feature_level`] | what may be in the log, by what every manager supports |
//! | [`roles`] | promotion, demotion, removal of nodes |
//! | [`supervision`] | a node's own steps to its role: certificates, starting and stopping its manager |
//! | [`explain`], [`what_if`] | why something is in its state, and what a change would do |
//! | [`journal`], [`names`] | the audit log: changes in words |
//! | [`revision`] | revisions of a service, and which are kept |
//! | [`validate_spec`], [`policy`], [`update`], [`defaults`], [`made_up_name`] | what a user may ask for, what an update makes of a service, and defaults |
//! | [`slot`], [`task`], [`mode`], [`node_status`], [`constraint`] | what the others have in common |
//!
//! Invariants of every planner: no clock, no randomness, no I/O; planning again on the state its plan leads to gives
//! an empty plan; whatever a later plan needs to know is in the state.
//!
//! # Who writes what
//!
//! One writer per field; a field with two has them take turns, and the turn can be read off the field itself. The table of
//! fields and writers is in docs/design/ownership.md; the line "Owns" of a module is its part of it.

pub mod allocator;
pub mod assign;
pub mod backoff;
pub mod constraint;
pub mod cron;
pub mod defaults;
pub mod drain;
pub mod enforcer;
pub mod explain;
pub mod feature_level;
pub mod global;
pub mod job;
pub mod journal;
pub mod liveness;
pub mod made_up_name;
pub mod mode;
pub mod names;
pub mod node_status;
pub mod orchestrator;
pub mod plan;
pub mod policy;
pub mod reaper;
pub mod rebalance;
pub mod reconcile;
pub mod replicated;
pub mod restart;
pub mod revision;
pub mod roles;
pub mod rollout;
pub mod schedule;
pub mod scheduler;
pub mod scope;
pub mod slot;
pub mod status;
pub mod supervision;
pub mod task;
pub mod update;
pub mod validate_spec;
pub mod what_if;

pub use plan::{Concern, Plan};
pub use scope::{Extent, Scope};
pub use slot::SlotKey;
