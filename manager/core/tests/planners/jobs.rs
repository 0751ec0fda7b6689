//! Jobs from their first task to their last run, and the one property of schedules: whatever happens to clocks and leaders,
//! a tick has one run at most, and exactly one when it is seen in time and nothing forbids it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{collection::vec, prelude::*};
use skep_common::clock::Timestamp;
use skep_core::{Scope, cron, job, policy, task::TaskExt, update};
use skep_proto::v1::{
    Annotations, Availability, GlobalJob, JobOutcome, JobStatus, NodeState, ReplicatedJob, RestartCondition,
    RestartPolicy, Service, ServiceSpec, Task, TaskSpec, TaskState, service_spec::Mode,
};
use skep_store::{TxBuilder, View};

use crate::world::{Planner, Program, World};

const SECOND: Duration = Duration::from_secs(1);

fn replicated(total_completions: u64, max_concurrent: u64) -> ServiceSpec {
    let mode = Mode::ReplicatedJob(ReplicatedJob { max_concurrent, total_completions });
    ServiceSpec { task: Some(TaskSpec::default().into()), mode: Some(mode), ..ServiceSpec::default() }
}

fn global() -> ServiceSpec {
    ServiceSpec { mode: Some(Mode::GlobalJob(GlobalJob {})), ..replicated(0, 0) }
}

fn restarted(mut spec: ServiceSpec, condition: RestartCondition, max_attempts: u64) -> ServiceSpec {
    let policy = RestartPolicy { condition: condition.into(), max_attempts, ..RestartPolicy::default() };
    spec.task.get_or_insert_default().restart = Some(policy);
    spec
}

fn labelled(mut spec: ServiceSpec, labels: &[(&str, &str)]) -> ServiceSpec {
    let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    spec.annotations = Some(Annotations { labels, ..Annotations::default() }.into());
    spec
}

fn world(nodes: &[&str]) -> World {
    let mut world = World::new(7);
    nodes.iter().for_each(|node| world.add_node(node, |_| {}));
    world
}

/// Writes a service anew.
fn write(world: &mut World, edit: impl FnOnce(&View, &Service, Timestamp) -> Service) {
    let service = edit(&world.view, world.view.service_by_name("job").unwrap(), world.now);
    let view = world.view.clone();
    let mut tx = TxBuilder::new(&view, world.now);
    update::write(&mut tx, service);
    world.commit(&tx.build());
}

fn status(world: &World) -> JobStatus {
    world.view.service_by_name("job").unwrap().job.clone().unwrap()
}

/// The tasks as `iteration.slot state`, or with the node in place of the slot.
fn tasks(world: &World) -> Vec<String> {
    let word = |state: TaskState| state.as_str_name().trim_start_matches("TASK_STATE_").to_lowercase();
    let global =
        matches!(world.view.service_by_name("job").unwrap().spec.as_ref().unwrap().mode, Some(Mode::GlobalJob(_)));
    let mut tasks: Vec<&std::sync::Arc<Task>> = world.view.tasks().collect();
    tasks.sort_by_key(|task| (task.job_iteration, task.slot, &task.node_id, task.created_at()));
    let slot = |task: &Task| if global { task.node_id.clone() } else { task.slot.to_string() };
    tasks.iter().map(|task| format!("{}.{} {}", task.job_iteration, slot(task), word(task.state()))).collect()
}

#[test]
fn so_many_tasks_complete_and_so_many_at_a_time() {
    let mut world = world(&["n1", "n2"]);
    world.add_service("job", Program::Runs, replicated(5, 2));
    for done in 0..5u64 {
        world.converge();
        let running: Vec<_> = world.view.tasks_in_state(TaskState::Running).cloned().collect();
        assert_eq!(running.len() as u64, 2.min(5 - done), "{:?}", tasks(&world));
        assert!(running.iter().all(|task| task.desired_state() == TaskState::Complete && task.is_wanted()));
        world.report(&running[0].id, TaskState::Complete);
    }
    world.tick(60 * SECOND);
    assert_eq!(tasks(&world), ["1.0 complete", "1.1 complete", "1.2 complete", "1.3 complete", "1.4 complete"]);
    assert!(world.view.tasks().all(|task| task.desired_state() == TaskState::Complete && !task.is_wanted()));
    // What is done stays done, whatever becomes of the node.
    world.set_availability("n1", Availability::Drain);
    world.set_node_state("n2", NodeState::Down);
    world.tick(60 * SECOND);
    assert_eq!(world.view.tasks_in_state(TaskState::Complete).count(), 5);
}

#[test]
fn without_a_limit_all_run_at_once() {
    let mut world = world(&["n1"]);
    world.add_service("job", Program::Runs, replicated(4, 0));
    world.converge();
    assert_eq!(world.view.tasks_in_state(TaskState::Running).count(), 4);
}

#[test]
fn what_fails_is_tried_again_as_the_restart_policy_says() {
    for (condition, attempts, tries) in [
        (RestartCondition::None, 0, 1),
        (RestartCondition::OnFailure, 2, 3),
        // A task that has completed is never run again: of the others any end is a failure.
        (RestartCondition::Any, 1, 2),
    ] {
        let mut world = world(&["n1"]);
        world.add_service("job", Program::Crashes, restarted(replicated(3, 1), condition, attempts));
        world.tick(300 * SECOND);
        let mut by_slot: BTreeMap<u64, usize> = BTreeMap::new();
        for task in world.view.tasks_in_state(TaskState::Failed) {
            *by_slot.entry(task.slot).or_default() += 1;
            assert!(!task.is_wanted());
        }
        assert_eq!(by_slot, [(0, tries), (1, tries), (2, tries)].into(), "{condition:?}");
    }
}

#[test]
fn a_retry_waits_its_delay_and_keeps_its_room() {
    let mut world = world(&["n1"]);
    world.add_service("job", Program::Runs, restarted(replicated(2, 1), RestartCondition::OnFailure, 0));
    world.converge();
    let first = world.view.tasks_in_state(TaskState::Running).next().unwrap().id.clone();
    world.report(&first, TaskState::Failed);
    world.tick(4 * SECOND);
    assert_eq!(tasks(&world), ["1.0 failed", "1.0 ready"]);
    world.tick(SECOND);
    assert_eq!(tasks(&world), ["1.0 failed", "1.0 running"]);
}

#[test]
fn a_task_whose_node_is_drained_or_dies_is_done_elsewhere() {
    let mut world = world(&["n1"]);
    world.add_service("job", Program::Runs, replicated(1, 1));
    world.converge();
    world.add_node("n2", |_| {});
    world.set_availability("n1", Availability::Drain);
    world.tick(SECOND);
    assert_eq!(tasks(&world), ["1.0 shutdown", "1.0 running"]);
    world.set_availability("n1", Availability::Active);
    world.set_node_state("n2", NodeState::Down);
    world.tick(SECOND);
    let lost = world.view.tasks().find(|task| task.node_id == "n2").unwrap().id.clone();
    assert_eq!(world.view.tasks().filter(|task| task.is_wanted()).count(), 1);
    // It had completed before its node was lost; the second need not.
    world.report(&lost, TaskState::Complete);
    world.tick(SECOND);
    assert!(world.view.tasks().all(|task| !task.is_wanted()), "{:?}", tasks(&world));
}

#[test]
fn a_global_job_runs_once_on_every_fit_node() {
    let mut world = world(&["n1", "n2", "n3"]);
    world.set_availability("n2", Availability::Drain);
    world.set_node_state("n3", NodeState::Down);
    world.add_service("job", Program::Finishes, global());
    world.tick(60 * SECOND);
    assert_eq!(tasks(&world), ["1.n1 complete"]);
    world.set_availability("n2", Availability::Active);
    world.set_node_state("n3", NodeState::Ready);
    world.add_node("n4", |_| {});
    world.tick(60 * SECOND);
    let all = ["1.n1 complete", "1.n2 complete", "1.n3 complete", "1.n4 complete"];
    assert_eq!(tasks(&world), all);
    world.set_availability("n1", Availability::Drain);
    world.tick(SECOND);
    world.set_availability("n1", Availability::Active);
    world.tick(60 * SECOND);
    assert_eq!(tasks(&world), all);
}

#[test]
fn a_global_jobs_task_begins_anew_when_its_node_comes_back() {
    let mut world = world(&["n1"]);
    world.add_service("job", Program::Runs, global());
    world.converge();
    world.set_availability("n1", Availability::Drain);
    world.tick(SECOND);
    assert_eq!(tasks(&world), [""; 0]);
    world.set_availability("n1", Availability::Active);
    world.tick(SECOND);
    assert_eq!(tasks(&world), ["1.n1 running"]);
}

#[test]
fn a_change_begins_the_next_run_and_ends_the_one_before() {
    let mut world = world(&["n1"]);
    world.add_service("job", Program::Runs, restarted(replicated(3, 3), RestartCondition::OnFailure, 0));
    world.converge();
    let running: Vec<_> = world.view.tasks_in_state(TaskState::Running).cloned().collect();
    for (task, end) in running.iter().zip([TaskState::Complete, TaskState::Failed]) {
        world.report(&task.id, end);
    }
    write(&mut world, |view, service, now| {
        let mut spec = service.spec.clone().unwrap();
        spec.task.get_or_insert_default().force_update += 1;
        update::updated(view, service, spec, now)
    });
    world.converge();
    let ended: Vec<_> = tasks(&world).into_iter().filter(|task| task.starts_with("1.")).collect();
    assert_eq!(ended.len(), 2, "what ran is gone, what had ended is history: {ended:?}");
    assert_eq!(world.view.tasks().filter(|task| task.is_wanted() && task.job_iteration == 2).count(), 3);
    assert_eq!(world.view.tasks().filter(|task| task.is_wanted()).count(), 3);
}

#[test]
fn history_is_bounded_and_never_makes_a_place_forget_that_it_is_done() {
    let mut world = world(&["n1"]);
    world.add_service("job", Program::Finishes, replicated(2, 1));
    for _ in 0..12 {
        world.tick(10 * SECOND);
        write(&mut world, |view, service, now| update::updated(view, service, service.spec.clone().unwrap(), now));
    }
    world.tick(60 * SECOND);
    // Five of each slot, the present one among them.
    let kept: Vec<String> = (9..=13).flat_map(|run| [0, 1].map(|slot| format!("{run}.{slot} complete"))).collect();
    assert_eq!(tasks(&world), kept);
}

fn every_ten_seconds(concurrency: &str) -> ServiceSpec {
    labelled(replicated(1, 1), &[(policy::SCHEDULE, "@every 10s"), ("skep.concurrency", concurrency)])
}

/// Outcomes of the runs that are remembered, oldest first.
fn outcomes(world: &World) -> Vec<(u64, JobOutcome)> {
    status(world).runs.iter().map(|run| (run.iteration, run.outcome())).collect()
}

#[test]
fn a_scheduled_job_runs_at_its_ticks_and_remembers_some_runs() {
    use JobOutcome::Complete;
    let mut world = world(&["n1"]);
    world.add_service("job", Program::Finishes, every_ten_seconds("allow"));
    world.tick(9 * SECOND);
    assert_eq!((outcomes(&world), tasks(&world)), (vec![], vec![]));
    world.tick(2 * SECOND);
    assert_eq!((outcomes(&world), tasks(&world)), (vec![(1, Complete)], vec!["1.0 complete".to_owned()]));
    world.tick(40 * SECOND);
    assert_eq!(outcomes(&world), [(3, Complete), (4, Complete), (5, Complete)]);
    assert_eq!(tasks(&world), ["3.0 complete", "4.0 complete", "5.0 complete"]);
}

#[test]
fn runs_that_take_long_overlap_pass_or_are_replaced() {
    use JobOutcome::{Replaced, Running};
    for (concurrency, runs, now_running) in [
        ("allow", vec![(1, Running), (2, Running), (3, Running)], vec!["1.0 running", "2.0 running", "3.0 running"]),
        ("forbid", vec![(1, Running)], vec!["1.0 running"]),
        ("replace", vec![(2, Replaced), (3, Running)], vec!["2.0 shutdown", "3.0 running"]),
    ] {
        let mut world = world(&["n1"]);
        world.add_service("job", Program::Runs, every_ten_seconds(concurrency));
        world.tick(35 * SECOND);
        assert_eq!((outcomes(&world), tasks(&world)), (runs, now_running.into_iter().map(str::to_owned).collect()));
    }
}

#[test]
fn a_run_of_a_global_job_is_complete_when_every_node_that_should_have_run_it() {
    use JobOutcome::{Complete, Running};
    let spec = labelled(global(), &[(policy::SCHEDULE, "@every 10m"), ("skep.concurrency", "forbid")]);
    let complete = |world: &mut World, node: &str| {
        let task = world.view.tasks_of_node(node).find(|task| task.state() == TaskState::Running).unwrap().id.clone();
        world.report(&task, TaskState::Complete);
        world.tick(SECOND);
    };
    // A leader that has just begun has not heard of n2 yet.
    let mut world = world(&["n1", "n2"]);
    world.add_service("job", Program::Runs, spec);
    world.set_node_state("n2", NodeState::Unknown);
    world.tick(601 * SECOND);
    complete(&mut world, "n1");
    assert_eq!((outcomes(&world), tasks(&world)), (vec![(1, Running)], vec!["1.n1 complete".to_owned()]));
    world.set_node_state("n2", NodeState::Ready);
    world.tick(SECOND);
    // Now n2 runs it, and goes down before it is through.
    world.set_node_state("n2", NodeState::Down);
    world.tick(60 * SECOND);
    assert_eq!(outcomes(&world), [(1, Running)]);
    world.set_node_state("n2", NodeState::Ready);
    world.tick(SECOND);
    complete(&mut world, "n2");
    assert_eq!(outcomes(&world), [(1, Complete)]);

    // A node that is paused or down when the run begins is not asked; one that is removed is waited for no longer.
    world.set_availability("n1", Availability::Pause);
    world.tick(600 * SECOND);
    world.set_node_state("n2", NodeState::Down);
    world.tick(60 * SECOND);
    assert_eq!(outcomes(&world), [(1, Complete), (2, Running)]);
    world.add_node("n3", |_| {});
    world.tick(SECOND);
    complete(&mut world, "n3");
    assert_eq!(outcomes(&world), [(1, Complete), (2, Running)]);
    world.remove_node("n2");
    world.run(Planner::Cron);
    assert_eq!(outcomes(&world), [(1, Complete), (2, Complete)]);
}

#[test]
fn a_run_for_which_no_node_is_fit_until_its_deadline_has_failed() {
    use JobOutcome::{Complete, Failed, Running};
    let deadline = ("skep.starting-deadline", "2m");
    let spec = labelled(global(), &[(policy::SCHEDULE, "@every 10m"), ("skep.concurrency", "forbid"), deadline]);
    let mut world = world(&["n1"]);
    world.add_service("job", Program::Finishes, spec);
    world.set_availability("n1", Availability::Pause);
    world.tick(600 * SECOND);
    world.tick(119 * SECOND);
    assert_eq!(outcomes(&world), [(1, Running)]);
    world.tick(SECOND);
    assert_eq!(outcomes(&world), [(1, Failed)]);
    // It stands in the way of no other, and one that finds a node in time is run.
    world.tick(540 * SECOND);
    assert_eq!(outcomes(&world), [(1, Failed), (2, Running)]);
    world.set_availability("n1", Availability::Active);
    world.tick(SECOND);
    assert_eq!(outcomes(&world), [(1, Failed), (2, Complete)]);
    // Nor is one waited for whose only node is gone for good.
    world.programs.insert("job".into(), Program::Runs);
    world.tick(600 * SECOND);
    assert_eq!(outcomes(&world).last(), Some(&(3, Running)));
    world.tick(200 * SECOND);
    world.remove_node("n1");
    world.tick(SECOND);
    assert_eq!(outcomes(&world).last(), Some(&(3, Failed)));
}

#[test]
fn a_run_whose_tasks_are_given_up_has_failed() {
    let mut world = world(&["n1"]);
    let spec = restarted(every_ten_seconds("forbid"), RestartCondition::OnFailure, 1);
    world.add_service("job", Program::Crashes, spec);
    world.tick(19 * SECOND);
    assert_eq!(outcomes(&world), [(1, JobOutcome::Failed)]);
    assert_eq!(tasks(&world), ["1.0 failed", "1.0 failed"]);
    world.tick(20 * SECOND);
    assert_eq!(outcomes(&world), [(3, JobOutcome::Failed)]);
}

#[test]
fn somebody_may_run_a_scheduled_job_between_its_ticks() {
    let mut world = world(&["n1"]);
    world.add_service("job", Program::Runs, every_ten_seconds("forbid"));
    let run_now = |service: &Service, now| {
        let mut service = service.clone();
        job::run_now(&mut service, now).map(|()| service)
    };
    write(&mut world, |_, service, now| run_now(service, now).unwrap());
    world.converge();
    assert_eq!((tasks(&world), status(&world).runs[0].scheduled_at), (vec!["1.0 running".to_owned()], 0));
    let refused = run_now(world.view.service_by_name("job").unwrap(), world.now).unwrap_err();
    assert_eq!(refused.to_string(), "the run before is not over and skep.concurrency is forbid");
}

/// What happens to a scheduled job.
#[derive(Debug, Clone)]
enum Event {
    /// Time passes and a leader looks whenever it has to.
    Tick(u64),
    /// Time passes and nobody looks.
    Nobody(u64),
    /// The next leader's clock is behind.
    Back(u64),
    /// Two leaders plan on the same state, one a little later; both propose.
    TwoLeaders(u64),
    /// The nodes do what they are told.
    Settle,
    /// Somebody asks for a run.
    Asked,
    /// The n-th running task ends.
    End(usize, bool),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..40u64).prop_map(Event::Tick),
        1 => (1..300u64).prop_map(Event::Nobody),
        1 => (1..100u64).prop_map(Event::Back),
        3 => (0..15u64).prop_map(Event::TwoLeaders),
        2 => Just(Event::Settle),
        1 => Just(Event::Asked),
        4 => (0..5usize, any::<bool>()).prop_map(|(nth, well)| Event::End(nth, well)),
    ]
}

/// What the runs were, seen from outside.
#[derive(Default)]
struct Ledger {
    /// The run of each tick.
    runs: BTreeMap<i64, u64>,
    /// Iterations seen.
    iterations: BTreeSet<u64>,
}

impl Ledger {
    fn note(&mut self, world: &World) {
        for run in status(world).runs {
            self.iterations.insert(run.iteration);
            if run.scheduled_at != 0 {
                let first = *self.runs.entry(run.scheduled_at).or_insert(run.iteration);
                assert_eq!(first, run.iteration, "two runs of one tick: {run:?}");
            }
        }
    }
}

/// A leader looks. Of the ticks since the last one decided on, the newest one has a run if it is young and may have one.
fn look(world: &mut World, ledger: &mut Ledger) {
    let before = status(world);
    let origin = world.view.service_by_name("job").unwrap().meta.unwrap().created_at;
    let period = 10_000_000_000;
    let newest = origin + (world.now.0 - origin).div_euclid(period) * period;
    world.run(Planner::Cron);
    ledger.note(world);
    let after = status(world);
    assert!(after.iteration <= before.iteration + 1 && after.last_tick >= before.last_tick);
    if newest > before.last_tick && newest > origin {
        assert_eq!(after.last_tick, newest);
        let young = world.now.0 - newest <= 60_000_000_000;
        let crowded = after.runs.iter().filter(|run| run.finished_at == 0).count() >= 32;
        let ran = ledger.runs.contains_key(&newest);
        assert!(if young { ran || crowded } else { !ran }, "tick {newest} of {after:?}");
    } else {
        assert_eq!(after.iteration, before.iteration);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_tick_has_one_run(events in vec(event(), 1..60)) {
        let mut world = world(&["n1", "n2"]);
        world.add_service("job", Program::Runs, every_ten_seconds("allow"));
        let mut ledger = Ledger::default();
        for event in events {
            match event {
                Event::Tick(seconds) => {
                    for _ in 0..seconds {
                        world.now = world.now + SECOND;
                        look(&mut world, &mut ledger);
                    }
                }
                Event::Nobody(seconds) => world.now = world.now + Duration::from_secs(seconds),
                Event::Back(seconds) => world.now = world.now - Duration::from_secs(seconds),
                Event::TwoLeaders(apart) => {
                    let stale = cron::plan(&world.view, &Scope::All, world.now + Duration::from_secs(apart));
                    let version = status(&world);
                    look(&mut world, &mut ledger);
                    for transaction in &stale.transactions {
                        let late = world.view.apply(world.view.version() + 1, transaction);
                        prop_assert!(late.is_err() || status(&world) == version, "the second leader was heard as well");
                        if late.is_ok() {
                            world.commit(transaction);
                            ledger.note(&world);
                        }
                    }
                }
                Event::Settle => world.converge(),
                Event::Asked => write(&mut world, |_, service, now| {
                    let mut service = service.clone();
                    let _ = job::run_now(&mut service, now);
                    service
                }),
                Event::End(nth, well) => {
                    let id = world.view.tasks_in_state(TaskState::Running).nth(nth).map(|task| task.id.clone());
                    if let Some(id) = id {
                        world.report(&id, if well { TaskState::Complete } else { TaskState::Failed });
                    }
                }
            }
            ledger.note(&world);
        }
        // Every run that was begun is known by its one tick, or was asked for.
        prop_assert!(ledger.runs.len() <= ledger.iterations.len());
        prop_assert_eq!(ledger.runs.values().collect::<BTreeSet<_>>().len(), ledger.runs.len());
    }
}
