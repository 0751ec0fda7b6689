//! What is foretold for small swarms, and that nothing is changed by asking.

use std::time::Duration;

use skep_common::clock::nanos;
use skep_proto::v1::{
    Annotations, ContainerSpec, GlobalJob, GlobalService, ManagerStatus, NodeDescription, NodeSpec, NodeStatus,
    Placement, ReplicatedJob, ReplicatedService, ResourceRequirements, Resources, TaskSpec, UpdateConfig,
    service_spec::Mode,
};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn spec(name: &str, mode: Mode, edit: impl FnOnce(&mut TaskSpec)) -> ServiceSpec {
    let container = ContainerSpec { image: "a".into(), ..ContainerSpec::default() };
    let mut task = TaskSpec { container: Some(container), ..TaskSpec::default() };
    edit(&mut task);
    let annotations = Annotations { name: name.into(), ..Annotations::default() };
    ServiceSpec {
        annotations: Some(annotations.into()),
        task: Some(task.into()),
        mode: Some(mode),
        ..ServiceSpec::default()
    }
}

fn replicated(name: &str, replicas: u64) -> ServiceSpec {
    spec(name, Mode::Replicated(ReplicatedService { replicas }), |_| ())
}

fn bound_to_east(name: &str) -> ServiceSpec {
    let constraints = vec!["node.labels.zone==east".to_owned()];
    spec(name, Mode::Replicated(ReplicatedService { replicas: 1 }), |task| {
        task.placement = Some(Placement { constraints, ..Placement::default() });
    })
}

/// Nodes n1, n2 (zone east) and n3 with these services running.
fn swarm(services: Vec<ServiceSpec>) -> View {
    let mut world = World::new(View::default(), NOW, SeededIds::new(7));
    for id in ["n1", "n2", "n3"] {
        let mut annotations = Annotations::default();
        if id == "n2" {
            annotations.labels.insert("zone".into(), "east".into());
        }
        let node = Node {
            id: id.into(),
            spec: Some(NodeSpec { annotations: Some(annotations), ..NodeSpec::default() }),
            description: Some(NodeDescription { hostname: format!("host-{id}"), ..NodeDescription::default() }),
            status: Some(NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() }),
            ..Node::default()
        };
        world.write(|tx| tx.create(node));
    }
    for (number, spec) in services.into_iter().enumerate() {
        world.write(|tx| tx.create(update::created(&View::default(), format!("s{number}"), spec, NOW)));
        assert!(world.converge());
    }
    world.view().clone()
}

fn effect(service: &str, slot: u64, from: &str, to: &str, reason: &str) -> Effect {
    let node = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    Effect { service: service.into(), slot, from: node(from), to: node(to), reason: reason.into() }
}

#[test]
fn a_drained_nodes_tasks_move_where_the_scheduler_would_put_them() {
    let view = swarm(vec![replicated("web", 3)]);
    let forecast = play(&view, &Scenario::Drain("n2".into()), NOW);
    assert_eq!(forecast.effects, [effect("web", 2, "host-n2", "host-n1", "")]);
    assert_eq!(forecast.summary, "If host-n2 were drained, 1 task would move.");
}

#[test]
fn what_would_find_no_place_says_why_and_a_global_task_stops() {
    let global = spec("agent", Mode::Global(GlobalService {}), |_| ());
    let view = swarm(vec![bound_to_east("db"), global]);
    let forecast = play(&view, &Scenario::Drain("n2".into()), NOW);
    let reason =
        "no suitable node (scheduling constraints not satisfied on 2 nodes; 1 node not available for new tasks)";
    let expected = [
        effect("agent", 0, "host-n2", "", "one task on each node, and this one is no longer fit"),
        effect("db", 1, "host-n2", "", reason),
    ];
    assert_eq!(forecast.effects, expected);
    assert_eq!(forecast.summary, "If host-n2 were drained, 1 task would find no place, 1 task would stop for good.");
}

#[test]
fn the_first_slot_of_a_job_is_a_slot() {
    let job = Mode::ReplicatedJob(ReplicatedJob { max_concurrent: 0, total_completions: 3 });
    let on_every_node = spec("scan", Mode::GlobalJob(GlobalJob {}), |_| ());
    let view = swarm(vec![spec("job", job, |_| ()), on_every_node]);
    let forecast = play(&view, &Scenario::Drain("n1".into()), NOW);
    let expected = [
        effect("job", 0, "host-n1", "host-n2", ""),
        effect("scan", 0, "host-n1", "", "one task on each node, and this one is no longer fit"),
    ];
    assert_eq!(forecast.effects, expected);
    assert_eq!(forecast.summary, "If host-n1 were drained, 1 task would move, 1 task would stop for good.");
}

#[test]
fn several_nodes_are_lost_together() {
    let view = swarm(vec![replicated("web", 3)]);
    let nodes = ["n1", "n2"].map(str::to_owned).into();
    let forecast = play(&view, &Scenario::Lose(nodes), NOW);
    let moves = [effect("web", 1, "host-n1", "host-n3", ""), effect("web", 2, "host-n2", "host-n3", "")];
    assert_eq!(forecast.effects, moves);
    assert_eq!(forecast.summary, "If host-n1, host-n2 were lost, 2 tasks would move.");
    assert_eq!(nodes_with_label(&view, "zone=east"), Some(["n2".to_owned()].into()));
    assert_eq!(nodes_with_label(&view, "zone=west"), Some(BTreeSet::new()));
    assert_eq!(nodes_with_label(&view, "zone"), None);
}

#[test]
fn without_a_quorum_nothing_is_replaced() {
    let mut world = World::new(swarm(vec![replicated("web", 3)]), NOW, SeededIds::new(8));
    for id in ["n1", "n2", "n3"] {
        world.edit_node(id, |node| node.manager = Some(ManagerStatus::default()));
    }
    let lost = |world: &World, nodes: &[&str]| {
        play(world.view(), &Scenario::Lose(nodes.iter().map(|id| (*id).to_owned()).collect()), NOW)
    };
    assert_eq!(lost(&world, &["n1"]).summary, "If host-n1 were lost, 1 task would move.");
    let silent = "which is no quorum: tasks on other nodes would run on, and nothing would be replaced or could be changed \
                  until managers come back.";
    let two = Forecast {
        effects: Vec::new(),
        summary: format!("If host-n1, host-n2 were lost, 1 of 3 managers would be left, {silent}"),
    };
    assert_eq!(lost(&world, &["n1", "n2"]), two);
    let mut pair = World::new(swarm(Vec::new()), NOW, SeededIds::new(8));
    for id in ["n1", "n2"] {
        pair.edit_node(id, |node| node.manager = Some(ManagerStatus::default()));
    }
    assert_eq!(lost(&pair, &["n1"]).summary, format!("If host-n1 were lost, 1 of 2 managers would be left, {silent}"));
    // In the order of the names, which is not that of the ids.
    world.edit_node("n1", |node| node.description.get_or_insert_default().hostname = "zeta".into());
    assert!(lost(&world, &["n1", "n2"]).summary.starts_with("If host-n2, zeta were lost"));
    world.edit_node("n1", |node| node.description.get_or_insert_default().hostname = "host-n1".into());
    // One that is down already counts as lost.
    world.edit_node("n2", |node| node.status.get_or_insert_default().set_state(NodeState::Down));
    assert_eq!(lost(&world, &["n1"]).summary, format!("If host-n1 were lost, 1 of 3 managers would be left, {silent}"));
}

#[test]
fn a_deployment_says_where_its_tasks_would_start() {
    let view = swarm(vec![replicated("web", 1)]);
    let forecast = play(&view, &Scenario::Deploy(Box::new(replicated("api", 2))), NOW);
    assert_eq!(forecast.effects, [effect("api", 1, "", "host-n2", ""), effect("api", 2, "", "host-n3", "")]);
    assert_eq!(forecast.summary, "If api were created, 2 tasks would start.");
    let scaled = play(&view, &Scenario::Deploy(Box::new(replicated("web", 2))), NOW);
    assert_eq!(scaled.effects, [effect("web", 2, "", "host-n2", "")]);
    assert_eq!(scaled.summary, "If web were updated, 1 task would start.");
    let gone = play(&view, &Scenario::Deploy(Box::new(replicated("web", 0))), NOW);
    assert_eq!(gone.effects, [effect("web", 1, "host-n1", "", "its place is given up")]);
    let view = swarm(vec![replicated("web", 1), bound_to_east("db")]);
    let mut newer = bound_to_east("db");
    newer.task.as_mut().unwrap().container.as_mut().unwrap().image = "b".into();
    let replaced = play(&view, &Scenario::Deploy(Box::new(newer)), NOW);
    assert_eq!(replaced.effects, [effect("db", 1, "host-n2", "host-n2", "")]);
    assert_eq!(replaced.summary, "If db were updated, 1 task would be replaced where it is.");
    let mut impossible = bound_to_east("far");
    let placement = impossible.task.as_mut().unwrap().placement.as_mut().unwrap();
    placement.constraints = vec!["node.labels.zone==moon".into()];
    let forecast = play(&view, &Scenario::Deploy(Box::new(impossible)), NOW);
    let reason = "no suitable node (scheduling constraints not satisfied on 3 nodes)";
    assert_eq!(forecast.effects, [effect("far", 1, "", "", reason)]);
}

#[test]
fn an_update_is_followed_for_an_hour() {
    let view = swarm(vec![replicated("web", 3)]);
    let forecast = |delay: Duration| {
        let mut newer = replicated("web", 3);
        newer.task.as_mut().unwrap().container.as_mut().unwrap().image = "b".into();
        newer.update = Some(UpdateConfig { parallelism: 1, delay: nanos(delay), ..UpdateConfig::default() });
        play(&view, &Scenario::Deploy(Box::new(newer)), NOW)
    };
    let soon = forecast(Duration::from_secs(10));
    assert_eq!(soon.effects.len(), 3, "{soon:?}");
    assert!(soon.summary.starts_with("If web were updated, ") && soon.summary.ends_with('.'), "{}", soon.summary);
    assert!(!soon.summary.contains("within an hour"), "{}", soon.summary);
    let late = forecast(Duration::from_secs(3601));
    assert_eq!(late.effects.len(), 1, "{late:?}");
    assert!(late.summary.ends_with("; not all of it would be over within an hour."), "{}", late.summary);
}

#[test]
fn a_task_gives_its_room_to_the_one_that_replaces_it() {
    let whole = |image: &str| {
        let mut spec = bound_to_east("db");
        let task = spec.task.as_mut().unwrap();
        let reservations = Some(Resources { nano_cpus: 1, ..Resources::default() });
        task.resources = Some(ResourceRequirements { reservations, ..ResourceRequirements::default() });
        task.container.as_mut().unwrap().image = image.into();
        spec
    };
    let mut world = World::new(swarm(Vec::new()), NOW, SeededIds::new(8));
    world.edit_node("n2", |node| {
        let resources = Some(Resources { nano_cpus: 1, ..Resources::default() });
        node.description.get_or_insert_default().resources = resources;
    });
    world.write(|tx| tx.create(update::created(&View::default(), "s".into(), whole("a"), NOW)));
    assert!(world.converge());
    let forecast = play(world.view(), &Scenario::Deploy(Box::new(whole("b"))), NOW);
    assert_eq!(forecast.effects, [effect("db", 1, "host-n2", "host-n2", "")]);
}

#[test]
fn nothing_changes_and_the_answer_is_always_the_same() {
    let view = swarm(vec![replicated("web", 3), bound_to_east("db")]);
    let before: Vec<_> = view.objects().collect();
    let scenario = Scenario::Drain("n2".into());
    let forecast = play(&view, &scenario, NOW);
    assert_eq!(view.objects().collect::<Vec<_>>(), before);
    assert_eq!(play(&view, &scenario, NOW), forecast);
    let idle = play(&view, &Scenario::Lose(BTreeSet::new()), NOW);
    assert_eq!((idle.effects.len(), idle.summary.as_str()), (0, "If no node were lost, nothing would move."));
}
