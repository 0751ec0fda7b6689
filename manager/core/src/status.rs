//! Task status reports of the agents: which are accepted. Forward only, and only from the node the task is assigned to.
//!
//! Owns the observed state from ACCEPTED on (`Task.status` as a whole, once a node has the task), but for ORPHANED.
//! Invariants: whatever a node reports, in whatever order, twice or late, the observed state only grows; `running_at` is
//! when RUNNING was accepted, and later reports keep it; a container id is kept only where it does not follow from the
//! task's.

use std::collections::BTreeMap;

use skep_common::{clock::Timestamp, id::container_id_of_task};
use skep_proto::v1::{Task, TaskState, TaskStatus, TaskStatusUpdate};
use skep_store::View;

use crate::{
    Plan,
    plan::{Planner, Write},
    task::TaskExt,
};

/// Longest message or error kept of a report, in bytes.
pub const MAX_TEXT: usize = 4096;

/// One report, with the node whose session it came by.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The reporting node, by its certificate.
    pub node_id: String,
    /// What it reports.
    pub update: TaskStatusUpdate,
}

/// A report a node had no right to make.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {node_id} reported on task {task_id}, which is not its own")]
pub struct NotItsTask {
    /// Who reported.
    pub node_id: String,
    /// On what.
    pub task_id: String,
}

/// Whether a node may make these reports at all; asked before they are queued. Reports on tasks that were removed pass
/// here, and [`plan`] leaves them out.
///
/// # Errors
/// When a task is another node's.
pub fn check(view: &View, node_id: &str, updates: &[TaskStatusUpdate]) -> Result<(), NotItsTask> {
    let foreign = |update: &&TaskStatusUpdate| view.task(&update.task_id).is_some_and(|task| task.node_id != node_id);
    updates
        .iter()
        .find(foreign)
        .map_or(Ok(()), |update| Err(NotItsTask { node_id: node_id.to_owned(), task_id: update.task_id.clone() }))
}

/// Writes what is new in a batch of reports. On a conflict plan again with the same reports on a newer view.
pub fn plan<'r>(view: &View, reports: impl IntoIterator<Item = &'r Report>, now: Timestamp) -> Plan {
    let mut news: BTreeMap<&str, (&Task, &TaskStatus)> = BTreeMap::new();
    for report in reports {
        let Some(task) = view.task(&report.update.task_id).filter(|task| task.node_id == report.node_id) else {
            continue;
        };
        let Some(status) = &report.update.status else { continue };
        let known = news.get(task.id.as_str()).map_or(task.state(), |(_, status)| status.state());
        if is_agents(status.state()) && status.state() > known && task.state() >= TaskState::Assigned {
            news.insert(&task.id, (task, status));
        }
    }
    let mut planner = Planner::of_independent_steps(view, now);
    for (task, status) in news.into_values() {
        planner.step_one(Write::UpdateTask(with_status(task, status, now).into()));
    }
    planner.finish()
}

/// Whether a state is one an agent may report.
fn is_agents(state: TaskState) -> bool {
    (TaskState::Accepted..=TaskState::Rejected).contains(&state)
}

fn with_status(task: &Task, status: &TaskStatus, now: Timestamp) -> Task {
    let mut status = status.clone();
    cut(&mut status.message);
    cut(&mut status.err);
    if let Some(container) = &mut status.container
        && container.container_id == container_id_of_task(&task.id)
    {
        container.container_id = String::new();
    }
    status.applied_at = now.as_nanos();
    status.running_at = task.running_at().map_or(0, Timestamp::as_nanos);
    if status.state() == TaskState::Running {
        status.running_at = now.as_nanos();
    }
    if status.state() < TaskState::Starting && task.waits_in_backoff(now) {
        status.message = task.status.as_ref().map_or_else(String::new, |known| known.message.clone());
    }
    Task { status: Some(status), ..task.clone() }
}

fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use skep_proto::v1::{Cluster, ContainerStatus, RestartState};
    use skep_store::TxBuilder;

    use super::*;

    fn view(state: TaskState) -> View {
        let status = TaskStatus { state: state.into(), ..TaskStatus::default() };
        let task = Task { id: "t".into(), node_id: "n".into(), status: Some(status), ..Task::default() };
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        tx.create(task);
        let tx = tx.build();
        empty.apply(1, &tx).unwrap().0
    }

    fn report(node: &str, state: TaskState) -> Report {
        let status = TaskStatus { state: state.into(), ..TaskStatus::default() };
        Report { node_id: node.into(), update: TaskStatusUpdate { task_id: "t".into(), status: Some(status) } }
    }

    fn apply(view: &View, reports: &[Report]) -> View {
        plan(view, reports, Timestamp(7))
            .transactions
            .iter()
            .fold(view.clone(), |view, tx| view.apply(view.version() + 1, tx).unwrap().0)
    }

    #[test]
    fn a_report_on_a_task_that_moved_on_holds_up_no_other() {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        tx.create(Cluster { id: "c".into(), feature_level: 1, ..Cluster::default() });
        for id in ["t", "u"] {
            let status = TaskStatus { state: TaskState::Assigned.into(), ..TaskStatus::default() };
            tx.create(Task { id: id.into(), node_id: "n".into(), status: Some(status), ..Task::default() });
        }
        let tx = tx.build();
        let seen = empty.apply(1, &tx).unwrap().0;
        let mut other = report("n", TaskState::Running);
        other.update.task_id = "u".into();
        let reports = [report("n", TaskState::Running), other];
        let planned = plan(&seen, &reports, Timestamp(7)).transactions;

        let mut tx = TxBuilder::new(&seen, Timestamp(2));
        let task = seen.task("t").unwrap();
        tx.update(Task { desired_state: TaskState::Shutdown.into(), ..Task::clone(task) });
        let tx = tx.build();
        let (met, changes) = seen.apply(2, &tx).unwrap().0.apply(3, &planned[0]).unwrap();
        let state = |view: &View, id: &str| view.task(id).unwrap().state();
        assert_eq!(
            (changes.refused.len(), state(&met, "t"), state(&met, "u")),
            (1, TaskState::Assigned, TaskState::Running)
        );
        // The same reports again: what is written is no news.
        let again = plan(&met, &reports, Timestamp(8)).transactions;
        assert_eq!((again.len(), again[0].actions.len()), (1, 1));
        assert_eq!(state(&met.apply(4, &again[0]).unwrap().0, "t"), TaskState::Running);
    }

    #[test]
    fn only_news_from_the_tasks_own_node_is_taken_in() {
        use TaskState::*;
        for (from, report, expected) in [
            (Assigned, report("n", Running), Running),
            (Assigned, report("m", Running), Assigned),
            (Running, report("n", Preparing), Running),
            (Running, report("n", Failed), Failed),
            (Running, report("n", Orphaned), Running),
            (Running, report("n", Remove), Running),
            (Assigned, report("n", Assigned), Assigned),
            // Not yet the node's to report on.
            (Pending, report("n", Running), Pending),
        ] {
            assert_eq!(
                apply(&view(from), std::slice::from_ref(&report)).task("t").unwrap().state(),
                expected,
                "{report:?}"
            );
        }
    }

    #[test]
    fn a_state_that_is_known_is_no_news() {
        let again = plan(&view(TaskState::Running), &[report("n", TaskState::Running)], Timestamp(9));
        assert_eq!(again, Plan::default(), "it would move the moment the task ran from");
        let mut twice = [report("n", TaskState::Running), report("n", TaskState::Running)];
        twice[1].update.status.get_or_insert_default().message = "again".into();
        let next = apply(&view(TaskState::Assigned), &twice);
        assert_eq!(next.task("t").unwrap().status.as_ref().unwrap().message, "", "what was said first stays");
    }

    #[test]
    fn the_furthest_report_of_a_batch_counts_and_says_when() {
        let next = apply(
            &view(TaskState::Assigned),
            &[report("n", TaskState::Running), report("n", TaskState::Accepted), report("n", TaskState::Starting)],
        );
        let task = next.task("t").unwrap();
        assert_eq!((task.state(), task.observed_at()), (TaskState::Running, Timestamp(7)));
    }

    #[test]
    fn when_a_task_ran_outlives_its_end_and_a_run_nobody_saw_was_none() {
        let running = plan(&view(TaskState::Assigned), &[report("n", TaskState::Running)], Timestamp(7)).transactions;
        let view_of_running = view(TaskState::Assigned).apply(2, &running[0]).unwrap().0;
        let failed = plan(&view_of_running, &[report("n", TaskState::Failed)], Timestamp(9)).transactions;
        let task = view_of_running.apply(3, &failed[0]).unwrap().0.task("t").unwrap().clone();
        assert_eq!((task.running_at(), task.observed_at()), (Some(Timestamp(7)), Timestamp(9)));

        let at_once =
            apply(&view(TaskState::Assigned), &[report("n", TaskState::Running), report("n", TaskState::Failed)]);
        assert_eq!(at_once.task("t").unwrap().running_at(), None);
    }

    #[test]
    fn a_task_in_backoff_says_so_until_its_start_is_due() {
        let told = |failed_in_a_row, now: i64, state| {
            let before = view(TaskState::Assigned);
            let mut task = Task::clone(before.task("t").unwrap());
            task.restart = Some(RestartState { failed_in_a_row, not_before: 9, ..RestartState::default() }.into());
            task.status.get_or_insert_default().message = "in backoff".into();
            let mut tx = TxBuilder::new(&before, Timestamp(1));
            tx.update(task);
            let before = before.apply(2, &tx.build()).unwrap().0;
            let mut report = report("n", state);
            report.update.status.get_or_insert_default().message = "prepared".into();
            let plan = plan(&before, &[report], Timestamp(now));
            let after = before.apply(3, &plan.transactions[0]).unwrap().0;
            after.task("t").unwrap().status.clone().unwrap().message
        };
        assert_eq!(told(2, 7, TaskState::Ready), "in backoff");
        assert_eq!(told(2, 9, TaskState::Ready), "prepared");
        assert_eq!(told(1, 7, TaskState::Ready), "prepared");
        assert_eq!(told(2, 7, TaskState::Starting), "prepared", "it does start");
        assert_eq!(told(2, 7, TaskState::Rejected), "prepared");
    }

    #[test]
    fn a_container_id_that_follows_from_the_task_is_not_kept() {
        let kept = |id: &str| {
            let mut report = report("n", TaskState::Running);
            let container = ContainerStatus { container_id: id.into(), pid: 7, ..ContainerStatus::default() };
            report.update.status.get_or_insert_default().container = Some(container);
            let next = apply(&view(TaskState::Assigned), &[report]);
            let container = next.task("t").unwrap().status.clone().unwrap().container.unwrap();
            (container.container_id, container.pid)
        };
        assert_eq!(kept(&container_id_of_task("t")), (String::new(), 7));
        assert_eq!(kept(&container_id_of_task("u")), (container_id_of_task("u"), 7));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut report = report("n", TaskState::Failed);
        report.update.status.as_mut().unwrap().err = "é".repeat(MAX_TEXT);
        let next = apply(&view(TaskState::Assigned), &[report]);
        let err = &next.task("t").unwrap().status.as_ref().unwrap().err;
        assert_eq!(err.len(), MAX_TEXT);
    }

    #[test]
    fn another_nodes_task_is_refused_and_a_forgotten_one_is_not() {
        let view = view(TaskState::Running);
        let update = |id: &str| TaskStatusUpdate { task_id: id.into(), status: None };
        assert_eq!(check(&view, "n", &[update("t"), update("forgotten")]), Ok(()));
        let refused = check(&view, "m", &[update("t")]).unwrap_err();
        assert_eq!(refused.to_string(), "node m reported on task t, which is not its own");
    }

    proptest! {
        #[test]
        fn states_never_go_back(states in proptest::collection::vec(any::<i32>().prop_map(|n| n.rem_euclid(900)), 0..40)) {
            let mut view = view(TaskState::Assigned);
            for state in states {
                // Numbers between the named states, too: what is not a state is not news.
                let status = TaskStatus { state, ..TaskStatus::default() };
                let update = TaskStatusUpdate { task_id: "t".into(), status: Some(status) };
                let next = apply(&view, &[Report { node_id: "n".into(), update }]);
                prop_assert!(next.task("t").unwrap().state() >= view.task("t").unwrap().state());
                view = next;
            }
        }
    }
}
