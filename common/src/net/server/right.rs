//! The authorization of one call, which can be withdrawn while the call is open.

use std::sync::Arc;

use skep_proto::v1::NodeRole;
use tokio::time::sleep;
use tonic::Status;

use super::roles::{RoleAnswer, RoleSource, unknown_node};
use crate::{
    authz::{Callers, Peer, Rpc},
    limits::RECHECK_PERIOD,
};

/// Who calls what, and whom to ask whether that is allowed.
#[derive(Clone)]
pub(super) struct Right {
    pub(super) rpc: &'static Rpc,
    pub(super) roles: Arc<dyn RoleSource>,
    /// The peer's node id, by its certificate or the manager that speaks for it; `None` without a certificate. What role
    /// the certificate was issued for plays no part.
    pub(super) peer: Option<String>,
    /// Whether the swarm has certified the peer as a manager at some time.
    pub(super) was_manager: bool,
}

impl Right {
    /// The peer in the role in force now, if the call is for it.
    pub(super) fn check(&self) -> Result<Peer, Status> {
        let peer = match &self.peer {
            None => Peer::Anonymous,
            Some(node_id) => Peer::Node { node_id: node_id.clone(), role: self.role_in_force(node_id)? },
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

    fn role_in_force(&self, node_id: &str) -> Result<NodeRole, Status> {
        if self.rpc.callers == Callers::Members {
            return match self.roles.is_member(node_id) {
                true => Ok(NodeRole::Manager),
                false => {
                    // A worker is not allowed here, whatever the state of the managers.
                    if self.was_manager {
                        self.roles.refused_member();
                    }
                    Err(Status::permission_denied("this call is for members of the managers' consensus only"))
                }
            };
        }
        match self.roles.role_of(node_id) {
            RoleAnswer::Is(role) => Ok(role),
            RoleAnswer::Removed => Err(unknown_node(node_id)),
            RoleAnswer::NotKnown => Err(Status::unavailable("this manager does not know the calling node (yet)")),
        }
    }
}
