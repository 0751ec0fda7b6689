//! What holds in every state, whatever users ask for and whatever breaks.

use std::{collections::BTreeMap, time::Duration};

use proptest::{collection::vec, prelude::*};
use skep_core::task::TaskExt;
use skep_proto::v1::{
    Availability, GlobalService, NodeState, Placement, ReplicatedService, ResourceRequirements, Resources,
    RestartCondition, RestartPolicy, ServiceSpec, Task, TaskSpec, TaskState, service_spec::Mode,
};
use skep_store::View;

use crate::world::{Planner, Program, World};

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const SERVICES: [&str; 3] = ["a", "b", "g"];

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    AddNode(usize),
    RemoveNode(usize),
    NodeState(usize, NodeState),
    Availability(usize, Availability),
    Label(usize, bool),
    AddService(usize, Wish),
    RemoveService(usize),
    Scale(usize, u64),
    /// One planner acts alone.
    Plan(Planner),
    /// The nodes do what they are told.
    NodesAct,
    /// The n-th task that may run ends by itself.
    End(usize, TaskState),
    Tick(u64),
}

/// What a service asks for.
#[derive(Debug, Clone)]
struct Wish {
    replicas: u64,
    program: Program,
    condition: RestartCondition,
    max_attempts: u64,
    constrained: bool,
    cpus: i64,
    max_per_node: u64,
}

fn wish() -> impl Strategy<Value = Wish> {
    let program = prop_oneof![
        4 => Just(Program::Runs),
        1 => Just(Program::Crashes),
        1 => Just(Program::Finishes),
        1 => Just(Program::IsRejected),
    ];
    let condition = prop_oneof![
        3 => Just(RestartCondition::Any),
        1 => Just(RestartCondition::OnFailure),
        1 => Just(RestartCondition::None),
    ];
    (0..8u64, program, condition, 0..3u64, any::<bool>(), 0..3i64, 0..3u64).prop_map(
        |(replicas, program, condition, max_attempts, constrained, cpus, max_per_node)| Wish {
            replicas,
            program,
            condition,
            max_attempts,
            constrained,
            cpus,
            max_per_node,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let node = 0..NODES.len();
    let service = 0..SERVICES.len();
    let state = prop_oneof![Just(NodeState::Ready), Just(NodeState::Down), Just(NodeState::Unknown)];
    let availability = prop_oneof![Just(Availability::Active), Just(Availability::Pause), Just(Availability::Drain)];
    let planner = prop::sample::select(Planner::ALL.to_vec());
    let end = prop_oneof![Just(TaskState::Failed), Just(TaskState::Complete), Just(TaskState::Rejected)];
    prop_oneof![
        2 => node.clone().prop_map(Event::AddNode),
        1 => node.clone().prop_map(Event::RemoveNode),
        2 => (node.clone(), state).prop_map(|(node, state)| Event::NodeState(node, state)),
        2 => (node.clone(), availability).prop_map(|(node, availability)| Event::Availability(node, availability)),
        1 => (node, any::<bool>()).prop_map(|(node, fits)| Event::Label(node, fits)),
        3 => (service.clone(), wish()).prop_map(|(service, wish)| Event::AddService(service, wish)),
        1 => service.clone().prop_map(Event::RemoveService),
        2 => (service, 0..8u64).prop_map(|(service, replicas)| Event::Scale(service, replicas)),
        8 => planner.prop_map(Event::Plan),
        3 => Just(Event::NodesAct),
        2 => (0..20usize, end).prop_map(|(task, state)| Event::End(task, state)),
        3 => (1..40u64).prop_map(Event::Tick),
    ]
}

fn happen(world: &mut World, event: &Event) {
    match event {
        Event::AddNode(node) if world.view.node(NODES[*node]).is_none() => world.add_node(NODES[*node], |_| {}),
        Event::AddNode(_) => {}
        Event::RemoveNode(node) => world.remove_node(NODES[*node]),
        Event::NodeState(node, state) => world.set_node_state(NODES[*node], *state),
        Event::Availability(node, availability) => world.set_availability(NODES[*node], *availability),
        Event::Label(node, fits) => world.edit_node(NODES[*node], |node| {
            let labels = &mut node.spec.get_or_insert_default().annotations.get_or_insert_default().labels;
            labels.insert("fit".into(), if *fits { "yes" } else { "no" }.into());
        }),
        Event::AddService(service, wish) if world.view.service_by_name(SERVICES[*service]).is_none() => {
            let name = SERVICES[*service];
            world.add_service(name, wish.program, spec(name == "g", wish));
        }
        Event::AddService(..) => {}
        Event::RemoveService(service) => world.remove_service(SERVICES[*service]),
        Event::Scale(service, _) if SERVICES[*service] == "g" => {}
        Event::Scale(service, replicas) => world.scale(SERVICES[*service], *replicas),
        Event::Plan(planner) => plan_lawfully(world, *planner),
        Event::NodesAct => world.nodes_act(),
        Event::End(nth, state) => {
            let id = world.view.tasks().filter(|task| task.may_run()).nth(*nth).map(|task| task.id.clone());
            if let Some(id) = id {
                world.report(&id, *state);
            }
        }
        Event::Tick(seconds) => world.tick(Duration::from_secs(*seconds)),
    }
}

fn spec(global: bool, wish: &Wish) -> ServiceSpec {
    let constraints = if wish.constrained { vec!["node.labels.fit!=no".to_owned()] } else { Vec::new() };
    let reservations = Some(Resources { nano_cpus: wish.cpus * 1_000_000_000, memory_bytes: 0, ..Default::default() });
    let task = TaskSpec {
        resources: Some(ResourceRequirements { reservations, ..ResourceRequirements::default() }),
        restart: Some(RestartPolicy {
            condition: wish.condition.into(),
            max_attempts: wish.max_attempts,
            ..RestartPolicy::default()
        }),
        placement: Some(Placement {
            constraints,
            max_replicas: if global { 0 } else { wish.max_per_node },
            ..Placement::default()
        }),
        ..TaskSpec::default()
    };
    let mode = match global {
        true => Mode::Global(GlobalService {}),
        false => Mode::Replicated(ReplicatedService { replicas: wish.replicas }),
    };
    ServiceSpec { task: Some(task), mode: Some(mode), ..ServiceSpec::default() }
}

/// Runs a planner and holds what it decided against the state it decided on.
fn plan_lawfully(world: &mut World, planner: Planner) {
    let before = world.view.clone();
    world.run(planner);
    match planner {
        Planner::Scheduler => placed_well(&before, &world.view),
        Planner::Orchestrator => replicas_exact(&world.view),
        Planner::Reaper => nothing_running_forgotten(&before, &world.view),
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
        let reserved: i64 =
            running.map(|task| task.spec.clone().unwrap().resources.unwrap().reservations.unwrap().nano_cpus).sum();
        let capacity = node.description.clone().unwrap().resources.unwrap().nano_cpus;
        assert!(reserved <= capacity, "{} has {capacity} and {reserved} is reserved", node.id);
    }
}

/// As many places are held as there are replicas, no place has two wanted tasks, and nothing is wanted for nobody.
fn replicas_exact(view: &View) {
    let mut wanted: BTreeMap<(&str, u64, &str), usize> = BTreeMap::new();
    for task in view.tasks().filter(|task| task.is_wanted()) {
        let node = if task.slot == 0 { task.node_id.as_str() } else { "" };
        *wanted.entry((&task.service_id, task.slot, node)).or_default() += 1;
        assert!(view.service(&task.service_id).is_some(), "{task:?} is wanted and its service is gone");
    }
    assert!(wanted.values().all(|count| *count == 1), "two wanted tasks in one place: {wanted:?}");
    for service in view.services() {
        let Some(Mode::Replicated(mode)) = service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) else { continue };
        let held: std::collections::BTreeSet<u64> =
            view.tasks_of_service(&service.id).filter(|task| !task.is_leaving()).map(|task| task.slot).collect();
        assert_eq!(held.len() as u64, mode.replicas, "slots of {}: {held:?}", service.id);
    }
}

/// Only what has stopped, or nobody can speak for, is forgotten.
fn nothing_running_forgotten(before: &View, after: &View) {
    for task in before.tasks().filter(|task| task.may_run() && after.task(&task.id).is_none()) {
        let up =
            before.node(&task.node_id).is_some_and(|node| node.status.as_ref().unwrap().state() != NodeState::Down);
        assert!(!up && task.is_leaving(), "{task:?} was forgotten while it may run");
    }
}

/// A swarm in which nothing is broken any more does what it was asked.
fn heals(world: &mut World) {
    for node in NODES {
        if world.view.node(node).is_none() {
            world.add_node(node, |_| {});
        }
        world.set_node_state(node, NodeState::Ready);
        world.set_availability(node, Availability::Active);
        world.edit_node(node, |node| node.spec = Some(Default::default()));
    }
    world.tick(Duration::from_secs(120));
    for task in world.view.tasks() {
        let program = world.programs[&task.service_id];
        let waits_for_room = task.state() == TaskState::Pending && !task.status.as_ref().unwrap().err.is_empty();
        let settled = match program {
            Program::Runs => task.state() == TaskState::Running && task.desired_state() == TaskState::Running,
            _ => task.is_wanted(),
        };
        assert!(settled || task.is_terminal() || waits_for_room, "{task:?} has not settled");
    }
    replicas_exact(&world.view);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_in_every_state(seed: u64, events in vec(event(), 1..80)) {
        let mut world = World::new(seed);
        world.add_node("n1", |_| {});
        for event in &events {
            happen(&mut world, event);
        }
        heals(&mut world);
    }
}
