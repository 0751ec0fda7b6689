//! Rebalancing: decides which running task moves to another node when nodes came (back) after the service was scheduled.
//!
//! Only on request: always with the label of [`Rebalance`], or once by `Service.rebalance_requested_at`, which is cleared
//! here when nothing is left to do. One task at a time is moved, start-first: one for which the scheduler would now choose
//! a node where the service has fewer tasks ([`crate::scheduler::rebalancer`]).
//!
//! Invariants: every move makes the spread more even, so that no task goes back and forth; no move while a task of the
//! service is missing or an update is under way, nor within [`COOL_DOWN`] of the move before, as far as tasks that were
//! moved are still on record.

use std::{sync::Arc, time::Duration};

use skep_common::{clock::Timestamp, id::SeededIds};
use skep_proto::v1::{RestartState, Service, Task, TaskCause, TaskState, service_spec::Mode};
use skep_store::{ChangeSet, TxBuilder, View};

use crate::{
    enforcer::Nodes,
    policy::{self, Rebalance},
    restart,
    scheduler::rebalancer::Rebalancer,
    slot::{Slot, kept::KeptSlot},
    task::{TaskExt, advanced, desired, make_task, specimen},
};

/// Time between two moves of a service.
pub const COOL_DOWN: Duration = Duration::from_secs(30);

/// Most moves that are listed.
pub const MAX_MOVES: usize = 500;

/// A task that would run better elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The slot of the service it holds.
    pub slot: u64,
    /// The task.
    pub task_id: String,
    /// Where it runs.
    pub from_node: String,
    /// Where the scheduler would put it.
    pub to_node: String,
}

/// What rebalancing a service takes now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RebalanceStep {
    /// No move, or none now.
    Stay,
    /// No move any more: the request is met.
    Met,
    /// A move, but not before this.
    NotBefore(Timestamp),
    /// The task of this slot is moved.
    Move(u64),
}

/// Dry run: all moves, one after the other, if nothing else happened; at most [`MAX_MOVES`].
pub fn moves(view: &View, service: &Service, now: Timestamp) -> Vec<Move> {
    let mut view = view.clone();
    let mut rebalancer = Rebalancer::default();
    let mut moves = Vec::new();
    while moves.len() < MAX_MOVES {
        let Some(next) = next_move(&mut rebalancer, &view, service, now) else { break };
        let Some((after, changes)) = moved(&view, service, &next, now) else { break };
        rebalancer.note(&changes.changes);
        view = after;
        moves.push(next);
    }
    moves
}

/// Whether to move a task of a service that is not being updated and misses no slot. `stopping`: tasks that the same plan
/// shuts down.
pub(crate) fn next_step<'a>(
    nodes: &Nodes<'_>,
    service: &Service,
    kept: &[KeptSlot<'_, '_>],
    stopping: impl Iterator<Item = &'a Arc<Task>>,
    now: Timestamp,
) -> RebalanceStep {
    let is_requested = service.rebalance_requested_at != 0;
    let stays = |task: &Task| nodes.eviction_reason(service, task).is_none();
    let is_calm = || kept.iter().all(|kept| kept.has_converged() && kept.current.is_some_and(|task| stays(task)));
    if !is_asked_for(service) || !is_calm() {
        return RebalanceStep::Stay;
    }
    let stopped = stopping.map(|task| desired(task, TaskState::Shutdown));
    let Some((view, _)) = &with(nodes.view, now, |tx| stopped.fold(tx, TxBuilder::update)) else {
        return RebalanceStep::Stay;
    };
    match next_move(&mut Rebalancer::default(), view, service, now) {
        None if is_requested => RebalanceStep::Met,
        None => RebalanceStep::Stay,
        Some(next) => match last_move(view, service).map(|at| at + COOL_DOWN).filter(|until| *until > now) {
            Some(until) => RebalanceStep::NotBefore(until),
            None => RebalanceStep::Move(next.slot),
        },
    }
}

/// The service without the request.
pub(crate) fn met(service: &Service) -> Service {
    Service { rebalance_requested_at: 0, ..service.clone() }
}

/// Whether a service is to be spread anew where that helps.
pub(crate) fn is_asked_for(service: &Service) -> bool {
    let Rebalance(on) = policy::of(service.spec.as_ref().and_then(policy::labels));
    on || service.rebalance_requested_at != 0
}

fn last_move(view: &View, service: &Service) -> Option<Timestamp> {
    let moved = view.tasks_of_service(&service.id).filter(|task| task.cause() == TaskCause::Rebalance);
    moved.map(|task| task.created_at()).max()
}

fn next_move(rebalancer: &mut Rebalancer, view: &View, service: &Service, now: Timestamp) -> Option<Move> {
    if !matches!(service.spec.as_ref()?.mode, Some(Mode::Replicated(_))) {
        return None;
    }
    // A task that the restart policy wants to run once at most is not stopped for a better spread.
    let may_move = |task: &&Arc<Task>| {
        task.is_wanted() && task.state() == TaskState::Running && restart::after_move(task).is_some()
    };
    let movable = view.tasks_of_service(&service.id).filter(may_move);
    let (id, to_node) = rebalancer.next_move(view, &specimen(service), movable, now)?;
    let task = view.task(id)?;
    Some(Move { slot: task.slot, task_id: task.id.clone(), from_node: task.node_id.clone(), to_node })
}

/// The state as it would be after a move.
fn moved(view: &View, service: &Service, step: &Move, now: Timestamp) -> Option<(View, ChangeSet)> {
    let old = view.task(&step.task_id)?;
    let stopped = desired(&advanced(old, TaskState::Shutdown, "moved", now), TaskState::Shutdown);
    let ids = &mut SeededIds::new(view.version());
    let slot = Slot::Number(step.slot);
    let mut new = make_task(service, slot, TaskState::Running, RestartState::default(), ids, now);
    new.node_id.clone_from(&step.to_node);
    new.status.get_or_insert_default().set_state(TaskState::Running);
    with(view, now, |tx| tx.update(stopped).create(new))
}

fn with(
    view: &View,
    now: Timestamp,
    edit: impl for<'a, 'b> FnOnce(&'b mut TxBuilder<'a>) -> &'b mut TxBuilder<'a>,
) -> Option<(View, ChangeSet)> {
    let mut tx = TxBuilder::new(view, now);
    edit(&mut tx);
    view.apply(view.version() + 1, &tx.build()).ok()
}
