//! Consensus: the only crate that names openraft and redb.
//!
//! [`RaftNode`] is one manager's part in the Raft group. What it commits it applies to the [`Store`](skep_store::Store)
//! it was started with, on every member in the same order. Everything it keeps on disk is sealed with a key of its own.

mod config;
mod error;
mod leadership;
mod node;

pub use config::{FIRST_RAFT_ID, Open, RaftConfig, Tuning};
pub use error::{MembershipError, ProposeError, ReadError, StartError};
pub use leadership::{Leader, Leadership, Standing};
pub use node::{Applied, MemberHealth, RaftNode, RaftService};
