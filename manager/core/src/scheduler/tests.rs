//! The scheduler against the slow way: for each task in turn, look at every node and take the best.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use skep_proto::v1::{
    Availability, Node, NodeDescription, NodeFailure, NodeSpec, NodeState, NodeStatus, Placement, ResourceRequirements,
    Resources, RestartState, TaskSpec, TaskStatus,
};
use skep_store::TxBuilder;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(10_000);

#[derive(Debug, Clone)]
struct Case {
    /// CPUs, ready, active.
    nodes: Vec<(i64, bool, bool)>,
    /// Service, node, wanted, in the order they were made.
    placed: Vec<(usize, usize, bool)>,
    /// Where each placed task's slot failed lately: node, seconds ago.
    failures: Vec<Vec<(usize, u64)>>,
    /// CPUs and most tasks per node of each service; tasks that wait.
    services: Vec<(i64, u64, usize)>,
}

fn case() -> impl Strategy<Value = Case> {
    let nodes = vec((0..6i64, prop::bool::weighted(0.9), prop::bool::weighted(0.9)), 1..7);
    let services = vec((0..3i64, 0..3u64, 0..8usize), 1..4);
    (nodes, services).prop_flat_map(|(nodes, services)| {
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

fn task(case: &Case, id: String, service: usize, slot: u64) -> Task {
    let (cpus, max_replicas, _) = case.services[service];
    let reservations = Some(Resources { nano_cpus: cpus, memory_bytes: 0, ..Default::default() });
    let spec = TaskSpec {
        resources: Some(ResourceRequirements { reservations, ..ResourceRequirements::default() }),
        placement: Some(Placement { max_replicas, ..Placement::default() }),
        ..TaskSpec::default()
    };
    Task {
        id,
        service_id: format!("s{service}"),
        slot,
        spec: Some(spec),
        status: Some(TaskStatus { state: TaskState::Pending.into(), ..TaskStatus::default() }),
        desired_state: TaskState::Running.into(),
        ..Task::default()
    }
}

fn build(case: &Case) -> View {
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, NOW);
    for (number, (cpus, ready, active)) in case.nodes.iter().enumerate() {
        let state = if *ready { NodeState::Ready } else { NodeState::Down };
        let availability = if *active { Availability::Active } else { Availability::Pause };
        tx.create(Node {
            id: format!("n{number}"),
            spec: Some(NodeSpec { availability: availability.into(), ..NodeSpec::default() }),
            status: Some(NodeStatus { state: state.into(), ..NodeStatus::default() }),
            description: Some(NodeDescription {
                resources: Some(Resources { nano_cpus: *cpus, memory_bytes: 0, ..Default::default() }),
                ..NodeDescription::default()
            }),
            ..Node::default()
        });
    }
    for (number, (service, node, wanted)) in case.placed.iter().enumerate() {
        let failures = case.failures[number].iter().map(|(node, ago)| {
            let at = (NOW - Duration::from_secs(*ago)).as_nanos();
            NodeFailure { node_id: format!("n{node}"), at, ran: 0 }
        });
        let mut placed = task(case, format!("placed{number}"), *service, number as u64 + 1);
        placed.node_id = format!("n{node}");
        placed.status = Some(TaskStatus { state: TaskState::Running.into(), ..TaskStatus::default() });
        placed.set_desired_state(if *wanted { TaskState::Running } else { TaskState::Shutdown });
        placed.restart = Some(RestartState { failures: failures.collect(), ..RestartState::default() });
        tx.create(placed);
    }
    for (service, (_, _, waiting)) in case.services.iter().enumerate() {
        for number in 0..*waiting {
            tx.create(task(case, format!("waiting{service}-{number}"), service, 100 + number as u64));
        }
    }
    let tx = tx.build();
    empty.apply(1, &tx).unwrap().0
}

fn scheduled(view: &View) -> View {
    plan(view, NOW).transactions.iter().fold(view.clone(), |view, tx| view.apply(view.version() + 1, tx).unwrap().0)
}

/// The node for one task, the slow way: by id of the node.
fn best(view: &View, task: &Task) -> Option<String> {
    let cpus = |task: &Task| task.spec.clone().unwrap().resources.unwrap().reservations.unwrap().nano_cpus;
    let most = task.spec.as_ref().unwrap().placement.as_ref().unwrap().max_replicas;
    let of_service: Vec<&Arc<Task>> =
        view.tasks_of_service(&task.service_id).filter(|other| other.is_wanted() && other.id != task.id).collect();
    let key = |node: &Node| {
        let there: Vec<&Arc<Task>> = view.tasks_of_node(&node.id).collect();
        let of_service_there = of_service.iter().filter(|other| other.node_id == node.id).count();
        let failures = of_service.iter().flat_map(|other| other.restart.iter().flat_map(|restart| &restart.failures));
        let failed = failures
            .filter(|failure| failure.node_id == node.id && NOW.since(Timestamp(failure.at)) < Duration::from_secs(300))
            .count();
        let free = node.description.as_ref().unwrap().resources.clone().unwrap().nano_cpus
            - there.iter().filter(|other| other.may_run()).map(|other| cpus(other)).sum::<i64>();
        let fits = node.status.as_ref().unwrap().state() == NodeState::Ready
            && node.spec.as_ref().unwrap().availability() == Availability::Active
            && cpus(task) <= free.max(0)
            && (most == 0 || (of_service_there as u64) < most);
        let total = there.iter().filter(|other| other.is_wanted()).count();
        fits.then(|| (if failed >= 5 { failed } else { 0 }, of_service_there, total, node.id.clone()))
    };
    view.nodes().filter_map(|node| key(node)).min().map(|(.., id)| id)
}

/// Places the waiting tasks one by one, the slow way.
fn placed_slowly(view: &View) -> View {
    let mut waiting: Vec<Arc<Task>> = view.tasks_in_state(TaskState::Pending).cloned().collect();
    waiting.sort_by_key(|task| (task.service_id.clone(), task.slot));
    waiting.into_iter().fold(view.clone(), |view, task| {
        let Some(node) = best(&view, &task) else { return view };
        let mut tx = TxBuilder::new(&view, NOW);
        let placed = advanced(&task, TaskState::Assigned, "", NOW);
        tx.update(Task { node_id: node, ..placed });
        let tx = tx.build();
        view.apply(view.version() + 1, &tx).unwrap().0
    })
}

fn placement(view: &View) -> BTreeMap<String, String> {
    view.tasks().map(|task| (task.id.clone(), task.node_id.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn tasks_go_where_the_slow_way_puts_them(case in case()) {
        let view = build(&case);
        let after = scheduled(&view);
        prop_assert_eq!(placement(&after), placement(&placed_slowly(&view)));
        for task in after.tasks_in_state(TaskState::Pending) {
            let err = &task.status.as_ref().unwrap().err;
            prop_assert!(err.starts_with("no suitable node ("), "{} says {:?}", task.id, err);
        }
        prop_assert!(plan(&after, NOW).is_empty());
    }
}

#[test]
fn a_node_that_failed_a_service_often_lately_comes_last() {
    let failed = |times: usize, ago: u64| Case {
        nodes: vec![(4, true, true); 2],
        placed: vec![(0, 1, true), (0, 1, true)],
        failures: vec![vec![(0, ago); times], Vec::new()],
        services: vec![(0, 0, 1)],
    };
    let chosen = |case: &Case| scheduled(&build(case)).task("waiting0-0").unwrap().node_id.clone();
    assert_eq!(chosen(&failed(4, 10)), "n0");
    assert_eq!(chosen(&failed(5, 10)), "n1", "although two of its tasks are there");
    assert_eq!(chosen(&failed(5, 301)), "n0");
}
