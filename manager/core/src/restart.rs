//! Whether a task that ended gets a replacement, and when that may start.
//!
//! Owns `Task.restart`: written when a task is made, from its predecessor's, so that the counts survive a change of leader
//! and do not depend on how much history is kept. Only tasks that ended count. A task that has to leave its node is moved
//! without delay and does not count: the delay is there for programs that crash, and a drained or dead node says nothing
//! about the program. The counts begin again with every revision.
//!
//! Attempts are counted as in Docker: all of them, or where the policy has a window those within it, counted back from when
//! the task ended. Time that the backoff adds to the policy's delay does not age them, or a program that always crashes
//! would be restarted for ever.
//!
//! Invariant: whether a task that is over gets a replacement follows from the task alone, and not from when it is asked.

use std::time::Duration;

use skep_common::{
    clock::{Timestamp, duration},
    limits,
};
use skep_proto::v1::{NodeFailure, RestartCondition, RestartCount, RestartPolicy, RestartState, Task, TaskState};

use crate::{backoff, defaults, task::TaskExt};

/// Failures remembered per slot.
const MAX_FAILURES: usize = 32;

/// Restarts within a window that are remembered one by one. Beyond these, restarts that follow each other within this
/// fraction of the window are remembered as one.
const MAX_RESTARTS: usize = 32;

/// The replacement of a task that ended: its restart state, or `None` when the policy wants no replacement.
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
    let mut state = RestartState { finished: false, ..task.restart.as_deref().cloned().unwrap_or_default() };
    let max_attempts = policy.map_or(0, |policy| policy.max_attempts);
    let window = Some(duration(policy.map_or(0, |policy| policy.window())));
    let window = window.filter(|window| max_attempts != 0 && !window.is_zero());
    if let Some(window) = window {
        state.restarts.retain(|restart| Timestamp(restart.at) + window > task.observed_at());
    }
    let counted = match window {
        Some(_) => state.restarts.iter().fold(0_u64, |sum, restart| sum.saturating_add(restart.count)),
        None => state.attempts,
    };
    if max_attempts != 0 && counted >= max_attempts {
        return None;
    }
    state.attempts = state.attempts.saturating_add(1);
    state.failed_in_a_row = backoff::failed_in_a_row(task);
    let delay = backoff::delay(task, state.failed_in_a_row);
    state.not_before = (now + delay).as_nanos();
    if let Some(window) = window {
        note_restart(&mut state.restarts, now, window);
        let added = delay.saturating_sub(defaults::restart_delay(policy));
        for restart in &mut state.restarts {
            restart.at = (Timestamp(restart.at) + added).as_nanos();
        }
    }
    note_failure(&mut state.failures, task, now);
    Some(state)
}

fn note_restart(restarts: &mut Vec<RestartCount>, now: Timestamp, window: Duration) {
    let share = window / MAX_RESTARTS as u32;
    let is_crowded = restarts.len() >= MAX_RESTARTS;
    match restarts.last_mut().filter(|last| is_crowded && now < Timestamp(last.at) + share) {
        Some(last) => last.count = last.count.saturating_add(1),
        None => restarts.push(RestartCount { at: now.as_nanos(), count: 1 }),
    }
}

/// Records where and when the slot's tasks failed lately, so that the scheduler avoids the node. A program that completed
/// does not count against its node.
fn note_failure(failures: &mut Vec<NodeFailure>, task: &Task, now: Timestamp) {
    failures.retain(|failure| now.since(Timestamp(failure.at)) < limits::NODE_FAILURE_WINDOW);
    if matches!(task.state(), TaskState::Failed | TaskState::Rejected) {
        let surplus = (failures.len() + 1).saturating_sub(MAX_FAILURES);
        failures.drain(..surplus);
        failures.push(NodeFailure { node_id: task.node_id.clone(), at: task.observed_at().as_nanos() });
    }
}

/// The replacement of a task that has to leave its node: its restart state, or `None` when the policy wants every task
/// to run once at most. The replacement of a task that waited in a delay waits for the rest of it.
pub fn after_move(task: &Task) -> Option<RestartState> {
    (condition(policy(task)) != RestartCondition::None).then(|| task.restart.as_deref().cloned().unwrap_or_default())
}

fn policy(task: &Task) -> Option<&RestartPolicy> {
    task.spec.as_ref().and_then(|spec| spec.restart.as_ref())
}

fn condition(policy: Option<&RestartPolicy>) -> RestartCondition {
    policy.map_or(RestartCondition::Any, RestartPolicy::condition)
}

#[cfg(test)]
mod tests {
    use skep_common::clock::nanos;
    use skep_proto::v1::{TaskSpec, TaskStatus};

    use super::*;

    fn ended(state: TaskState, policy: RestartPolicy, restart: RestartState) -> Task {
        Task {
            spec: Some(TaskSpec { restart: Some(policy), ..TaskSpec::default() }.into()),
            status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
            restart: Some(restart.into()),
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
    fn the_condition_decides_which_ends_have_a_replacement() {
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
            assert_eq!((state.attempts, state.restarts.len()), (attempt as u64, 0));
        }
        assert_eq!(after_end(&ended(TaskState::Failed, policy, state), Timestamp(4)), None);
    }

    /// A window of 100 s and a delay of 5 s.
    fn windowed(max_attempts: u64) -> RestartPolicy {
        let window = Some(nanos(Duration::from_secs(100)));
        RestartPolicy { max_attempts, window, ..policy(RestartCondition::Any) }
    }

    /// The restart state of the task after one that completed at this second, and was seen to at once.
    fn after_completed(policy: RestartPolicy, state: &RestartState, second: i64) -> Option<RestartState> {
        let task = taken_in(ended(TaskState::Complete, policy, state.clone()), second);
        after_end(&task, Timestamp::from_secs(second))
    }

    #[test]
    fn of_a_windows_attempts_each_is_forgiven_when_it_leaves_the_window() {
        let two = windowed(2);
        let state = after_completed(two, &RestartState::default(), 10).unwrap();
        let state = after_completed(two, &state, 60).unwrap();
        assert_eq!(after_completed(two, &state, 109), None);
        let first_forgiven = after_completed(two, &state, 110).unwrap();
        assert_eq!(first_forgiven.attempts, 3, "what the policy forgives is counted all the same");
        assert_eq!(after_completed(two, &first_forgiven, 159), None);
        assert!(after_completed(two, &first_forgiven, 160).is_some());
    }

    #[test]
    fn whoever_asks_later_hears_the_same() {
        let one = windowed(1);
        let state = after_completed(one, &RestartState::default(), 10).unwrap();
        let over = taken_in(ended(TaskState::Failed, one, state), 20);
        for second in [20, 110, 111, 1_000_000] {
            assert_eq!(after_end(&over, Timestamp::from_secs(second)), None, "{second}");
        }
    }

    #[test]
    fn what_a_backoff_adds_to_the_delays_ages_no_attempt() {
        let three = RestartPolicy { delay: Some(nanos(Duration::from_secs(5))), ..windowed(3) };
        let mut state = RestartState::default();
        let mut now = Timestamp::from_secs(1000);
        let mut restarts = 0;
        loop {
            let mut task = Task { id: "t".into(), ..ended(TaskState::Failed, three, state) };
            task.status.get_or_insert_default().applied_at = now.as_nanos();
            let Some(next) = after_end(&task, now) else { break };
            (now, state, restarts) = (Timestamp(next.not_before), next, restarts + 1);
            // Docker would stop when 100 s have not passed yet: at 5 s each the third restart is over after 15 s.
            assert!(restarts <= 3);
        }
        assert_eq!(restarts, 3);
    }

    #[test]
    fn many_attempts_take_little_room_and_are_counted() {
        for max_attempts in [20, 90, 5000] {
            let policy = RestartPolicy { delay: Some(0), ..windowed(max_attempts) };
            let mut state = RestartState::default();
            // Ten a second: a thousand in a window.
            let mut restarts = 0;
            for tenth in 0..10_000_i64 {
                let now = Timestamp(tenth * 100_000_000);
                let mut task = ended(TaskState::Complete, policy, state.clone());
                task.status.get_or_insert_default().applied_at = now.as_nanos();
                let Some(next) = after_end(&task, now) else { break };
                (state, restarts) = (next, restarts + 1);
                assert!(state.restarts.len() <= 2 * MAX_RESTARTS + 1, "{}", state.restarts.len());
            }
            let endless = max_attempts > 1000;
            assert_eq!(restarts, if endless { 10_000 } else { max_attempts }, "{max_attempts}");
        }
    }

    #[test]
    fn restarts_are_remembered_by_shares_of_the_window_once_they_are_many() {
        let window = Duration::from_secs(10) * MAX_RESTARTS as u32;
        let (mut restarts, last) = (Vec::new(), MAX_RESTARTS as i64 - 1);
        let note =
            |restarts: &mut Vec<RestartCount>, second| note_restart(restarts, Timestamp::from_secs(second), window);
        for second in 0..=last {
            note(&mut restarts, second);
        }
        assert_eq!(restarts.len(), MAX_RESTARTS);
        note(&mut restarts, last + 9);
        let twice = RestartCount { at: Timestamp::from_secs(last).as_nanos(), count: 2 };
        assert_eq!((restarts.len(), restarts.last()), (MAX_RESTARTS, Some(&twice)));
        note(&mut restarts, last + 10);
        assert_eq!(restarts.len(), MAX_RESTARTS + 1);
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
        assert_eq!(nodes(&fail("c", state.clone(), 1300)), ["b", "c"]);
        let completed = ended(TaskState::Complete, policy(RestartCondition::Any), state.clone());
        let completed = taken_in(Task { node_id: "d".into(), ..completed }, 1011);
        assert_eq!(nodes(&after_end(&completed, Timestamp::from_secs(1011)).unwrap()), ["a", "b"]);
        let many = (0..100).fold(state, |state, n| fail("x", state, 1010 + n));
        assert_eq!(many.failures.len(), MAX_FAILURES);
    }

    #[test]
    fn a_move_does_not_count_and_adds_no_delay() {
        let policy = RestartPolicy { max_attempts: 1, ..policy(RestartCondition::OnFailure) };
        let state = RestartState { attempts: 1, not_before: 77, ..RestartState::default() };
        let moved = after_move(&ended(TaskState::Running, policy, state.clone()));
        assert_eq!(moved, Some(state.clone()));
        let once = RestartPolicy { condition: RestartCondition::None.into(), ..policy };
        assert_eq!(after_move(&ended(TaskState::Running, once, state)), None);
    }
}
