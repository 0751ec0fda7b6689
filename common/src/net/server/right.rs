//! The right to make one call, which can be lost while the call is open.

use std::sync::Arc;

use skep_proto::v1::NodeRole;
use tokio::time::sleep;
use tonic::Status;

use super::roles::{RoleAnswer, RoleSource, unknown_node};
use crate::{
    authz::{Callers, Peer, Rpc},
    limits::RECHECK_PERIOD,
    net::identity::NodeCertificate,
};

/// A node as its certificate, or the manager that speaks for it, presents it.
#[derive(Clone)]
pub(super) struct Presented {
    pub(super) node_id: String,
    pub(super) role: NodeRole,
}

impl From<&NodeCertificate> for Presented {
    fn from(certificate: &NodeCertificate) -> Self {
        Self { node_id: certificate.node_id.clone(), role: certificate.role }
    }
}

/// Who calls what, and whom to ask whether that is allowed.
#[derive(Clone)]
pub(super) struct Right {
    pub(super) rpc: &'static Rpc,
    pub(super) roles: Arc<dyn RoleSource>,
    /// The peer; `None` without a certificate.
    pub(super) peer: Option<Presented>,
}

impl Right {
    /// The peer in the role in force now, if the call is for it.
    pub(super) fn check(&self) -> Result<Peer, Status> {
        let peer = match &self.peer {
            None => Peer::Anonymous,
            Some(node) => Peer::Node { node_id: node.node_id.clone(), role: self.role_in_force(node)? },
        };
        if self.rpc.callers.include(&peer) {
            return Ok(peer);
        }
        Err(match peer {
            Peer::Anonymous => Status::unauthenticated("this call needs a certificate of the swarm"),
            Peer::Node { .. } => Status::permission_denied("this call is for managers only"),
        })
    }

    /// Waits until the call is no longer allowed and says why. A peer without a certificate has nothing to lose.
    pub(super) async fn lost(&self) -> Status {
        if self.peer.is_none() {
            return std::future::pending().await;
        }
        loop {
            sleep(RECHECK_PERIOD).await;
            if let Err(status) = self.check() {
                return status;
            }
        }
    }

    fn role_in_force(&self, node: &Presented) -> Result<NodeRole, Status> {
        match self.roles.role_of(&node.node_id) {
            RoleAnswer::Is(role) => Ok(role),
            RoleAnswer::Removed => Err(unknown_node(&node.node_id)),
            RoleAnswer::NoState if self.rpc.callers == Callers::StoredManagers => {
                Err(Status::unavailable("this manager does not know the swarm's state yet"))
            }
            RoleAnswer::NoState => Ok(node.role),
        }
    }
}
