//! How each node stands for one more task: the table behind "no suitable node".

use std::collections::BTreeMap;

use skep_common::{clock::Timestamp, limits};
use skep_proto::v1::{Availability, Node, NodeState, Task};
use skep_store::View;

use super::{
    filter::{Filters, Misfit},
    pool::Pool,
};
use crate::{enforcer, task::TaskExt};

/// One node and one more task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The node's id.
    pub node_id: String,
    /// Why it cannot take the task; `None` when it can.
    pub misfit: Option<String>,
    /// Failures of this spec there in the last minutes.
    pub recent_failures: u64,
    /// Wanted tasks of the service there.
    pub tasks_of_service: u64,
    /// Wanted tasks there in all.
    pub tasks: u64,
    /// Its value of each placement preference, outermost first; empty where it has none.
    pub preferences: Vec<String>,
}

/// Every node, the one the scheduler would take first at the beginning and those that cannot take the task at the end.
pub fn verdicts(view: &View, task: &Task, now: Timestamp) -> Vec<Verdict> {
    let pool = Pool::of(view);
    let filters = Filters::of(task);
    let placement = task.spec.as_ref().and_then(|spec| spec.placement.as_ref());
    let preferences = placement.map_or(&[][..], |placement| &placement.spread_over);
    let (mut tasks, mut failures): (BTreeMap<&str, u64>, BTreeMap<&str, u64>) = Default::default();
    for other in view.tasks_of_service(&task.service_id).filter(|other| other.is_wanted()) {
        *tasks.entry(&other.node_id).or_default() += u64::from(other.id != task.id);
        let restart = other.restart.as_ref().filter(|_| other.spec_version == task.spec_version);
        for failure in restart.map_or(&[][..], |restart| &restart.failures) {
            if now.since(Timestamp(failure.at)) < limits::NODE_FAILURE_WINDOW {
                *failures.entry(&failure.node_id).or_default() += 1;
            }
        }
    }
    let verdict = |index| {
        let node = pool.node(index);
        let of = |counts: &BTreeMap<&str, u64>| counts.get(node.id.as_str()).copied().unwrap_or_default();
        let misfit = filters.check(node, pool.free(index), of(&tasks)).err();
        Verdict {
            node_id: node.id.clone(),
            misfit: misfit.map(|misfit| words(misfit, node)),
            recent_failures: of(&failures),
            tasks_of_service: of(&tasks),
            tasks: pool.tasks(index),
            preferences: preferences.iter().map(|preference| value(node, preference)).collect(),
        }
    };
    let mut verdicts: Vec<Verdict> = pool.all().map(verdict).collect();
    verdicts.sort_by(|a, b| rank(a).cmp(&rank(b)));
    verdicts
}

fn rank(verdict: &Verdict) -> (bool, u64, u64, u64, &str) {
    let failures = verdict.recent_failures;
    let penalty = if failures < limits::NODE_FAILURES as u64 { 0 } else { failures };
    (verdict.misfit.is_some(), penalty, verdict.tasks_of_service, verdict.tasks, &verdict.node_id)
}

fn words(misfit: Misfit, node: &Node) -> String {
    match misfit {
        Misfit::Unavailable => match (enforcer::state(node), enforcer::availability(node)) {
            (NodeState::Ready, Availability::Drain) => "not available for new tasks: drained",
            (NodeState::Ready, _) => "not available for new tasks: paused",
            (NodeState::Down, _) => "not available for new tasks: down",
            _ => "not available for new tasks: not heard of yet by the leader",
        },
        Misfit::Resources => "insufficient resources",
        Misfit::Constraints => "scheduling constraints not satisfied",
        Misfit::Platform => "unsupported platform",
        Misfit::MaxReplicas => "max replicas per node limit exceed",
    }
    .to_owned()
}

/// What a node has for a spread descriptor.
fn value(node: &Node, descriptor: &str) -> String {
    let own = node.spec.as_ref().and_then(|spec| spec.annotations.as_ref()).map(|annotations| &annotations.labels);
    let engine = node.description.as_ref().map(|description| &description.engine_labels);
    let (labels, key) = match descriptor.strip_prefix("node.labels.") {
        Some(key) => (own, key),
        None => (engine, descriptor.strip_prefix("engine.labels.").unwrap_or(descriptor)),
    };
    labels.and_then(|labels| labels.get(key)).cloned().unwrap_or_default()
}
