//! What happens to nodes, in words.

use std::collections::BTreeMap;

use skep_proto::v1::{Availability, Node, NodeRole, NodeState};

use super::labels;
use crate::node_status::{availability, state};

pub(super) fn joined(node: &Node) -> String {
    format!("joined the swarm as a {}", role(node.role()))
}

/// How a node stands.
pub(super) fn current_state(node: &Node) -> String {
    let message = node.status.as_ref().map_or("", |status| status.message.as_str());
    let state = match state(node) {
        NodeState::Ready => "ready",
        NodeState::Down => "down",
        NodeState::Disconnected => "disconnected",
        NodeState::Unknown => "not heard of yet by the leader",
    };
    if message.is_empty() { state.to_owned() } else { format!("{state}: {message}") }
}

pub(super) fn changed(old: &Node, new: &Node) -> Vec<String> {
    let mut texts = Vec::new();
    // After a change of leader every node is unknown for a while, which says nothing about the node.
    if state(old) != state(new) && state(new) != NodeState::Unknown {
        texts.push(current_state(new));
    }
    if availability(old) != availability(new) {
        texts.push(match availability(new) {
            Availability::Active => "active: takes tasks".to_owned(),
            Availability::Pause => "paused: takes no new tasks".to_owned(),
            Availability::Drain => "drained: its tasks have to leave".to_owned(),
        });
    }
    texts.extend(labels(&own_labels(old), &own_labels(new)));
    if desired_role(old) != desired_role(new) {
        texts.push(format!("is to be a {}", role(desired_role(new))));
    }
    if old.role() != new.role() {
        texts.push(format!("is a {} now", role(new.role())));
    }
    match (&old.manager, &new.manager) {
        (None, Some(manager)) => texts.push(format!("joined the managers' consensus at {}", manager.addr)),
        (Some(_), None) => texts.push("left the managers' consensus".to_owned()),
        _ => {}
    }
    texts
}

fn own_labels(node: &Node) -> BTreeMap<String, String> {
    let annotations = node.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
    annotations.map(|annotations| annotations.labels.clone()).unwrap_or_default()
}

fn desired_role(node: &Node) -> NodeRole {
    node.spec.as_ref().map_or_else(|| node.role(), |spec| spec.desired_role())
}

fn role(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Worker => "worker",
        NodeRole::Manager => "manager",
    }
}
