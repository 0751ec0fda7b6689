//! Managers becoming members of the Raft group, and leaving it.

use std::collections::BTreeMap;

use skep_common::{limits::CONNECT_TIMEOUT, net::server::Caller};
use skep_core::roles::{self, RoleError};
use skep_proto::v1::{
    AnnounceReply, AnnounceRequest, JoinReply, JoinRequest, LeaveReply, LeaveRequest, Node, NodeRole, NodeSpec,
    RaftMember, membership_server::Membership,
};
use skep_raft::MembershipError;
use skep_store::TxBuilder;
use tokio::net::TcpStream;
use tonic::{Request, Response, Status, async_trait};
use tracing::info;

use crate::{answer, swarm_state::SwarmState};

/// The membership service.
pub(crate) struct MembershipService {
    swarm: SwarmState,
}

impl MembershipService {
    pub(crate) fn new(swarm: SwarmState) -> Self {
        Self { swarm }
    }

    /// The members, and the index of the log entry that says so.
    fn members(&self) -> (u64, BTreeMap<u64, RaftMember>) {
        let told = self.swarm.raft.tell_members();
        let member = |(raft_id, node_id)| (raft_id, RaftMember { node_id, ..RaftMember::default() });
        (told.version, told.nodes.into_iter().map(member).collect())
    }
}

/// Removes the node from the Raft group and makes it a worker. Idempotent, for the caller may repeat it.
async fn take_out(swarm: &SwarmState, node_id: &str) -> Result<(), Status> {
    let own: Vec<_> = swarm.raft.members().into_iter().filter(|member| member.node_id == node_id).collect();
    for member in own {
        match swarm.raft.remove_member(member.raft_id).await {
            // It was removed meanwhile.
            Ok(()) | Err(MembershipError::NotFound(_)) => {}
            Err(error) => return Err(answer::unchanged(&error)),
        }
    }
    // A leader that has removed itself cannot write this: it refuses, and the caller asks the next one.
    let write = swarm.write(|view| {
        let mut tx = TxBuilder::new(view, swarm.now());
        if let Some(node) = view.node(node_id) {
            let spec = node.spec.clone().unwrap_or_default();
            let worker = i32::from(NodeRole::Worker);
            tx.update(Node {
                spec: Some(NodeSpec { desired_role: worker, ..spec }),
                role: worker,
                manager: None,
                ..Node::clone(node)
            });
        }
        Ok(tx.build())
    });
    write.await.map(drop)?;
    info!(node = node_id, "a manager has left the swarm's consensus");
    Ok(())
}

#[async_trait]
impl Membership for MembershipService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let node_id = Caller::of(&request)?.node_id()?.to_owned();
        let JoinRequest { addr, feature_level } = request.into_inner();
        check_addr(&addr)?;
        let refused = |error: RoleError| Status::failed_precondition(error.to_string());
        roles::check_join(&self.swarm.read().await?, &node_id, feature_level).map_err(refused)?;
        check_reach(&addr).await?;
        let raft_id = self.swarm.raft.add_member(&node_id, &addr).await.map_err(|error| answer::unchanged(&error))?;
        info!(node = node_id, addr, raft_id, "a manager joins the swarm's consensus");
        let (version, members) = self.members();
        Ok(Response::new(JoinReply { raft_id, members, version }))
    }

    async fn announce(&self, request: Request<AnnounceRequest>) -> Result<Response<AnnounceReply>, Status> {
        let node_id = Caller::of(&request)?.node_id()?.to_owned();
        let AnnounceRequest { raft_id, addr } = request.into_inner();
        check_addr(&addr)?;
        let raft = &self.swarm.raft;
        // "Removed" makes the caller delete its state: a deposed leader must not answer that.
        raft.read_barrier().await.map_err(|error| Status::unavailable(error.to_string()))?;
        if !raft.members().iter().any(|member| member.raft_id == raft_id && member.node_id == node_id) {
            return Err(Status::not_found("this manager is not a member of the swarm's consensus any more"));
        }
        raft.update_member_addr(raft_id, &addr).await.map_err(|error| answer::unchanged(&error))?;
        let (version, members) = self.members();
        Ok(Response::new(AnnounceReply { members, version }))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<LeaveReply>, Status> {
        let node_id = Caller::of(&request)?.node_id()?.to_owned();
        // Not cancelled when the caller hangs up: half of it would leave a manager on record that is no member.
        let swarm = self.swarm.clone();
        let left = tokio::spawn(async move { take_out(&swarm, &node_id).await });
        left.await.unwrap_or_else(|error| Err(Status::internal(error.to_string())))?;
        Ok(Response::new(LeaveReply {}))
    }
}

/// Whether this manager, which leads and would have to call the new one, can.
async fn check_reach(addr: &str) -> Result<(), Status> {
    let failure = match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(addr)).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "nobody answers".to_owned(),
    };
    Err(Status::failed_precondition(format!(
        "the managers cannot reach this node at {addr} ({failure}): open that port to them, or name another address with --advertise-addr"
    )))
}

/// `host:port` that others can dial.
fn check_addr(addr: &str) -> Result<(), Status> {
    let refused = || Status::invalid_argument(format!("{addr:?} is not an address others could reach a manager under"));
    let (host, port) = addr.rsplit_once(':').ok_or_else(refused)?;
    let reachable = !host.is_empty() && !matches!(host, "0.0.0.0" | "[::]");
    if addr.len() > 255 || !reachable || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(refused());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_cannot_be_reached_hears_where_and_why() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        check_reach(&addr).await.unwrap();
        drop(listener);
        let refused = check_reach(&addr).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
        assert!(refused.message().contains(&addr) && refused.message().contains("refused"), "{refused}");
    }

    #[test]
    fn managers_name_addresses_that_can_be_dialed() {
        for good in ["10.0.0.1:2377", "n1:2377", "[fd00::1]:2377"] {
            assert!(check_addr(good).is_ok(), "{good}");
        }
        for bad in ["", "10.0.0.1", ":2377", "10.0.0.1:0", "10.0.0.1:65536", "0.0.0.0:2377", "[::]:2377"] {
            assert!(check_addr(bad).is_err(), "{bad}");
        }
        assert!(check_addr(&format!("{}:1", "a".repeat(300))).is_err());
    }
}
