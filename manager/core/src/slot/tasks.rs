//! The tasks of a service, by slot.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use skep_proto::v1::Task;
use skep_store::View;

use crate::{slot::Slot, task::TaskExt};

/// A service's tasks by slot; of a job those of one run, of other services `run` is 0.
pub(crate) fn slots_of<'v>(
    view: &'v View,
    service_id: &str,
    run: u64,
    global: bool,
) -> BTreeMap<Slot<'v>, SlotTasks<'v>> {
    let mut slots: BTreeMap<Slot<'v>, SlotTasks<'v>> = BTreeMap::new();
    for task in view.tasks_of_service(service_id).filter(|task| task.job_iteration == run) {
        slots.entry(Slot::of(task, global)).or_default().add(task);
    }
    slots
}

/// The tasks of one slot of a service.
#[derive(Debug, Default)]
pub(crate) struct SlotTasks<'a> {
    /// Tasks that count, also ended ones that are kept as history; by id.
    pub(crate) staying: Vec<&'a Arc<Task>>,
    /// Tasks being removed.
    pub(crate) leaving: Vec<&'a Arc<Task>>,
}

impl<'a> SlotTasks<'a> {
    /// Of tasks that all are of one slot.
    pub(crate) fn of(tasks: impl IntoIterator<Item = &'a Arc<Task>>) -> Self {
        let mut slot = Self::default();
        tasks.into_iter().for_each(|task| slot.add(task));
        slot
    }

    fn add(&mut self, task: &'a Arc<Task>) {
        if task.is_leaving() { self.leaving.push(task) } else { self.staying.push(task) }
    }

    /// The wanted task; of several the one with the latest state.
    pub(crate) fn wanted(&self) -> Option<&'a Arc<Task>> {
        let wanted = self.staying.iter().copied().filter(|task| task.is_wanted());
        wanted.max_by_key(|task| (!task.is_terminal(), task.state(), Reverse(&task.id)))
    }

    /// The last task of a finished slot. A replacement that failed beside it does not count, even if it was made later.
    pub(crate) fn last(&self) -> Option<&'a Arc<Task>> {
        let is_replaced = |task: &Task| self.staying.iter().any(|other| other.replaces == task.id);
        let lateness = |task: &Task| (task.is_last(), !is_replaced(task), task.created_at());
        self.staying.iter().copied().max_by_key(|task| (lateness(task), Reverse(&task.id)))
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'a Arc<Task>> {
        self.staying.iter().chain(&self.leaving).copied()
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Meta, RestartState};

    use super::*;

    #[test]
    fn a_finished_slot_ended_with_what_nothing_was_to_follow_however_late_another_was_tried() {
        let made = |id: &str, created_at, finished| {
            Arc::new(Task {
                id: id.into(),
                meta: Some(Meta { created_at, ..Meta::default() }),
                restart: Some(RestartState { finished, ..RestartState::default() }.into()),
                ..Task::default()
            })
        };
        let (before, last, tried) = (made("a", 1, false), made("b", 2, true), made("c", 3, false));
        let tasks = SlotTasks { staying: vec![&before, &last, &tried], leaving: Vec::new() };
        assert_eq!(tasks.last().unwrap().id, "b");
        let unfinished = SlotTasks { staying: vec![&tried, &before], leaving: Vec::new() };
        assert_eq!(unfinished.last().unwrap().id, "c");
        // By a clock that went back what came after was made before.
        let after = Arc::new(Task { replaces: "c".into(), ..Task::clone(&before) });
        let replaced = SlotTasks { staying: vec![&after, &tried], leaving: Vec::new() };
        assert_eq!(replaced.last().unwrap().id, "a");
    }
}
