//! Consensus: the only crate that names openraft and redb.
//!
//! [`RaftNode`] is one manager's part in the Raft group. What it commits it applies to the [`Store`](skep_store::Store)
//! it was started with, on every member in the same order. Everything it keeps on disk is sealed with a key of its own.

mod barrier;
mod blocking;
mod compaction;
mod config;
mod convert;
mod dir;
mod error;
mod fatal;
mod health;
mod leadership;
mod log_store;
mod lookout;
mod membership;
mod network;
mod node;
mod proposer;
mod runtime;
mod seal;
mod snapshot;
mod state_machine;
#[cfg(test)]
mod testing;
mod timers;
mod types;

pub use config::{FIRST_RAFT_ID, Open, RaftConfig, Tuning};
pub use error::{MembershipError, ProposeError, ReadError, StartError};
pub use fatal::OnFatal;
pub use leadership::{Leader, Leadership, Standing};
pub use membership::MemberHealth;
pub use network::{RaftService, Roster, ToldMembers};
pub use node::{Applied, RaftNode};
pub use seal::{Unsealable, Vault};
