//! Garbage collection: removes ended tasks beyond the history limit and old revisions, and marks lost tasks ORPHANED.
//!
//! Owns the removal of tasks and revisions, and the observed state ORPHANED.
//! Invariant: a task that may still run is never removed while its node can report on it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use skep_common::{clock::Timestamp, limits};
use skep_proto::v1::{Service, Task, TaskState};
use skep_store::View;

use crate::{
    Extent, Plan, Scope, defaults, mode, node_status,
    plan::{Planner, Write},
    policy, revision,
    slot::Slot,
    task::{TaskExt, advanced},
};

/// Plans for the tasks of the services in `scope`.
pub fn plan(view: &View, scope: &Scope, now: Timestamp) -> Plan {
    let mut planner = Planner::new(view, now);
    for (id, extent) in scope.extents(view) {
        planner.about(id);
        match (view.service(id), extent) {
            // Which revisions are kept depends on all tasks.
            (Some(service), Extent::Slots(slots)) if !revision::has_many(view, id) => {
                let tasks = slots.iter().flat_map(|slot| slot.tasks(view, id));
                reap_tasks(view, Some(service), tasks, now, &mut planner);
            }
            (service, _) => {
                let named = reap_tasks(view, service, view.tasks_of_service(id), now, &mut planner);
                forget_revisions(view, id, &named, &mut planner);
            }
        }
    }
    planner.finish()
}

/// Whether a task stays in the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retention {
    /// It may still run, or is wanted.
    Stay,
    /// It is over: history, as long as the slot has room.
    History,
    /// The same, but its node is lost and will never say so.
    Orphaned,
    /// It is removed.
    Removed,
}

/// Plans for tasks of one service: for all that their slots have. Says which revisions are named by those that stay.
fn reap_tasks<'v>(
    view: &'v View,
    service: Option<&Arc<Service>>,
    tasks: impl IntoIterator<Item = &'v Arc<Task>>,
    now: Timestamp,
    planner: &mut Planner<'_>,
) -> BTreeSet<u64> {
    let is_global = service.is_some_and(|service| mode::is_global(service));
    // The runs of a schedule have a history of their own, and in each every slot.
    let is_scheduled = service.and_then(|service| service.spec.as_ref()).is_some_and(policy::is_scheduled);
    let mut slots: BTreeMap<(u64, Slot<'_>), Vec<(&Task, Retention)>> = BTreeMap::new();
    for task in tasks {
        let slot = Slot::of(task, is_global);
        if service.is_some() {
            planner.about_slot(slot);
        }
        let retention = retention(view, task, now, planner);
        let run = if is_scheduled { task.job_iteration } else { 0 };
        slots.entry((run, slot)).or_default().push((task, retention));
    }
    let mut named = BTreeSet::new();
    for tasks in slots.values_mut() {
        forget_oldest(tasks, defaults::task_history_limit(view));
        for (task, retention) in tasks {
            if *retention != Retention::Removed {
                named.insert(task.revision);
            }
            match retention {
                Retention::Stay | Retention::History => {}
                Retention::Orphaned => {
                    let message = "the node this task was on is gone or has been down too long";
                    planner.step([Write::UpdateTask(advanced(task, TaskState::Orphaned, message, now).into())]);
                }
                Retention::Removed => planner.step([Write::RemoveTask(task.id.clone())]),
            }
        }
    }
    named
}

/// Forgets the revisions of a service that are not kept any longer, where its tasks name these.
fn forget_revisions(view: &View, service_id: &str, named: &BTreeSet<u64>, planner: &mut Planner<'_>) {
    for id in revision::superseded(view, service_id, named) {
        match view.service(service_id) {
            // Somebody may go back to it meanwhile.
            Some(service) => planner.step_for(service, [Write::RemoveRevision(id)]),
            None => planner.step([Write::RemoveRevision(id)]),
        }
    }
}

fn retention(view: &View, task: &Task, now: Timestamp, planner: &mut Planner<'_>) -> Retention {
    if task.is_wanted() {
        return Retention::Stay;
    }
    let lost = task.may_run() && is_lost(view, task, now, planner);
    if task.may_run() && !lost {
        Retention::Stay
    } else if task.is_leaving() || !(task.may_run() || task.is_terminal()) {
        // A task no node was ever told of leaves nothing to look back at.
        Retention::Removed
    } else if lost {
        Retention::Orphaned
    } else {
        Retention::History
    }
}

/// Whether a task's node is gone, or has been down for so long that the task is given up.
fn is_lost(view: &View, task: &Task, now: Timestamp, planner: &mut Planner<'_>) -> bool {
    let Some(node) = view.node(&task.node_id) else { return true };
    if !node_status::is_down(node) {
        return false;
    }
    let since = Timestamp(node.status.as_ref().map_or(0, |status| status.since));
    let given_up = since + limits::ORPHAN_AFTER;
    if given_up > now {
        planner.wake_at(given_up);
    }
    given_up <= now
}

/// Keeps so many tasks of a slot, the present one included, and forgets the oldest. The last one of a finished slot
/// stays in any case: it is what says that the slot is finished.
fn forget_oldest(tasks: &mut [(&Task, Retention)], limit: usize) {
    // Of a job's slot it is the task of the newest run that completed.
    let done = |task: &Task| task.job_iteration != 0 && task.state() == TaskState::Complete;
    tasks.sort_by_key(|(task, _)| {
        Reverse((task.is_wanted(), task.job_iteration, done(task), task.is_last(), task.created_at(), &task.id))
    });
    let mut kept = 0;
    for (task, retention) in tasks.iter_mut() {
        let over = kept >= limit.max(1) && matches!(retention, Retention::History | Retention::Orphaned);
        if over {
            *retention = Retention::Removed;
        } else if *retention != Retention::Removed && !task.is_leaving() {
            kept += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use skep_proto::v1::{Node, NodeState, NodeStatus, TaskStatus};
    use skep_store::TxBuilder;

    use super::*;

    const DOWN_SINCE: Timestamp = Timestamp::from_secs(1000);

    /// One task, on a node that is in this state, or on none that exists.
    fn view(node: Option<NodeState>, state: TaskState, desired: TaskState) -> View {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        tx.create(Service { id: "s".into(), ..Service::default() });
        if let Some(state) = node {
            let status = NodeStatus { state: state.into(), since: DOWN_SINCE.as_nanos(), ..NodeStatus::default() };
            tx.create(Node { id: "n".into(), status: Some(status), ..Node::default() });
        }
        tx.create(Task {
            id: "t".into(),
            service_id: "s".into(),
            slot: 1,
            node_id: "n".into(),
            status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
            desired_state: desired.into(),
            ..Task::default()
        });
        empty.apply(1, &tx.build()).unwrap().0
    }

    /// What becomes of the task, and when there is something to do if not now.
    fn reaped(view: &View, now: Timestamp) -> (Option<TaskState>, Option<Timestamp>) {
        let plan = plan(view, &Scope::All, now);
        let after = plan.transactions.iter().fold(view.clone(), |view, tx| view.apply(2, tx).unwrap().0);
        (after.task("t").map(|task| task.state()), plan.wake_at())
    }

    #[test]
    fn what_says_that_a_jobs_place_is_done_outlives_what_failed_after_it() {
        let ended = |id: String, state: TaskState, iteration| Task {
            id,
            service_id: "s".into(),
            job_iteration: iteration,
            status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
            desired_state: TaskState::Shutdown.into(),
            ..Task::default()
        };
        // One of a service that runs on has no such privilege.
        for iteration in [0, 1] {
            let mut view = View::default();
            for nth in 0..7 {
                let state = if nth == 0 { TaskState::Complete } else { TaskState::Failed };
                let mut tx = TxBuilder::new(&view, Timestamp(10 + nth));
                tx.create(ended(format!("{iteration}-{nth}"), state, iteration));
                view = view.apply(view.version() + 1, &tx.build()).unwrap().0;
            }
            let after = plan(&view, &Scope::All, Timestamp(99));
            let after = after.transactions.iter().fold(view.clone(), |view, tx| view.apply(99, tx).unwrap().0);
            let kept: Vec<&str> = after.tasks().map(|task| task.id.as_str()).collect();
            let expected = match iteration {
                0 => vec!["0-2", "0-3", "0-4", "0-5", "0-6"],
                _ => vec!["1-0", "1-3", "1-4", "1-5", "1-6"],
            };
            assert_eq!(kept, expected);
        }
    }

    #[test]
    fn who_is_on_its_way_out_takes_no_room_in_the_history() {
        let task = |nth: i64, state: TaskState, desired: TaskState| Task {
            id: nth.to_string(),
            service_id: "s".into(),
            slot: 1,
            node_id: "n".into(),
            status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
            desired_state: desired.into(),
            ..Task::default()
        };
        let status = Some(NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() });
        let mut view = View::default();
        let mut tx = TxBuilder::new(&view, Timestamp(1));
        tx.create(Service { id: "s".into(), ..Service::default() });
        tx.create(Node { id: "n".into(), status, ..Node::default() });
        view = view.apply(1, &tx.build()).unwrap().0;
        for nth in 0..7 {
            let mut tx = TxBuilder::new(&view, Timestamp(10 + nth));
            tx.create(match nth {
                6 => task(nth, TaskState::Running, TaskState::Remove),
                _ => task(nth, TaskState::Failed, TaskState::Shutdown),
            });
            view = view.apply(view.version() + 1, &tx.build()).unwrap().0;
        }
        let plan = plan(&view, &Scope::All, Timestamp(99));
        let after = plan.transactions.iter().fold(view.clone(), |view, tx| view.apply(99, tx).unwrap().0);
        let kept: Vec<&str> = after.tasks().map(|task| task.id.as_str()).collect();
        assert_eq!(kept, ["1", "2", "3", "4", "5", "6"]);
    }

    #[test]
    fn what_may_run_is_given_up_when_its_node_has_been_down_for_a_day_or_is_gone() {
        use TaskState::{Failed, New, Orphaned, Remove, Running, Shutdown};
        let (down, up) = (Some(NodeState::Down), Some(NodeState::Ready));
        let day = DOWN_SINCE + limits::ORPHAN_AFTER;
        let before = day - Duration::from_nanos(1);
        let years = DOWN_SINCE + limits::ORPHAN_AFTER * 1000;
        for (node, state, desired, now, expected, wake_at) in [
            (down, Running, Shutdown, before, Some(Running), Some(day)),
            (down, Running, Shutdown, day, Some(Orphaned), None),
            (down, Running, Remove, before, Some(Running), Some(day)),
            (down, Running, Remove, day, None, None),
            (down, Running, Running, day, Some(Running), None),
            (up, Running, Shutdown, years, Some(Running), None),
            (Some(NodeState::Unknown), Running, Shutdown, years, Some(Running), None),
            (Some(NodeState::Disconnected), Running, Shutdown, years, Some(Running), None),
            (up, Running, Remove, day, Some(Running), None),
            (None, Running, Shutdown, before, Some(Orphaned), None),
            (None, Running, Remove, before, None, None),
            (up, Failed, Shutdown, day, Some(Failed), None),
            (up, Failed, Remove, day, None, None),
            (up, New, Shutdown, day, None, None),
        ] {
            let view = view(node, state, desired);
            assert_eq!(reaped(&view, now), (expected, wake_at), "{node:?} {state:?} {desired:?} {now:?}");
        }
    }
}
