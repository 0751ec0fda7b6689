//! What a task costs the log from its making until it runs, all its steps taken by many tasks together.
//!
//! `cargo nextest run -p skep-core --no-capture costs_the_log` prints it, step by step.

use std::{sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use skep_common::{
    clock::Timestamp,
    id::{Ids as _, SeededIds, container_id_of_task},
};
use skep_core::{Plan, Scope, allocator, orchestrator, scheduler, status, status::Report, update};
use skep_proto::{
    Message as _,
    v1::{
        Annotations, Cluster, ContainerSpec, ContainerStatus, Node, NodeSpec, NodeState, NodeStatus, Placement,
        ReplicatedService, ResourceRequirements, Resources, ServiceSpec, Task, TaskSpec, TaskState, TaskStatus,
        TaskStatusUpdate, Transaction, service_spec::Mode,
    },
};
use skep_store::{TxBuilder, View};

const TASKS: u64 = 1000;
const NODES: usize = 10;

/// What agents say on the way, in their words.
const REPORTS: [(TaskState, &str); 5] = [
    (TaskState::Accepted, "accepted"),
    (TaskState::Preparing, "preparing"),
    (TaskState::Ready, "prepared"),
    (TaskState::Starting, "starting"),
    (TaskState::Running, "started"),
];

struct Log {
    view: View,
    now: Timestamp,
    /// What each step wrote.
    steps: Vec<(String, Bytes)>,
}

/// As it is encoded, and as the log has it.
#[derive(Clone, Copy, Default)]
struct Bytes {
    encoded: u64,
    packed: u64,
}

impl Log {
    fn write(&mut self, step: &str, transactions: Vec<Transaction>) {
        self.now = self.now + Duration::from_millis(50);
        let mut bytes = Bytes::default();
        for transaction in transactions {
            let encoded = Transaction { by: step.to_owned(), ..transaction }.encode_to_vec();
            bytes.encoded += encoded.len() as u64;
            bytes.packed += zstd::bulk::compress(&encoded, 1).unwrap().len() as u64;
            let decoded = Transaction::decode(encoded.as_slice()).unwrap();
            self.view = self.view.apply(self.view.version() + 1, &decoded).unwrap().0;
        }
        self.steps.push((step.to_owned(), bytes));
    }

    fn carry_out(&mut self, step: &str, plan: Plan) {
        self.write(step, plan.transactions);
    }
}

/// Bytes of log for each task, step by step.
fn until_they_run(feature_level: u32) -> Vec<(String, Bytes)> {
    let ids = &mut SeededIds::new(1);
    let mut log =
        Log { view: View::default().skip(1_000_000), now: Timestamp::from_secs(1_764_000_000), steps: Vec::new() };
    let container = ContainerSpec {
        image: "registry.example.com/team/web@sha256:9b2a3d1e0c4f58679b2a3d1e0c4f58679b2a3d1e0c4f58679b2a3d1e0c4f5867"
            .into(),
        env: vec!["LOG_LEVEL=info".into(), "DATABASE=postgres://db:5432/web".into()],
        args: vec!["serve".into(), "--port".into(), "8080".into()],
        ..ContainerSpec::default()
    };
    let reservations = Resources { nano_cpus: 1_000_000, memory_bytes: 1 << 20, ..Resources::default() };
    let task = TaskSpec {
        container: Some(container),
        resources: Some(ResourceRequirements { reservations: Some(reservations), ..ResourceRequirements::default() }),
        placement: Some(Placement { constraints: vec!["node.role==worker".into()], ..Placement::default() }),
        ..TaskSpec::default()
    };
    let spec = ServiceSpec {
        annotations: Some(Annotations { name: "web".into(), ..Annotations::default() }.into()),
        task: Some(task.into()),
        mode: Some(Mode::Replicated(ReplicatedService { replicas: TASKS })),
        ..ServiceSpec::default()
    };
    let mut tx = TxBuilder::new(&log.view, log.now);
    tx.create(Cluster { id: ids.next_id(), feature_level, ..Cluster::default() });
    for _ in 0..NODES {
        let resources = Some(Resources { nano_cpus: 8_000_000_000, memory_bytes: 8 << 30, ..Resources::default() });
        tx.create(Node {
            id: ids.next_id(),
            spec: Some(NodeSpec::default()),
            description: Some(skep_proto::v1::NodeDescription { resources, ..Default::default() }),
            status: Some(NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() }),
            ..Node::default()
        });
    }
    let first = tx.build();
    log.write("swarm", vec![first]);
    let view = log.view.clone();
    let mut tx = TxBuilder::new(&view, log.now);
    update::write(&mut tx, update::created(&view, ids.next_id(), spec, log.now));
    log.write("service", vec![tx.build()]);
    log.steps.clear();

    let made = orchestrator::plan(&log.view, &Scope::All, log.now, ids);
    log.carry_out("orchestrator", made);
    let prepared = allocator::plan(&log.view, log.now);
    log.carry_out("allocator", prepared);
    let placed = scheduler::plan(&log.view, log.now);
    log.carry_out("scheduler", placed);
    for (state, message) in REPORTS {
        let report = |task: &Arc<Task>| {
            // What is different of each task compresses badly.
            let digest = Sha256::digest(format!("{message} {}", task.id));
            let noise = i32::from_be_bytes([0, digest[0], digest[1], digest[2]]);
            let container =
                ContainerStatus { container_id: container_id_of_task(&task.id), pid: noise, ..Default::default() };
            let status = TaskStatus {
                state: state.into(),
                timestamp: log.now.as_nanos() - i64::from(noise) - 20_000_000,
                message: message.into(),
                container: Some(container).filter(|_| state == TaskState::Running),
                ..TaskStatus::default()
            };
            let update = TaskStatusUpdate { task_id: task.id.clone(), status: Some(status) };
            Report { node_id: task.node_id.clone(), update }
        };
        let reports: Vec<Report> = log.view.tasks().map(report).collect();
        let mut plan = Plan::default();
        for batch in reports.chunks(500) {
            plan.transactions.extend(status::plan(&log.view, batch, log.now).transactions);
        }
        log.carry_out(message, plan);
    }
    assert_eq!(log.view.tasks_in_state(TaskState::Running).count() as u64, TASKS);
    let per_task = |bytes: Bytes| Bytes { encoded: bytes.encoded / TASKS, packed: bytes.packed / TASKS };
    log.steps.into_iter().map(|(step, bytes)| (step, per_task(bytes))).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are what it is read for")]
fn what_a_task_costs_the_log() {
    let (whole, small) = (until_they_run(0), until_they_run(1));
    for ((step, whole), (_, small)) in whole.iter().zip(&small) {
        println!("{step:>12}: {:>5} B, small {:>5} B, packed {:>5} B", whole.encoded, small.encoded, small.packed);
    }
    let sum = |steps: &[(String, Bytes)], of: fn(&Bytes) -> u64| steps.iter().map(|(_, bytes)| of(bytes)).sum::<u64>();
    let (whole, packed) = (sum(&whole, |bytes| bytes.encoded), sum(&small, |bytes| bytes.packed));
    let small = sum(&small, |bytes| bytes.encoded);
    println!("{:>12}: {whole:>5} B, small {small:>5} B, packed {packed:>5} B", "all");
    assert!(small * 4 < whole && packed * 2 < small, "{whole} B, {small} B, {packed} B");
    assert!(packed <= 300, "{packed} B");
}
