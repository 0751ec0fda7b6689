//! Why a task is scheduled where it is: how the scheduler ranks every node for it.

use skep_common::clock::Timestamp;
use skep_proto::v1::{Availability, Node, NodeState, Task, TaskState, TaskStatus};
use skep_store::{TxBuilder, View};

use super::{filter::FilterFailure, group::Demand, pool::Pool, tree::Preference};
use crate::node_status;

/// The scheduler's verdict on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which node (id).
    pub node_id: String,
    /// Why it cannot take the task; `None`: it fits.
    pub filter_failure: Option<String>,
    /// How often tasks of this revision of the service failed there lately. From
    /// [`NODE_FAILURES`](skep_common::limits::NODE_FAILURES) on the node comes last.
    pub failures: u64,
    /// Wanted tasks of the service there.
    pub service_tasks: u64,
    /// Wanted tasks of all services there.
    pub tasks: u64,
    /// For each placement preference, outermost first: the node's value, and the service's tasks on nodes that share
    /// it and those before it.
    pub spread: Vec<(String, u64)>,
}

/// The scheduler's order: suitable nodes first, then by the branches on the way, then by the nodes themselves.
type NodeRank = (bool, Vec<u64>, Preference);

/// A verdict on every node, best first. A task that is assigned already is judged as if it were not.
pub fn verdicts(view: &View, task: &Task, now: Timestamp) -> Vec<Verdict> {
    let view = without(view, task, now);
    let mut pool = Pool::default();
    pool.sync(&view);
    let demand = Demand::of(&view, task, &pool, now);
    let tally = demand.tally(&pool);
    let mut ranked: Vec<(NodeRank, Verdict)> = pool
        .all()
        .map(|node| {
            let failure = demand.fits(&pool, node).err();
            let values = demand.values(&pool, node);
            let on_the_way = tally.on_the_way(&values);
            let known = demand.on(node);
            let verdict = Verdict {
                node_id: pool.node(node).id.clone(),
                filter_failure: failure.map(|failure| words(failure, pool.node(node))),
                failures: known.failures,
                service_tasks: known.tasks,
                tasks: pool.tasks(node),
                spread: values.iter().map(|value| value.to_string()).zip(on_the_way.iter().copied()).collect(),
            };
            ((failure.is_some(), on_the_way, demand.preference(&pool, node)), verdict)
        })
        .collect();
    ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
    ranked.into_iter().map(|(_, verdict)| verdict).collect()
}

/// The state in which the task still waits: it takes no resources, and its failures still count against nodes.
fn without(view: &View, task: &Task, now: Timestamp) -> View {
    let Some(placed) = view.task(&task.id).filter(|task| !task.node_id.is_empty()) else { return view.clone() };
    let status = TaskStatus { state: TaskState::Pending.into(), ..TaskStatus::default() };
    let waiting = Task { node_id: String::new(), status: Some(status), ..Task::clone(placed) };
    let mut tx = TxBuilder::new(view, now);
    tx.update(waiting);
    let tx = tx.build();
    // The task is there, at the version that was just read: nothing can refuse this.
    view.apply(view.version() + 1, &tx).map_or_else(|_| view.clone(), |(view, _)| view)
}

/// The reason for a single node, with more detail than Docker's where that only says that it is not available.
fn words(failure: FilterFailure, node: &Node) -> String {
    if failure != FilterFailure::Unavailable {
        return failure.explain(1).trim_end_matches(" on 1 node").to_owned();
    }
    let why = match (node_status::state(node), node_status::availability(node)) {
        (NodeState::Ready, Availability::Drain) => "drained",
        (NodeState::Ready, _) => "paused",
        (NodeState::Down, _) => "down",
        _ => "not heard of yet by the leader",
    };
    format!("not available for new tasks: {why}")
}
