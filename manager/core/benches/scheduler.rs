//! How long it takes from PENDING to ASSIGNED, in memory: one `name<TAB>value<TAB>unit` a line.
//!
//! The shape is that of SwarmKit's own benchmark: so many ready nodes, so many single tasks of which no two are alike,
//! the scheduler knows the nodes already, and the clock runs from the tasks' commit to the last assignment that a watcher
//! hears of. What is timed is what the leader's loop does but for the log: the plan, and each of its transactions
//! committed to the store and taken in by a watcher. A new leader takes in the nodes once; that is `.nodes`, and not in the
//! sum. SwarmKit's own figures come from `scripts/peer-swarmkit`.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a benchmark prints and times"
)]

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _};
use skep_common::clock::Timestamp;
use skep_core::scheduler::Scheduler;
use skep_proto::v1::{
    Annotations, Node, NodeDescription, NodeSpec, NodeState, NodeStatus, ObjectKind, Placement, Resources, Service,
    Task, TaskSpec, TaskState, TaskStatus,
};
use skep_store::{AnyObject, Change, Selector, Store, TxBuilder, View, Watcher};

const NOW: Timestamp = Timestamp::from_secs(1_000);

/// Values of the label that constraints and preferences ask for.
const ZONES: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alike {
    /// Each task is alone.
    Single,
    /// All tasks are one service's.
    Service,
    /// A hundred tasks a service.
    Services,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    nodes: usize,
    tasks: usize,
    alike: Alike,
    constraint: bool,
    preference: bool,
}

fn main() {
    // Under `cargo test` and for a list of benches there is nothing to do.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let single = |nodes, tasks| Shape { nodes, tasks, alike: Alike::Single, constraint: false, preference: false };
    let wide = |shape: Shape| [shape, Shape { nodes: 100_000, ..shape }];
    let mut shapes = vec![single(1_000, 1_000), single(1_000, 10_000), single(1_000, 100_000), single(100_000, 1_000)];
    shapes.push(single(100_000, 10_000));
    for (alike, constraint, preference) in [
        (Alike::Single, true, false),
        (Alike::Service, false, false),
        (Alike::Service, true, false),
        (Alike::Service, false, true),
        (Alike::Services, false, false),
        (Alike::Services, true, true),
    ] {
        shapes.extend(wide(Shape { alike, constraint, preference, ..single(1_000, 10_000) }));
    }
    shapes.push(single(100_000, 1_000_000));
    // A word beside `--bench` chooses the shapes whose names have it.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let chosen = |shape: &Shape| wanted.iter().all(|word| format!("={}=", name(*shape)).contains(word.as_str()));
    let chosen: Vec<Shape> = shapes.into_iter().filter(chosen).collect();
    if let [shape] = chosen[..] {
        return measure(shape);
    }
    // A process for each: memory that an earlier one gave back would hide what a later one takes.
    for shape in chosen {
        let words = ["--bench".to_owned(), format!("={}=", name(shape))];
        assert!(Command::new(std::env::current_exe().unwrap()).args(words).status().unwrap().success());
    }
}

fn measure(shape: Shape) {
    let name = name(shape);
    // The least of a few: the machine is not only ours. The largest shape says enough the first time.
    let rounds = if shape.tasks > 100_000 { 1 } else { 5 };
    let times: Vec<Times> = (0..rounds).map(|_| run(shape)).collect();
    let best = times.iter().min_by_key(|times| times.plan + times.commit).unwrap();
    print(&format!("skep.{name}"), millis(best.plan + best.commit), "ms");
    print(&format!("skep.{name}.plan"), millis(best.plan), "ms");
    print(&format!("skep.{name}.commit"), millis(best.commit), "ms");
    print(&format!("skep.{name}.nodes"), millis(best.nodes), "ms");
    print(&format!("skep.{name}.per_task"), millis(best.plan + best.commit) * 1e6 / count(shape.tasks), "ns");
    print(&format!("skep.{name}.memory"), times[0].memory / count(shape.tasks), "bytes per task");
}

struct Times {
    /// Taking in the nodes.
    nodes: Duration,
    plan: Duration,
    /// Applying the plan's transactions, and hearing of it.
    commit: Duration,
    /// What the process has grown by with these tasks, in bytes of resident memory; what it freed on the way and the
    /// allocator kept is in it.
    memory: f64,
}

fn run(shape: Shape) -> Times {
    let mut view = filled(View::default(), (0..shape.nodes).map(|n| node(shape, n).into()));
    let mut scheduler = Scheduler::default();
    let started = Instant::now();
    scheduler.prepare(&view);
    let nodes = started.elapsed();

    let before = resident();
    if shape.alike != Alike::Single {
        let services = if shape.alike == Alike::Service { 1 } else { shape.tasks.div_ceil(100) };
        view = filled(view, (0..services).map(|n| Service { id: id('s', n), ..Service::default() }.into()));
    }
    view = filled(view, (0..shape.tasks).map(|n| task(shape, n).into()));
    let store = Store::new(view);
    let mut watcher = store.watch(Selector::Kinds(vec![ObjectKind::Task, ObjectKind::Node]));

    let started = Instant::now();
    let view = store.view();
    let plan = scheduler.plan(&view, NOW);
    let (mut assigned, mut version) = (0, view.version());
    drop(view);
    let planned = started.elapsed();
    let started = Instant::now();
    for transaction in plan.transactions {
        version += 1;
        store.commit_owned(version, transaction).unwrap();
        assigned += heard(&mut watcher);
    }
    let committed = started.elapsed();
    let memory = resident() - before;
    assert_eq!(assigned, shape.tasks, "every task has a node");
    Times { nodes, plan: planned, commit: committed, memory }
}

/// How many assignments a watcher is told of.
fn heard(watcher: &mut Watcher) -> usize {
    let mut assigned = 0;
    while let Some(event) = watcher.next().now_or_never() {
        assigned += event.unwrap().unwrap().changes.iter().filter(|change| is_assignment(change)).count();
    }
    assigned
}

fn is_assignment(change: &Change) -> bool {
    let Some(AnyObject::Task(task)) = change.after() else { return false };
    task.status.as_ref().is_some_and(|status| status.state() == TaskState::Assigned)
}

fn filled(mut view: View, objects: impl IntoIterator<Item = AnyObject>) -> View {
    let mut tx = TxBuilder::new(&view, NOW);
    for object in objects {
        tx.create(object);
    }
    let tx = tx.build();
    view.advance(view.version() + 1, tx).unwrap();
    view
}

fn id(kind: char, number: usize) -> String {
    // As long as a real one.
    format!("{kind}{number:024}")
}

fn node(shape: Shape, number: usize) -> Node {
    let labels = [("zone".to_owned(), format!("z{}", number % ZONES))].into();
    let annotations = Annotations { labels, ..Annotations::default() };
    let resources = Resources { nano_cpus: 64_000_000_000, memory_bytes: 256 << 30, ..Resources::default() };
    let description = NodeDescription {
        hostname: format!("node{number}-{}", shape.nodes),
        resources: Some(resources),
        ..NodeDescription::default()
    };
    Node {
        id: id('n', number),
        spec: Some(NodeSpec { annotations: Some(annotations), ..NodeSpec::default() }),
        description: Some(description),
        status: Some(NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() }),
        ..Node::default()
    }
}

fn task(shape: Shape, number: usize) -> Task {
    let placement = Placement {
        constraints: shape.constraint.then(|| "node.labels.zone == z3".to_owned()).into_iter().collect(),
        spread_over: shape.preference.then(|| "node.labels.zone".to_owned()).into_iter().collect(),
        ..Placement::default()
    };
    let spec = TaskSpec { placement: Some(placement), ..TaskSpec::default() };
    let service_id = match shape.alike {
        Alike::Single => String::new(),
        Alike::Service => id('s', 0),
        Alike::Services => id('s', number / 100),
    };
    Task {
        id: id('t', number),
        slot: number as u64 + 1,
        service_id,
        service: Some(Annotations { name: format!("task{number}"), ..Annotations::default() }.into()),
        spec: Some(spec.into()).filter(|_| shape.constraint || shape.preference),
        status: Some(TaskStatus { state: TaskState::Pending.into(), ..TaskStatus::default() }),
        desired_state: TaskState::Running.into(),
        ..Task::default()
    }
}

fn name(shape: Shape) -> String {
    let alike = match shape.alike {
        Alike::Single => "single",
        Alike::Service => "one_service",
        Alike::Services => "services",
    };
    let constraint = if shape.constraint { ".constraint" } else { "" };
    let preference = if shape.preference { ".preference" } else { "" };
    format!("scheduler.{}_nodes.{}_tasks.{alike}{constraint}{preference}", shape.nodes, shape.tasks)
}

/// Resident memory of this process in bytes.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) * 1024.0
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "no number here is that large")]
fn count(number: usize) -> f64 {
    number as f64
}

fn print(name: &str, value: f64, unit: &str) {
    println!("{name}\t{value:.3}\t{unit}");
}
