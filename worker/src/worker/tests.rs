//! The whole agent against a scripted swarm and a scripted runtime.

mod assignments;
mod swarm;

use std::{fs, path::Path, time::Duration};

use futures::StreamExt as _;
use skep_common::{
    clock::SystemClock,
    disk_space::DiskLevel,
    net::{dial::Expect, server::ServerLimits},
};
use skep_proto::v1::{
    Assignment, AssignmentKind, AssignmentVersion, AssignmentsMessage, ContainerSpec, LogOptions, LogStream, NodeRole,
    PeerManager, PingRequest, ServiceRevision, ServiceSpec, Task, TaskLogsRequest, TaskSpec, TaskState, TaskStatus,
    assignment, peer_client::PeerClient,
};
use skep_runtime::{
    ContainerSpecification, Status, container_id_of_task,
    mock::{Behaviour, MockRuntime},
};
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::Code;

use self::swarm::{Ca, LONG, Manager, assigned, removed_task};
use super::*;
use crate::{Link, remove_leftovers};

/// A node: what stays when its daemon goes.
struct Host {
    directory: TempDir,
    runtime: MockRuntime,
    identity: IdentityHandle,
    manager_trouble: watch::Sender<String>,
}

impl Host {
    fn new(ca: &Ca) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            runtime: MockRuntime::new(Arc::new(SystemClock::new())),
            identity: ca.identity("node", NodeRole::Worker),
            manager_trouble: watch::Sender::default(),
        }
    }

    /// Starts the agent; `managers` are what it was given when it joined.
    async fn start(&self, managers: &[&Manager]) -> Worker {
        self.start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), managers).await
    }

    async fn start_on(&self, listen: TcpListener, managers: &[&Manager]) -> Worker {
        let remotes = managers.iter().map(|manager| manager.addr.clone()).collect();
        let description = NodeDescription { hostname: "n1".into(), ..NodeDescription::default() };
        let managers = Managers::open(self.directory.path().join("managers.json"), remotes);
        Worker::start(WorkerConfig {
            limits: ServerLimits::default(),
            node_id: "node".into(),
            data_dir: self.worker_dir(),
            identity: self.identity.clone(),
            dialer: Dialer::new(self.identity.clone()).trusting(Arc::new(managers.clone())),
            clock: Arc::new(SystemClock::new()),
            runtime: Arc::new(self.runtime.clone()),
            managers,
            description: watch::Sender::new(description).subscribe(),
            manager_trouble: self.manager_trouble.subscribe(),
            listen,
        })
        .await
    }

    fn worker_dir(&self) -> PathBuf {
        self.directory.path().join("worker")
    }

    /// A container's status, if there is one.
    async fn container(&self, task_id: &str) -> Option<Status> {
        let id = container_id_of_task(task_id);
        self.runtime.list().await.unwrap().into_iter().find(|found| found.id == id).map(|found| found.status)
    }

    async fn pid(&self, task_id: &str) -> Option<u32> {
        match self.container(task_id).await {
            Some(Status::Running { pid, .. }) => Some(pid),
            _ => None,
        }
    }

    async fn gone(&self, task_id: &str) {
        let id = container_id_of_task(task_id);
        // Waiting fails as soon as there is no such container.
        let removed = async {
            while self.runtime.wait(&id).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(LONG, removed).await.expect("the container is removed");
    }

    fn starts(&self, task_id: &str) -> u32 {
        self.runtime.starts().get(&container_id_of_task(task_id)).copied().unwrap_or(0)
    }
}

fn task(id: &str, desired: TaskState) -> Task {
    let container = ContainerSpec { image: "demo".into(), ..ContainerSpec::default() };
    Task {
        id: id.into(),
        service_id: "service".into(),
        node_id: "node".into(),
        slot: 1,
        spec: Some(TaskSpec { container: Some(container), ..TaskSpec::default() }.into()),
        status: Some(TaskStatus { state: TaskState::Assigned.into(), ..TaskStatus::default() }),
        desired_state: desired.into(),
        ..Task::default()
    }
}

/// A message of a stream, after which the node has everything.
fn message(sequence: u64, update: Vec<Task>, remove: &[&str]) -> AssignmentsMessage {
    let gone = |id: &&str| AssignmentVersion { id: (*id).into(), ..removed_task() };
    AssignmentsMessage {
        sequence,
        generation: sequence,
        update: update.into_iter().map(assigned).collect(),
        remove: remove.iter().map(gone).collect(),
    }
}

fn peer(node_id: &str, manager: &Manager, leader: bool) -> PeerManager {
    PeerManager { node_id: node_id.into(), addr: manager.addr.clone(), leader }
}

fn overwrite(directory: &Path) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            overwrite(&path);
        } else {
            let noise: Vec<u8> = (0..fs::metadata(&path).unwrap().len()).map(|n| (n * 37 % 251) as u8).collect();
            fs::write(path, noise).unwrap();
        }
    }
}

#[tokio::test]
async fn a_task_runs_stops_and_is_forgotten() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    manager.assign(vec![task("t1", TaskState::Running)]);
    let host = Host::new(&ca);
    let worker = host.start(&[&manager]).await;

    let running = manager.reported("t1", TaskState::Running).await;
    let container = running.container.unwrap();
    assert_eq!(container.container_id, container_id_of_task("t1"));
    assert_eq!(u32::try_from(container.pid).ok(), host.pid("t1").await);
    assert_eq!(manager.opening(0).description.unwrap().hostname, "n1");
    manager.had_beats(3).await;

    manager.send(message(2, vec![task("t1", TaskState::Remove)], &[]));
    manager.reported("t1", TaskState::Shutdown).await;
    host.gone("t1").await;
    manager.send(message(3, vec![], &["t1"]));

    assert!(manager.states("t1").is_sorted());
    assert!(worker.session().borrow().is_connected());
    assert_eq!(worker.session().borrow().node_role(), Some(NodeRole::Worker));
    worker.shutdown().await;
}

#[tokio::test]
async fn a_restarted_agent_takes_its_containers_up_again() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    manager.assign(vec![task("lasting", TaskState::Running), task("ending", TaskState::Running)]);
    let host = Host::new(&ca);
    let worker = host.start(&[&manager]).await;
    let before = manager.reported("lasting", TaskState::Running).await;
    manager.reported("ending", TaskState::Running).await;
    let pid = host.pid("lasting").await;
    worker.shutdown().await;

    assert!(host.runtime.exit(&container_id_of_task("ending"), 3, false));
    // The swarm is silent: what the node knows by itself must do.
    manager.assign(None);
    let worker = host.start(&[&manager]).await;
    let ended = manager.reported("ending", TaskState::Failed).await;
    assert_eq!(ended.container.unwrap().exit_code, 3);
    assert_eq!(ended.err, "task: non-zero exit (3)");
    assert_eq!(host.pid("lasting").await, pid);
    assert_eq!(manager.status("lasting"), Some(before), "it has been running since then");
    assert_eq!((host.starts("lasting"), host.starts("ending")), (1, 1));
    worker.shutdown().await;
}

#[tokio::test]
async fn a_spoiled_task_db_restarts_nothing() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    manager.assign(vec![task("t1", TaskState::Running), task("t2", TaskState::Running)]);
    let host = Host::new(&ca);
    let worker = host.start(&[&manager]).await;
    manager.reported("t1", TaskState::Running).await;
    manager.reported("t2", TaskState::Running).await;
    let pids = (host.pid("t1").await, host.pid("t2").await);
    worker.shutdown().await;
    overwrite(&host.worker_dir().join("task.db"));

    let worker = host.start(&[&manager]).await;
    manager.had_sessions(2).await;
    // It answers for the task again: a wish gets through to the container it already had.
    manager.had_streams(2).await;
    manager.send(message(2, vec![task("t2", TaskState::Shutdown)], &[]));
    manager.reported("t2", TaskState::Shutdown).await;
    assert_eq!(host.pid("t1").await, pids.0);
    assert_eq!((host.starts("t1"), host.starts("t2")), (1, 1));
    assert!(host.worker_dir().join("task.db.quarantined-1").exists());
    worker.shutdown().await;
}

#[tokio::test]
async fn a_container_is_a_stray_only_when_the_swarm_says_so() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    manager.assign(None);
    let host = Host::new(&ca);
    for id in ["stray", "known"] {
        let container =
            ContainerSpecification::for_task(&task(id, TaskState::Running), &NodeDescription::default()).unwrap();
        host.runtime.prepare(&container).await.unwrap();
        host.runtime.start(&container.id).await.unwrap();
    }
    let own = {
        let made = ContainerSpecification::for_task(&task("x", TaskState::Running), &NodeDescription::default());
        ContainerSpecification { id: "own".into(), ..made.unwrap() }
    };
    host.runtime.prepare(&own).await.unwrap();

    let worker = host.start(&[&manager]).await;
    manager.had_streams(1).await;
    manager.had_beats(2).await;
    assert!(host.pid("stray").await.is_some(), "nobody has said anything yet");

    manager.send(message(1, vec![task("known", TaskState::Running)], &[]));
    host.gone("stray").await;
    manager.reported("known", TaskState::Running).await;
    assert_eq!(host.starts("known"), 1);
    assert!(host.runtime.list().await.unwrap().iter().any(|container| container.id == "own"));
    worker.shutdown().await;
}

#[tokio::test]
async fn a_follower_leads_to_the_leader_and_its_list_is_kept() {
    let ca = Ca::new();
    let (follower, leader) = (Manager::start(&ca, "m1").await, Manager::start(&ca, "m2").await);
    follower.follow(peer("m2", &leader, true));
    let list = [peer("m1", &follower, false), peer("m2", &leader, true)];
    leader.tell_managers(list.to_vec());
    let host = Host::new(&ca);
    let worker = host.start(&[&follower]).await;
    leader.had_sessions(1).await;
    leader.had_beats(1).await;
    worker.shutdown().await;

    // The manager it was given when it joined is gone; it knows others.
    follower.stop();
    let worker = host.start(&[&follower]).await;
    leader.had_sessions(2).await;
    worker.shutdown().await;
}

#[tokio::test]
async fn a_removed_manager_is_not_followed_whatever_it_says() {
    let ca = Ca::new();
    let (removed, leader) = (Manager::start(&ca, "m1").await, Manager::start(&ca, "m2").await);
    let old = vec![peer("m1", &removed, true), peer("m2", &leader, false)];
    removed.tell_managers_of(old.clone(), 5);
    leader.tell_managers_of(old, 5);
    let host = Host::new(&ca);
    let worker = host.start(&[&removed]).await;
    removed.had_sessions(1).await;

    // It is demoted and goes on as if nothing had happened; the node hears of it from the next leader.
    leader.tell_managers_of(vec![peer("m2", &leader, true)], 9);
    removed.follow(peer("m2", &leader, true));
    removed.end_sessions();
    leader.had_sessions(1).await;
    leader.had_beats(1).await;
    removed.lead();

    // Then the leader is gone, and only the removed one answers: also at the leader's address, and after a restart.
    leader.stop();
    worker.shutdown().await;
    let worker = host.start(&[&removed]).await;
    let mut state = worker.session();
    let looked = state.wait_for(|state| matches!(&state.link, Link::Connecting { error } if !error.is_empty()));
    timeout(LONG, looked).await.unwrap().unwrap();
    assert_eq!(removed.sessions(), 1);
    worker.shutdown().await;

    // One that is named, but knows only an older list, has been out of touch.
    let behind = Manager::start(&ca, "m2").await;
    behind.tell_managers_of(vec![peer("m1", &removed, true), peer("m2", &behind, false)], 8);
    fs::write(
        host.directory.path().join("managers.json"),
        format!(r#"{{"version": 9, "managers": [{{"node_id": "m2", "addr": "{}"}}]}}"#, behind.addr),
    )
    .unwrap();
    let worker = host.start(&[]).await;
    let mut state = worker.session();
    let refused =
        |state: &SessionState| matches!(&state.link, Link::Connecting { error } if error.contains("lags behind"));
    timeout(LONG, state.wait_for(refused)).await.unwrap().unwrap();
    assert!(state.borrow().facts.is_none() && removed.sessions() == 1);
    worker.shutdown().await;
}

#[tokio::test]
async fn another_leader_is_found_when_the_first_dies() {
    let ca = Ca::new();
    let (first, second) = (Manager::start(&ca, "m1").await, Manager::start(&ca, "m2").await);
    second.follow(peer("m1", &first, true));
    first.tell_managers(vec![peer("m1", &first, true), peer("m2", &second, false)]);
    for manager in [&first, &second] {
        manager.assign(vec![task("t1", TaskState::Running)]);
    }
    let host = Host::new(&ca);
    let worker = host.start(&[&first]).await;
    first.reported("t1", TaskState::Running).await;

    first.stop();
    second.lead();
    // It was elected before the last report was replicated: it is told again.
    second.reported("t1", TaskState::Running).await;
    assert_eq!(host.starts("t1"), 1);
    worker.shutdown().await;
}

#[tokio::test]
async fn reports_no_manager_took_come_again() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    manager.refuse_reports(true);
    manager.assign(vec![task("t1", TaskState::Running)]);
    let host = Host::new(&ca);
    let worker = host.start(&[&manager]).await;
    manager.had_reports(2).await;
    assert_eq!(manager.status("t1"), None);

    manager.refuse_reports(false);
    manager.reported("t1", TaskState::Running).await;
    assert_eq!(host.starts("t1"), 1);

    // A report that was taken and lost with its leader.
    manager.forget_statuses();
    manager.end_sessions();
    manager.reported("t1", TaskState::Running).await;
    worker.shutdown().await;
}

#[tokio::test]
async fn a_removed_node_stops_its_tasks() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    manager.assign(vec![task("t1", TaskState::Running)]);
    let host = Host::new(&ca);
    let worker = host.start(&[&manager]).await;
    manager.reported("t1", TaskState::Running).await;

    manager.forget_nodes();
    manager.end_sessions();
    let mut session = worker.session();
    session.wait_for(SessionState::is_removed).await.unwrap();
    host.gone("t1").await;
    worker.shutdown().await;
}

#[tokio::test]
async fn the_swarm_hears_of_a_full_disk_and_of_its_end() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    let host = Host::new(&ca);
    let worker = host.start(&[&manager]).await;
    for (level, message) in [
        (DiskLevel::Plenty, ""),
        (DiskLevel::NearlyFull, "disk nearly full"),
        (DiskLevel::Danger, "disk full"),
        (DiskLevel::Plenty, ""),
    ] {
        host.runtime.set_disk(level);
        manager.said(message).await;
    }
    worker.shutdown().await;
}

#[tokio::test]
async fn the_swarm_hears_of_a_managers_trouble_beside_that_of_its_disk() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    let host = Host::new(&ca);
    host.manager_trouble.send_replace("no snapshot".into());
    let worker = host.start(&[&manager]).await;
    manager.said("no snapshot").await;
    host.runtime.set_disk(DiskLevel::Full);
    manager.said("disk full; no snapshot").await;
    host.manager_trouble.send_replace(String::new());
    manager.said("disk full").await;
    worker.shutdown().await;
}

#[tokio::test]
async fn leaving_takes_everything_along() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    manager.assign(vec![task("t1", TaskState::Running), task("t2", TaskState::Ready)]);
    let host = Host::new(&ca);
    let worker = host.start(&[&manager]).await;
    manager.reported("t1", TaskState::Running).await;
    manager.reported("t2", TaskState::Ready).await;
    worker.leave(tokio::time::Instant::now() + skep_common::limits::LEAVE_LIMIT).await;
    assert_eq!(host.runtime.list().await.unwrap(), []);
    assert_eq!(fs::read_dir(host.worker_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn leaving_waits_neither_for_graces_nor_for_what_does_not_end() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    let host = Host::new(&ca);
    host.runtime.behave(Behaviour { stop_code: None, ..Behaviour::default() });
    let endless = Duration::from_secs(3600);
    host.runtime.behave_for("endless", Behaviour { prepare_takes: endless, ..Behaviour::default() });
    let with = |id: &str, image: &str| {
        let container = ContainerSpec {
            image: image.into(),
            stop_grace_period: Some(3600 * 1_000_000_000),
            ..ContainerSpec::default()
        };
        let spec = TaskSpec { container: Some(container), ..TaskSpec::default() };
        Task { spec: Some(spec.into()), ..task(id, TaskState::Running) }
    };
    manager.assign(vec![with("runs", "demo"), with("stops", "demo"), with("never ready", "endless")]);
    let worker = host.start(&[&manager]).await;
    manager.reported("runs", TaskState::Running).await;
    manager.reported("stops", TaskState::Running).await;
    manager.reported("never ready", TaskState::Preparing).await;
    let stops = Task { desired_state: TaskState::Shutdown.into(), ..with("stops", "demo") };
    manager.send(message(2, vec![stops], &[]));

    timeout(LONG, worker.leave(tokio::time::Instant::now() + skep_common::limits::LEAVE_LIMIT))
        .await
        .expect("leaving ends");
    assert_eq!(host.runtime.list().await.unwrap(), []);
    assert_eq!(fs::read_dir(host.worker_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_node_of_no_swarm_keeps_nothing_of_one() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    manager.assign(vec![task("t1", TaskState::Running), task("t2", TaskState::Ready)]);
    let host = Host::new(&ca);
    let runtime: Arc<dyn Runtime> = Arc::new(host.runtime.clone());
    remove_leftovers(&runtime, &host.worker_dir()).await;
    let worker = host.start(&[&manager]).await;
    manager.reported("t1", TaskState::Running).await;
    manager.reported("t2", TaskState::Ready).await;
    worker.shutdown().await;
    assert_eq!(host.runtime.list().await.unwrap().len(), 2);

    remove_leftovers(&runtime, &host.worker_dir()).await;
    assert_eq!(host.runtime.list().await.unwrap(), []);
    assert_eq!(fs::read_dir(host.worker_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn managers_read_a_task_s_log_and_nobody_else() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    manager.assign(vec![task("t1", TaskState::Running)]);
    let host = Host::new(&ca);
    let listen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listen.local_addr().unwrap().to_string();
    let worker = host.start_on(listen, &[&manager]).await;
    manager.reported("t1", TaskState::Running).await;
    host.runtime.write_log(&container_id_of_task("t1"), LogStream::Stdout, "hello");

    let logs = |task_id: &str| TaskLogsRequest { task_id: task_id.into(), options: Some(LogOptions::default()) };
    let client = |node_id, role| {
        let dialer = Dialer::new(ca.identity(node_id, role));
        PeerClient::new(dialer.channel(&addr, Expect::Node("node".into())))
    };
    let mut of_manager = client("m1", NodeRole::Manager);
    assert_eq!(of_manager.ping(PingRequest {}).await.unwrap().into_inner().node_id, "node");
    let stream = of_manager.task_logs(logs("t1")).await.unwrap().into_inner();
    let lines: Vec<_> = stream.map(|record| record.unwrap().data).collect().await;
    assert_eq!(lines, [b"hello\n"]);
    assert_eq!(of_manager.task_logs(logs("t9")).await.unwrap_err().code(), Code::NotFound);

    // A manager's certificate of somebody the swarm does not call one.
    for (node_id, role) in [("w7", NodeRole::Worker), ("m9", NodeRole::Manager)] {
        let refused = client(node_id, role).task_logs(logs("t1")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    worker.shutdown().await;
}
