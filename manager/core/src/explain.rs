//! `explain`: why a service, a task, a node or the swarm is in the state it is in, in one paragraph; and for a service and
//! a task how the scheduler ranks every node for one more task.
//!
//! Decides nothing: it reports what the planners have recorded, in their words.

mod job;
mod node;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Unit;
use skep_common::{
    clock::{Timestamp, duration},
    limits,
};
use skep_proto::v1::{Availability, Service, Task, TaskState, UpdateState, service_spec::Mode};
use skep_store::View;

use crate::{
    names::{self, count},
    node_status,
    orchestrator::STOP_PATIENCE,
    restart,
    scheduler::explain::{Verdict, verdicts},
    task::{TaskExt, specimen},
};

pub use node::{node, swarm};

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// One paragraph.
    pub text: String,
    /// How the scheduler ranks each node for one more task: the best first, unsuitable ones last. Only for what has tasks.
    pub nodes: Vec<Verdict>,
}

/// Explains a service.
pub fn service(view: &View, service: &Service, now: Timestamp) -> Explanation {
    let tasks: Vec<&Task> = view.tasks_of_service(&service.id).map(AsRef::as_ref).collect();
    let mut waiting: BTreeMap<String, usize> = BTreeMap::new();
    for reason in tasks.iter().filter_map(|task| waits(view, task, now)) {
        *waiting.entry(reason).or_default() += 1;
    }
    let mut sentences = vec![size(service, &tasks)];
    let rest = update(service)
        .into_iter()
        .chain(waiting.into_iter().map(|(reason, tasks)| format!("{} {reason}.", count(tasks, "task"))));
    sentences.extend(rest.chain(unfilled_slots(service, &tasks)).chain(job::runs(view, service, now)));
    if sentences.len() == 1 {
        sentences.push("It waits for nothing.".to_owned());
    }
    Explanation { text: sentences.join(" "), nodes: verdicts(view, &specimen(service), now) }
}

/// Explains a task.
pub fn task(view: &View, task: &Task, now: Timestamp) -> Explanation {
    let name = names::task(view, task);
    let text = match waits(view, task, now) {
        Some(reason) => format!("{name} is {reason}."),
        None if task.is_terminal() => {
            let later = |other: &&std::sync::Arc<Task>| other.replaces == task.id;
            let replacement = view.tasks_of_service(&task.service_id).find(later);
            let after =
                replacement.map_or(String::new(), |next| format!(" {} took its place.", names::short(&next.id)));
            format!("{name} has ended: {}.{after}", end(task))
        }
        None => format!("{name} runs on {} and waits for nothing.", names::node_by_id(view, &task.node_id)),
    };
    Explanation { text, nodes: verdicts(view, task, now) }
}

/// Spans of time that are named one by one.
const NAMED_SPANS: usize = 3;

/// A sentence that the history has gaps. `spans`: from, to; oldest first.
pub fn unseen(spans: &[(Option<Timestamp>, Option<Timestamp>)]) -> Option<String> {
    if let [.., (_, Some(until))] = spans
        && spans.len() > NAMED_SPANS
    {
        return Some(format!("What happened before {} is known in parts only.", moment(*until)));
    }
    let spans: Vec<String> = spans
        .iter()
        .map(|span| match *span {
            (Some(from), Some(until)) => format!("between {} and {}", moment(from), moment(until)),
            (None, Some(until)) => format!("before {}", moment(until)),
            (Some(from), None) => format!("after {}", moment(from)),
            (None, None) => "until now".to_owned(),
        })
        .collect();
    (!spans.is_empty()).then(|| format!("What happened {} is not known.", spans.join(", and ")))
}

/// A time to the second.
fn moment(time: Timestamp) -> String {
    let known = jiff::Timestamp::from_nanosecond(i128::from(time.as_nanos()));
    known.and_then(|known| known.round(Unit::Second)).map_or_else(|_| "some time".to_owned(), |known| known.to_string())
}

/// How many replicas or tasks of a service run.
fn size(service: &Service, tasks: &[&Task]) -> String {
    let name = names::service(service);
    let running = tasks.iter().filter(|task| task.is_wanted() && task.state() == TaskState::Running).count();
    let spec = service.spec.clone().unwrap_or_default();
    let complete = tasks.iter().filter(|task| task.state() == TaskState::Complete).count();
    match &spec.mode {
        Some(Mode::Replicated(mode)) => format!("{name} has {running} of {} replicas running.", mode.replicas),
        _ if crate::mode::is_job(&spec) => {
            format!("{name} has {} running and {complete} complete.", count(running, "task"))
        }
        _ => format!("{name} has {} running.", count(running, "task")),
    }
}

/// The state of an update that is not over.
fn update(service: &Service) -> Option<String> {
    let status = service.update_status.as_ref()?;
    let what = match status.state() {
        UpdateState::Updating => "An update is under way",
        UpdateState::Paused => "The update is paused and waits for somebody to update the service again",
        UpdateState::RollbackStarted => "A rollback is under way",
        UpdateState::RollbackPaused => "The rollback is paused and waits for somebody to update the service again",
        UpdateState::Unknown | UpdateState::Completed | UpdateState::RollbackCompleted => return None,
    };
    Some(if status.message.is_empty() { format!("{what}.") } else { format!("{what}: {}.", status.message) })
}

/// Replicas without a task.
fn unfilled_slots(service: &Service, tasks: &[&Task]) -> Vec<String> {
    let Some(Mode::Replicated(mode)) = service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) else {
        return Vec::new();
    };
    let slots = |wanted: bool| -> BTreeSet<u64> {
        let staying = tasks.iter().filter(|task| !task.is_leaving() && task.is_wanted() == wanted);
        staying.map(|task| task.slot).collect()
    };
    let (wanted, had) = (slots(true), slots(false));
    let finished = had.difference(&wanted).count();
    let missing = usize::try_from(mode.replicas).unwrap_or(usize::MAX).saturating_sub(wanted.len() + finished);
    let mut sentences = Vec::new();
    if finished > 0 {
        sentences.push(format!("{} over, and the restart policy wants no successor.", count(finished, "replica")));
    }
    if missing > 0 {
        sentences.push(format!("{} without a task yet.", count(missing, "replica")));
    }
    sentences
}

/// What a task waits for, as the end of a sentence that begins with "is"; `None` when it waits for nothing.
fn waits(view: &View, task: &Task, now: Timestamp) -> Option<String> {
    let node = names::node_by_id(view, &task.node_id);
    if !task.is_wanted() {
        return task.may_run().then(|| format!("stopping on {node}{}", condition(view, &task.node_id)));
    }
    let not_before = Timestamp(task.restart.as_ref().map_or(0, |restart| restart.not_before));
    let delay = not_before.since(now);
    let status = task.status.clone().unwrap_or_default();
    Some(match task.state() {
        TaskState::New => "new: addresses and ports are not given yet".to_owned(),
        TaskState::Pending if status.err.is_empty() => "pending: the scheduler has not looked at it yet".to_owned(),
        TaskState::Pending => format!("pending: {}", status.err),
        TaskState::Running => return None,
        // A replacement that failed for good while the task before it runs on: it stays as it is.
        _ if task.is_terminal() && restart::after_end(task, now).is_none() => {
            format!("given up by the restart policy, having ended: {}", end(task))
        }
        _ if task.is_terminal() && delay.is_zero() => format!("about to be replaced, having ended: {}", end(task)),
        _ if task.is_terminal() => format!("to be replaced in {} s, having ended: {}", seconds(delay), end(task)),
        _ if !delay.is_zero() => {
            let attempts = task.restart.as_ref().map_or(0, |restart| restart.attempts);
            format!(
                "held back for {} s more by the restart delay (restart {attempts}){}",
                seconds(delay),
                after(view, task)
            )
        }
        _ if task.desired_state() < TaskState::Running => held(view, task),
        TaskState::Assigned => match condition(view, &task.node_id) {
            "" => format!("assigned to {node}, which has not taken it yet"),
            condition => format!("assigned to {node}{condition}"),
        },
        TaskState::Accepted | TaskState::Preparing => {
            format!("being prepared on {node}{}", condition(view, &task.node_id))
        }
        _ => format!("being started on {node}{}", condition(view, &task.node_id)),
    })
}

/// Seconds, rounded up.
fn seconds(span: std::time::Duration) -> u128 {
    span.as_millis().div_ceil(1000)
}

/// Why a READY task does not start: an earlier task of its slot has not stopped yet.
fn held(view: &View, task: &Task) -> String {
    let before = view
        .tasks_of_slot(&task.service_id, task.slot)
        .filter(|other| other.id != task.id && other.may_run() && (task.slot != 0 || other.node_id == task.node_id));
    match before.max_by_key(|other| other.observed_at()) {
        Some(other) => {
            let container = other.spec.as_ref().and_then(|spec| spec.container.as_ref());
            let grace =
                container.and_then(|container| container.stop_grace_period).map_or(limits::STOP_GRACE, duration);
            let node = names::node_by_id(view, &other.node_id);
            let most = (grace + STOP_PATIENCE).as_secs();
            format!("waiting for {} to stop on {node}, {most} s at most", names::short(&other.id))
        }
        None => "ready to start".to_owned(),
    }
}

/// Which task this one replaced, when that is known.
fn after(view: &View, task: &Task) -> String {
    let before = view.task(&task.replaces).filter(|before| before.is_terminal());
    before.map_or(String::new(), |before| format!(", its predecessor having ended: {}", end(before)))
}

/// The node's state, where it is not ready, to be put behind its name.
fn condition(view: &View, node_id: &str) -> &'static str {
    match view.node(node_id) {
        None => ", which is gone",
        Some(node) if node_status::is_down(node) => ", which is down",
        Some(node) if node_status::availability(node) == Availability::Drain => ", which is drained",
        Some(_) => "",
    }
}

/// How a task ended.
fn end(task: &Task) -> String {
    let status = task.status.clone().unwrap_or_default();
    let state = match status.state() {
        TaskState::Complete => "complete",
        TaskState::Shutdown => "stopped",
        TaskState::Failed => "failed",
        TaskState::Rejected => "rejected",
        _ => "given up for lost",
    };
    if status.err.is_empty() { state.to_owned() } else { format!("{state}, {}", status.err) }
}

#[cfg(test)]
mod tests;
