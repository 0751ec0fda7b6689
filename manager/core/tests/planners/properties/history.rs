//! What can happen to a small swarm, at random.

use std::time::Duration;

use proptest::prelude::*;
use skep_core::{
    policy::{Policy as _, Rebalance},
    task::TaskExt,
};
use skep_proto::v1::{
    Availability, DrainPace, EndpointSpec, FailureAction, GlobalService, NodeState, Placement, PortConfig, PublishMode,
    ReplicatedService, ResourceRequirements, Resources, RestartCondition, RestartPolicy, ServiceSpec, TaskSpec,
    TaskState, UpdateConfig, UpdateOrder, service_spec::Mode,
};

use crate::world::{Planner, Program, World};

pub(super) const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
/// Values of the labels `zone` and `rack` of each node when it is new; empty: it has none.
const LABELS: [(&str, &str); 4] = [("a", "1"), ("a", "2"), ("b", "1"), ("", "")];
const ZONES: [&str; 3] = ["a", "b", "c"];
pub(super) const LEVELS: [&str; 2] = ["zone", "rack"];
const SERVICES: [&str; 3] = ["a", "b", "g"];
/// What a service can be updated to; the first is what its own program says.
pub(super) const IMAGES: [(&str, Option<Program>); 4] = [
    ("own", None),
    ("runs", Some(Program::Runs)),
    ("crashes", Some(Program::Crashes)),
    ("rejected", Some(Program::IsRejected)),
];

/// Something that happens.
#[derive(Debug, Clone)]
pub(super) enum Event {
    AddNode(usize),
    RemoveNode(usize),
    NodeState(usize, NodeState),
    Availability(usize, Availability),
    Label(usize, bool),
    /// It is moved to this zone.
    Zone(usize, usize),
    AddService(usize, Wish),
    RemoveService(usize),
    Scale(usize, u64),
    /// To this image, by this policy.
    Update(usize, usize, UpdateConfig),
    /// The same again, by whatever policy it has: what was paused goes on.
    UpdateAgain(usize),
    RollBack(usize),
    /// To the n-th of the revisions that are kept.
    RollBackTo(usize, usize),
    Rebalance(usize),
    /// Whether its tasks are spread anew whenever that helps.
    RebalanceLabel(usize, bool),
    DrainPace(usize, DrainPace),
    /// One planner acts alone.
    Plan(Planner),
    /// The nodes do what they are told.
    NodesAct,
    /// The n-th task that may run ends by itself.
    End(usize, TaskState),
    Tick(u64),
}

/// What a service asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    pub(super) replicas: u64,
    pub(super) program: Program,
    pub(super) condition: RestartCondition,
    pub(super) max_attempts: u64,
    pub(super) constrained: bool,
    pub(super) cpus: i64,
    pub(super) max_per_node: u64,
    /// Levels of preferences.
    pub(super) levels: usize,
    pub(super) rebalance: bool,
    /// A port of the node itself; 0: none.
    pub(super) port: u32,
    pub(super) update: UpdateConfig,
    pub(super) rollback: UpdateConfig,
}

fn policy() -> impl Strategy<Value = UpdateConfig> {
    let action = prop_oneof![
        2 => Just(FailureAction::Pause),
        2 => Just(FailureAction::Continue),
        2 => Just(FailureAction::Rollback),
    ];
    let order = prop_oneof![Just(UpdateOrder::StopFirst), Just(UpdateOrder::StartFirst)];
    let ratio = prop_oneof![Just(0.0), Just(0.3), Just(1.0)];
    let seconds = |seconds: i64| seconds * 1_000_000_000;
    (0..4u64, 0..3i64, 0..9i64, action, order, ratio).prop_map(
        move |(parallelism, delay, monitor, action, order, ratio)| UpdateConfig {
            parallelism,
            delay: seconds(delay * 4),
            failure_action: action.into(),
            monitor: seconds(monitor),
            max_failure_ratio: ratio,
            order: order.into(),
        },
    )
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
    let port = prop_oneof![5 => Just(0), 1 => Just(80)];
    let places = (0..8u64, any::<bool>(), 0..3i64, 0..3u64, 0..=LEVELS.len(), any::<bool>(), port);
    (places, program, condition, 0..3u64, policy(), policy()).prop_map(
        |(places, program, condition, max_attempts, update, rollback)| {
            let (replicas, constrained, cpus, max_per_node, levels, rebalance, port) = places;
            let places = Wish { replicas, constrained, cpus, max_per_node, levels, rebalance, port, ..Wish::default() };
            Wish { program, condition, max_attempts, update, rollback, ..places }
        },
    )
}

pub(super) fn event() -> impl Strategy<Value = Event> {
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
        1 => (node.clone(), any::<bool>()).prop_map(|(node, fits)| Event::Label(node, fits)),
        1 => (node.clone(), 0..ZONES.len()).prop_map(|(node, zone)| Event::Zone(node, zone)),
        1 => (node, any::<bool>()).prop_map(|(node, gradual)| {
            Event::DrainPace(node, if gradual { DrainPace::Gradual } else { DrainPace::AtOnce })
        }),
        6 => (service.clone(), 0..IMAGES.len(), policy())
            .prop_map(|(service, image, policy)| Event::Update(service, image, policy)),
        1 => service.clone().prop_map(Event::UpdateAgain),
        1 => service.clone().prop_map(Event::RollBack),
        2 => (service.clone(), 0..12usize).prop_map(|(service, nth)| Event::RollBackTo(service, nth)),
        1 => service.clone().prop_map(Event::Rebalance),
        1 => (service.clone(), any::<bool>()).prop_map(|(service, on)| Event::RebalanceLabel(service, on)),
        3 => (service.clone(), wish()).prop_map(|(service, wish)| Event::AddService(service, wish)),
        1 => service.clone().prop_map(Event::RemoveService),
        2 => (service, 0..8u64).prop_map(|(service, replicas)| Event::Scale(service, replicas)),
        8 => planner.prop_map(Event::Plan),
        3 => Just(Event::NodesAct),
        2 => (0..20usize, end).prop_map(|(task, state)| Event::End(task, state)),
        3 => (1..40u64).prop_map(Event::Tick),
    ]
}

pub(super) fn happen(world: &mut World, event: &Event) {
    match event {
        Event::AddNode(node) => add_node(world, *node),
        Event::RemoveNode(node) => world.remove_node(NODES[*node]),
        Event::NodeState(node, state) => world.set_node_state(NODES[*node], *state),
        Event::Availability(node, availability) => world.set_availability(NODES[*node], *availability),
        Event::Label(node, fits) => label(world, *node, "fit", if *fits { "yes" } else { "no" }),
        Event::Zone(node, zone) => label(world, *node, "zone", ZONES[*zone]),
        Event::AddService(service, wish) if world.view.service_by_name(SERVICES[*service]).is_none() => {
            let name = SERVICES[*service];
            world.add_service(name, wish.program, spec(name == "g", wish));
        }
        Event::AddService(..) => {}
        Event::RemoveService(service) => world.remove_service(SERVICES[*service]),
        Event::Scale(service, _) if SERVICES[*service] == "g" => {}
        Event::Scale(service, replicas) => world.scale(SERVICES[*service], *replicas),
        Event::Update(service, image, policy) => world.update_service(SERVICES[*service], |spec| {
            spec.task.get_or_insert_default().container.get_or_insert_default().image = IMAGES[*image].0.into();
            spec.update = Some(*policy);
        }),
        Event::UpdateAgain(service) => world.update_service(SERVICES[*service], |_| {}),
        Event::RollBack(service) => world.roll_back(SERVICES[*service]),
        Event::RollBackTo(service, nth) => {
            let id = world.view.service_by_name(SERVICES[*service]).map(|service| service.id.clone());
            let kept = world.view.revisions_of_service(&id.unwrap_or_default());
            if let Some(number) = kept.get(*nth).map(|revision| revision.number) {
                world.roll_back_to(SERVICES[*service], number);
            }
        }
        Event::Rebalance(service) => world.request_rebalance(SERVICES[*service]),
        Event::RebalanceLabel(service, on) => world.update_service(SERVICES[*service], |spec| set_rebalance(spec, *on)),
        Event::DrainPace(node, pace) => {
            world.edit_node(NODES[*node], |node| node.spec.get_or_insert_default().set_drain_pace(*pace));
        }
        Event::Plan(planner) => world.run(*planner),
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

/// A new node, unless it is there.
pub(super) fn add_node(world: &mut World, node: usize) {
    if world.view.node(NODES[node]).is_none() {
        world.add_node(NODES[node], |_| {});
        label_anew(world, node);
    }
}

pub(super) fn label_anew(world: &mut World, node: usize) {
    for (key, value) in [("zone", LABELS[node].0), ("rack", LABELS[node].1)] {
        if !value.is_empty() {
            label(world, node, key, value);
        }
    }
}

fn label(world: &mut World, node: usize, key: &str, value: &str) {
    world.edit_node(NODES[node], |node| {
        let labels = &mut node.spec.get_or_insert_default().annotations.get_or_insert_default().labels;
        labels.insert(key.into(), value.into());
    });
}

fn set_rebalance(spec: &mut ServiceSpec, on: bool) {
    let labels = &mut spec.annotations.get_or_insert_default().labels;
    labels.insert(Rebalance::LABEL.into(), if on { "on" } else { "off" }.into());
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
            spread_over: LEVELS[..wish.levels].iter().map(|key| format!("node.labels.{key}")).collect(),
            ..Placement::default()
        }),
        ..TaskSpec::default()
    };
    let mode = match global {
        true => Mode::Global(GlobalService {}),
        false => Mode::Replicated(ReplicatedService { replicas: wish.replicas }),
    };
    let port = PortConfig { published: wish.port, mode: PublishMode::Host.into(), ..PortConfig::default() };
    let ports = Some(port).filter(|port| port.published > 0).into_iter().collect();
    let mut spec = ServiceSpec {
        task: Some(task.into()),
        mode: Some(mode),
        update: Some(wish.update),
        rollback: Some(wish.rollback),
        endpoint: Some(EndpointSpec { ports, ..EndpointSpec::default() }.into()),
        ..ServiceSpec::default()
    };
    set_rebalance(&mut spec, wish.rebalance && !global);
    spec
}
