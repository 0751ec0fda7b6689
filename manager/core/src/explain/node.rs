//! How nodes stand, one and all.

use std::time::Duration;

use skep_common::{clock::Timestamp, limits::ORPHAN_AFTER};
use skep_proto::v1::{Availability, Node, NodeRole, NodeState, Task};
use skep_store::View;

use super::Explanation;
use crate::{
    names::{self, count},
    node_status,
    task::TaskExt,
};

/// Tasks that are named one by one.
const NAMED: usize = 10;

/// Explains a node.
pub fn node(view: &View, node: &Node, now: Timestamp) -> Explanation {
    let tasks: Vec<&Task> = view.tasks_of_node(&node.id).map(AsRef::as_ref).filter(|task| task.may_run()).collect();
    let mut sentences = vec![condition(node, now), availability(node).to_owned()];
    sentences.extend(role(node).map(str::to_owned));
    sentences.push(match tasks.len() {
        0 => "No task is on it.".to_owned(),
        1 => "1 task is on it.".to_owned(),
        tasks => format!("{tasks} tasks are on it."),
    });
    sentences.extend(held(view, node, &tasks, now));
    Explanation { text: sentences.join(" "), nodes: Vec::new() }
}

/// Explains the swarm.
pub fn swarm(view: &View) -> Explanation {
    let in_role = |role: NodeRole| view.nodes().filter(|node| node.role() == role).count();
    let mut text = format!(
        "The swarm has {} and {}.",
        count(in_role(NodeRole::Manager), "manager"),
        count(in_role(NodeRole::Worker), "worker")
    );
    let unfit: Vec<String> =
        view.nodes().filter_map(|node| Some(format!("{} {}", names::node(node), unfit(node)?))).collect();
    if unfit.is_empty() {
        text += " All nodes are ready and take tasks.";
    } else {
        text += &format!(" Not every node takes tasks: {}.", listed(&unfit));
    }
    Explanation { text, nodes: Vec::new() }
}

/// Why a node takes no tasks, to be put behind its name.
fn unfit(node: &Node) -> Option<&'static str> {
    Some(match (node_status::state(node), node_status::availability(node)) {
        (NodeState::Down, _) => "is down",
        (NodeState::Disconnected, _) => "is disconnected",
        (NodeState::Unknown, _) => "was not heard of yet",
        (_, Availability::Drain) => "is drained",
        (_, Availability::Pause) => "is paused",
        (NodeState::Ready, Availability::Active) => return None,
    })
}

fn condition(node: &Node, now: Timestamp) -> String {
    let name = names::node(node);
    let status = node.status.clone().unwrap_or_default();
    let message = if status.message.is_empty() { String::new() } else { format!(": {}", status.message) };
    let span = span(now.since(Timestamp(status.since)));
    let role = if node.role() == NodeRole::Manager { "a manager" } else { "a worker" };
    match status.state() {
        NodeState::Ready => format!("{name} is {role} and has been ready for {span}{message}."),
        NodeState::Down => format!("{name} is {role} and has been down for {span}{message}."),
        NodeState::Disconnected => format!("{name} is {role} and has been disconnected for {span}{message}."),
        NodeState::Unknown => format!("{name} is {role} that the leader has not heard of yet{message}."),
    }
}

fn availability(node: &Node) -> &'static str {
    match node_status::availability(node) {
        Availability::Active if node_status::state(node) == NodeState::Ready => "It is active: it may be given tasks.",
        Availability::Active => "It is active: it may be given tasks once it is ready.",
        Availability::Pause => "It is paused: it keeps its tasks and is given no new ones.",
        Availability::Drain => "It is drained: its tasks have to leave, and it is given no new ones.",
    }
}

/// A change of role that is not over.
fn role(node: &Node) -> Option<&'static str> {
    let desired = node.spec.as_ref().map_or(node.role(), |spec| spec.desired_role());
    match (node.role(), desired, &node.manager) {
        (NodeRole::Worker, NodeRole::Manager, _) => Some("It is to be a manager and is none yet."),
        (NodeRole::Manager, NodeRole::Manager, None) => {
            Some("It may be a manager and has not joined the managers' consensus yet.")
        }
        (NodeRole::Manager, NodeRole::Worker, Some(_)) => {
            Some("It is to be a worker and has not left the managers' consensus yet.")
        }
        (NodeRole::Manager, NodeRole::Worker, None) => Some("It is to be a worker and is still called a manager."),
        (NodeRole::Worker, NodeRole::Worker, _) | (NodeRole::Manager, NodeRole::Manager, Some(_)) => None,
    }
}

/// What waits for something to happen on a node.
fn held(view: &View, node: &Node, tasks: &[&Task], now: Timestamp) -> Vec<String> {
    let names = |of: &dyn Fn(&Task) -> bool| -> Vec<String> {
        tasks.iter().filter(|task| of(task)).map(|task| names::task(view, task)).collect()
    };
    let mut sentences = Vec::new();
    let stopping = names(&|task| !task.is_wanted());
    if node_status::is_down(node) {
        let status = node.status.clone().unwrap_or_default();
        let left = ORPHAN_AFTER.saturating_sub(now.since(Timestamp(status.since)));
        if !tasks.is_empty() {
            let all = names(&|_| true);
            sentences.push(format!(
                "Nobody can say what became of {}: unless the node returns, given up for lost in {}.",
                listed(&all),
                span(left)
            ));
        }
        return sentences;
    }
    if !stopping.is_empty() {
        sentences.push(format!("Still to stop there: {}.", listed(&stopping)));
    }
    if node_status::availability(node) == Availability::Drain {
        let staying = names(&|task| task.is_wanted());
        if !staying.is_empty() {
            sentences.push(format!("Still to be replaced elsewhere before it stops there: {}.", listed(&staying)));
        }
    }
    sentences
}

fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let named = names[..names.len() - more].join(", ");
    if more == 0 { named } else { format!("{named} and {more} more") }
}

/// A span of time in its largest unit that fits.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}
