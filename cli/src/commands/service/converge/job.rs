//! How far a run of a job is, from what one look shows. Pure: the same looks give the same lines.

use std::collections::HashSet;

use skep_dockerapi::types::{Service, ServiceMode, Task};

use super::tally::{COMPLETE, Line, MAX_TASK_LINES, Seen, error_line, line, state_line};
use crate::output::{progress::Share, text::short_id};

/// The line about what is done.
const DONE: &str = "job progress";

/// The line about what runs.
const ACTIVE: &str = "active tasks";

/// What earlier looks have shown.
#[derive(Debug, Default)]
pub(super) struct JobTally {
    begun: bool,
}

impl JobTally {
    /// Looks at the tasks of the newest run; `active` are the nodes that are not down. Converged is when all are done.
    pub(super) fn observe(&mut self, service: &Service, tasks: &[Task], active: &HashSet<String>) -> Seen {
        let run = service.job_status.map(|job| job.job_iteration).unwrap_or_default();
        let of_run = tasks.iter().filter(|task| task.job_iteration == Some(run));
        let here = |task: &&Task| task.node_id.is_empty() || is_done(task) || active.contains(&task.node_id);
        let tasks: Vec<&Task> = of_run.filter(here).collect();
        let done = tasks.iter().filter(|task| is_done(task)).count();
        let running = tasks.iter().filter(|task| task.status.state == "running").count();
        let (total, at_once) = match &service.spec.mode {
            ServiceMode { replicated_job: Some(job), .. } => {
                let total = count(job.total_completions.unwrap_or(1));
                let at_once = count(job.max_concurrent.unwrap_or(1));
                (total, if at_once == 0 { total } else { at_once })
            }
            // A task for each node that fits: those that failed are followed by others.
            _ => {
                let nodes: HashSet<&str> = tasks.iter().map(|task| task.node_id.as_str()).collect();
                (nodes.len(), nodes.len())
            }
        };
        let global = service.spec.mode.global_job.is_some();
        if global && total == 0 {
            // Not made yet, or no node fits: both may change.
            return Seen { lines: vec![line(DONE.to_owned(), "waiting for tasks")], converged: false };
        }
        let mut lines = vec![
            Line {
                name: DONE.to_owned(),
                text: format!("{done} out of {total} complete"),
                share: Some(Share { current: done as u64, total: total as u64 }),
            },
            line(ACTIVE.to_owned(), &format!("{running} out of {} tasks", at_once.min(total.saturating_sub(done)))),
        ];
        if total <= MAX_TASK_LINES {
            if !self.begun && !global {
                lines.extend((1..=total).map(|position| line(format!("{position}/{total}"), " ")));
            }
            // Of the tasks of a slot the one that has come furthest.
            let mut named: Vec<(String, &Task)> = Vec::new();
            for task in tasks {
                let name = if global { short_id(&task.node_id).to_owned() } else { position(task, total) };
                match named.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) if is_done(known) || known.created_at > task.created_at => {}
                    Some((_, known)) => *known = task,
                    None => named.push((name, task)),
                }
            }
            named.sort_by(|(a, _), (b, _)| crate::output::natural::compare(a, b));
            let of_task = |name: &str, task: &Task| {
                error_line(name, task).unwrap_or_else(|| state_line(name, &task.status.state, COMPLETE))
            };
            lines.extend(named.iter().map(|(name, task)| of_task(name, task)));
        }
        self.begun = true;
        Seen { lines, converged: done >= total }
    }
}

/// Docker counts the slots of a job from 0.
fn position(task: &Task, total: usize) -> String {
    format!("{}/{total}", task.slot + 1)
}

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn is_done(task: &Task) -> bool {
    task.status.state == "complete"
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn job(mode: Value, iteration: u64) -> Service {
        let status = json!({"JobIteration": {"Index": iteration}});
        serde_json::from_value(json!({"Spec": {"Mode": mode}, "JobStatus": status})).unwrap()
    }

    fn task(slot: u64, iteration: u64, state: &str) -> Task {
        let task = json!({
            "Slot": slot, "NodeID": "n1", "DesiredState": "complete", "Status": {"State": state},
            "JobIteration": {"Index": iteration},
        });
        serde_json::from_value(task).unwrap()
    }

    fn shown(seen: &Seen) -> Vec<String> {
        seen.lines.iter().map(|line| format!("{}: {}", line.name, line.text.trim_end())).collect()
    }

    #[test]
    fn only_the_newest_run_counts() {
        let active = HashSet::from(["n1".to_owned()]);
        let service = job(json!({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 3}}), 1);
        let mut tally = JobTally::default();
        let old = [task(0, 0, "complete"), task(1, 0, "complete"), task(2, 0, "complete")];
        let first = tally.observe(&service, &old, &active);
        assert!(!first.converged);
        assert_eq!(
            shown(&first),
            ["job progress: 0 out of 3 complete", "active tasks: 0 out of 2 tasks", "1/3: ", "2/3: ", "3/3: "]
        );
        let some = [task(0, 1, "complete"), task(1, 1, "running"), task(1, 0, "complete")];
        let second = tally.observe(&service, &some, &active);
        assert!(!second.converged);
        assert_eq!(
            shown(&second),
            ["job progress: 1 out of 3 complete", "active tasks: 1 out of 2 tasks", "1/3: complete", "2/3: running"]
        );
        let all: Vec<Task> = (0..3).map(|slot| task(slot, 1, "complete")).collect();
        assert!(tally.observe(&service, &all, &HashSet::new()).converged);
    }

    #[test]
    fn a_failed_task_says_why_until_the_next_one_is_done() {
        let active = HashSet::from(["n1".to_owned()]);
        let service = job(json!({"ReplicatedJob": {}}), 0);
        let mut failed = task(0, 0, "failed");
        failed.status.err = "task: non-zero exit (1)".to_owned();
        let mut tally = JobTally::default();
        let seen = tally.observe(&service, std::slice::from_ref(&failed), &active);
        assert!(shown(&seen).contains(&"1/1: task: non-zero exit (1)".to_owned()), "{seen:?}");
        let seen = tally.observe(&service, &[failed, task(0, 0, "complete")], &active);
        assert!(seen.converged && shown(&seen).contains(&"1/1: complete".to_owned()), "{seen:?}");
    }

    #[test]
    fn a_global_job_waits_for_its_tasks_and_is_done_on_each_node() {
        let active = HashSet::from(["n1".to_owned()]);
        let service = job(json!({"GlobalJob": {}}), 0);
        let mut tally = JobTally::default();
        let seen = tally.observe(&service, &[], &active);
        assert_eq!((shown(&seen), seen.converged), (vec!["job progress: waiting for tasks".to_owned()], false));
        let seen = tally.observe(&service, &[task(0, 0, "complete")], &active);
        assert!(seen.converged);
        assert!(shown(&seen).contains(&"n1: complete".to_owned()), "{seen:?}");
    }
}
