//! What each kind of change becomes in the journal.

use std::sync::Arc;

use skep_common::clock::Timestamp;
use skep_proto::v1::{
    Annotations, Availability, ClusterSpec, ContainerSpec, ContainerStatus, JobOutcome, JobRun, JobStatus, JoinTokens,
    ManagerStatus, Node, NodeDescription, NodeRole, NodeSpec, NodeState, NodeStatus, ReplicatedService, RestartState,
    Service, ServiceSpec, Task, TaskCause, TaskSpec, TaskState, TaskStatus, UpdateState, UpdateStatus,
    service_spec::Mode,
};
use skep_store::TxBuilder;

use super::*;

fn node() -> Node {
    let status = NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() };
    Node {
        id: "n".into(),
        description: Some(NodeDescription { hostname: "host".into(), ..NodeDescription::default() }),
        spec: Some(NodeSpec::default()),
        status: Some(status),
        ..Node::default()
    }
}

fn view() -> View {
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, Timestamp(1));
    tx.create(node());
    let tx = tx.build();
    empty.apply(1, &tx).unwrap().0
}

fn texts(change: Change) -> Vec<String> {
    let event = WatchEvent { version: 5, at: Timestamp(9), by: "somebody".into(), changes: vec![change] };
    entries(&view(), &event).into_iter().map(|entry| entry.text).collect()
}

fn update(old: impl Into<AnyObject>, new: impl Into<AnyObject>) -> Vec<String> {
    texts(Change::Update { old: old.into(), new: new.into() })
}

fn task(state: TaskState) -> Task {
    Task {
        id: "t".into(),
        service_id: "s".into(),
        slot: 2,
        node_id: if state < TaskState::Assigned { String::new() } else { "n".into() },
        status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
        desired_state: TaskState::Running.into(),
        ..Task::default()
    }
}

fn waiting(reason: &str) -> Task {
    let mut task = task(TaskState::Pending);
    task.status.as_mut().unwrap().err = reason.into();
    task
}

fn service(replicas: u64, image: &str) -> Service {
    let container = ContainerSpec { image: image.into(), ..ContainerSpec::default() };
    Service {
        id: "s".into(),
        spec: Some(ServiceSpec {
            task: Some(TaskSpec { container: Some(container), ..TaskSpec::default() }.into()),
            mode: Some(Mode::Replicated(ReplicatedService { replicas })),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

#[test]
fn an_entry_says_who_when_and_of_what() {
    let changes = vec![Change::Update { old: task(TaskState::Starting).into(), new: task(TaskState::Running).into() }];
    let event = WatchEvent { version: 5, at: Timestamp(9), by: Arc::from("task statuses"), changes };
    let expected = JournalEntry {
        at: 9,
        version: 5,
        by: "task statuses".into(),
        service_id: "s".into(),
        task_id: "t".into(),
        node_id: "n".into(),
        slot: 2,
        text: "running on host".into(),
    };
    assert_eq!(entries(&view(), &event), [expected]);

    let changes = vec![Change::Create(service(1, "a").into()), Change::Create(node().into())];
    let event = WatchEvent { version: 5, at: Timestamp(9), by: Arc::from("somebody"), changes };
    let of: Vec<_> = entries(&view(), &event).into_iter().map(|entry| (entry.service_id, entry.node_id)).collect();
    assert_eq!(of, [("s".into(), String::new()), (String::new(), "n".into())]);
}

#[test]
fn tasks() {
    use TaskState::*;
    let wanted = |state, desired: TaskState| Task { desired_state: desired.into(), ..task(state) };
    let failed = || {
        let mut task = task(Failed);
        let status = task.status.as_mut().unwrap();
        status.container = Some(ContainerStatus { exit_code: 137, oom_killed: true, ..ContainerStatus::default() });
        status.err = "task: non-zero exit (137)".into();
        task
    };
    let ended = |exit_code| {
        let mut task = task(Failed);
        task.status.as_mut().unwrap().container = Some(ContainerStatus { exit_code, ..ContainerStatus::default() });
        task
    };
    let table: Vec<(Vec<String>, &[&str])> = vec![
        (update(task(New), task(Pending)), &[]),
        (update(task(Pending), waiting("no suitable node")), &["waits: no suitable node"]),
        (update(waiting("no suitable node"), waiting("no suitable node")), &[]),
        (update(waiting("a"), waiting("b")), &["waits: b"]),
        (update(waiting("a"), task(Assigned)), &["assigned to host"]),
        (update(task(Assigned), task(Preparing)), &[]),
        (update(task(Starting), task(Running)), &["running on host"]),
        (update(task(Running), failed()), &["failed (exit code 137, out of memory): task: non-zero exit (137)"]),
        (update(task(Running), wanted(Running, Shutdown)), &["is to stop"]),
        (update(task(Failed), wanted(Failed, Shutdown)), &[]),
        (update(wanted(Running, Shutdown), wanted(Shutdown, Shutdown)), &["stopped"]),
        (update(wanted(Ready, Ready), task(Ready)), &["may start"]),
        (update(task(Assigned), task(Rejected)), &["rejected by host"]),
        (update(task(Running), ended(1)), &["failed (exit code 1)"]),
        (update(task(Running), task(Complete)), &["completed"]),
        (update(task(Running), Task { status: ended(0).status, ..task(Running) }), &["failed"]),
        (update(task(Running), task(Orphaned)), &["given up for lost"]),
        (update(task(Running), wanted(Running, Remove)), &["is to stop for good"]),
        (texts(Change::Remove(task(Failed).into())), &[]),
    ];
    for (number, (said, expected)) in table.into_iter().enumerate() {
        assert_eq!(said, expected, "row {number}");
    }
}

#[test]
fn a_new_task_says_why_and_what_it_replaces() {
    let made = |cause: TaskCause, edit: fn(&mut Task)| {
        let mut task = Task { cause: cause.into(), ..task(TaskState::New) };
        edit(&mut task);
        texts(Change::Create(task.into())).remove(0)
    };
    assert_eq!(made(TaskCause::Replica, |_| ()), "made: its place was empty");
    let restarted = made(TaskCause::Restart, |task| {
        task.replaces = "0123456789abcdefghijklmno".into();
        task.restart = Some(RestartState { not_before: 5_000_000_000, ..RestartState::default() }.into());
    });
    assert_eq!(restarted, "made: its predecessor ended, replaces 0123456789ab, starts in 5 s at the earliest");
    let drained = made(TaskCause::Drain, |task| task.node_id = "n".into());
    assert_eq!(drained, "made: its predecessor's node is drained, for host");
    assert_eq!(made(TaskCause::Job, |task| task.job_iteration = 4), "made for run 4");
}

#[test]
fn services() {
    let with = |edit: fn(&mut Service)| {
        let mut changed = service(3, "a");
        edit(&mut changed);
        changed
    };
    let with_runs = |runs: &[(u64, JobOutcome)]| {
        let run = |(iteration, outcome): &(u64, JobOutcome)| JobRun {
            iteration: *iteration,
            outcome: (*outcome).into(),
            ..JobRun::default()
        };
        let runs = runs.iter().map(run).collect();
        Service { job: Some(JobStatus { iteration: 2, runs, ..JobStatus::default() }), ..service(3, "a") }
    };
    let commanded = |edit: fn(&mut ContainerSpec)| {
        let mut changed = service(3, "a");
        edit(changed.spec.as_mut().unwrap().task.as_mut().unwrap().container.as_mut().unwrap());
        changed
    };
    let table: Vec<(Vec<String>, &[&str])> = vec![
        (texts(Change::Create(service(1, "a").into())), &["created: 1 replica of a"]),
        (texts(Change::Create(service(1, "h:5/a:1@sha256:0").into())), &["created: 1 replica of h:5/a:1"]),
        (texts(Change::Create(service(1, "h:5/a@sha256:0").into())), &["created: 1 replica of h:5/a@sha256:0"]),
        (texts(Change::Remove(service(1, "a").into())), &["removed (s)"]),
        (update(service(3, "a"), service(5, "a")), &["scaled from 3 to 5"]),
        (update(service(3, "a"), service(3, "b")), &["updated: image b instead of a"]),
        (update(service(3, "a:1@x"), service(3, "a:1@y")), &["updated: image a:1@y instead of a:1@x"]),
        (
            update(service(3, "a"), service(5, "b")),
            &["updated: 5 replicas instead of 3 replicas, image b instead of a"],
        ),
        (
            update(
                service(3, "a"),
                with(|service| {
                    let container = service.spec.as_mut().unwrap().task.as_mut().unwrap().container.as_mut().unwrap();
                    container.env = vec!["PASSWORD=canary".into()];
                }),
            ),
            &["updated: environment"],
        ),
        (
            update(
                service(3, "a"),
                with(|service| {
                    let labels = [("team".to_owned(), "x".to_owned())].into();
                    service.spec.as_mut().unwrap().annotations =
                        Some(Annotations { labels, ..Annotations::default() }.into());
                }),
            ),
            &["updated: label team=x set"],
        ),
        (
            update(
                service(3, "a"),
                with(|service| {
                    let message = "update paused due to failure or early termination of task t".into();
                    let state = UpdateState::Paused.into();
                    service.update_status = Some(UpdateStatus { state, message, ..UpdateStatus::default() });
                }),
            ),
            &["the update is paused: update paused due to failure or early termination of task t"],
        ),
        (
            update(
                service(3, "a"),
                with(|service| {
                    let run = JobRun { iteration: 1, outcome: JobOutcome::Complete.into(), ..JobRun::default() };
                    service.job = Some(JobStatus { iteration: 2, runs: vec![run], ..JobStatus::default() });
                }),
            ),
            &["run 2 began", "run 1 is complete"],
        ),
        (
            update(with_runs(&[(1, JobOutcome::Running)]), with_runs(&[(1, JobOutcome::Complete)])),
            &["run 1 is complete"],
        ),
        (
            update(
                with_runs(&[(1, JobOutcome::Complete), (2, JobOutcome::Running)]),
                with_runs(&[(1, JobOutcome::Complete), (2, JobOutcome::Failed)]),
            ),
            &["run 2 failed"],
        ),
        (update(service(3, "a"), commanded(|container| container.command = vec!["sh".into()])), &["updated: command"]),
        (update(service(3, "a"), commanded(|container| container.args = vec!["-v".into()])), &["updated: command"]),
        (
            update(service(3, "a"), commanded(|container| container.hostname = "h".into())),
            &["updated: container settings"],
        ),
    ];
    for (number, (said, expected)) in table.into_iter().enumerate() {
        assert_eq!(said, expected, "row {number}");
    }
}

#[test]
fn going_back_is_told_from_going_forth() {
    let before = Service { previous_spec: service(3, "a").spec, ..service(3, "b") };
    let back = crate::update::rolled_back(&before, Timestamp(1)).unwrap();
    assert_eq!(
        update(before, back),
        ["rolled back: image a instead of b", "the rollback began: manually requested rollback"]
    );
    // Who asks for what there was before does not roll back, and who scales while something is rolled back does not either.
    let before = Service { previous_spec: service(3, "a").spec, ..service(3, "b") };
    assert_eq!(update(before, service(3, "a")), ["updated: image a instead of b"]);
    let rolling = |replicas| {
        let status = UpdateStatus { state: UpdateState::RollbackStarted.into(), ..UpdateStatus::default() };
        Service { update_status: Some(status), ..service(replicas, "a") }
    };
    assert_eq!(update(rolling(3), rolling(5)), ["scaled from 3 to 5"]);
    let numbered = |revision, image| Service { revision, last_revision: 3, ..service(3, image) };
    let older = Service { last_revision: 2, ..numbered(2, "a") };
    assert_eq!(update(older, numbered(3, "b")), ["updated to revision 3: image b instead of a"]);
    // Of a job nothing else says that it was rolled back.
    assert_eq!(update(numbered(3, "b"), numbered(2, "a")), ["rolled back to revision 2: image a instead of b"]);
    let before = Service { previous_spec: service(3, "a").spec, previous_revision: 1, ..numbered(3, "b") };
    let back = crate::update::rolled_back(&before, Timestamp(1)).unwrap();
    assert_eq!(update(before, back)[0], "rolled back to revision 1: image a instead of b");
}

#[test]
fn nodes_and_the_swarm() {
    let with = |edit: fn(&mut Node)| {
        let mut changed = node();
        edit(&mut changed);
        changed
    };
    let in_state = |node: &mut Node, state: NodeState| node.status.as_mut().unwrap().set_state(state);
    let mut down = node();
    in_state(&mut down, NodeState::Down);
    down.status.as_mut().unwrap().message = "heartbeat failure".into();
    let mut unheard = node();
    in_state(&mut unheard, NodeState::Unknown);
    let drained = with(|node| node.spec.as_mut().unwrap().set_availability(Availability::Drain));
    let labelled = with(|node| {
        let labels = [("zone".to_owned(), "east".to_owned())].into();
        node.spec.as_mut().unwrap().annotations = Some(Annotations { labels, ..Annotations::default() });
    });
    let manager = with(|node| {
        node.manager = Some(ManagerStatus { addr: "10.0.0.1:2377".into(), ..ManagerStatus::default() });
        node.set_role(NodeRole::Manager);
    });
    let promoted = with(|node| node.spec.as_mut().unwrap().set_desired_role(NodeRole::Manager));
    let tokens = |worker: &str| Cluster {
        join_tokens: Some(JoinTokens { worker: worker.into(), manager: "m".into() }),
        ..Cluster::default()
    };
    let table: Vec<(Vec<String>, &[&str])> = vec![
        (texts(Change::Create(node().into())), &["joined the swarm as a worker"]),
        (update(node(), down.clone()), &["down: heartbeat failure"]),
        (update(down, node()), &["ready"]),
        (update(node(), unheard), &[]),
        (update(node(), drained), &["drained: its tasks have to leave"]),
        (update(node(), labelled.clone()), &["label zone=east set"]),
        (update(labelled, node()), &["label zone removed"]),
        (update(manager.clone(), node()), &["is a worker now", "left the managers' consensus"]),
        (update(node(), promoted), &["is to be a manager"]),
        (update(node(), manager), &["is a manager now", "joined the managers' consensus at 10.0.0.1:2377"]),
        (texts(Change::Remove(node().into())), &["removed from the swarm (host)"]),
        (update(tokens("canary1"), tokens("canary2")), &["the worker join token was replaced"]),
        (
            update(
                Cluster::default(),
                Cluster {
                    spec: Some(ClusterSpec { task_history_limit: 3, heartbeat_period: 1, ..ClusterSpec::default() }),
                    ..Cluster::default()
                },
            ),
            &["the swarm's settings changed: task history limit, heartbeat period"],
        ),
    ];
    for (number, (said, expected)) in table.into_iter().enumerate() {
        assert_eq!(said, expected, "row {number}");
    }
}

#[test]
fn what_nobody_saw_is_told_by_how_it_stands() {
    let view = view();
    let mut tx = TxBuilder::new(&view, Timestamp(7));
    tx.create(task(TaskState::Running)).create(service(3, "a"));
    let tx = tx.build();
    let view = view.apply(4, &tx).unwrap().0;
    let told: Vec<_> = view
        .objects()
        .filter(|object| object.version() > 1)
        .map(|object| current_state(&view, &object).map(|entry| (entry.version, entry.at, entry.text)).unwrap())
        .collect();
    assert_eq!(told, [(4, 7, "created: 3 replicas of a".into()), (4, 7, "running on host".into())]);
    assert_eq!(current_state(&view, &Cluster::default().into()), None);

    let mut tx = TxBuilder::new(&view, Timestamp(8));
    tx.update(Service { meta: view.service("s").unwrap().meta, ..service(5, "a") });
    let view = view.apply(5, &tx.build()).unwrap().0;
    let said = current_state(&view, &view.service("s").unwrap().clone().into()).unwrap().text;
    assert_eq!(said, "changed; how and by whom was not seen");
}

#[test]
fn long_texts_are_cut_between_characters() {
    let mut long = waiting("x");
    long.status.as_mut().unwrap().err = "é".repeat(MAX_TEXT);
    let said = update(task(TaskState::Pending), long);
    assert!(said[0].len() <= MAX_TEXT && said[0].len() > MAX_TEXT - 2);
}
