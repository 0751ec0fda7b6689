//! The feature level: what a release can read in the log and in the state.
//!
//! Managers of two releases share one log while they are upgraded one by one. Whatever one of them could not read, or would
//! read differently, needs a level; the cluster's level says which of these are in use, and rises once every manager
//! knows the next one. A release knows all levels up to its own.
//!
//! | Level | Brings |
//! |---|---|
//! | 0 | releases before there were levels |
//! | 1 | the level itself; changes of tasks and nodes in the log without what stays as it was; batches of independent actions; services' revisions, and tasks that name them |
//! | 2 | entries whose transactions are compressed |

/// The highest level this release knows.
pub const FEATURE_LEVEL: u32 = 2;
