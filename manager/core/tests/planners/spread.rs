//! Rebalancing by preferences of several levels: nodes return, and the tasks end up where the scheduler would have put
//! them had the nodes been there.

use std::{collections::BTreeSet, time::Duration};

use skep_core::{
    policy::{Policy as _, Rebalance},
    rebalance,
    task::TaskExt,
};
use skep_proto::v1::{
    Annotations, Placement, ReplicatedService, ResourceRequirements, Resources, ServiceSpec, TaskCause, TaskSpec,
    service_spec::Mode,
};

use crate::world::{Program, World};

/// A node: name, zone, rack, CPUs. An empty label is none.
type NodeRow = (&'static str, &'static str, &'static str, i64);

struct Row {
    what: &'static str,
    levels: &'static [&'static str],
    replicas: u64,
    at_first: &'static [NodeRow],
    return_later: &'static [NodeRow],
    /// Tasks on each node in the end, in the order of names.
    expected: &'static [usize],
    moves: usize,
}

const E1: NodeRow = ("e1", "east", "", 16);
const E2: NodeRow = ("e2", "east", "", 16);
const E3: NodeRow = ("e3", "east", "", 16);
const S1: NodeRow = ("s1", "south", "", 16);
const W1: NodeRow = ("w1", "west", "", 16);
const W2: NodeRow = ("w2", "west", "", 16);

const TABLE: &[Row] = &[
    Row {
        what: "nine over three, two and one: two zones return",
        levels: &["zone"],
        replicas: 9,
        at_first: &[E1, E2, E3],
        return_later: &[S1, W1, W2],
        expected: &[1, 1, 1, 3, 2, 1],
        moves: 6,
    },
    Row {
        what: "nine over three, two and one: all but one node return",
        levels: &["zone"],
        replicas: 9,
        at_first: &[W2],
        return_later: &[E1, E2, E3, S1, W1],
        expected: &[1, 1, 1, 3, 1, 2],
        moves: 7,
    },
    Row {
        what: "the zones are even, and in one of them a node returns",
        levels: &["zone"],
        replicas: 6,
        at_first: &[E1, W1],
        return_later: &[E2],
        expected: &[2, 1, 3],
        moves: 1,
    },
    Row {
        what: "a node returns in each of two even zones",
        levels: &["zone"],
        replicas: 6,
        at_first: &[E1, W1],
        return_later: &[E2, W2],
        expected: &[2, 1, 2, 1],
        moves: 2,
    },
    Row {
        what: "a move inside a zone stays inside, though the other zone has as many tasks and an empty node too",
        levels: &["zone"],
        replicas: 6,
        at_first: &[E1, E2, W1],
        return_later: &[E3, W2],
        expected: &[1, 1, 1, 2, 1],
        moves: 2,
    },
    Row {
        what: "no node has two tasks, but a zone has, and the other returns",
        levels: &["zone"],
        replicas: 2,
        at_first: &[E1, E2],
        return_later: &[W1],
        expected: &[0, 1, 1],
        moves: 1,
    },
    Row {
        what: "nodes without the label are a group of their own",
        levels: &["zone"],
        replicas: 4,
        at_first: &[E1],
        return_later: &[("x1", "", "", 16), ("x2", "", "", 16)],
        expected: &[2, 1, 1],
        moves: 2,
    },
    Row {
        what: "inner levels inside outer ones",
        levels: &["zone", "rack"],
        replicas: 8,
        at_first: &[("n1", "1", "1", 16)],
        return_later: &[("n2", "1", "1", 16), ("n3", "1", "2", 16), ("n4", "2", "1", 16)],
        expected: &[1, 1, 2, 4],
        moves: 7,
    },
    Row {
        what: "one inner level is uneven, and nothing else",
        levels: &["zone", "rack"],
        replicas: 8,
        at_first: &[("n1", "1", "1", 16), ("n2", "2", "1", 16)],
        return_later: &[("n3", "2", "2", 16), ("n4", "2", "2", 16)],
        expected: &[4, 2, 1, 1],
        moves: 2,
    },
    Row {
        what: "a zone that is full leaves its share to the others",
        levels: &["zone"],
        replicas: 9,
        at_first: &[E1, E2, E3],
        return_later: &[("s1", "south", "", 2), W1, W2],
        expected: &[1, 1, 2, 2, 2, 1],
        moves: 5,
    },
    Row {
        what: "no preference: the nodes alone",
        levels: &[],
        replicas: 9,
        at_first: &[E1, W1],
        return_later: &[S1, W2],
        expected: &[2, 2, 3, 2],
        moves: 4,
    },
    Row {
        what: "nothing is gained by exchanging equals",
        levels: &["zone"],
        replicas: 3,
        at_first: &[E1, W1],
        return_later: &[],
        expected: &[2, 1],
        moves: 0,
    },
];

fn add_node(world: &mut World, (name, zone, rack, cpus): NodeRow) {
    world.add_node(name, |node| {
        let labels = [("zone", zone), ("rack", rack)].into_iter().filter(|(_, value)| !value.is_empty());
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        node.spec.get_or_insert_default().annotations = Some(Annotations { labels, ..Annotations::default() });
        node.description.as_mut().unwrap().resources.as_mut().unwrap().nano_cpus = cpus * 1_000_000_000;
    });
}

fn spec(row: &Row) -> ServiceSpec {
    let reservations = Some(Resources { nano_cpus: 1_000_000_000, ..Resources::default() });
    let spread_over = row.levels.iter().map(|key| format!("node.labels.{key}")).collect();
    let task = TaskSpec {
        resources: Some(ResourceRequirements { reservations, ..ResourceRequirements::default() }),
        placement: Some(Placement { spread_over, ..Placement::default() }),
        ..TaskSpec::default()
    };
    let labels = [(Rebalance::LABEL.to_owned(), "on".to_owned())].into();
    ServiceSpec {
        annotations: Some(Annotations { labels, ..Annotations::default() }.into()),
        task: Some(task.into()),
        mode: Some(Mode::Replicated(ReplicatedService { replicas: row.replicas })),
        ..ServiceSpec::default()
    }
}

#[test]
fn tasks_are_level_again_after_nodes_return() {
    for row in TABLE {
        let mut world = World::new(1);
        row.at_first.iter().for_each(|node| add_node(&mut world, *node));
        world.add_service("web", Program::Runs, spec(row));
        world.converge();
        row.return_later.iter().for_each(|node| add_node(&mut world, *node));

        let moves = rebalance::moves(&world.view, world.view.service("web").unwrap(), world.now);
        let slots: BTreeSet<u64> = moves.iter().map(|step| step.slot).collect();
        assert_eq!((moves.len(), slots.len()), (row.moves, row.moves), "{}: {moves:?}", row.what);

        world.tick(Duration::from_secs(20 * 60));
        let mut names: Vec<&str> = row.at_first.iter().chain(row.return_later).map(|node| node.0).collect();
        names.sort_unstable();
        let running = |node: &&str| world.view.tasks_of_node(node).filter(|task| task.is_wanted()).count();
        let loads: Vec<usize> = names.iter().map(running).collect();
        assert_eq!(loads, row.expected, "{}", row.what);
        let moved = world.view.tasks().filter(|task| task.cause() == TaskCause::Rebalance);
        let done: BTreeSet<_> = moved.map(|task| (task.slot, task.node_id.clone())).collect();
        let foretold = moves.into_iter().map(|step| (step.slot, step.to_node)).collect();
        assert_eq!(done, foretold, "{}", row.what);
    }
}
