//! What happens to the tasks of one slot: first task, replacement, start, end. The same for all kinds of services.
//!
//! Writes `Task.desired_state` and `Task.restart`, and makes tasks, for [`crate::orchestrator`] and [`crate::job::tasks`].
//!
//! Invariants:
//! - a slot has one wanted task, the current one; and a second one, its replacement, only while that is started first. A
//!   task that ends or has to leave and the one after it are one step: there is no moment without either;
//! - hence a slot without a wanted task, but with tasks that are not leaving, is finished: the restart policy wanted
//!   no replacement. It still counts as a replica, and is filled again only by an update;
//! - a task becomes RUNNING only when its delay is over and what was there before it, but for the current task it is
//!   started beside, has stopped (or is on a node that is down or gone, or has had its grace period and a minute).

use std::{sync::Arc, time::Duration};

use skep_common::{
    clock::{Timestamp, duration},
    id::Ids,
    limits,
};
use skep_proto::v1::{RestartState, Service, Task, TaskCause, TaskState, UpdateOrder};
use skep_store::View;

use crate::{
    defaults,
    enforcer::Nodes,
    node_status,
    plan::{Planner, Write},
    restart,
    rollout::{
        Replace,
        update_policy::{is_update, with_update_progress},
    },
    slot::{
        Slot,
        kept::{KeptSlot, RETRY, is_given_up},
        tasks::SlotTasks,
    },
    task::{TaskExt, desired, make_task},
    update::is_dirty,
};

/// How long beyond its grace period a task may take to stop before its replacement starts regardless.
pub const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// Plans what happens in the slots of one service.
pub(crate) struct SlotPlanner<'p, 'v> {
    pub(crate) view: &'v View,
    pub(crate) nodes: &'p Nodes<'v>,
    /// As this plan leaves it.
    pub(crate) service: &'p Service,
    /// The run of a job whose tasks are planned; 0 where the service is none.
    pub(crate) run: u64,
    pub(crate) now: Timestamp,
    pub(super) ids: &'p mut dyn Ids,
    pub(super) planner: &'p mut Planner<'v>,
}

impl<'v> SlotPlanner<'_, 'v> {
    /// Changes the desired state of a task, and makes no other in its slot.
    pub(crate) fn set_desired(&mut self, task: &Task, state: TaskState) {
        self.planner.step([Write::UpdateTask(desired(task, state).into())]);
    }

    /// Removes a slot: all its tasks are stopped and forgotten.
    pub(crate) fn remove(&mut self, tasks: &SlotTasks<'_>) {
        for task in &tasks.staying {
            self.set_desired(task, TaskState::Remove);
        }
    }

    /// Makes a task for a slot without a wanted one. An earlier task that may still run has to stop first.
    pub(crate) fn fill(&mut self, slot: Slot<'_>, tasks: Option<&SlotTasks<'v>>, cause: TaskCause) {
        let is_free = tasks.is_none_or(|tasks| self.is_free(tasks, None));
        let last = tasks.and_then(SlotTasks::last).map(|task| task.id.clone());
        let restart = if is_update(cause) { self.updated() } else { RestartState::default() };
        let task = self.make(slot, restart, is_free, cause, last.unwrap_or_default());
        self.planner.step_for(self.service, [Write::Create(task)]);
    }

    /// Brings a slot that is kept closer to what is wanted. `replace`: its current task is to be replaced although it is
    /// not over. Says whether a task is still wanted there.
    pub(crate) fn reconcile(&mut self, kept: &KeptSlot<'_, 'v>, replace: Option<Replace>) -> bool {
        if self.run == 0 {
            self.planner.about_slot(kept.slot);
        }
        for surplus in &kept.surplus {
            self.set_desired(surplus, TaskState::Shutdown);
        }
        match (kept.current, kept.replacement, replace) {
            (None, _, None) => false,
            (None, _, Some(replace)) => {
                self.fill(kept.slot, Some(kept.tasks), replace.cause);
                true
            }
            (Some(current), None, Some(how)) => self.replace(kept, current, how),
            (Some(current), None, None) => self.keep(kept, current, None),
            (Some(current), Some(replacement), _) => {
                self.keep(kept, replacement, Some(current));
                true
            }
        }
    }

    /// Keeps a task running: the current one, or a replacement with the current one it is started `beside`. Says whether a
    /// task is still wanted.
    fn keep(&mut self, kept: &KeptSlot<'_, 'v>, task: &Task, beside: Option<&Task>) -> bool {
        if task.is_terminal() && task.not_before() > self.now {
            // It failed while it was prepared, before its own start was due: going on at once would skip the delay.
            self.planner.wake_at(task.not_before());
        } else if task.is_terminal() {
            if beside.is_none() || !is_given_up(task, self.now) {
                return self.shut_down_and_replace(kept, task, beside, self.after_end(task), TaskCause::Restart);
            }
            if beside.is_some_and(|current| self.nodes.eviction_reason(self.service, current).is_some()) {
                self.planner.wake_at(task.observed_at() + RETRY);
            }
        } else if let Some(reason) = beside.and_then(|_| self.nodes.eviction_reason(self.service, task)) {
            return self.shut_down_and_replace(kept, task, beside, self.after_move(task), reason.cause());
        } else if task.desired_state() < TaskState::Running {
            self.promote(kept.tasks, task, beside);
        }
        true
    }

    /// Replaces a current task that is not over. Says whether it gets a replacement.
    fn replace(&mut self, kept: &KeptSlot<'_, 'v>, current: &Task, how: Replace) -> bool {
        let next = if is_update(how.cause) { Some(self.updated()) } else { self.after_move(current) };
        // There is no point in starting beside a task that does not run, or may not for all anybody knows.
        let runs = current.state() == TaskState::Running && !node_status::is_down_or_gone(self.view, &current.node_id);
        match next {
            Some(next) if how.order == UpdateOrder::StartFirst && runs => {
                let is_free = self.is_free(kept.tasks, Some(current));
                let replacement = self.make(kept.slot, next, is_free, how.cause, current.id.clone());
                self.planner.step_for(self.service, [Write::Create(replacement)]);
                true
            }
            next => self.shut_down_and_replace(kept, current, None, next, how.cause),
        }
    }

    /// Shuts a task down and makes the one after it in one step; none if `next` is `None`. Says whether there is one.
    fn shut_down_and_replace(
        &mut self,
        kept: &KeptSlot<'_, 'v>,
        task: &Task,
        beside: Option<&Task>,
        next: Option<RestartState>,
        cause: TaskCause,
    ) -> bool {
        let mut ended = desired(task, TaskState::Shutdown);
        let Some(next) = next else {
            ended.restart.get_or_insert_default().finished = beside.is_none();
            self.planner.step([Write::UpdateTask(ended.into())]);
            return false;
        };
        let not_before = Timestamp(next.not_before);
        if not_before > self.now {
            self.planner.wake_at(not_before);
        }
        let is_free = not_before <= self.now && self.is_free(kept.tasks, beside);
        // What is started beside a current task still replaces that one.
        let replaces = beside.unwrap_or(task).id.clone();
        let replacement = self.make(kept.slot, next, is_free, cause, replaces);
        self.planner.step_for(self.service, [Write::UpdateTask(ended.into()), Write::Create(replacement)]);
        true
    }

    /// READY → RUNNING: lets a waiting task start when it may.
    fn promote(&mut self, tasks: &SlotTasks<'v>, task: &Task, beside: Option<&Task>) {
        // The other tasks of the slot were told to stop when this one was made, or before.
        let others = self.running(tasks, beside).filter(|other| other.id != task.id);
        let patience_ends = others.map(|other| task.created_at() + stop_grace(other) + STOP_PATIENCE).max();
        match patience_ends.into_iter().chain([task.not_before()]).max().filter(|until| *until > self.now) {
            Some(until) => self.planner.wake_at(until),
            None => self.set_desired(task, self.goal()),
        }
    }

    /// The desired state of a task once it may start.
    fn goal(&self) -> TaskState {
        if self.run == 0 { TaskState::Running } else { TaskState::Complete }
    }

    /// The tasks that may still run, as far as is known, but for the one this is started beside.
    fn running(&self, tasks: &SlotTasks<'v>, beside: Option<&Task>) -> impl Iterator<Item = &'v Arc<Task>> {
        let may_run = |task: &&Arc<Task>| task.may_run() && !node_status::is_down_or_gone(self.view, &task.node_id);
        tasks.all().filter(may_run).filter(move |task| beside.is_none_or(|beside| beside.id != task.id))
    }

    fn is_free(&self, tasks: &SlotTasks<'v>, beside: Option<&Task>) -> bool {
        self.running(tasks, beside).next().is_none()
    }

    fn after_end(&self, task: &Task) -> Option<RestartState> {
        let next = restart::after_end(task, self.now)?;
        let policy = task.spec.as_ref().and_then(|spec| spec.restart.as_ref());
        let not_before = (self.now + defaults::restart_delay(policy)).as_nanos();
        Some(self.after(task, next, not_before))
    }

    fn after_move(&self, task: &Task) -> Option<RestartState> {
        let next = restart::after_move(task)?;
        let not_before = next.not_before;
        Some(self.after(task, next, not_before))
    }

    /// The restart state of the task after this one: `next`; if this one is out of date only `not_before`, since the counts
    /// begin again with a new version.
    fn after(&self, task: &Task, next: RestartState, not_before: i64) -> RestartState {
        match is_dirty(self.view, self.service, task) {
            true => RestartState { not_before, ..self.updated() },
            false => with_update_progress(self.service, task, next),
        }
    }

    /// The restart state of the first task of a new version in its slot.
    fn updated(&self) -> RestartState {
        RestartState { updated_at: self.now.as_nanos(), ..RestartState::default() }
    }

    fn make(
        &mut self,
        slot: Slot<'_>,
        restart: RestartState,
        is_free: bool,
        cause: TaskCause,
        replaces: String,
    ) -> Task {
        let desired = if is_free { self.goal() } else { TaskState::Ready };
        let task = make_task(self.service, slot, desired, restart, self.ids, self.now);
        Task { job_iteration: self.run, cause: cause.into(), replaces, ..task }
    }
}

fn stop_grace(task: &Task) -> Duration {
    let container = task.spec.as_ref().and_then(|spec| spec.container.as_ref());
    container.and_then(|container| container.stop_grace_period).map_or(limits::STOP_GRACE, duration)
}
