//! Who makes a call, as handlers see it.

use std::net::SocketAddr;

use tonic::{Request, Status};

use crate::authz::Peer;

/// The caller of a request; the server puts one into the extensions of every request it lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who is at the other end of the connection.
    pub peer: Peer,
    /// Where the connection comes from.
    pub remote_addr: SocketAddr,
    /// Whose call it is: `peer`, or whom `peer`, a manager, passes it on for.
    pub original: Peer,
    /// Where that one's connection came from.
    pub original_addr: SocketAddr,
    /// Whether a manager passed it on. Such a call is not passed on again.
    pub forwarded: bool,
}

impl Caller {
    /// A direct caller, not forwarded.
    pub fn direct(peer: Peer, remote_addr: SocketAddr) -> Self {
        Self { original: peer.clone(), original_addr: remote_addr, peer, remote_addr, forwarded: false }
    }

    /// The caller of `request`. An error means that the request did not come through an [`super::RpcServer`].
    pub fn of<T>(request: &Request<T>) -> Result<&Self, Status> {
        request.extensions().get().ok_or_else(|| Status::internal("a request has no caller"))
    }

    /// The id of the node whose call it is; the refusal for one without a certificate.
    pub fn node_id(&self) -> Result<&str, Status> {
        self.original.node_id().ok_or_else(|| Status::unauthenticated("this call needs a certificate of the swarm"))
    }
}
