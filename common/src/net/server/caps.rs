//! How many connections a port carries: in all, per address, and from peers that have not shown who they are.
//!
//! The last cap is what keeps room for nodes: a crowd of strangers can fill only its own share.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use crate::{limits::HANDSHAKE_TIMEOUT, net::source::source_of};

/// What one server takes on.
#[derive(Debug, Clone, Copy)]
pub struct ServerLimits {
    /// Connections in all.
    pub connections: usize,
    /// Of these, connections that are shaking hands or have shown no certificate.
    pub unverified_connections: usize,
    /// Connections from one address. Nodes behind one NAT share it.
    pub connections_per_ip: usize,
    /// How long TLS may take.
    pub handshake_timeout: Duration,
    /// Open calls on one connection.
    pub streams_per_connection: u32,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            unverified_connections: 1_000,
            connections_per_ip: 256,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            streams_per_connection: 1_000,
        }
    }
}

/// The counters of one server.
pub(super) struct Caps {
    all: Arc<Semaphore>,
    unverified: Arc<Semaphore>,
    per_ip: Arc<PerIp>,
}

impl Caps {
    pub(super) fn new(limits: ServerLimits) -> Self {
        Self {
            all: Arc::new(Semaphore::new(limits.connections)),
            unverified: Arc::new(Semaphore::new(limits.unverified_connections)),
            per_ip: Arc::new(PerIp { limit: limits.connections_per_ip, counts: Mutex::default() }),
        }
    }

    /// Room for one more connection from `ip`, or `None`: then the connection is to be closed at once, which costs less
    /// than leaving it in the backlog, where it would keep out those who have room.
    pub(super) fn admit(&self, ip: IpAddr) -> Option<Permit> {
        let permit = self.try_admit(source_of(ip));
        if permit.is_none() {
            debug!(%ip, "connection refused: too many are open");
        }
        permit
    }

    fn try_admit(&self, ip: IpAddr) -> Option<Permit> {
        Some(Permit {
            _of_ip: self.per_ip.clone().admit(ip)?,
            unverified: Some(self.unverified.clone().try_acquire_owned().ok()?),
            _of_all: self.all.clone().try_acquire_owned().ok()?,
        })
    }
}

/// Holds a connection's place until it is dropped.
pub(super) struct Permit {
    _of_ip: OfIp,
    unverified: Option<OwnedSemaphorePermit>,
    _of_all: OwnedSemaphorePermit,
}

impl Permit {
    /// The peer has shown a certificate: its place among the strangers is free again.
    pub(super) fn verified(&mut self) {
        self.unverified = None;
    }
}

struct PerIp {
    limit: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

impl PerIp {
    fn admit(self: Arc<Self>, ip: IpAddr) -> Option<OfIp> {
        let mut counts = self.counts();
        let count = counts.get(&ip).copied().unwrap_or(0);
        if count >= self.limit {
            return None;
        }
        counts.insert(ip, count + 1);
        drop(counts);
        Some(OfIp { counters: self, ip })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct OfIp {
    counters: Arc<PerIp>,
    ip: IpAddr,
}

impl Drop for OfIp {
    fn drop(&mut self) {
        let mut counts = self.counters.counts();
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(connections: usize, unverified_connections: usize, connections_per_ip: usize) -> Caps {
        let limits =
            ServerLimits { connections, unverified_connections, connections_per_ip, ..ServerLimits::default() };
        Caps::new(limits)
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn one_address_cannot_take_everything_and_places_come_back() {
        let caps = caps(10, 10, 2);
        let first = caps.admit(ip(1)).unwrap();
        let _second = caps.admit(ip(1)).unwrap();
        assert!(caps.admit(ip(1)).is_none());
        assert!(caps.admit("::ffff:192.0.2.1".parse().unwrap()).is_none(), "the same address, written otherwise");
        assert!(caps.admit(ip(2)).is_some());
        drop(first);
        assert!(caps.admit(ip(1)).is_some());
    }

    #[test]
    fn strangers_leave_room_for_nodes() {
        let caps = caps(3, 2, 10);
        let mut node = caps.admit(ip(1)).unwrap();
        node.verified();
        let _strangers = [caps.admit(ip(2)).unwrap(), caps.admit(ip(3)).unwrap()];
        assert!(caps.admit(ip(4)).is_none());
    }

    #[test]
    fn what_is_refused_holds_nothing() {
        let caps = caps(1, 10, 10);
        let only = caps.admit(ip(1)).unwrap();
        assert!(caps.admit(ip(1)).is_none());
        assert_eq!(caps.unverified.available_permits(), 9);
        drop(only);
        assert!(caps.per_ip.counts().is_empty(), "addresses are forgotten");
    }
}
