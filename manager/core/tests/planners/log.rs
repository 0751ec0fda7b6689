//! What a task costs the log from its making until it runs.
//!
//! `cargo nextest run -p skep-core --no-capture costs_the_log` prints it, step by step.

use std::time::Duration;

use skep_common::{
    clock::Timestamp,
    id::{Ids as _, SeededIds},
};
use skep_core::{Plan, Scope, allocator, orchestrator, scheduler, status, status::Report, update};
use skep_proto::{
    Message as _,
    v1::{
        Annotations, Cluster, ContainerSpec, ContainerStatus, Node, NodeSpec, NodeState, NodeStatus, Placement,
        ReplicatedService, ResourceRequirements, Resources, ServiceSpec, TaskSpec, TaskState, TaskStatus,
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
    /// What each step wrote, in bytes.
    steps: Vec<(String, usize)>,
}

impl Log {
    fn write(&mut self, step: &str, transactions: Vec<Transaction>) {
        self.now = self.now + Duration::from_millis(50);
        let mut bytes = 0;
        for transaction in transactions {
            let encoded = Transaction { by: step.to_owned(), ..transaction }.encode_to_vec();
            bytes += encoded.len();
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
fn until_they_run(feature_level: u32) -> Vec<(String, u64)> {
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
        let container = ContainerStatus { container_id: "c".repeat(64), pid: 12_345, ..ContainerStatus::default() };
        let report = |task: &std::sync::Arc<skep_proto::v1::Task>| Report {
            node_id: task.node_id.clone(),
            update: TaskStatusUpdate {
                task_id: task.id.clone(),
                status: Some(TaskStatus {
                    state: state.into(),
                    timestamp: log.now.as_nanos() - 20_123_456,
                    message: message.into(),
                    container: (state == TaskState::Running).then(|| container.clone()),
                    ..TaskStatus::default()
                }),
            },
        };
        let reports: Vec<Report> = log.view.tasks().map(report).collect();
        let mut plan = Plan::default();
        for batch in reports.chunks(500) {
            plan.transactions.extend(status::plan(&log.view, batch, log.now).transactions);
        }
        log.carry_out(message, plan);
    }
    assert_eq!(log.view.tasks_in_state(TaskState::Running).count() as u64, TASKS);
    log.steps.into_iter().map(|(step, bytes)| (step, bytes as u64 / TASKS)).collect()
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are what it is read for")]
fn what_a_task_costs_the_log() {
    let (whole, small) = (until_they_run(0), until_they_run(1));
    for ((step, whole), (_, small)) in whole.iter().zip(&small) {
        println!("{step:>12}: {whole:>5} B, small {small:>5} B");
    }
    let sum = |steps: &[(String, u64)]| steps.iter().map(|(_, bytes)| bytes).sum::<u64>();
    println!("{:>12}: {:>5} B, small {:>5} B", "all", sum(&whole), sum(&small));
    assert!(small.iter().all(|(_, bytes)| *bytes <= 160), "{small:?}");
    assert!(sum(&small) * 4 < sum(&whole), "{} B and {} B", sum(&small), sum(&whole));
}
