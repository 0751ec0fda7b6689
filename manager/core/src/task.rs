//! One task: its observed and its desired state, and how it is made.
//!
//! The observed state (`status.state`) only grows: the allocator and the scheduler move it up to ASSIGNED, from there on the
//! node's agent does, and the reaper sets ORPHANED on lost tasks. The desired state is the orchestrator's and only grows
//! too: READY → RUNNING → SHUTDOWN → REMOVE, and for a task of a job READY → COMPLETE → SHUTDOWN → REMOVE.

use skep_common::{clock::Timestamp, id::Ids};
use skep_proto::v1::{Endpoint, RestartState, Service, Task, TaskState, TaskStatus};
use skep_store::lifecycle;

use crate::{feature_level, slot::Slot};

/// Questions about a task.
pub trait TaskExt {
    /// The observed state.
    fn state(&self) -> TaskState;

    /// Whether its desired state is to run, or to be ready to. A job's task is wanted until it has completed; from then on
    /// it only records that its slot is done.
    fn is_wanted(&self) -> bool;

    /// Whether the task is being removed: history does not keep it and its slot does not count it.
    fn is_leaving(&self) -> bool;

    /// Whether the observed state is final.
    fn is_terminal(&self) -> bool;

    /// Whether a node was told to run it and has not reported its end: a container may exist, and its reserved resources
    /// are taken.
    fn may_run(&self) -> bool;

    /// When a leader accepted the report of the present state; for a state no agent reports, when it was entered.
    fn observed_at(&self) -> Timestamp;

    /// When it was made.
    fn created_at(&self) -> Timestamp;

    /// When a leader accepted that it runs; `None` when it never ran, or ended before it was reported.
    fn running_at(&self) -> Option<Timestamp>;

    /// When it may become RUNNING at the earliest.
    fn not_before(&self) -> Timestamp;

    /// Whether the restart policy wanted no replacement when it ended: it marks its slot as finished.
    fn is_last(&self) -> bool;

    /// Whether its start is delayed by the restart backoff.
    fn waits_in_backoff(&self, now: Timestamp) -> bool;
}

impl TaskExt for Task {
    fn state(&self) -> TaskState {
        lifecycle::state(self)
    }

    fn is_wanted(&self) -> bool {
        lifecycle::is_wanted(self)
    }

    fn is_leaving(&self) -> bool {
        self.desired_state() >= TaskState::Remove
    }

    fn is_terminal(&self) -> bool {
        self.state() > TaskState::Running
    }

    fn may_run(&self) -> bool {
        lifecycle::may_run(self)
    }

    fn observed_at(&self) -> Timestamp {
        let status = self.status.as_ref();
        Timestamp(status.map_or(0, |s| if s.applied_at != 0 { s.applied_at } else { s.timestamp }))
    }

    fn created_at(&self) -> Timestamp {
        Timestamp(self.meta.map_or(0, |meta| meta.created_at))
    }

    fn running_at(&self) -> Option<Timestamp> {
        self.status.as_ref().map(|status| Timestamp(status.running_at)).filter(|at| *at > Timestamp::ZERO)
    }

    fn not_before(&self) -> Timestamp {
        Timestamp(self.restart.as_ref().map_or(0, |restart| restart.not_before))
    }

    fn is_last(&self) -> bool {
        self.restart.as_ref().is_some_and(|restart| restart.finished)
    }

    fn waits_in_backoff(&self, now: Timestamp) -> bool {
        self.not_before() > now && self.restart.as_ref().is_some_and(|restart| restart.failed_in_a_row > 1)
    }
}

/// A task with what all new tasks of a service have in common.
pub(crate) fn specimen(service: &Service) -> Task {
    let spec = service.spec.clone().unwrap_or_default();
    Task {
        service_id: service.id.clone(),
        feature_level: spec.task.as_deref().map_or(0, feature_level::of_task),
        spec: spec.task,
        revision: service.revision,
        service: spec.annotations,
        endpoint: spec.endpoint.map(|endpoint| Endpoint { spec: Some(endpoint) }),
        ..Task::default()
    }
}

/// A new task of a service, in state NEW.
pub fn make_task(
    service: &Service,
    slot: Slot<'_>,
    desired: TaskState,
    restart: RestartState,
    ids: &mut dyn Ids,
    now: Timestamp,
) -> Task {
    let message = match restart.failed_in_a_row {
        failures if failures > 1 && restart.not_before > now.as_nanos() => {
            format!("restarting in backoff after {failures} failures")
        }
        _ => "created".into(),
    };
    let (slot, node_id) = match slot {
        Slot::Number(number) => (number, String::new()),
        Slot::Node(node_id) => (0, node_id.to_owned()),
    };
    Task {
        id: ids.next_id(),
        slot,
        node_id,
        status: Some(TaskStatus {
            state: TaskState::New.into(),
            timestamp: now.as_nanos(),
            message,
            ..TaskStatus::default()
        }),
        desired_state: desired.into(),
        restart: Some(restart).filter(|restart| *restart != RestartState::default()).map(Into::into),
        ..specimen(service)
    }
}

/// The task with a later observed state: see [`advance`].
pub(crate) fn advanced(task: &Task, state: TaskState, message: &str, now: Timestamp) -> Task {
    let mut task = task.clone();
    advance(&mut task, state, message, now);
    task
}

/// Moves a task to a later observed state; an earlier one changes nothing. A task in backoff keeps its message that says so.
pub(crate) fn advance(task: &mut Task, state: TaskState, message: &str, now: Timestamp) {
    let in_backoff = task.waits_in_backoff(now);
    if state > task.state() {
        let status = task.status.get_or_insert_default();
        status.set_state(state);
        status.timestamp = now.as_nanos();
        if !in_backoff {
            message.clone_into(&mut status.message);
        }
        status.err.clear();
    }
}

/// The task with a later desired state; an earlier one changes nothing.
pub(crate) fn desired(task: &Task, desired: TaskState) -> Task {
    let mut task = task.clone();
    task.set_desired_state(desired.max(task.desired_state()));
    task
}

#[cfg(test)]
mod tests {
    use skep_common::id::SeededIds;
    use skep_proto::v1::{Annotations, EndpointSpec, PortConfig, ServiceSpec};

    use super::*;

    #[test]
    fn a_made_task_carries_what_it_is_made_from() {
        let annotations = Annotations { name: "web".into(), ..Annotations::default() };
        let endpoint = EndpointSpec { ports: vec![PortConfig { published: 80, ..Default::default() }], mode: 0 };
        let service = Service {
            id: "s1".into(),
            spec: Some(ServiceSpec {
                annotations: Some(annotations.clone().into()),
                endpoint: Some(endpoint.clone().into()),
                ..ServiceSpec::default()
            }),
            revision: 7,
            ..Service::default()
        };
        let ids = &mut SeededIds::new(1);
        let slotted =
            make_task(&service, Slot::Number(3), TaskState::Running, RestartState::default(), ids, Timestamp(9));
        assert_eq!((slotted.service_id.as_str(), slotted.slot, slotted.node_id.as_str()), ("s1", 3, ""));
        assert_eq!((slotted.state(), slotted.desired_state()), (TaskState::New, TaskState::Running));
        assert_eq!(slotted.observed_at(), Timestamp(9));
        assert_eq!((slotted.revision, slotted.service.as_deref()), (7, Some(&annotations)));
        assert_eq!(slotted.endpoint, Some(Endpoint { spec: Some(endpoint.into()) }));

        let global =
            make_task(&service, Slot::Node("n1"), TaskState::Ready, RestartState::default(), ids, Timestamp(9));
        assert_eq!((global.slot, global.node_id.as_str()), (0, "n1"));
        assert_ne!(global.id, slotted.id);
        assert_eq!(Slot::of(&global, true), Slot::Node("n1"));
        assert_eq!(Slot::of(&slotted, false), Slot::Number(3));
    }

    #[test]
    fn a_task_that_waits_for_its_start_after_failures_says_so() {
        let said = |failed_in_a_row, not_before| {
            let restart = RestartState { failed_in_a_row, not_before, ..RestartState::default() };
            let ids = &mut SeededIds::new(1);
            let made = make_task(&Service::default(), Slot::Number(1), TaskState::Ready, restart, ids, Timestamp(9));
            made.status.unwrap().message
        };
        assert_eq!(said(2, 10), "restarting in backoff after 2 failures");
        for (failures, not_before) in [(0, 10), (1, 10), (2, 9), (2, 0)] {
            assert_eq!(said(failures, not_before), "created", "{failures} {not_before}");
        }
    }

    #[test]
    fn neither_state_goes_back() {
        let mut task = Task::default();
        task.set_desired_state(TaskState::Running);
        let failed = advanced(&task, TaskState::Failed, "started", Timestamp(5));
        assert_eq!(advanced(&failed, TaskState::Running, "x", Timestamp(6)), failed);
        assert_eq!(advanced(&failed, TaskState::Failed, "x", Timestamp(6)), failed);
        let stopped = desired(&task, TaskState::Shutdown);
        assert_eq!(desired(&stopped, TaskState::Ready), stopped);
    }

    #[test]
    fn a_container_may_exist_from_assigned_until_a_last_state() {
        let may_run = |state: TaskState| {
            let status = TaskStatus { state: state.into(), ..TaskStatus::default() };
            Task { status: Some(status), ..Task::default() }.may_run()
        };
        assert!(!may_run(TaskState::New) && !may_run(TaskState::Pending));
        assert!(may_run(TaskState::Assigned) && may_run(TaskState::Starting) && may_run(TaskState::Running));
        for state in [TaskState::Complete, TaskState::Failed, TaskState::Rejected, TaskState::Orphaned] {
            assert!(!may_run(state), "{state:?}");
        }
    }
}
