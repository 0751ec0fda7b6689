//! Spreading the tasks of a service anew when nodes came (back) after it was placed.
//!
//! Only on request: for good by the label of [`Rebalance`], or once by `Service.rebalance_requested_at`, which is taken
//! back here when nothing is left to do. One task at a time, started first at its new node: the scheduler is asked where
//! one more task of the service would go, and the fullest node gives one up if that makes the spread better.
//!
//! Invariants: a move takes a task from a node to one that has at least two fewer of the service; never while a task of
//! the service is missing or an update is under way, nor within [`COOL_DOWN`] of the move before.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use skep_common::{clock::Timestamp, id::SeededIds};
use skep_proto::v1::{
    Node, RestartState, Service, Task, TaskCause, TaskState, action::Action, object::Object, service_spec::Mode,
};
use skep_store::{TxBuilder, View};

use crate::{
    enforcer::misplaced,
    policy::{self, Rebalance},
    restart, scheduler,
    task::{Place, TaskExt, advanced, desired, make_task},
    tenants::Held,
};

/// Time between two moves of a service.
pub const COOL_DOWN: Duration = Duration::from_secs(30);

/// Most moves a list names.
pub const MAX_MOVES: usize = 500;

/// A task that would run better elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The place of the service it holds.
    pub slot: u64,
    /// The task.
    pub task_id: String,
    /// Where it runs.
    pub from_node: String,
    /// Where the scheduler would put it.
    pub to_node: String,
}

/// What is to be done about the spread of a service.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing, or nothing now.
    Stay,
    /// Nothing any more: the request is met.
    Met,
    /// Something, but not before this.
    NotBefore(Timestamp),
    /// The task of this slot is to be moved.
    Move(u64),
}

/// All moves there would be, one after the other, if nothing else happened; at most [`MAX_MOVES`].
pub fn moves(view: &View, service: &Service, now: Timestamp) -> Vec<Move> {
    let mut view = view.clone();
    let mut moves = Vec::new();
    while moves.len() < MAX_MOVES {
        let Some(next) = next_move(&view, service, now) else { break };
        let Some(after) = moved(&view, service, &next, now) else { break };
        view = after;
        moves.push(next);
    }
    moves
}

/// What to do for a service that is not being updated and has all its places. `stopping`: tasks that the same plan tells
/// to stop.
pub(crate) fn verdict<'a>(
    view: &View,
    service: &Service,
    held: &[Held<'_, '_>],
    stopping: impl Iterator<Item = &'a Arc<Task>>,
    now: Timestamp,
) -> Verdict {
    let is_requested = service.rebalance_requested_at != 0;
    let stays = |task: &Task| misplaced(view, service, task).is_none();
    let is_calm = || held.iter().all(|held| held.is_settled() && held.holder.is_some_and(|task| stays(task)));
    if !(is_requested || is_on(service)) || !is_calm() {
        return Verdict::Stay;
    }
    let stopped = stopping.map(|task| desired(task, TaskState::Shutdown));
    let Some(view) = &with(view, now, |tx| stopped.fold(tx, TxBuilder::update)) else { return Verdict::Stay };
    match next_move(view, service, now) {
        None if is_requested => Verdict::Met,
        None => Verdict::Stay,
        Some(next) => match last_move(view, service).map(|at| at + COOL_DOWN).filter(|until| *until > now) {
            Some(until) => Verdict::NotBefore(until),
            None => Verdict::Move(next.slot),
        },
    }
}

/// The service without the request.
pub(crate) fn met(service: &Service) -> Service {
    Service { rebalance_requested_at: 0, ..service.clone() }
}

fn is_on(service: &Service) -> bool {
    let Rebalance(on) = policy::of(service.spec.as_ref().and_then(policy::labels));
    on
}

fn last_move(view: &View, service: &Service) -> Option<Timestamp> {
    let moved = view.tasks_of_service(&service.id).filter(|task| task.cause() == TaskCause::Rebalance);
    moved.map(|task| task.created_at()).max()
}

fn next_move(view: &View, service: &Service, now: Timestamp) -> Option<Move> {
    if !matches!(service.spec.as_ref()?.mode, Some(Mode::Replicated(_))) {
        return None;
    }
    let mut on_node: BTreeMap<&str, Vec<&Arc<Task>>> = BTreeMap::new();
    for task in view.tasks_of_service(&service.id).filter(|task| task.is_wanted()) {
        on_node.entry(&task.node_id).or_default().push(task);
    }
    // Before the scheduler is asked: with one task everywhere at most, no node has two fewer than another.
    on_node.values().find(|tasks| tasks.len() > 1)?;
    let target = choice(view, service, now)?;
    let least = on_node.get(target.as_str()).map_or(0, Vec::len) + 2;
    let to = view.node(&target)?;
    let sources = on_node.iter().filter(|(node, tasks)| {
        tasks.len() >= least && view.node(node).is_some_and(|from| same_preferences(service, from, to))
    });
    let (from, tasks) = sources.max_by_key(|(node, tasks)| (tasks.len(), std::cmp::Reverse(**node)))?;
    // One that the policy wants to run once at most is not to be moved for beauty's sake.
    let may_move = |task: &&&Arc<Task>| task.state() == TaskState::Running && restart::after_move(task).is_some();
    let task = tasks.iter().filter(may_move).min_by_key(|task| task.slot)?;
    Some(Move { slot: task.slot, task_id: task.id.clone(), from_node: (*from).to_owned(), to_node: target })
}

/// Where the scheduler would put one more task of the service.
fn choice(view: &View, service: &Service, now: Timestamp) -> Option<String> {
    let mut more = another(view, service, 0, now);
    more.status.get_or_insert_default().set_state(TaskState::Pending);
    let id = more.id.clone();
    let asked = with(view, now, |tx| tx.create(more))?;
    let writes = scheduler::plan(&asked, now).transactions.into_iter().flat_map(|transaction| transaction.actions);
    writes.filter_map(|action| action.action).find_map(|action| match action {
        Action::Update(object) => match object.object {
            Some(Object::Task(task)) if task.id == id && !task.node_id.is_empty() => Some(task.node_id.clone()),
            _ => None,
        },
        _ => None,
    })
}

/// The state as it would be after a move.
fn moved(view: &View, service: &Service, step: &Move, now: Timestamp) -> Option<View> {
    let old = view.task(&step.task_id)?;
    let stopped = desired(&advanced(old, TaskState::Shutdown, "moved", now), TaskState::Shutdown);
    let mut new = Task { node_id: step.to_node.clone(), ..another(view, service, step.slot, now) };
    new.status.get_or_insert_default().set_state(TaskState::Running);
    with(view, now, |tx| tx.update(stopped).create(new))
}

/// A task that will never be; its id is one nobody has.
fn another(view: &View, service: &Service, slot: u64, now: Timestamp) -> Task {
    let ids = &mut SeededIds::new(view.version());
    make_task(service, Place::Slot(slot), TaskState::Running, RestartState::default(), ids, now)
}

fn with(
    view: &View,
    now: Timestamp,
    edit: impl for<'a, 'b> FnOnce(&'b mut TxBuilder<'a>) -> &'b mut TxBuilder<'a>,
) -> Option<View> {
    let mut tx = TxBuilder::new(view, now);
    edit(&mut tx);
    view.apply(view.version() + 1, &tx.build()).ok().map(|(view, _)| view)
}

/// Whether two nodes are alike to every spread preference of the service. Which of unlike ones has too many is the
/// preferences' to say, not the count's.
fn same_preferences(service: &Service, one: &Node, other: &Node) -> bool {
    let placement = service.spec.as_ref().and_then(|spec| spec.task.as_ref()).and_then(|task| task.placement.as_ref());
    let descriptors = placement.map_or(&[][..], |placement| &placement.spread_over);
    descriptors.iter().all(|descriptor| value(one, descriptor) == value(other, descriptor))
}

fn value<'a>(node: &'a Node, descriptor: &str) -> &'a str {
    let labels = if let Some(key) = descriptor.strip_prefix("node.labels.") {
        let annotations = node.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
        annotations.and_then(|annotations| annotations.labels.get(key))
    } else if let Some(key) = descriptor.strip_prefix("engine.labels.") {
        node.description.as_ref().and_then(|description| description.engine_labels.get(key))
    } else {
        None
    };
    labels.map_or("", String::as_str)
}
