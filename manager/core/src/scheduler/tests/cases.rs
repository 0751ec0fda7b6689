//! Single rules, and the sentences.

use skep_proto::v1::{LogDriver, Platform, Plugin};

use super::*;

fn plain(labels: (u8, u8)) -> NodeCase {
    NodeCase { cpus: 4, ready: true, active: true, labels, gpus: 0 }
}

fn waiting(nodes: Vec<NodeCase>, service: ServiceCase) -> Case {
    Case { nodes, placed: Vec::new(), failures: Vec::new(), services: vec![service] }
}

/// How many tasks each node has.
fn loads(case: &Case) -> Vec<usize> {
    let view = scheduled(&build(case));
    (0..case.nodes.len()).map(|number| view.tasks_of_node(&format!("n{number}")).count()).collect()
}

fn reason(view: &View) -> String {
    let view = scheduled(view);
    view.tasks_in_state(TaskState::Pending).next().unwrap().status.as_ref().unwrap().err.clone()
}

#[test]
fn a_node_that_failed_a_service_often_lately_comes_last() {
    let failed = |times: usize, ago: u64| Case {
        nodes: vec![plain((0, 0)); 2],
        placed: vec![(0, 1, true), (0, 1, true)],
        failures: vec![vec![(0, ago); times], Vec::new()],
        services: vec![ServiceCase { waiting: 1, ..ServiceCase::default() }],
    };
    let chosen = |case: &Case| scheduled(&build(case)).task("waiting0-0").unwrap().node_id.clone();
    assert_eq!(chosen(&failed(4, 10)), "n0");
    assert_eq!(chosen(&failed(5, 10)), "n1", "although two of its tasks are there");
    assert_eq!(chosen(&failed(5, 300)), "n0");
}

#[test]
fn nine_over_three_two_and_one() {
    let nodes = [1, 1, 1, 2, 2, 3].map(|zone| plain((zone, 0))).to_vec();
    let service = ServiceCase { spread: 1, waiting: 9, ..ServiceCase::default() };
    assert_eq!(loads(&waiting(nodes, service)), [1, 1, 1, 2, 1, 3]);
}

#[test]
fn nodes_without_the_label_are_a_group_of_their_own() {
    let service = ServiceCase { spread: 1, waiting: 4, ..ServiceCase::default() };
    assert_eq!(loads(&waiting(vec![plain((1, 0)), plain((0, 0))], service.clone())), [2, 2]);
    let three = vec![plain((1, 0)), plain((0, 0)), plain((0, 0))];
    assert_eq!(loads(&waiting(three, service)), [2, 1, 1]);
}

#[test]
fn a_group_without_a_fit_node_leaves_its_share_to_the_others() {
    let full = NodeCase { cpus: 0, ..plain((3, 0)) };
    let service = ServiceCase { cpus: 1, spread: 1, waiting: 6, ..ServiceCase::default() };
    assert_eq!(loads(&waiting(vec![plain((1, 0)), plain((2, 0)), full], service)), [3, 3, 0]);
}

#[test]
fn inner_levels_are_spread_inside_the_outer() {
    // Zone 1 has racks 1 (two nodes) and 2, zone 2 one rack.
    let nodes = [(1, 1), (1, 1), (1, 2), (2, 1)].map(plain).to_vec();
    let service = ServiceCase { spread: 2, waiting: 8, ..ServiceCase::default() };
    assert_eq!(loads(&waiting(nodes, service)), [1, 1, 2, 4]);
}

#[test]
fn what_is_there_already_counts() {
    let case = Case {
        nodes: [1, 1, 2].map(|zone| plain((zone, 0))).to_vec(),
        placed: vec![(0, 0, true), (0, 0, true)],
        failures: vec![Vec::new(); 2],
        services: vec![ServiceCase { spread: 1, waiting: 2, ..ServiceCase::default() }],
    };
    assert_eq!(loads(&case), [2, 0, 2]);
}

#[test]
fn each_filter_has_its_sentence() {
    let cases = [
        (plain((0, 0)), ServiceCase { gpus: 1, ..ServiceCase::default() }, "insufficient resources on 1 node"),
        (
            plain((0, 0)),
            ServiceCase { zone: 1, ..ServiceCase::default() },
            "scheduling constraints not satisfied on 1 node",
        ),
        (NodeCase { active: false, ..plain((0, 0)) }, ServiceCase::default(), "1 node not available for new tasks"),
    ];
    for (node, service, words) in cases {
        let view = build(&waiting(vec![node], ServiceCase { waiting: 1, ..service }));
        assert_eq!(reason(&view), format!("no suitable node ({words})"));
    }
    let port = ServiceCase { port: 80, waiting: 3, ..ServiceCase::default() };
    let view = build(&waiting(vec![plain((0, 0)); 2], port));
    assert_eq!(reason(&view), "no suitable node (host-mode port already in use on 2 nodes)");
    let most = ServiceCase { max_replicas: 1, waiting: 2, ..ServiceCase::default() };
    assert_eq!(
        reason(&build(&waiting(vec![plain((0, 0))], most))),
        "no suitable node (max replicas per node limit exceed)"
    );
}

#[test]
fn who_asks_for_the_same_but_waits_for_something_else_says_so() {
    let port = ServiceCase { port: 80, waiting: 2, ..ServiceCase::default() };
    let most = ServiceCase { max_replicas: 1, waiting: 2, ..ServiceCase::default() };
    for services in [vec![port.clone(), most.clone()], vec![most, port]] {
        let is_port = services[0].port != 0;
        let case = Case { nodes: vec![plain((0, 0))], placed: Vec::new(), failures: Vec::new(), services };
        let view = scheduled(&build(&case));
        let waits = |service: usize| {
            let mut tasks = view.tasks_in_state(TaskState::Pending);
            let task = tasks.find(|task| task.service_id == format!("s{service}")).unwrap();
            task.status.as_ref().unwrap().err.clone()
        };
        let said = if is_port { (waits(0), waits(1)) } else { (waits(1), waits(0)) };
        let port = "no suitable node (host-mode port already in use on 1 node)".to_owned();
        assert_eq!(said, (port, "no suitable node (max replicas per node limit exceed)".to_owned()));
    }
}

#[test]
fn a_task_waits_for_its_platform() {
    let mut described = node("n".into(), &plain((0, 0)));
    let platform = |architecture: &str| Platform { architecture: architecture.into(), os: "linux".into() };
    described.description.as_mut().unwrap().platform = Some(platform("x86_64"));
    let mut wants = task("t".into(), 0, 1, &ServiceCase::default());
    wants.spec.as_mut().unwrap().placement.as_mut().unwrap().platforms = vec![platform("arm64")];
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, NOW);
    tx.create(described).create(wants);
    let view = empty.apply(1, &tx.build()).unwrap().0;
    assert_eq!(reason(&view), "no suitable node (unsupported platform on 1 node)");
}

#[test]
fn a_task_waits_for_its_log_driver() {
    let mut described = node("n".into(), &plain((0, 0)));
    let plugin = Plugin { r#type: "Log".into(), name: "json-file".into() };
    described.description.as_mut().unwrap().plugins.push(plugin);
    let mut wants = task("t".into(), 0, 1, &ServiceCase::default());
    wants.spec.as_mut().unwrap().log_driver = Some(LogDriver { name: "syslog".into(), ..LogDriver::default() });
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, NOW);
    tx.create(described).create(wants);
    let tx = tx.build();
    let view = empty.apply(1, &tx).unwrap().0;
    assert_eq!(reason(&view), "no suitable node (missing plugin on 1 node)");
}

#[test]
fn a_task_goes_only_where_its_fields_are_known() {
    let knows = |id: &str, feature_level| {
        let mut node = node(id.into(), &plain((0, 0)));
        node.description.as_mut().unwrap().feature_level = feature_level;
        node
    };
    let wants = Task { feature_level: 3, ..task("t".into(), 0, 1, &ServiceCase::default()) };
    let with = |nodes: Vec<Node>| {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, NOW);
        nodes.into_iter().for_each(|node| _ = tx.create(node));
        tx.create(wants.clone());
        empty.apply(1, &tx.build()).unwrap().0
    };
    let old = reason(&with(vec![knows("a", 2), knows("b", 0)]));
    assert_eq!(old, "no suitable node (release of skep too old for the task on 2 nodes)");
    let placed = scheduled(&with(vec![knows("a", 2), knows("b", 3), knows("c", 0)]));
    assert_eq!(placed.task("t").unwrap().node_id, "b");
}

#[test]
fn what_was_asked_least_lately_makes_room() {
    let view = build(&waiting(vec![plain((0, 0))], ServiceCase::default()));
    let ask =
        |cpus| super::super::ask::Ask::of(&task("t".into(), 0, 1, &ServiceCase { cpus, ..ServiceCase::default() }));
    let mut pool = Pool::default();
    for cpus in 1..=100 {
        pool.sync(&view);
        assert_eq!(pool.class_of(ask(cpus).shape()), None);
        let opened = pool.open_class(&ask(cpus));
        assert_eq!(pool.class_of(ask(cpus).shape()), Some(opened));
        // The first is asked for again and again.
        assert!(pool.class_of(ask(1).shape()).is_some());
    }
    let any = super::super::ask::Ask::of(&Task::default());
    assert_eq!(pool.class_of(any.shape()), Some(super::super::pool::ANY));
    let known = |pool: &mut Pool, cpus: std::ops::RangeInclusive<i64>| {
        cpus.filter(|cpus| pool.class_of(ask(*cpus).shape()).is_some()).count()
    };
    assert_eq!((known(&mut pool, 1..=100), known(&mut pool, 39..=100)), (63, 62));
}

#[test]
fn a_verdict_says_what_is_known_of_each_node() {
    let case = Case {
        nodes: vec![
            plain((1, 0)),
            plain((2, 0)),
            NodeCase { ready: false, ..plain((2, 0)) },
            NodeCase { active: false, ..plain((2, 0)) },
        ],
        placed: vec![(0, 0, true)],
        failures: vec![vec![(1, 10), (1, 20)]],
        services: vec![ServiceCase { spread: 1, waiting: 1, ..ServiceCase::default() }],
    };
    let view = build(&case);
    let verdicts = explain::verdicts(&view, view.task("waiting0-0").unwrap(), NOW);
    let verdict = |node: &str, failure: Option<&str>, failures, tasks, zone: &str| explain::Verdict {
        node_id: node.into(),
        filter_failure: failure.map(str::to_owned),
        failures,
        service_tasks: tasks,
        tasks,
        spread: vec![(zone.to_owned(), tasks)],
    };
    assert_eq!(
        verdicts,
        [
            verdict("n1", None, 2, 0, "v2"),
            verdict("n0", None, 0, 1, "v1"),
            verdict("n2", Some("not available for new tasks: down"), 0, 0, "v2"),
            verdict("n3", Some("not available for new tasks: paused"), 0, 0, "v2"),
        ]
    );
    // One that has its place is judged as if it had none.
    let own = explain::verdicts(&view, view.task("placed0").unwrap(), NOW);
    assert_eq!(own.iter().map(|verdict| verdict.tasks).collect::<Vec<_>>(), [0; 4]);
}
