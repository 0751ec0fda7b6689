//! The scheduler against the slow way: for each task in turn, look at every node and take the best.

mod cases;
mod slow;

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use skep_proto::v1::{
    Annotations, Availability, Endpoint, EndpointSpec, GenericResource, Node, NodeDescription, NodeFailure, NodeSpec,
    NodeState, NodeStatus, ObjectKind, Placement, PortConfig, PublishMode, ResourceRequirements, Resources,
    RestartState, TaskSpec, TaskStatus, generic_resource::Value,
};
use skep_store::TxBuilder;

use super::*;
use crate::task::advanced;

const NOW: Timestamp = Timestamp::from_secs(10_000);

#[derive(Debug, Clone)]
struct Case {
    nodes: Vec<NodeCase>,
    /// Service, node, wanted, in the order they were made.
    placed: Vec<(usize, usize, bool)>,
    /// Where each placed task's slot failed lately: node, seconds ago.
    failures: Vec<Vec<(usize, u64)>>,
    services: Vec<ServiceCase>,
}

#[derive(Debug, Clone, Default)]
struct NodeCase {
    cpus: i64,
    ready: bool,
    active: bool,
    /// Of the labels `zone` and `rack`; 0: it has none.
    labels: (u8, u8),
    /// Named ones.
    gpus: u8,
}

#[derive(Debug, Clone, Default)]
struct ServiceCase {
    cpus: i64,
    max_replicas: u64,
    gpus: i64,
    /// A port of the node; 0: none.
    port: u32,
    /// Levels of preferences.
    spread: usize,
    /// Value of `zone` it is bound to; 0: none.
    zone: u8,
    waiting: usize,
}

fn case() -> impl Strategy<Value = Case> {
    let usually = || prop::bool::weighted(0.9);
    let node = (0..6i64, usually(), usually(), (0..3u8, 0..3u8), 0..3u8);
    let node = node.prop_map(|(cpus, ready, active, labels, gpus)| NodeCase { cpus, ready, active, labels, gpus });
    let rarely = |what: std::ops::Range<i64>| prop_oneof![3 => Just(0), 1 => what];
    let service = (0..3i64, 0..3u64, rarely(1..3), rarely(1..3), 0..3usize, rarely(1..3), 0..8usize);
    let service = service.prop_map(|(cpus, max_replicas, gpus, port, spread, zone, waiting)| ServiceCase {
        cpus,
        max_replicas,
        gpus,
        port: u32::try_from(port).unwrap(),
        spread,
        zone: u8::try_from(zone).unwrap(),
        waiting,
    });
    (vec(node, 1..8), vec(service, 1..4)).prop_flat_map(|(nodes, services)| {
        let placed = vec((0..services.len(), 0..nodes.len(), prop::bool::weighted(0.8)), 0..12);
        let failures = vec(vec((0..nodes.len(), 0..600u64), 0..8), 12);
        (Just(nodes), placed, failures, Just(services)).prop_map(|(nodes, placed, failures, services)| Case {
            nodes,
            placed,
            failures,
            services,
        })
    })
}

fn label(value: u8) -> String {
    format!("v{value}")
}

fn node(id: String, case: &NodeCase) -> Node {
    let state = if case.ready { NodeState::Ready } else { NodeState::Down };
    let availability = if case.active { Availability::Active } else { Availability::Pause };
    let labels = [("zone", case.labels.0), ("rack", case.labels.1)].into_iter().filter(|(_, value)| *value > 0);
    let labels = labels.map(|(key, value)| (key.to_owned(), label(value))).collect();
    let gpu = |n| GenericResource { kind: "gpu".into(), value: Some(Value::Named(format!("gpu{n}"))) };
    let resources =
        Resources { nano_cpus: case.cpus, generic: (0..case.gpus).map(gpu).collect(), ..Resources::default() };
    Node {
        id,
        spec: Some(NodeSpec {
            availability: availability.into(),
            annotations: Some(Annotations { labels, ..Annotations::default() }),
            ..NodeSpec::default()
        }),
        status: Some(NodeStatus { state: state.into(), ..NodeStatus::default() }),
        description: Some(NodeDescription { resources: Some(resources), ..NodeDescription::default() }),
        ..Node::default()
    }
}

fn endpoint(case: &ServiceCase) -> Endpoint {
    let port = PortConfig { published: case.port, mode: PublishMode::Host.into(), ..PortConfig::default() };
    let ports = Some(port).filter(|port| port.published > 0).into_iter().collect();
    Endpoint { spec: Some(EndpointSpec { ports, ..EndpointSpec::default() }.into()) }
}

fn task(id: String, service: usize, slot: u64, case: &ServiceCase) -> Task {
    let gpus = GenericResource { kind: "gpu".into(), value: Some(Value::Discrete(case.gpus)) };
    let generic = Some(gpus).filter(|_| case.gpus > 0).into_iter().collect();
    let reservations = Some(Resources { nano_cpus: case.cpus, memory_bytes: 0, generic });
    let levels = ["node.labels.zone", "node.labels.rack"].into_iter().map(str::to_owned);
    let zone = (case.zone > 0).then(|| format!("node.labels.zone=={}", label(case.zone)));
    let placement = Placement {
        max_replicas: case.max_replicas,
        spread_over: levels.take(case.spread).collect(),
        constraints: zone.into_iter().collect(),
        ..Placement::default()
    };
    let spec = TaskSpec {
        resources: Some(ResourceRequirements { reservations, ..ResourceRequirements::default() }),
        placement: Some(placement),
        ..TaskSpec::default()
    };
    Task {
        id,
        service_id: format!("s{service}"),
        slot,
        spec: Some(spec.into()),
        endpoint: Some(endpoint(case)),
        status: Some(TaskStatus { state: TaskState::Pending.into(), ..TaskStatus::default() }),
        desired_state: TaskState::Running.into(),
        ..Task::default()
    }
}

fn build(case: &Case) -> View {
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, NOW);
    for (number, of_node) in case.nodes.iter().enumerate() {
        tx.create(node(format!("n{number}"), of_node));
    }
    for (number, (service, node, wanted)) in case.placed.iter().enumerate() {
        let failures = case.failures[number].iter().map(|(node, ago)| {
            let at = (NOW - Duration::from_secs(*ago)).as_nanos();
            NodeFailure { node_id: format!("n{node}"), at }
        });
        let mut placed = task(format!("placed{number}"), *service, number as u64 + 1, &case.services[*service]);
        placed.node_id = format!("n{node}");
        placed.status = Some(TaskStatus { state: TaskState::Running.into(), ..TaskStatus::default() });
        placed.set_desired_state(if *wanted { TaskState::Running } else { TaskState::Shutdown });
        placed.restart = Some(RestartState { failures: failures.collect(), ..RestartState::default() }.into());
        tx.create(placed);
    }
    for (service, of_service) in case.services.iter().enumerate() {
        for number in 0..of_service.waiting {
            tx.create(task(format!("waiting{service}-{number}"), service, 100 + number as u64, of_service));
        }
    }
    let tx = tx.build();
    empty.apply(1, &tx).unwrap().0
}

fn scheduled(view: &View) -> View {
    plan(view, NOW).transactions.iter().fold(view.clone(), |view, tx| view.apply(view.version() + 1, tx).unwrap().0)
}

fn placement(view: &View) -> BTreeMap<String, String> {
    view.tasks().map(|task| (task.id.clone(), task.node_id.clone())).collect()
}

/// What happens between two plans.
#[derive(Debug, Clone)]
enum Event {
    /// Plan, and write this much of it, in percent: proposals can be refused.
    Plan(usize),
    Node(usize, NodeCase),
    NodeGone(usize),
    /// One of the tasks ends.
    Ends(usize),
    Made(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let node = (0..6i64, any::<bool>(), prop::bool::weighted(0.9), (0..3u8, 0..3u8), 0..3u8);
    let node = node.prop_map(|(cpus, ready, active, labels, gpus)| NodeCase { cpus, ready, active, labels, gpus });
    prop_oneof![
        3 => prop_oneof![Just(100), 0..100usize].prop_map(Event::Plan),
        2 => (0..10usize, node).prop_map(|(number, node)| Event::Node(number, node)),
        1 => (0..10usize).prop_map(Event::NodeGone),
        2 => any::<prop::sample::Index>().prop_map(|index| Event::Ends(index.index(64))),
        2 => (0..4usize).prop_map(Event::Made),
    ]
}

/// A state that somebody changes, and a scheduler that hears of it.
struct Kept {
    view: View,
    scheduler: Scheduler,
    services: Vec<ServiceCase>,
    made: usize,
}

impl Kept {
    fn happens(&mut self, event: &Event) {
        let view = self.view.clone();
        let mut tx = TxBuilder::new(&view, NOW);
        match event {
            Event::Plan(percent) => {
                let plan = self.scheduler.plan(&view, NOW);
                assert_eq!(plan, super::plan(&view, NOW));
                for mut transaction in plan.transactions {
                    transaction.actions.truncate(transaction.actions.len() * percent / 100);
                    self.write(&transaction);
                }
                return;
            }
            Event::Node(number, case) => {
                let changed = node(format!("n{number}"), case);
                match view.node(&changed.id) {
                    Some(old) => tx.update(Node { meta: old.meta, ..changed }),
                    None => tx.create(changed),
                };
            }
            Event::NodeGone(number) => {
                if view.node(&format!("n{number}")).is_some() {
                    tx.remove(ObjectKind::Node, &format!("n{number}"));
                }
            }
            Event::Ends(nth) => {
                if let Some(task) = view.tasks().filter(|task| task.may_run()).nth(*nth) {
                    tx.update(advanced(task, TaskState::Failed, "ended", NOW));
                }
            }
            Event::Made(service) => {
                let service = service % self.services.len();
                self.made += 1;
                let id = format!("made{}", self.made);
                tx.create(task(id, service, 1000 + self.made as u64, &self.services[service]));
            }
        }
        self.write(&tx.build());
    }

    fn write(&mut self, transaction: &skep_proto::v1::Transaction) {
        let (next, changes) = self.view.apply(self.view.version() + 1, transaction).unwrap();
        self.view = next;
        changes.changes.iter().for_each(|change| self.scheduler.note(change));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn tasks_go_where_the_slow_way_puts_them(case in case()) {
        let view = build(&case);
        let after = scheduled(&view);
        prop_assert_eq!(placement(&after), placement(&slow::placed(&view)));
        for task in after.tasks_in_state(TaskState::Pending) {
            let err = &task.status.as_ref().unwrap().err;
            prop_assert!(err.starts_with("no suitable node ("), "{} says {:?}", task.id, err);
        }
        prop_assert!(plan(&after, NOW).is_empty());
        slow::nothing_is_given_twice(&view, &after);
    }

    #[test]
    fn what_is_kept_changes_no_plan(case in case(), history in vec(event(), 1..20)) {
        let mut kept = Kept { view: build(&case), scheduler: Scheduler::default(), services: case.services, made: 0 };
        for event in history.iter().chain([&Event::Plan(100)]) {
            kept.happens(event);
        }
        prop_assert!(kept.scheduler.plan(&kept.view, NOW).is_empty());
    }

    #[test]
    fn the_first_verdict_is_where_the_task_goes(case in case()) {
        let view = build(&case);
        let first = plan(&view, NOW).transactions.iter().flat_map(|tx| tx.actions.clone()).find_map(written);
        let Some(task) = first else { return Ok(()) };
        let verdicts = explain::verdicts(&view, view.task(&task.id).unwrap(), NOW);
        prop_assert_eq!(verdicts.len(), view.node_count());
        let fit = verdicts.first().filter(|verdict| verdict.filter_failure.is_none()).map(|verdict| verdict.node_id.as_str());
        prop_assert_eq!(fit.unwrap_or_default(), task.node_id);
    }
}

#[test]
fn who_missed_changes_begins_anew() {
    let mut service = ServiceCase { waiting: 1, ..ServiceCase::default() };
    let nodes = |ready| vec![NodeCase { ready, active: true, ..NodeCase::default() }];
    let case = |ready, service: &ServiceCase| {
        build(&Case { nodes: nodes(ready), placed: vec![], failures: vec![], services: vec![service.clone()] })
    };
    let mut scheduler = Scheduler::default();
    let down = case(false, &service);
    assert_eq!(scheduler.plan(&down, NOW), plan(&down, NOW));
    service.waiting = 2;
    let up = case(true, &service);
    scheduler.reset();
    assert_eq!(scheduler.plan(&up, NOW), plan(&up, NOW));
}

#[test]
fn a_task_of_no_service_is_placed_or_says_why_not() {
    let case = |cpus| {
        let node = NodeCase { cpus, ready: true, active: true, ..NodeCase::default() };
        let case = Case { nodes: vec![node], placed: vec![], failures: vec![], services: vec![] };
        let view = build(&case);
        let alone = ServiceCase { cpus: 1, ..ServiceCase::default() };
        let mut tx = TxBuilder::new(&view, NOW);
        tx.create(Task { service_id: String::new(), ..task("alone".into(), 0, 1, &alone) });
        let view = scheduled(&view.apply(2, &tx.build()).unwrap().0);
        let status = view.task("alone").unwrap().status.clone().unwrap();
        (view.task("alone").unwrap().node_id.clone(), status.err)
    };
    assert_eq!(case(1), ("n0".into(), String::new()));
    assert_eq!(case(0), (String::new(), "no suitable node (insufficient resources on 1 node)".into()));
}

fn written(action: skep_proto::v1::Action) -> Option<Task> {
    match action.action? {
        skep_proto::v1::action::Action::Update(object) => match object.object? {
            skep_proto::v1::object::Object::Task(task) => Some(task.into_inner()),
            _ => None,
        },
        _ => None,
    }
}
