//! Which task of a slot is the current one, and whether it is being replaced.
//!
//! Usually one task of a slot is wanted: the *current* one. With start-first order there are two for a while: the
//! *replacement* names the current task in `Task.replaces` and takes over when it runs or, where a failed update is to be
//! rolled back, when it has run for the [monitor period](crate::rollout::update_policy::monitored_until).
//!
//! Invariants: which task is current follows from the state alone, and telling the others to stop does not change it; a
//! current task gives way to its replacement only when that runs, or when the current one is of no more use.

use std::{sync::Arc, time::Duration};

use skep_common::clock::Timestamp;
use skep_proto::v1::{Service, Task, TaskState, UpdateState};

use crate::{
    enforcer::Nodes,
    node_status, restart,
    rollout::update_policy::monitored_until,
    slot::{Slot, tasks::SlotTasks},
    task::TaskExt,
    update::is_dirty,
};

/// A current task that has to leave its node, and whose replacement the restart policy gave up, gets another after this.
pub(crate) const RETRY: Duration = Duration::from_secs(60);

/// A slot the service keeps, and the tasks wanted in it.
#[derive(Debug)]
pub(crate) struct KeptSlot<'t, 'v> {
    pub(crate) slot: Slot<'v>,
    pub(crate) tasks: &'t SlotTasks<'v>,
    /// `None` when the slot is finished: its last task is over, and the restart policy wanted no other.
    pub(crate) current: Option<&'v Arc<Task>>,
    /// Takes over from the current task as soon as it runs.
    pub(crate) replacement: Option<&'v Arc<Task>>,
    /// Wanted tasks that should not be: to be shut down.
    pub(crate) surplus: Vec<&'v Arc<Task>>,
}

impl<'t, 'v> KeptSlot<'t, 'v> {
    /// Which tasks of a slot are current and replacement.
    pub(crate) fn of(
        nodes: &Nodes<'_>,
        service: &Service,
        slot: Slot<'v>,
        tasks: &'t SlotTasks<'v>,
        now: Timestamp,
    ) -> Self {
        let wanted: Vec<&'v Arc<Task>> = tasks.staying.iter().copied().filter(|task| task.is_wanted()).collect();
        let pair = wanted.iter().find_map(|replacement| {
            let current = wanted.iter().find(|current| current.id == replacement.replaces)?;
            Some((*current, *replacement))
        });
        let (current, replacement) = match pair {
            None => (tasks.wanted(), None),
            Some((current, replacement)) => match Stays::of(nodes, service, current, replacement, now) {
                Stays::Both => (Some(current), Some(replacement)),
                Stays::Current => (Some(current), None),
                Stays::Replacement => (Some(replacement), None),
            },
        };
        let holds = |task: &Arc<Task>| [current, replacement].into_iter().flatten().any(|other| other.id == task.id);
        let surplus = wanted.iter().copied().filter(|task| !holds(task)).collect();
        Self { slot, tasks, current, replacement, surplus }
    }

    /// The last task made for the slot.
    pub(crate) fn newest(&self) -> Option<&'v Arc<Task>> {
        self.replacement.or(self.current).or_else(|| self.tasks.last())
    }

    /// Whether there is one task, and it runs. What is surplus does not matter: it is being told to stop.
    pub(crate) fn has_converged(&self) -> bool {
        self.replacement.is_none() && self.current.is_some_and(|task| task.state() == TaskState::Running)
    }
}

/// Which of a current task and its replacement stay.
enum Stays {
    Both,
    Current,
    Replacement,
}

impl Stays {
    fn of(nodes: &Nodes<'_>, service: &Service, current: &Task, replacement: &Task, now: Timestamp) -> Self {
        let view = nodes.view;
        if current.is_terminal() || node_status::is_down_or_gone(view, &current.node_id) {
            return Self::Replacement;
        }
        let runs = replacement.state() == TaskState::Running;
        if is_dirty(view, service, replacement) {
            // The spec has changed again; a current task that is up to date stays.
            return if runs && is_dirty(view, service, current) { Self::Replacement } else { Self::Current };
        }
        let must_leave = nodes.eviction_reason(service, current).is_some();
        if runs {
            let is_monitored = monitored_until(service, replacement).is_some_and(|until| until > now);
            return if is_monitored && !must_leave { Self::Both } else { Self::Replacement };
        }
        if is_given_up(replacement, now) {
            let is_retried = must_leave && replacement.observed_at() + RETRY <= now;
            return match replacement.state() {
                TaskState::Complete => Self::Replacement,
                // Another replacement is due.
                _ if is_retried || began_after(service, replacement) => Self::Current,
                // The restart policy wants none.
                _ if must_leave && restart::after_move(current).is_none() => Self::Replacement,
                _ => Self::Both,
            };
        }
        // The restart policy wants every task to run once at most, so a moved replacement would never start.
        let is_stranded =
            nodes.eviction_reason(service, replacement).is_some() && restart::after_move(replacement).is_none();
        if is_stranded && !replacement.is_terminal() { Self::Current } else { Self::Both }
    }
}

/// Whether a task is over and the restart policy wants no other. Beside a current task that still runs such a task is kept:
/// it records that the update of the slot has failed.
pub(crate) fn is_given_up(task: &Task, now: Timestamp) -> bool {
    task.is_terminal() && task.not_before() <= now && restart::after_end(task, now).is_none()
}

/// Whether the update in force began after the task was made.
fn began_after(service: &Service, task: &Task) -> bool {
    service.update_status.as_ref().is_some_and(|status| {
        let is_under_way = matches!(status.state(), UpdateState::Updating | UpdateState::RollbackStarted);
        is_under_way && Timestamp(status.started_at) > task.created_at()
    })
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{
        Availability, Node, NodeSpec, NodeState, NodeStatus, RestartCondition, RestartPolicy, TaskSpec, TaskStatus,
    };
    use skep_store::{TxBuilder, View};

    use super::*;

    #[test]
    fn a_replacement_that_can_neither_stay_nor_be_replaced_gives_way_to_the_current_task() {
        let node = |id: &str, availability: Availability| Node {
            id: id.into(),
            spec: Some(NodeSpec { availability: availability.into(), ..NodeSpec::default() }),
            status: Some(NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() }),
            ..Node::default()
        };
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        tx.create(node("active", Availability::Active)).create(node("drained", Availability::Drain));
        let view = empty.apply(1, &tx.build()).unwrap().0;
        let task = |id: &str, node: &str, state: TaskState, condition: RestartCondition| {
            let restart = Some(RestartPolicy { condition: condition.into(), ..RestartPolicy::default() });
            Arc::new(Task {
                id: id.into(),
                node_id: node.into(),
                spec: Some(TaskSpec { restart, ..TaskSpec::default() }.into()),
                status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
                desired_state: TaskState::Running.into(),
                replaces: if id == "new" { "old".into() } else { String::new() },
                ..Task::default()
            })
        };
        let (once, always) = (RestartCondition::None, RestartCondition::Any);
        for (condition, is_surplus) in [(once, true), (always, false)] {
            let old = task("old", "active", TaskState::Running, condition);
            let new = task("new", "drained", TaskState::Preparing, condition);
            let tasks = SlotTasks { staying: vec![&old, &new], leaving: Vec::new() };
            let kept = KeptSlot::of(&Nodes::of(&view), &Service::default(), Slot::Number(1), &tasks, Timestamp(2));
            assert_eq!(kept.current.unwrap().id, "old");
            let (replacement, surplus) = if is_surplus { (None, vec![&new]) } else { (Some(&new), Vec::new()) };
            assert_eq!((kept.replacement, kept.surplus), (replacement, surplus), "{condition:?}");
        }
    }
}
