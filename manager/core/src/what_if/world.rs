//! A copy of the swarm in which planners and nodes act until it has converged.
//!
//! Its nodes are ideal: an assigned task runs at once, and stops at once when it is to. A node that is down does nothing.

use std::{collections::BTreeSet, time::Duration};

use skep_common::{clock::Timestamp, id::SeededIds};
use skep_proto::v1::{Node, ObjectKind, Task, TaskState, TaskStatus, TaskStatusUpdate, Transaction};
use skep_store::{TxBuilder, View};

use crate::{
    Plan, Scope, allocator, node_status, orchestrator, scheduler,
    status::{self, Report},
    task::TaskExt,
};

/// Most rounds; in each every planner and node acts once.
const ROUNDS: usize = 5000;

/// How far the copy's time may run ahead.
const HORIZON: Duration = Duration::from_secs(3600);

/// Reports taken in together, as the dispatcher does.
const BATCH: usize = 500;

pub(super) struct World {
    view: View,
    now: Timestamp,
    ids: SeededIds,
    wake_at: Option<Timestamp>,
    /// Services to be planned for.
    scope: Scope,
    /// Tasks whose nodes may have something to do.
    told: BTreeSet<String>,
}

impl World {
    pub(super) fn new(view: View, now: Timestamp, ids: SeededIds) -> Self {
        let told = view.tasks().map(|task| task.id.clone()).collect();
        Self { view, now, ids, wake_at: None, scope: Scope::All, told }
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn edit_node(&mut self, id: &str, edit: impl FnOnce(&mut Node)) {
        let Some(mut node) = self.view.node(id).map(|node| Node::clone(node)) else { return };
        edit(&mut node);
        self.write(|tx| tx.update(node));
    }

    pub(super) fn write(&mut self, edit: impl for<'a, 'b> FnOnce(&'b mut TxBuilder<'a>) -> &'b mut TxBuilder<'a>) {
        let view = self.view.clone();
        let mut tx = TxBuilder::new(&view, self.now);
        edit(&mut tx);
        self.commit(&tx.build());
    }

    /// Lets planners and nodes act until none has anything to do, now or within the horizon. Whether that was reached.
    pub(super) fn converge(&mut self) -> bool {
        let horizon = self.now + HORIZON;
        for _ in 0..ROUNDS {
            let before = self.view.version();
            let scope = std::mem::replace(&mut self.scope, Scope::none());
            let plan = orchestrator::plan(&self.view, &scope, self.now, &mut self.ids);
            self.carry_out(plan);
            self.carry_out(allocator::plan(&self.view, self.now));
            self.carry_out(scheduler::plan(&self.view, self.now));
            self.nodes_act();
            if self.view.version() > before {
                continue;
            }
            match self.wake_at.take() {
                None => return true,
                Some(at) if at > horizon => return false,
                Some(at) => {
                    self.now = at.max(self.now);
                    self.scope = Scope::All;
                }
            }
        }
        false
    }

    fn carry_out(&mut self, plan: Plan) {
        for transaction in &plan.transactions {
            self.commit(transaction);
        }
        self.wake_at = self.wake_at.into_iter().chain(plan.wake_at()).filter(|at| *at > self.now).min();
    }

    fn commit(&mut self, transaction: &Transaction) {
        // There is no other writer, so a refusal can only be a fault of the plan; the next round plans again.
        let Ok((view, changes)) = self.view.apply(self.view.version() + 1, transaction) else { return };
        self.view = view;
        for change in &changes.changes {
            self.scope.note(change, &self.view);
            if change.kind() == ObjectKind::Task && change.after().is_some() {
                self.told.insert(change.object().id().to_owned());
            }
        }
    }

    fn nodes_act(&mut self) {
        let told = std::mem::take(&mut self.told);
        let tasks = told.iter().filter_map(|id| self.view.task(id));
        let reports: Vec<Report> = tasks
            .filter(|task| task.may_run() && !node_status::is_down_or_gone(&self.view, &task.node_id))
            .filter_map(|task| obey(task).map(|state| report(task, state)))
            .collect();
        for batch in reports.chunks(BATCH) {
            let plan = status::plan(&self.view, batch, self.now);
            self.carry_out(plan);
        }
    }
}

/// The next state of a task on an ideal node.
fn obey(task: &Task) -> Option<TaskState> {
    match (task.desired_state(), task.state()) {
        (TaskState::Shutdown | TaskState::Remove, _) => Some(TaskState::Shutdown),
        (TaskState::Running, state) if state < TaskState::Running => Some(TaskState::Running),
        (TaskState::Ready, state) if state < TaskState::Ready => Some(TaskState::Ready),
        _ => None,
    }
}

fn report(task: &Task, state: TaskState) -> Report {
    let status = TaskStatus { state: state.into(), ..TaskStatus::default() };
    Report {
        node_id: task.node_id.clone(),
        update: TaskStatusUpdate { task_id: task.id.clone(), status: Some(status) },
    }
}
