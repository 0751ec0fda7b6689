//! Which nodes are alive, by their heartbeats.

#![expect(clippy::unimplemented, reason = "the API first")]

use std::time::Duration;

use skep_common::clock::Timestamp;
use skep_proto::v1::NodeDescription;
use skep_store::View;

use crate::Plan;

/// A session that is not (any more) the node's one live session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("session {session_id} of node {node_id} is over")]
pub struct StaleSession {
    /// The node.
    pub node_id: String,
    /// The session it named.
    pub session_id: String,
}

/// What the leader knows of who is alive. Made at the start of a term; all `at` are monotonic time.
#[derive(Debug, Clone)]
pub struct Liveness {}

impl Liveness {
    /// A new leader: every node that is not DOWN is UNKNOWN, and has twice the usual time to show up.
    pub fn new(_view: &View, _at: Duration) -> Self {
        unimplemented!()
    }

    /// A session was opened; it ends the one before.
    pub fn opened(
        &mut self,
        _node_id: &str,
        _session_id: &str,
        _addr: &str,
        _description: Option<NodeDescription>,
        _message: &str,
        _at: Duration,
    ) {
        unimplemented!()
    }

    /// A heartbeat. Says when the next is due.
    ///
    /// # Errors
    /// When the session is not the live one.
    pub fn beat(
        &mut self,
        _node_id: &str,
        _session_id: &str,
        _message: &str,
        _at: Duration,
    ) -> Result<Duration, StaleSession> {
        unimplemented!()
    }

    /// Whether this is the node's live session; asked of every call that names one.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, _node_id: &str, _session_id: &str) -> Result<(), StaleSession> {
        unimplemented!()
    }

    /// When the next deadline passes: call [`Liveness::plan`] then, and at least once per heartbeat period.
    pub fn next_deadline(&self) -> Option<Duration> {
        unimplemented!()
    }

    /// Lets deadlines pass, and writes down where the stored nodes differ from what is known here.
    pub fn plan(&mut self, _view: &View, _now: Timestamp, _at: Duration) -> Plan {
        unimplemented!()
    }
}
