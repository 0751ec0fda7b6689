//! What a running task takes in the memory of a manager's state.
//!
//! `cargo nextest run -p skep-store --no-capture task_costs_the_memory` prints it: what was asked of the allocator, and what that is in
//! pieces of sixteen bytes with eight before each, as the C library hands them out.

#![expect(unsafe_code, reason = "an allocator that counts has to be one")]
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use skep_common::{
    clock::Timestamp,
    id::{Ids as _, SeededIds},
    revision::revision_id,
};
use skep_proto::{
    Message as _,
    v1::{
        Annotations, Cluster, ContainerSpec, ContainerStatus, EndpointSpec, ServiceRevision, ServiceSpec, Task,
        TaskSpec, TaskState, TaskStatus, Transaction,
    },
};
use skep_store::{TxBuilder, View};

/// The most that a task may ask for.
const MOST: usize = 690;

const SERVICES: usize = 20;
const REPLICAS: usize = 1000;
const NODES: usize = 200;
const ENTRY: usize = 500;

static ASKED: AtomicUsize = AtomicUsize::new(0);
static PIECES: AtomicUsize = AtomicUsize::new(0);

/// Counts what is in use.
struct Counting;

fn piece(size: usize) -> usize {
    (size + 8).next_multiple_of(16).max(32)
}

// SAFETY: all of it is the system allocator's doing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.fetch_add(layout.size(), Relaxed);
        PIECES.fetch_add(piece(layout.size()), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ASKED.fetch_sub(layout.size(), Relaxed);
        PIECES.fetch_sub(piece(layout.size()), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// As it comes out of the log: nothing in it is shared with who wrote it.
fn apply(view: &mut View, transaction: &Transaction) {
    let read = Transaction::decode(transaction.encode_to_vec().as_slice()).unwrap();
    let changes = view.advance(view.version() + 1, read).unwrap();
    assert!(changes.refused.is_empty());
}

fn services(view: &mut View, ids: &mut SeededIds) -> Vec<String> {
    let mut tx = TxBuilder::new(view, Timestamp(1));
    tx.create(Cluster { id: ids.next_id(), feature_level: 1, ..Cluster::default() });
    let services: Vec<String> = (0..SERVICES).map(|_| ids.next_id()).collect();
    for (number, service) in services.iter().enumerate() {
        let container = ContainerSpec { image: "busybox:1".into(), ..ContainerSpec::default() };
        let spec = ServiceSpec {
            annotations: Some(Annotations { name: format!("web{number}"), ..Annotations::default() }.into()),
            task: Some(TaskSpec { container: Some(container), ..TaskSpec::default() }.into()),
            endpoint: Some(EndpointSpec::default().into()),
            ..ServiceSpec::default()
        };
        let id = revision_id(service, 1);
        tx.create(ServiceRevision { id, service_id: service.clone(), number: 1, spec: Some(spec), meta: None });
    }
    let tx = tx.build();
    apply(view, &tx);
    services
}

fn make(view: &mut View, service: &str, ids: &mut SeededIds) {
    let spec = view.revision(service, 1).unwrap().spec.clone().unwrap();
    for first in (0..REPLICAS).step_by(ENTRY) {
        let mut tx = TxBuilder::new(view, Timestamp(2));
        for slot in first..first + ENTRY {
            let status = TaskStatus { timestamp: 2, message: "created".into(), ..TaskStatus::default() };
            tx.create(Task {
                id: ids.next_id(),
                service_id: service.to_owned(),
                slot: slot as u64 + 1,
                revision: 1,
                spec: spec.task.clone(),
                service: spec.annotations.clone(),
                endpoint: Some(skep_proto::v1::Endpoint { spec: spec.endpoint.clone() }),
                status: Some(status),
                desired_state: TaskState::Running.into(),
                ..Task::default()
            });
        }
        let tx = tx.build();
        apply(view, &tx);
    }
}

/// All tasks go on, as the scheduler and then their nodes say.
fn run(view: &mut View, nodes: &[String]) {
    for (state, message) in [(TaskState::Assigned, "scheduler assigned task to node"), (TaskState::Running, "started")]
    {
        let tasks: Vec<String> = view.tasks().map(|task| task.id.clone()).collect();
        for (number, some) in tasks.chunks(ENTRY).enumerate() {
            let mut tx = TxBuilder::new(view, Timestamp(3));
            for (place, id) in some.iter().enumerate() {
                let mut task = Task::clone(view.task(id).unwrap());
                task.node_id.clone_from(&nodes[(number * ENTRY + place) % NODES]);
                let status = task.status.get_or_insert_default();
                status.set_state(state);
                status.message = message.into();
                status.container =
                    (state == TaskState::Running).then(|| ContainerStatus { pid: 7, ..Default::default() });
                tx.update(task);
            }
            let tx = tx.build();
            apply(view, &tx);
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are what it is read for")]
fn what_a_task_costs_the_memory() {
    let ids = &mut SeededIds::new(1);
    let mut view = View::default();
    let nodes: Vec<String> = (0..NODES).map(|_| ids.next_id()).collect();
    let services = services(&mut view, ids);
    let before = [&ASKED, &PIECES].map(|count| count.load(Relaxed));
    for service in &services {
        make(&mut view, service, ids);
    }
    run(&mut view, &nodes);
    let per_task = |before: usize, now: &AtomicUsize| (now.load(Relaxed) - before) / view.task_count();
    let (asked, pieces) = (per_task(before[0], &ASKED), per_task(before[1], &PIECES));

    let mut objects = Vec::with_capacity(view.task_count());
    let before = PIECES.load(Relaxed);
    objects.extend(view.tasks().map(|task| Arc::new(Task::clone(task))));
    let object = per_task(before, &PIECES);
    drop(objects);
    println!("{:>10}: {object} B in pieces, {} B of them its struct", "the object", size_of::<Task>());
    println!("{:>10}: {asked} B, in pieces {pieces} B", "all");
    assert!(asked <= MOST, "{asked} B");
}
