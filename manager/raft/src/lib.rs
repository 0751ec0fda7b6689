//! Consensus: the only crate that names openraft and redb.
//!
//! [`RaftNode`] is one member of the Raft group. Committed entries are applied to its [`Store`](skep_store::Store), on every
//! member in the same order. Everything it keeps on disk is encrypted with a key of its own.

mod barrier;
mod blocking;
mod compaction;
mod config;
mod convert;
mod dir;
mod error;
mod fatal;
#[cfg(test)]
mod golden;
mod health;
mod leadership;
mod log_store;
mod lookout;
mod membership;
mod network;
mod node;
mod pack;
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
pub use leadership::{Leader, Leadership, MemberState};
pub use membership::MemberHealth;
pub use network::{RaftService, Roster, ToldMembers};
pub use node::{Applied, RaftNode};
pub use seal::{Unsealable, Vault};
