//! How far a service is, from what one look shows. Pure: the same looks give the same lines.
//!
//! Owns which line belongs to which slot, and whether the service was converged at the last look.

use std::collections::{BTreeMap, HashSet};

use skep_dockerapi::types::{Service, Task};

use crate::output::{
    progress::Share,
    text::{ellipsis, short_id},
};

/// More tasks than this have no lines of their own.
pub(super) const MAX_TASK_LINES: usize = 20;

/// Characters of an error shown: it must not run into a second line.
const ERROR_WIDTH: usize = 75;

/// The line about all tasks.
const OVERALL: &str = "overall progress";

/// States in their order; only those up to `running` are on the way.
const STATES: [&str; 13] = [
    "new",
    "allocated",
    "pending",
    "assigned",
    "accepted",
    "preparing",
    "ready",
    "starting",
    "running",
    "complete",
    "shutdown",
    "failed",
    "rejected",
];

/// States up to and with `running`.
const RUNNING: u64 = 9;

/// States up to and with `complete`.
pub(super) const COMPLETE: u64 = 10;

/// Width of a state's name: that of the longest.
const STATE_WIDTH: usize = 9;

/// Something to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) share: Option<Share>,
}

/// What one look means.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) lines: Vec<Line>,
    pub(super) converged: bool,
}

/// What earlier looks have shown.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Line of each slot, in the order they appeared: slots may have gaps, lines have none.
    positions: BTreeMap<u64, usize>,
    begun: bool,
    done: bool,
    /// Whether it is a rollback that is watched.
    rollback: bool,
}

impl Tally {
    /// Looks at the tasks of the service's current version; `active` are the nodes that are not down. With `rollback`
    /// the sum is that of a rollback.
    pub(super) fn observe(
        &mut self,
        service: &Service,
        tasks: &[Task],
        active: &HashSet<String>,
        rollback: bool,
    ) -> Seen {
        self.rollback = rollback;
        match &service.spec.mode.replicated {
            Some(replicated) => self.replicated(replicated.replicas.unwrap_or(1), tasks, active),
            None => self.global(tasks, active),
        }
    }

    fn replicated(&mut self, replicas: u64, tasks: &[Task], active: &HashSet<String>) -> Seen {
        let on_active = |task: &&Task| task.node_id.is_empty() || active.contains(&task.node_id);
        let current = current(tasks.iter().filter(on_active), |task| task.slot);
        let total = usize::try_from(replicas).unwrap_or(usize::MAX);
        let mut lines = Vec::new();
        if !self.begun {
            self.begun = true;
            lines.push(self.overall(0, total));
            if total <= MAX_TASK_LINES {
                lines.extend((1..=total).map(|position| line(format!("{position}/{total}"), " ")));
            }
        }
        for slot in current.keys() {
            let next = self.positions.len() + 1;
            self.positions.entry(*slot).or_insert(next);
        }
        let positions = &self.positions;
        let named = current.iter().filter_map(|(slot, task)| {
            let position = positions[slot];
            (position <= total).then(|| (format!("{position}/{total}"), *task))
        });
        let named: Vec<(String, &Task)> = named.collect();
        let running = current.values().filter(|task| is_running(task)).count();
        let all_run = current.values().all(|task| task.status.state == STATES[RUNNING as usize - 1]);
        self.count(lines, &named, running, total, all_run)
    }

    fn global(&mut self, tasks: &[Task], active: &HashSet<String>) -> Seen {
        let current = current(tasks.iter().filter(|task| active.contains(&task.node_id)), |task| task.node_id.clone());
        let total = current.len();
        let mut lines = Vec::new();
        if !self.begun {
            if total == 0 {
                // Not made yet, or no node fits: both may change.
                return Seen { lines: vec![line(OVERALL.to_owned(), "waiting for new tasks")], converged: false };
            }
            self.begun = true;
            lines.push(self.overall(0, total));
        }
        let named: Vec<(String, &Task)> =
            current.iter().map(|(node, task)| (short_id(node).to_owned(), *task)).collect();
        let running = current.values().filter(|task| is_running(task)).count();
        let all_run = current.values().all(|task| task.status.state == STATES[RUNNING as usize - 1]);
        self.count(lines, &named, running, total, all_run)
    }

    /// Lines of the tasks and the sum, unless they said last time that all is done and it still is.
    fn count(
        &mut self,
        mut lines: Vec<Line>,
        named: &[(String, &Task)],
        running: usize,
        total: usize,
        all_run: bool,
    ) -> Seen {
        self.done &= all_run;
        if !self.done {
            if total <= MAX_TASK_LINES {
                lines.extend(named.iter().filter_map(|(name, task)| task_line(name, task)));
            }
            lines.push(self.overall(running, total));
            self.done = running == total;
        }
        Seen { lines, converged: running == total }
    }

    fn overall(&self, running: usize, total: usize) -> Line {
        let course = if self.rollback { "rolling back update: " } else { "" };
        line(OVERALL.to_owned(), &format!("{course}{running} out of {total} tasks"))
    }
}

/// The task that counts of each group: where a replacement waits or runs beside the old one, the one that is wanted
/// least far, then the one that has come least far.
fn current<'a, K: Ord>(tasks: impl Iterator<Item = &'a Task>, key: impl Fn(&Task) -> K) -> BTreeMap<K, &'a Task> {
    let mut current: BTreeMap<K, (&Task, (u64, u64))> = BTreeMap::new();
    for task in tasks {
        let (Some(desired), Some(state)) = (number(&task.desired_state), number(&task.status.state)) else { continue };
        let rank = (desired, state);
        match current.get(&key(task)) {
            Some((_, known)) if *known <= rank => {}
            _ => {
                current.insert(key(task), (task, rank));
            }
        }
    }
    current.into_iter().map(|(key, (task, _))| (key, task)).collect()
}

fn number(state: &str) -> Option<u64> {
    (1..).zip(STATES).find(|(_, name)| *name == state).map(|(number, _)| number)
}

/// Whether a state is on the way to running, or running itself.
fn is_alive(state: &str) -> bool {
    number(state).is_some_and(|number| number <= RUNNING)
}

fn is_running(task: &Task) -> bool {
    is_alive(&task.desired_state) && number(&task.status.state) == Some(RUNNING)
}

/// What there is to say of one task: its error, else how far it is on the way to running.
fn task_line(name: &str, task: &Task) -> Option<Line> {
    let alive = is_alive(&task.desired_state) && is_alive(&task.status.state);
    error_line(name, task).or_else(|| alive.then(|| state_line(name, &task.status.state, RUNNING)))
}

/// What went wrong with a task, or what it waits for.
pub(super) fn error_line(name: &str, task: &Task) -> Option<Line> {
    let error = task.status.err.replace(['\n', '\r'], " ");
    (!error.is_empty()).then(|| line(name.to_owned(), &ellipsis(&error, ERROR_WIDTH)))
}

/// How far a task is on the way to the state of number `end`.
pub(super) fn state_line(name: &str, state: &str, end: u64) -> Line {
    Line {
        name: name.to_owned(),
        text: format!("{state:<STATE_WIDTH$}"),
        share: Some(Share { current: number(state).unwrap_or(0).min(end), total: end }),
    }
}

pub(super) fn line(name: String, text: &str) -> Line {
    Line { name, text: text.to_owned(), share: None }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(mode: Value) -> Service {
        serde_json::from_value(json!({"Spec": {"Mode": mode}})).unwrap()
    }

    fn task(slot: u64, node: &str, desired: &str, state: &str) -> Task {
        let task = json!({"Slot": slot, "NodeID": node, "DesiredState": desired, "Status": {"State": state}});
        serde_json::from_value(task).unwrap()
    }

    fn nodes(ids: &[&str]) -> HashSet<String> {
        ids.iter().map(|&id| id.to_owned()).collect()
    }

    /// `name: text`, with a percent sign where there is a bar.
    fn shown(seen: &Seen) -> Vec<String> {
        let show = |line: &Line| format!("{}: {}{}", line.name, line.text, if line.share.is_some() { "%" } else { "" });
        seen.lines.iter().map(show).collect()
    }

    #[test]
    fn slots_get_lines_in_order_and_are_counted() {
        let mut tally = Tally::default();
        let (service, active) = (service(json!({"Replicated": {"Replicas": 2}})), nodes(&["n1"]));
        let first = tally.observe(&service, &[], &active, false);
        assert_eq!(
            shown(&first),
            ["overall progress: 0 out of 2 tasks", "1/2:  ", "2/2:  ", "overall progress: 0 out of 2 tasks"]
        );
        let tasks = [task(3, "n1", "running", "preparing"), task(1, "n1", "running", "running")];
        let second = tally.observe(&service, &tasks, &active, false);
        assert_eq!(shown(&second), ["1/2: running  %", "2/2: preparing%", "overall progress: 1 out of 2 tasks"]);
        assert!(!second.converged);
        let tasks = [task(3, "n1", "running", "running"), task(1, "n1", "running", "running")];
        let third = tally.observe(&service, &tasks, &active, false);
        assert!(third.converged);
        assert_eq!(third.lines.len(), 3);
        assert_eq!(tally.observe(&service, &tasks, &active, false), Seen { lines: vec![], converged: true });
    }

    #[test]
    fn a_failure_after_convergence_is_shown_again() {
        let mut tally = Tally::default();
        let (service, active) = (service(json!({"Replicated": {"Replicas": 1}})), nodes(&["n1"]));
        assert!(tally.observe(&service, &[task(1, "n1", "running", "running")], &active, false).converged);
        let mut failed = task(1, "n1", "running", "failed");
        failed.status.err = format!("task: non-zero exit (7)\n{}", "x".repeat(80));
        let seen = tally.observe(&service, &[failed], &active, false);
        assert!(!seen.converged);
        let error = format!("1/1: task: non-zero exit (7) {}…", "x".repeat(50));
        assert_eq!(shown(&seen), [error, "overall progress: 0 out of 1 tasks".into()]);
    }

    #[test]
    fn of_two_tasks_of_a_slot_the_one_that_is_to_replace_counts() {
        let mut tally = Tally::default();
        let (service, active) = (service(json!({"Replicated": {"Replicas": 1}})), nodes(&["n1"]));
        let tasks = [task(1, "n1", "shutdown", "running"), task(1, "n1", "ready", "preparing")];
        let seen = tally.observe(&service, &tasks, &active, false);
        assert!(!seen.converged);
        assert!(shown(&seen).contains(&"1/1: preparing%".to_owned()), "{seen:?}");
    }

    #[test]
    fn tasks_on_dead_nodes_do_not_count() {
        let mut tally = Tally::default();
        let service = service(json!({"Replicated": {"Replicas": 1}}));
        assert!(!tally.observe(&service, &[task(1, "n1", "running", "running")], &nodes(&["n2"]), false).converged);
    }

    #[test]
    fn no_task_is_wanted_none_is_missing() {
        let seen = Tally::default().observe(&service(json!({"Replicated": {"Replicas": 0}})), &[], &nodes(&[]), false);
        assert!(seen.converged);
        assert_eq!(shown(&seen), ["overall progress: 0 out of 0 tasks", "overall progress: 0 out of 0 tasks"]);
    }

    #[test]
    fn many_tasks_have_no_lines_of_their_own() {
        let tasks: Vec<Task> = (1..=21).map(|slot| task(slot, "n1", "running", "running")).collect();
        let seen =
            Tally::default().observe(&service(json!({"Replicated": {"Replicas": 21}})), &tasks, &nodes(&["n1"]), false);
        assert_eq!(shown(&seen), ["overall progress: 0 out of 21 tasks", "overall progress: 21 out of 21 tasks"]);
    }

    #[test]
    fn a_global_service_has_a_line_per_node() {
        let mut tally = Tally::default();
        let (service, active) = (service(json!({"Global": {}})), nodes(&["node1", "node2"]));
        let first = tally.observe(&service, &[], &active, false);
        assert_eq!(first, Seen { lines: vec![line(OVERALL.to_owned(), "waiting for new tasks")], converged: false });
        let tasks = [
            task(0, "node2", "running", "starting"),
            task(0, "node1", "running", "running"),
            task(0, "dead", "running", "running"),
        ];
        let second = tally.observe(&service, &tasks, &active, false);
        assert_eq!(
            shown(&second),
            [
                "overall progress: 0 out of 2 tasks",
                "node1: running  %",
                "node2: starting %",
                "overall progress: 1 out of 2 tasks"
            ]
        );
        assert!(!second.converged);
    }
}
