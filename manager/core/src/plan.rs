//! What a planner hands to its loop: transactions to propose, and when to look again without being asked.

use skep_common::clock::Timestamp;
use skep_proto::v1::Transaction;

/// What is to be done now. Propose the transactions in order; they do not depend on one another's outcome, so they
/// may be pipelined, and a conflict in one only means: plan again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Each within the bounds of one log entry.
    pub transactions: Vec<Transaction>,
    /// Planning again at this time gives something to do even if nothing else happens.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    /// Nothing to propose now.
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }
}
