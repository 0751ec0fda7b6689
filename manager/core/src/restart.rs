//! Whether a task that ended gets a successor, and when that may start.
//!
//! Owns `Task.restart`: written when a task is made, from its predecessor's, so that counts survive any change of
//! leader and do not depend on how much history is kept. Only ends count. A task that has to leave its node is moved
//! uncounted and without delay: the delay is there for programs that crash, and a drained or dead node says nothing
//! about the program. What is counted, is counted for one version of the spec.

use skep_common::{
    clock::{Timestamp, duration, nanos},
    limits,
};
use skep_proto::v1::{NodeFailure, RestartCondition, RestartPolicy, RestartState, Task, TaskState};

use crate::{backoff, task::TaskExt};

/// Ends a slot remembers.
const MAX_FAILURES: usize = 32;

/// The successor of a task that ended: its restart state, or `None` when the policy wants no successor.
pub fn after_end(task: &Task, now: Timestamp) -> Option<RestartState> {
    let policy = policy(task);
    let wanted = match condition(policy) {
        RestartCondition::Any => true,
        RestartCondition::OnFailure => task.state() != TaskState::Complete,
        RestartCondition::None => false,
    };
    if !wanted {
        return None;
    }
    let mut state = RestartState { finished: false, ..task.restart.clone().unwrap_or_default() };
    let window = duration(policy.map_or(0, |p| p.window));
    let window_over = !window.is_zero() && now >= Timestamp(state.window_started) + window;
    if state.attempts == 0 || window_over {
        state.attempts = 0;
        state.window_started = now.as_nanos();
    }
    let max_attempts = policy.map_or(0, |p| p.max_attempts);
    if max_attempts != 0 && state.attempts >= max_attempts {
        return None;
    }
    state.attempts += 1;
    state.failed_in_a_row = backoff::failed_in_a_row(task);
    state.not_before = (now + backoff::delay(task, state.failed_in_a_row)).as_nanos();
    note_end(&mut state.failures, task, now);
    Some(state)
}

/// What the scheduler avoids a node for, and a rolling update counts: where and how soon the slot's tasks ended lately.
/// A program that ended by itself has not failed anywhere in particular.
fn note_end(failures: &mut Vec<NodeFailure>, task: &Task, now: Timestamp) {
    failures.retain(|failure| now.since(Timestamp(failure.at)) < limits::NODE_FAILURE_WINDOW);
    let surplus = (failures.len() + 1).saturating_sub(MAX_FAILURES);
    failures.drain(..surplus);
    let failed = matches!(task.state(), TaskState::Failed | TaskState::Rejected);
    failures.push(NodeFailure {
        node_id: if failed { task.node_id.clone() } else { String::new() },
        at: task.observed_at().as_nanos(),
        ran: nanos(backoff::ran(task)),
    });
}

/// The successor of a task that has to leave its node: its restart state, or `None` when the policy wants every task
/// to run once at most. One that was still waiting for its start goes on waiting.
pub fn after_move(task: &Task) -> Option<RestartState> {
    (condition(policy(task)) != RestartCondition::None).then(|| task.restart.clone().unwrap_or_default())
}

fn policy(task: &Task) -> Option<&RestartPolicy> {
    task.spec.as_ref().and_then(|spec| spec.restart.as_ref())
}

fn condition(policy: Option<&RestartPolicy>) -> RestartCondition {
    policy.map_or(RestartCondition::Any, RestartPolicy::condition)
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{TaskSpec, TaskStatus};

    use super::*;

    fn ended(state: TaskState, policy: RestartPolicy, restart: RestartState) -> Task {
        Task {
            spec: Some(TaskSpec { restart: Some(policy), ..TaskSpec::default() }.into()),
            status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
            restart: Some(restart),
            ..Task::default()
        }
    }

    fn taken_in(mut task: Task, at: i64) -> Task {
        task.status.get_or_insert_default().applied_at = Timestamp::from_secs(at).as_nanos();
        task
    }

    fn policy(condition: RestartCondition) -> RestartPolicy {
        RestartPolicy { condition: condition.into(), ..RestartPolicy::default() }
    }

    #[test]
    fn the_condition_decides_which_ends_have_a_successor() {
        use {RestartCondition as C, TaskState as S};
        for (condition, state, expected) in [
            (C::Any, S::Complete, true),
            (C::Any, S::Failed, true),
            (C::OnFailure, S::Complete, false),
            (C::OnFailure, S::Failed, true),
            (C::OnFailure, S::Rejected, true),
            (C::None, S::Failed, false),
        ] {
            let task = ended(state, policy(condition), RestartState::default());
            assert_eq!(after_end(&task, Timestamp(1)).is_some(), expected, "{condition:?} {state:?}");
        }
        let unset = Task { spec: None, ..ended(S::Complete, policy(C::Any), RestartState::default()) };
        assert_eq!(after_end(&unset, Timestamp(1)).unwrap().not_before, 5_000_000_001);
    }

    #[test]
    fn attempts_are_counted_until_the_limit() {
        let policy = RestartPolicy { max_attempts: 3, ..policy(RestartCondition::Any) };
        let mut state = RestartState::default();
        for attempt in 1..=3 {
            state = after_end(&ended(TaskState::Failed, policy, state), Timestamp(attempt)).unwrap();
            assert_eq!((state.attempts, state.window_started), (attempt as u64, 1));
        }
        assert_eq!(after_end(&ended(TaskState::Failed, policy, state), Timestamp(4)), None);
    }

    #[test]
    fn a_window_forgives_what_lies_before_it() {
        let policy = RestartPolicy { max_attempts: 1, window: 100, delay: Some(0), ..policy(RestartCondition::Any) };
        let first = after_end(&ended(TaskState::Complete, policy, RestartState::default()), Timestamp(10)).unwrap();
        let again = |now| after_end(&ended(TaskState::Complete, policy, first.clone()), Timestamp(now));
        assert_eq!(again(109), None);
        let forgiven = again(110).unwrap();
        assert_eq!((forgiven.attempts, forgiven.window_started, forgiven.not_before), (1, 110, 110));
    }

    #[test]
    fn failures_are_remembered_with_their_node_for_a_while() {
        let fail = |node: &str, state: RestartState, at: i64| {
            let task = ended(TaskState::Rejected, policy(RestartCondition::Any), state);
            after_end(&taken_in(Task { node_id: node.into(), ..task }, at), Timestamp::from_secs(at)).unwrap()
        };
        let nodes = |state: &RestartState| state.failures.iter().map(|f| f.node_id.clone()).collect::<Vec<_>>();
        let state = fail("b", fail("a", RestartState::default(), 1000), 1010);
        assert_eq!(nodes(&state), ["a", "b"]);
        assert_eq!(nodes(&fail("c", state.clone(), 1305)), ["b", "c"]);
        let completed = ended(TaskState::Complete, policy(RestartCondition::Any), state.clone());
        let completed = taken_in(Task { node_id: "d".into(), ..completed }, 1011);
        assert_eq!(nodes(&after_end(&completed, Timestamp::from_secs(1011)).unwrap()), ["a", "b", ""]);
        let many = (0..100).fold(state, |state, n| fail("x", state, 1010 + n));
        assert_eq!(many.failures.len(), MAX_FAILURES);
    }

    #[test]
    fn a_move_does_not_count_and_adds_no_delay() {
        let policy = RestartPolicy { max_attempts: 1, ..policy(RestartCondition::OnFailure) };
        let state = RestartState { attempts: 1, window_started: 5, not_before: 77, ..RestartState::default() };
        let moved = after_move(&ended(TaskState::Running, policy, state.clone()));
        assert_eq!(moved, Some(state.clone()));
        let once = RestartPolicy { condition: RestartCondition::None.into(), ..policy };
        assert_eq!(after_move(&ended(TaskState::Running, once, state)), None);
    }
}
