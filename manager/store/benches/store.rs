//! What the replicated state costs: a transaction, telling ten thousand watchers, a snapshot of a million tasks.

#![expect(clippy::unwrap_used, reason = "a benchmark")]

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use skep_common::clock::Timestamp;
use skep_proto::{
    Message as _,
    v1::{Annotations, ContainerSpec, Task, TaskSpec, TaskState, TaskStatus, Transaction},
};
use skep_store::{Selector, Store, TxBuilder, View};

const NOW: Timestamp = Timestamp::from_secs(1_000);
const NODES: usize = 1_000;
/// Actions in the largest entry.
const ENTRY: usize = 500;

fn task(number: usize, state: TaskState) -> Task {
    let container = ContainerSpec { image: "registry/image:1".into(), ..ContainerSpec::default() };
    let is_placed = state >= TaskState::Assigned;
    Task {
        id: format!("t{number:024}"),
        service_id: format!("s{:024}", number / 100),
        slot: number as u64 % 100 + 1,
        node_id: if is_placed { format!("n{:024}", number % NODES) } else { String::new() },
        spec: Some(TaskSpec { container: Some(container), ..TaskSpec::default() }.into()),
        service: Some(Annotations { name: format!("service{}", number / 100), ..Annotations::default() }.into()),
        status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
        desired_state: TaskState::Running.into(),
        ..Task::default()
    }
}

fn with_tasks(tasks: usize, state: TaskState) -> View {
    let mut view = View::default();
    for first in (0..tasks).step_by(ENTRY) {
        let mut tx = TxBuilder::new(&view, NOW);
        for number in first..tasks.min(first + ENTRY) {
            tx.create(task(number, state));
        }
        let tx = tx.build();
        view.advance(view.version() + 1, tx).unwrap();
    }
    view
}

/// Moves tasks on: every `every`th, as many as an entry takes.
fn moved(view: &View, every: usize, state: TaskState) -> Transaction {
    let mut tx = TxBuilder::new(view, NOW);
    for task in view.tasks().step_by(every).take(ENTRY) {
        let mut task = Task::clone(task);
        task.status.get_or_insert_default().set_state(state);
        tx.update(task);
    }
    tx.build()
}

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    let view = with_tasks(100_000, TaskState::Assigned);
    for (name, every) in [("500 neighbours of 100k tasks", 1), ("500 scattered of 100k tasks", 200)] {
        let transaction = moved(&view, every, TaskState::Running);
        group.bench_function(name, |bench| {
            let fresh = || (view.clone(), transaction.clone());
            bench.iter_batched(
                fresh,
                |(mut view, transaction)| (view.advance(view.version() + 1, transaction).unwrap(), view),
                BatchSize::LargeInput,
            );
        });
    }
}

fn watch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("watch");
    let view = with_tasks(10 * NODES, TaskState::Assigned);
    // Ten sessions for each node; an entry concerns half of the nodes.
    group.bench_function("500 tasks to 10k watchers by node", |bench| {
        let fresh = || {
            let store = Store::new(view.clone());
            let node = |number: usize| Selector::TasksOfNode(format!("n{:024}", number % NODES));
            let watchers: Vec<_> = (0..10 * NODES).map(|number| store.watch(node(number))).collect();
            (store, watchers, moved(&view, 1, TaskState::Running))
        };
        bench.iter_batched(
            fresh,
            |(store, watchers, transaction)| {
                store.commit_owned(view.version() + 1, transaction).unwrap();
                (store, watchers)
            },
            BatchSize::LargeInput,
        );
    });
}

fn snapshot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot");
    group.sample_size(10);
    let view = with_tasks(1_000_000, TaskState::Running);
    let written = || -> usize { view.snapshot().map(|object| black_box(object).encoded_len()).sum() };
    group.bench_function("1M tasks", |bench| bench.iter(written));
}

criterion_group! {
    name = store;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2)).sample_size(20);
    targets = apply, watch, snapshot
}
criterion_main!(store);
