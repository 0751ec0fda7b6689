//! How this node stands with its swarm, for the daemon around the agent.
//!
//! Owns nothing: the session loop is the one writer, everyone else reads it through a `watch`.

use std::sync::Arc;

use skep_proto::v1::{NodeRole, SessionMessage};

/// The agent's connection and what came over it.
#[derive(Debug, Clone, Default)]
pub struct SessionState {
    /// The connection now.
    pub link: Link,
    /// The last word from the swarm: this node as the store has it, the managers, the root certificates. It stands,
    /// also while there is no connection; `None` until the first.
    pub facts: Option<Arc<SessionMessage>>,
}

/// The connection to the swarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Looking for a manager that takes the session.
    Connecting {
        /// Why the last attempt failed; empty before the first.
        error: String,
    },
    /// A session is open.
    Connected {
        /// The manager's address.
        manager: String,
    },
    /// Managers say that this node is not part of the swarm. Its tasks were stopped; it goes on asking, seldom.
    Removed,
}

impl Default for Link {
    fn default() -> Self {
        Self::Connecting { error: String::new() }
    }
}

impl SessionState {
    /// Whether a session is open.
    pub fn is_connected(&self) -> bool {
        matches!(self.link, Link::Connected { .. })
    }

    /// Whether the swarm has removed this node.
    pub fn is_removed(&self) -> bool {
        self.link == Link::Removed
    }

    /// The role the store gives this node; `None` until the swarm has said.
    pub fn node_role(&self) -> Option<NodeRole> {
        Some(self.facts.as_ref()?.node.as_ref()?.role())
    }
}
