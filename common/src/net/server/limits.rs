//! Limits of one server. An operator sets the two numbers of connections; the others are fixed.

use std::time::Duration;

use crate::limits::HANDSHAKE_TIMEOUT;

/// What one server takes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections of the swarm's nodes.
    pub node_connections: usize,
    /// Connections that are shaking hands, have shown no certificate, or one of no node that is known.
    pub stranger_connections: usize,
    /// How long TLS may take.
    pub handshake_timeout: Duration,
    /// How long a stranger may keep a connection: long enough to join.
    pub stranger_lifetime: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            node_connections: 10_000,
            stranger_connections: 512,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            stranger_lifetime: Duration::from_secs(20),
        }
    }
}
