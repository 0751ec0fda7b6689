//! Nodes: list, inspect, update, remove. Writes `Node.spec`; removes nodes.

use skep_core::{roles, validate_spec};
use skep_proto::v1::{
    GetObjectRequest, ListNodesReply, ListNodesRequest, Node, ObjectKind, Reachability, RemoveNodeReply,
    RemoveNodeRequest, UpdateNodeRequest,
};
use skep_raft::MemberHealth;
use skep_store::{StoreObject as _, TxBuilder};
use tonic::Status;
use tracing::info;

use super::{filters, page::page};
use crate::{answer, peers, swarm_state::SwarmState};

pub(super) async fn get(swarm: &SwarmState, request: GetObjectRequest) -> Result<Node, Status> {
    let view = swarm.read().await?;
    let node = view.find_node(&request.key).map_err(|error| answer::not_found(&error))?;
    Ok(with_reachability(Node::clone(node), &swarm.raft.members()))
}

pub(super) async fn list(swarm: &SwarmState, request: ListNodesRequest) -> Result<ListNodesReply, Status> {
    let view = swarm.read().await?;
    let members = swarm.raft.members();
    let wanted = view.nodes().filter(|node| filters::node(&request, node));
    let (nodes, more) = page(wanted, request.after.as_deref(), |node| &node.id)?;
    let nodes = nodes.into_iter().map(|node| with_reachability(Node::clone(node), &members)).collect();
    Ok(ListNodesReply { nodes, more })
}

pub(super) async fn update(swarm: &SwarmState, request: UpdateNodeRequest) -> Result<Node, Status> {
    let spec = request.spec.ok_or_else(|| Status::invalid_argument("the node's spec is missing"))?;
    validate_spec::node(&spec).map_err(|error| answer::invalid(&error))?;
    let mut id = String::new();
    let write = swarm.write(|view| {
        let node = view.find_node(&request.key).map_err(|error| answer::not_found(&error))?;
        if node.version() != request.version {
            return Err(answer::out_of_sequence());
        }
        roles::check_spec(view, &peers::members(&swarm.raft), &node.id, &spec)
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        id.clone_from(&node.id);
        let mut tx = TxBuilder::new(view, swarm.now());
        tx.update(Node { spec: Some(spec.clone()), ..Node::clone(node) });
        Ok(tx.build())
    });
    write.await?;
    let view = swarm.view();
    let node = view.node(&id).ok_or_else(|| Status::not_found(format!("node {} not found", request.key)))?;
    Ok(with_reachability(Node::clone(node), &swarm.raft.members()))
}

pub(super) async fn remove(swarm: &SwarmState, request: RemoveNodeRequest) -> Result<RemoveNodeReply, Status> {
    let write = swarm.write(|view| {
        let node = view.find_node(&request.key).map_err(|error| answer::not_found(&error))?;
        let members = peers::members(&swarm.raft);
        roles::remove_node(view, &members, &node.id, request.force, swarm.now())
            .map_err(|error| Status::failed_precondition(error.to_string()))
    });
    write.await?;
    info!(node = request.key, force = request.force, kind = ?ObjectKind::Node, "a node was removed");
    Ok(RemoveNodeReply {})
}

/// Fills in what only the leader sees of a member.
fn with_reachability(mut node: Node, members: &[MemberHealth]) -> Node {
    let health = members.iter().find(|member| member.node_id == node.id);
    if let (Some(manager), Some(health)) = (&mut node.manager, health) {
        manager.leader = health.leader;
        let reachability = if health.reachable { Reachability::Reachable } else { Reachability::Unreachable };
        manager.set_reachability(reachability);
    }
    node
}
