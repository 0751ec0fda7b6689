//! What holds in every state, whatever users ask for and whatever breaks.

mod history;
mod moves;
mod revisions;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use proptest::{collection::vec, prelude::*, test_runner::RngSeed};
use skep_common::clock::Timestamp;
use skep_core::{slot::Slot, task::TaskExt};
use skep_proto::v1::{
    Availability, DrainPace, NodeState, ReplicatedService, RestartCondition, Service, ServiceSpec, Task, TaskCause,
    TaskState, UpdateConfig, UpdateOrder, UpdateState, service_spec::Mode,
};
use skep_store::View;

use self::{
    history::{Event, IMAGES, NODES, Wish, add_node, event, happen, label_anew},
    moves::{is_level, may_be_moved, moves, moves_are_for_the_better, moves_cost_nothing, moves_take_their_turn},
    revisions::{as_many_revisions_as_are_needed, tasks_are_what_their_revisions_say},
};
use crate::world::{Planner, Program, World};

/// Holds what a planner decided against the state it decided on.
fn check_properties(world: &World, planner: Planner, before: &View) {
    let (after, now) = (&world.view, world.now);
    tasks_are_what_their_revisions_say(after);
    match planner {
        Planner::Scheduler => {
            placed_well(before, after);
            moves_are_for_the_better(before, after);
        }
        Planner::Orchestrator => {
            replicas_exact(after);
            pairs_only_where_asked(before, after);
            starts_in_order(before, after, now);
            nothing_stops_too_early(before, after);
            parallelism_kept(world, before);
            rollbacks_touch_only_what_is_wrong(before, after);
            moves_take_their_turn(before, after, now);
            moves_cost_nothing(before, after);
        }
        Planner::Reaper => {
            nothing_running_forgotten(before, after);
            as_many_revisions_as_are_needed(before, after);
        }
        Planner::Allocator | Planner::Cron => {}
    }
}

/// Tasks went only where they may, and nowhere is more reserved than there is.
fn placed_well(before: &View, after: &View) {
    for task in after.tasks_in_state(TaskState::Assigned) {
        if before.task(&task.id).is_some_and(|old| old.state() == TaskState::Assigned) {
            continue;
        }
        let node = before.node(&task.node_id).expect("the node exists");
        assert_eq!(node.status.as_ref().unwrap().state(), NodeState::Ready);
        assert_eq!(node.spec.as_ref().unwrap().availability(), Availability::Active);
        let labels = node.spec.as_ref().unwrap().annotations.as_ref().map(|annotations| annotations.labels.clone());
        let unfit = labels.is_some_and(|labels| labels.get("fit").is_some_and(|fit| fit == "no"));
        let placement = task.spec.as_ref().unwrap().placement.as_ref().unwrap();
        assert!(!unfit || placement.constraints.is_empty(), "{task:?} is on a node it may not be on");
        if placement.max_replicas > 0 {
            let there = |other: &&std::sync::Arc<Task>| other.node_id == task.node_id && other.is_wanted();
            let count = after.tasks_of_service(&task.service_id).filter(there).count();
            assert!(count as u64 <= placement.max_replicas, "{count} tasks of {} on {}", task.service_id, task.node_id);
        }
    }
    for node in after.nodes() {
        let running = after.tasks_of_node(&node.id).filter(|task| task.may_run());
        let reserved: i64 = running
            .map(|task| task.spec.clone().unwrap().into_inner().resources.unwrap().reservations.unwrap().nano_cpus)
            .sum();
        let capacity = node.description.clone().unwrap().resources.unwrap().nano_cpus;
        assert!(reserved <= capacity, "{} has {capacity} and {reserved} is reserved", node.id);
        let mut ports = BTreeSet::new();
        for task in after.tasks_of_node(&node.id).filter(|task| task.may_run()) {
            assert!(
                port(task).is_none_or(|port| ports.insert(port)),
                "{task:?} has a port of {} that is taken",
                node.id
            );
        }
    }
}

/// The port of its node that a task takes.
fn port(task: &Task) -> Option<u32> {
    task.endpoint.as_ref()?.spec.as_ref()?.ports.first().map(|port| port.published)
}

/// As many slots are kept as there are replicas, no slot has two wanted tasks unless the second is started first, and
/// nothing is wanted for nobody.
fn replicas_exact(view: &View) {
    let mut wanted: BTreeMap<(&str, Slot<'_>), Vec<&Arc<Task>>> = BTreeMap::new();
    for task in view.tasks().filter(|task| task.is_wanted()) {
        wanted.entry((&task.service_id, slot(task))).or_default().push(task);
        assert!(view.service(&task.service_id).is_some(), "{task:?} is wanted and its service is gone");
    }
    for tasks in wanted.values() {
        let is_pair = |one: &Task, other: &Task| one.replaces == other.id;
        let allowed = match tasks[..] {
            [_] => true,
            [one, other] => is_pair(one, other) || is_pair(other, one),
            _ => false,
        };
        assert!(allowed, "wanted in one slot: {tasks:?}");
    }
    for service in view.services() {
        let Some(Mode::Replicated(mode)) = service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) else { continue };
        let kept: BTreeSet<u64> =
            view.tasks_of_service(&service.id).filter(|task| !task.is_leaving()).map(|task| task.slot).collect();
        assert_eq!(kept.len() as u64, mode.replicas, "slots of {}: {kept:?}", service.id);
    }
}

/// Where a task belongs, whatever its service is.
fn slot(task: &Task) -> Slot<'_> {
    Slot::of(task, task.slot == 0)
}

/// The tasks of a task's slot, itself included.
fn neighbours<'v>(view: &'v View, task: &'v Task) -> impl Iterator<Item = &'v Arc<Task>> {
    view.tasks_of_service(&task.service_id).filter(|other| slot(other) == slot(task))
}

/// Whether its node could say what became of a task.
fn is_heard_of(view: &View, task: &Task) -> bool {
    let node = view.node(&task.node_id);
    node.is_some_and(|node| node.status.as_ref().unwrap().state() != NodeState::Down)
}

fn policy_of(service: &Service, cause: TaskCause) -> UpdateConfig {
    let spec = service.spec.as_ref().unwrap();
    let policy = if cause == TaskCause::Rollback { spec.rollback } else { spec.update };
    policy.expect("every service here has both")
}

/// What a plan made.
fn made<'v>(before: &View, after: &'v View) -> impl Iterator<Item = &'v Arc<Task>> {
    after.tasks().filter(|task| before.task(&task.id).is_none())
}

/// A task is started beside another only where the policy says so, or when it only runs elsewhere for a better spread.
fn pairs_only_where_asked(before: &View, after: &View) {
    for task in made(before, after) {
        let beside = neighbours(after, task).find(|other| other.id != task.id && other.is_wanted());
        let Some(beside) = beside else { continue };
        let was_pair = neighbours(before, beside).filter(|other| other.is_wanted()).count() > 1;
        let starts_first = policy_of(after.service(&task.service_id).unwrap(), task.cause()).order();
        let asked = starts_first == UpdateOrder::StartFirst || task.cause() == TaskCause::Rebalance;
        assert!(was_pair || asked, "{task:?} is started beside {beside:?}");
        assert_eq!(beside.state(), TaskState::Running, "{task:?} is started beside what does not run");
    }
}

/// Nothing is told to run while something else may run in its slot, but for the task it is started beside and those
/// that had all the time there is to stop.
fn starts_in_order(before: &View, after: &View, now: Timestamp) {
    let may_start = |task: &&Arc<Task>| task.desired_state() == TaskState::Running && !task.is_terminal();
    let could = |task: &Arc<Task>| before.task(&task.id).is_some_and(|old| old.desired_state() == TaskState::Running);
    for task in after.tasks().filter(may_start).filter(|task| !could(task)) {
        for other in neighbours(after, task).filter(|other| other.id != task.id && other.may_run()) {
            let is_beside = other.id == task.replaces && other.is_wanted();
            let was_patient = before.task(&task.id).is_some() && task.created_at() + Duration::from_secs(70) <= now;
            let is_lost = !is_heard_of(after, other);
            assert!(is_beside || was_patient || is_lost, "{task:?} is started while {other:?} may run");
        }
    }
}

/// What runs in a service that starts first stops only for something that runs.
fn nothing_stops_too_early(before: &View, after: &View) {
    for service in after.services() {
        let spec = service.spec.as_ref().unwrap();
        let policies = [spec.update, spec.rollback].map(|policy| policy.unwrap().order());
        let restart = spec.task.as_ref().unwrap().restart.unwrap().condition();
        if policies != [UpdateOrder::StartFirst; 2] || restart == RestartCondition::None {
            continue;
        }
        for old in before.tasks_of_service(&service.id) {
            let is_stopped = after.task(&old.id).is_some_and(|task| task.desired_state() == TaskState::Shutdown);
            if !is_stopped || !old.is_wanted() || old.state() != TaskState::Running || !is_heard_of(after, old) {
                continue;
            }
            let runs = |task: &Arc<Task>| task.is_wanted() && task.state() == TaskState::Running;
            assert!(neighbours(after, old).any(runs), "{old:?} is stopped, and nothing runs in its slot");
        }
    }
}

/// An update begins nothing while as many slots as its policy allows are busy with it, whether their new tasks run or
/// have failed; a drain at a gradual pace no more than that at once.
fn parallelism_kept(world: &World, before: &View) {
    let (after, now) = (&world.view, world.now);
    let is_update = |cause| matches!(cause, TaskCause::Update | TaskCause::Rollback);
    for service in after.services() {
        let made: Vec<&Arc<Task>> = made(before, after).filter(|task| task.service_id == service.id).collect();
        if let Some(cause) = made.iter().map(|task| task.cause()).find(|cause| is_update(*cause)) {
            let policy = policy_of(service, cause);
            let is_calm = |at: Timestamp| at + Duration::from_nanos(policy.delay as u64) <= now;
            let is_kept = |slot: &(u64, String)| {
                let mut tasks = after.tasks_of_service(&service.id).filter(|task| !task.is_leaving());
                tasks.any(|task| task.slot == slot.0 && (slot.0 != 0 || task.node_id == slot.1))
            };
            let turns = world.turns.get(&service.id).into_iter().flatten();
            let busy = turns
                .filter(|(slot, turn)| turn.version == service.revision && is_kept(slot))
                .filter(|(_, turn)| !turn.settled.is_some_and(is_calm))
                .count() as u64;
            assert!(policy.parallelism == 0 || busy <= policy.parallelism, "{busy} are busy: {service:?}");
        }
        let policy = policy_of(service, TaskCause::Drain);
        let is_gradual = |task: &&&Arc<Task>| {
            let old = before.task(&task.replaces);
            let node = old.filter(|old| old.state() == TaskState::Running).and_then(|old| before.node(&old.node_id));
            let pace = node.map(|node| node.spec.as_ref().unwrap().drain_pace());
            task.cause() == TaskCause::Drain && pace == Some(DrainPace::Gradual)
        };
        let moved = made.iter().filter(is_gradual).count() as u64;
        assert!(policy.parallelism == 0 || moved <= policy.parallelism, "{moved} are moved at once: {service:?}");
    }
}

/// A rollback replaces nothing that is what it goes back to.
fn rollbacks_touch_only_what_is_wrong(before: &View, after: &View) {
    for task in made(before, after).filter(|task| task.cause() == TaskCause::Rollback) {
        let is_right = |old: &&Arc<Task>| {
            let stays = old.is_wanted() && !old.is_terminal() && is_heard_of(before, old);
            stays && old.revision == task.revision
        };
        let right = neighbours(before, task).find(is_right);
        assert!(right.is_none(), "{task:?} is made by a rollback beside {right:?}");
    }
}

/// Only what has stopped, or nobody can speak for, is forgotten.
fn nothing_running_forgotten(before: &View, after: &View) {
    for task in before.tasks().filter(|task| task.may_run() && after.task(&task.id).is_none()) {
        let up =
            before.node(&task.node_id).is_some_and(|node| node.status.as_ref().unwrap().state() != NodeState::Down);
        let is_gone = before.node(&task.node_id).is_none();
        assert!(!up && (task.is_leaving() || is_gone), "{task:?} was forgotten while it may run");
    }
}

/// A swarm in which nothing is broken any more does what it was asked.
fn heals(world: &mut World) {
    for (number, node) in NODES.into_iter().enumerate() {
        add_node(world, number);
        world.set_node_state(node, NodeState::Ready);
        world.set_availability(node, Availability::Active);
        world.edit_node(node, |node| node.spec = Some(Default::default()));
        label_anew(world, number);
    }
    world.tick(Duration::from_secs(20 * 60));
    let waits_for_room =
        |task: &Task| task.state() == TaskState::Pending && !task.status.as_ref().unwrap().err.is_empty();
    for task in world.view.tasks() {
        let settled = match world.program(task) {
            Program::Runs => task.state() == TaskState::Running && task.desired_state() == TaskState::Running,
            _ => task.is_wanted(),
        };
        assert!(settled || task.is_terminal() || waits_for_room(task), "{task:?} has not settled");
    }
    for service in world.view.services() {
        let state = service.update_status.as_ref().map_or(UpdateState::Unknown, |status| status.state());
        let is_over = !matches!(state, UpdateState::Updating | UpdateState::RollbackStarted);
        let waits = world.view.tasks_of_service(&service.id).any(|task| waits_for_room(task));
        assert!(is_over || waits, "the update of {service:?} does not end");
        let is_spread = service.rebalance_requested_at == 0;
        assert!(is_spread || !is_calm(&world.view, service), "the request to rebalance {service:?} is not met");
        if may_be_moved(service) && is_calm(&world.view, service) {
            is_level(&world.view, service);
        }
    }
    replicas_exact(&world.view);
    // What crashes and comes back takes room and gives it back, and others may then move.
    if world.view.tasks().filter(|task| task.is_wanted()).all(|task| world.program(task) == Program::Runs) {
        let known: BTreeSet<String> = moves(&world.view).map(|task| task.id.clone()).collect();
        world.tick(Duration::from_secs(5 * 60));
        assert!(moves(&world.view).all(|task| known.contains(&task.id)), "moving does not end: {:?}", world.view);
    }
}

/// Whether every task of a service runs.
fn is_calm(view: &View, service: &Service) -> bool {
    let slots = view.tasks_of_service(&service.id).map(|task| task.slot).collect::<BTreeSet<_>>();
    let wanted: Vec<_> = view.tasks_of_service(&service.id).filter(|task| task.is_wanted()).collect();
    let is_replicated = !slots.contains(&0);
    is_replicated && wanted.len() == slots.len() && wanted.iter().all(|task| task.state() == TaskState::Running)
}

/// A history of a small swarm: the properties hold all the way, and at its end it heals.
fn live_through(seed: u64, events: &[Event]) {
    let mut world = World::new(seed);
    let images = IMAGES.iter().filter_map(|(image, program)| Some(((*image).to_owned(), (*program)?)));
    world.images.extend(images);
    world.check = check_properties;
    add_node(&mut world, 0);
    for event in events {
        happen(&mut world, event);
    }
    heals(&mut world);
}

/// The turn of a task that was updated and then lost its node is free at once, not one plan later.
#[test]
fn an_updated_task_whose_node_goes_is_not_waited_for() {
    let one_by_one = UpdateConfig { parallelism: 1, ..UpdateConfig::default() };
    let wish = Wish { replicas: 3, program: Program::Crashes, max_attempts: 1, ..Wish::default() };
    let plans = [Planner::Orchestrator, Planner::Allocator, Planner::Scheduler].map(Event::Plan);
    let mut events = vec![Event::AddService(1, wish), Event::Tick(5), Event::Update(1, 0, one_by_one)];
    events.extend(plans);
    events.extend([Event::RemoveNode(0), Event::Tick(1)]);
    live_through(0, &events);
}

/// A task that may run once at most, cannot be updated and has to leave its node: it does, and the service comes to rest.
#[test]
fn what_cannot_be_updated_and_has_to_leave_is_not_tried_for_ever() {
    let wish = Wish { replicas: 1, condition: RestartCondition::None, ..Wish::default() };
    let start_first = UpdateConfig { order: UpdateOrder::StartFirst.into(), ..UpdateConfig::default() };
    live_through(
        0,
        &[
            Event::AddService(1, wish),
            Event::Tick(1),
            Event::Update(1, 3, start_first),
            Event::Availability(0, Availability::Drain),
            Event::AddNode(1),
            Event::Tick(1),
        ],
    );
}

/// A replacement that waits for room and is updated while it does is not counted against the next task that is to leave.
#[test]
fn a_move_that_becomes_an_update_makes_room_for_the_next_at_once() {
    let wish = Wish { replicas: 2, port: 80, ..Wish::default() };
    let one_by_one = UpdateConfig { parallelism: 1, order: UpdateOrder::StartFirst.into(), ..UpdateConfig::default() };
    live_through(
        0,
        &[
            Event::AddService(0, wish),
            Event::AddNode(3),
            Event::Tick(1),
            Event::Availability(3, Availability::Drain),
            Event::Tick(1),
            Event::Update(0, 0, one_by_one),
            Event::Availability(0, Availability::Drain),
            Event::Plan(Planner::Orchestrator),
        ],
    );
}

/// An updated task that loses its node and gets no replacement goes on being watched as long as it would have been.
#[test]
fn an_update_is_not_over_sooner_because_its_task_has_to_stop() {
    let wish = Wish { condition: RestartCondition::None, ..Wish::default() };
    let plans = [Planner::Orchestrator, Planner::Allocator].map(Event::Plan);
    let mut events = vec![Event::AddService(1, wish), Event::Scale(1, 1), Event::Tick(1)];
    events.push(Event::Update(1, 0, UpdateConfig::default()));
    events.extend(plans);
    events.extend([Event::Scale(1, 0), Event::RollBack(1), Event::Plan(Planner::Scheduler)]);
    events.extend([Event::RemoveNode(0), Event::Tick(1)]);
    live_through(0, &events);
}

/// How many histories, and which. Without being told otherwise the same ones every time, so that whoever sees a failure
/// sees what others see. `SKEP_PROPERTY_CASES=20000` is so many new ones; with `SKEP_PROPERTY_SEED` they are those of that seed,
/// as a failure says.
#[expect(clippy::print_stdout, reason = "only a test that fails shows it")]
fn histories() -> ProptestConfig {
    let number = |name: &str| {
        let value = env::var(name).ok()?;
        Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
    };
    let asked: Option<u64> = number("SKEP_PROPERTY_CASES");
    let seed = number("SKEP_PROPERTY_SEED").unwrap_or_else(|| match asked {
        // Nothing but a hasher's keys is random in the standard library.
        Some(_) => RandomState::new().hash_one(()) >> 32,
        None => 1,
    });
    let cases = u32::try_from(asked.unwrap_or(400)).unwrap_or(u32::MAX);
    println!("again: SKEP_PROPERTY_SEED={seed} SKEP_PROPERTY_CASES={cases} cargo nextest run -p skep-core properties");
    ProptestConfig { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(histories())]

    #[test]
    fn the_properties_hold_in_every_state(seed: u64, events in vec(event(), 1..80)) {
        live_through(seed, &events);
    }

    #[test]
    fn an_update_pauses_when_more_slots_fail_than_it_tolerates(
        seed: u64,
        replicas in 1..9u64,
        parallelism in 0..4u64,
        tenths in 0..10u8,
        bad in any::<u16>(),
    ) {
        let mut world = World::new(seed);
        world.add_node("n1", |_| {});
        let ratio = f32::from(tenths) / 10.0;
        let policy = UpdateConfig { parallelism, delay: 6_000_000_000, max_failure_ratio: ratio, ..Default::default() };
        let mode = Mode::Replicated(ReplicatedService { replicas });
        let spec = ServiceSpec { mode: Some(mode), update: Some(policy), ..ServiceSpec::default() };
        world.add_service("web", Program::Runs, spec);
        world.tick(Duration::from_secs(1));
        world.cursed = (1..=replicas).filter(|slot| bad & (1 << slot) != 0).collect();
        world.update_service("web", |spec| spec.task.get_or_insert_default().force_update = 1);
        world.tick(Duration::from_secs(300));

        let expected = match world.cursed.len() as f32 / replicas as f32 > ratio {
            true => UpdateState::Paused,
            false => UpdateState::Completed,
        };
        let status = world.view.service("web").unwrap().update_status.clone().unwrap();
        prop_assert_eq!(status.state(), expected, "{} of {} fail, {}", world.cursed.len(), replicas, ratio);
        let is_new = |task: &&Arc<Task>| task.is_wanted() && task.revision > 1;
        let updated = world.view.tasks().filter(is_new).count() as u64;
        prop_assert!(updated == replicas || expected == UpdateState::Paused);
    }
}

/// Many tasks at once are more than an entry holds: a leader may be gone after each, and the outcome is the same.
#[test]
fn a_leader_that_dies_between_two_entries_changes_nothing() {
    let mut world = World::new(7);
    world.add_node("n1", |_| {});
    let policy = UpdateConfig { parallelism: 0, ..UpdateConfig::default() };
    let mode = Mode::Replicated(ReplicatedService { replicas: 700 });
    world.add_service(
        "web",
        Program::Runs,
        ServiceSpec { mode: Some(mode), update: Some(policy), ..Default::default() },
    );
    world.converge();
    world.update_service("web", |spec| spec.task.get_or_insert_default().force_update = 1);
    let mut entries = 0;
    loop {
        let plan = world.plan(Planner::Orchestrator);
        let Some(first) = plan.transactions.first() else { break };
        world.commit(first);
        replicas_exact(&world.view);
        entries += 1;
    }
    assert!(entries > 2, "{entries}");
    world.tick(Duration::from_secs(30));
    let status = world.view.service("web").unwrap().update_status.clone().unwrap();
    assert_eq!(status.state(), UpdateState::Completed);
    let is_new = |task: &&Arc<Task>| task.state() == TaskState::Running && task.revision > 1;
    assert_eq!(world.view.tasks().filter(is_new).count(), 700);
}
