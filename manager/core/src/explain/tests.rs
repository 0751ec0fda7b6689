//! What is said of services and tasks that wait, and of those that do not.

use std::time::Duration;

use skep_proto::v1::{
    Annotations, GlobalJob, GlobalService, JobOutcome, JobRun, JobStatus, Node, NodeDescription, NodeFailure, NodeRole,
    NodeSpec, NodeState, NodeStatus, Placement, ReplicatedService, RestartCondition, RestartPolicy, RestartState,
    ServiceSpec, TaskSpec, TaskStatus, UpdateStatus,
};
use skep_store::TxBuilder;

use super::*;
use crate::policy;

const NOW: Timestamp = Timestamp::from_secs(1000);

fn node(id: &str, state: NodeState, availability: Availability) -> Node {
    Node {
        id: id.into(),
        description: Some(NodeDescription { hostname: format!("host-{id}"), ..NodeDescription::default() }),
        spec: Some(NodeSpec { availability: availability.into(), ..NodeSpec::default() }),
        status: Some(NodeStatus { state: state.into(), ..NodeStatus::default() }),
        ..Node::default()
    }
}

fn web(replicas: u64) -> Service {
    let annotations = Annotations { name: "web".into(), ..Annotations::default() };
    let mode = Some(Mode::Replicated(ReplicatedService { replicas }));
    let spec = ServiceSpec { annotations: Some(annotations.into()), mode, ..ServiceSpec::default() };
    Service { id: "s".into(), spec: Some(spec), ..Service::default() }
}

/// A job that runs on every node.
fn scan() -> Service {
    let mut service = web(0);
    let spec = service.spec.as_mut().unwrap();
    spec.annotations.get_or_insert_default().name = "scan".into();
    spec.mode = Some(Mode::GlobalJob(GlobalJob {}));
    service.job = Some(JobStatus { iteration: 1, ..JobStatus::default() });
    service
}

fn task_in(slot: u64, state: TaskState, node: &str) -> Task {
    Task {
        id: format!("t{slot}-{node}"),
        service_id: "s".into(),
        service: web(0).spec.unwrap().annotations,
        slot,
        node_id: node.into(),
        status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
        desired_state: TaskState::Running.into(),
        ..Task::default()
    }
}

fn view(service: Service, tasks: Vec<Task>) -> View {
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, NOW);
    tx.create(node("a", NodeState::Ready, Availability::Active));
    tx.create(node("b", NodeState::Ready, Availability::Drain));
    tx.create(node("c", NodeState::Down, Availability::Active));
    tx.create(service);
    for task in tasks {
        tx.create(task);
    }
    let tx = tx.build();
    empty.apply(1, &tx).unwrap().0
}

fn said(service: Service, tasks: Vec<Task>) -> String {
    let view = view(service, tasks);
    super::service(&view, view.service("s").unwrap(), NOW).text
}

#[test]
fn a_service_says_what_it_waits_for() {
    use TaskState::*;
    let waiting = |slot| {
        let mut task = task_in(slot, Pending, "");
        task.status.as_mut().unwrap().err = "no suitable node (insufficient resources on 3 nodes)".into();
        task
    };
    let stopping = Task { desired_state: Shutdown.into(), ..task_in(1, Running, "b") };
    let over = Task { desired_state: Shutdown.into(), ..task_in(1, Complete, "a") };
    // Started beside the one that runs, and failed.
    let replacement = |condition: RestartCondition| {
        let restart = Some(RestartPolicy { condition: condition.into(), ..RestartPolicy::default() });
        let spec = Some(TaskSpec { restart, ..TaskSpec::default() }.into());
        Task { spec, replaces: "t1-a".into(), ..task_in(1, Failed, "b") }
    };
    let paused = |mut service: Service| {
        let (state, message) = (UpdateState::Paused.into(), "update paused due to failure".to_owned());
        service.update_status = Some(UpdateStatus { state, message, ..UpdateStatus::default() });
        service
    };
    let mut delayed = Task { id: "t1-b-2".into(), ..replacement(RestartCondition::Any) };
    let not_before = (NOW + Duration::from_secs(3)).as_nanos();
    delayed.restart = Some(RestartState { not_before, ..RestartState::default() }.into());
    let mut everywhere = web(0);
    everywhere.spec.as_mut().unwrap().mode = Some(Mode::Global(GlobalService {}));
    let table = [
        (said(web(1), vec![task_in(1, Running, "a")]), "web has 1 of 1 replicas running. It waits for nothing."),
        (said(everywhere, vec![task_in(0, Running, "a")]), "web has 1 task running. It waits for nothing."),
        (
            said(web(1), vec![task_in(1, Pending, "")]),
            "web has 0 of 1 replicas running. 1 task pending: the scheduler has not looked at it yet.",
        ),
        (
            said(web(1), vec![task_in(1, Running, "a"), delayed]),
            "web has 1 of 1 replicas running. 1 task to be replaced in 3 s, having ended: failed.",
        ),
        (
            said(web(3), vec![task_in(1, Running, "a"), waiting(2), waiting(3)]),
            "web has 1 of 3 replicas running. \
             2 tasks pending: no suitable node (insufficient resources on 3 nodes).",
        ),
        (
            said(web(1), vec![stopping, task_in(1, Starting, "a")]),
            "web has 0 of 1 replicas running. 1 task being started on host-a. \
             1 task stopping on host-b, which is drained.",
        ),
        (
            said(web(1), vec![task_in(1, Assigned, "c")]),
            "web has 0 of 1 replicas running. 1 task assigned to host-c, which is down.",
        ),
        (
            said(web(2), vec![over]),
            "web has 0 of 2 replicas running. 1 replica over, and the restart policy wants no successor. \
             1 replica without a task yet.",
        ),
        (
            said(paused(web(1)), vec![task_in(1, Running, "a")]),
            "web has 1 of 1 replicas running. The update is paused and waits for somebody to update the service \
             again: update paused due to failure.",
        ),
        (
            said(web(1), vec![task_in(1, New, "")]),
            "web has 0 of 1 replicas running. 1 task new: addresses and ports are not given yet.",
        ),
        (
            said(web(1), vec![task_in(1, Preparing, "a")]),
            "web has 0 of 1 replicas running. 1 task being prepared on host-a.",
        ),
        (
            said(scan(), vec![Task { job_iteration: 1, desired_state: Complete.into(), ..task_in(0, Complete, "a") }]),
            "scan has 0 tasks running and 1 complete. It waits for nothing.",
        ),
        (
            said(web(1), vec![task_in(1, Running, "a"), replacement(RestartCondition::None)]),
            "web has 1 of 1 replicas running. 1 task given up by the restart policy, having ended: failed.",
        ),
        (
            said(web(1), vec![task_in(1, Running, "a"), replacement(RestartCondition::Any)]),
            "web has 1 of 1 replicas running. 1 task about to be replaced, having ended: failed.",
        ),
    ];
    for (said, expected) in table {
        assert_eq!(said, expected);
    }
}

#[test]
fn a_run_without_a_task_says_what_it_waits_for_or_why_it_failed() {
    use TaskState::*;
    let run = |iteration, finished_at: i64, outcome: JobOutcome| JobRun {
        iteration,
        started_at: (NOW - std::time::Duration::from_secs(10)).as_nanos(),
        finished_at,
        outcome: outcome.into(),
        ..JobRun::default()
    };
    let open = |iteration| run(iteration, 0, JobOutcome::Running);
    let job = |scheduled: bool, fit: bool, runs: Vec<JobRun>| {
        let mut service = scan();
        let spec = service.spec.as_mut().unwrap();
        if scheduled {
            let labels = [(policy::SCHEDULE.to_owned(), "@every 5s".to_owned())].into();
            spec.annotations = Some(Annotations { name: "scan".into(), labels }.into());
        }
        let constraints = if fit { vec![] } else { vec!["node.labels.gpu==yes".to_owned()] };
        let placement = Some(Placement { constraints, ..Placement::default() });
        spec.task = Some(TaskSpec { placement, ..TaskSpec::default() }.into());
        service.job = Some(JobStatus { iteration: 7, runs, ..JobStatus::default() });
        service
    };
    let failed = Task { job_iteration: 7, desired_state: Shutdown.into(), ..task_in(0, Failed, "a") };
    let table = [
        (job(false, true, vec![]), vec![], "It waits for nothing."),
        (job(false, false, vec![]), vec![], "1 run waiting for a node that is fit."),
        (job(true, true, vec![open(7)]), vec![], "It waits for nothing."),
        (job(true, false, vec![open(7)]), vec![], "1 run waiting for a node that is fit, for 50 s more."),
        (
            job(true, false, vec![open(6), open(7)]),
            vec![],
            "2 runs waiting for a node that is fit, the oldest for 50 s more.",
        ),
        (
            job(true, false, vec![run(6, 1, JobOutcome::Complete), run(7, 1, JobOutcome::Failed)]),
            vec![],
            "Run 7 failed: no node was fit for it, or none remained so until it was done.",
        ),
        (
            job(true, false, vec![run(6, 1, JobOutcome::Failed), run(7, 1, JobOutcome::Complete)]),
            vec![],
            "It waits for nothing.",
        ),
        (job(true, false, vec![run(7, 1, JobOutcome::Failed)]), vec![failed], "It waits for nothing."),
    ];
    for (service, tasks, expected) in table {
        let said = said(service, tasks);
        assert_eq!(said.strip_prefix("scan has 0 tasks running and 0 complete. "), Some(expected), "{said}");
    }
}

#[test]
fn a_task_says_what_it_waits_for() {
    use TaskState::*;
    let mut failed = Task { desired_state: Shutdown.into(), ..task_in(1, Failed, "a") };
    failed.status.as_mut().unwrap().err = "task: non-zero exit (1)".into();
    let mut held = Task { desired_state: Ready.into(), replaces: failed.id.clone(), ..task_in(1, Ready, "a") };
    held.id = "next".into();
    let stopping = Task { desired_state: Shutdown.into(), ..task_in(2, Running, "b") };
    let after_stop = Task { desired_state: Ready.into(), ..task_in(2, Ready, "a") };
    let mut delayed = held.clone();
    let not_before = (NOW + std::time::Duration::from_millis(3500)).as_nanos();
    delayed.restart = Some(RestartState { attempts: 3, not_before, ..RestartState::default() }.into());
    let over = |state| Task { desired_state: Shutdown.into(), ..task_in(1, state, "a") };
    let mut elsewhere = Task { id: "far".into(), desired_state: Shutdown.into(), ..task_in(0, Running, "b") };
    elsewhere.status.as_mut().unwrap().applied_at = NOW.as_nanos();
    let before = Task { id: "near".into(), desired_state: Shutdown.into(), ..task_in(0, Running, "a") };
    let here = Task { desired_state: Ready.into(), ..task_in(0, Ready, "a") };
    let table = [
        (task_in(1, Running, "a"), vec![], "web.1 runs on host-a and waits for nothing."),
        (over(Complete), vec![], "web.1 has ended: complete."),
        (over(Shutdown), vec![], "web.1 has ended: stopped."),
        (over(Rejected), vec![], "web.1 has ended: rejected."),
        (over(Orphaned), vec![], "web.1 has ended: given up for lost."),
        (here, vec![before, elsewhere], "web.host-a is waiting for near to stop on host-a, 70 s at most."),
        (failed.clone(), vec![held.clone()], "web.1 has ended: failed, task: non-zero exit (1). next took its place."),
        (
            delayed,
            vec![failed.clone()],
            "web.1 is held back for 4 s more by the restart delay (restart 3), its predecessor having ended: failed, \
             task: non-zero exit (1).",
        ),
        (held, vec![failed], "web.1 is ready to start."),
        (after_stop, vec![stopping], "web.2 is waiting for t2-b to stop on host-b, 70 s at most."),
    ];
    for (task, others, expected) in table {
        let view = view(web(1), others.into_iter().chain([task.clone()]).collect());
        assert_eq!(super::task(&view, view.task(&task.id).unwrap(), NOW).text, expected);
    }
}

#[test]
fn every_node_is_in_the_table_the_fit_first() {
    let view = view(web(1), vec![task_in(1, TaskState::Running, "a")]);
    let explained = super::service(&view, view.service("s").unwrap(), NOW);
    let table: Vec<_> = explained
        .nodes
        .iter()
        .map(|verdict| (verdict.node_id.as_str(), verdict.filter_failure.as_deref(), verdict.service_tasks))
        .collect();
    let expected = [
        ("a", None, 1),
        ("b", Some("not available for new tasks: drained"), 0),
        ("c", Some("not available for new tasks: down"), 0),
    ];
    assert_eq!(table, expected);

    let failure = NodeFailure { node_id: "a".into(), at: NOW.as_nanos() };
    let restart = RestartState { failures: vec![failure], ..RestartState::default() };
    let again = Task { restart: Some(restart.into()), ..task_in(1, TaskState::Running, "b") };
    let view = self::view(web(1), vec![again.clone()]);
    let explained = super::task(&view, view.task(&again.id).unwrap(), NOW);
    let on_a = explained.nodes.iter().find(|verdict| verdict.node_id == "a").unwrap();
    assert_eq!((on_a.failures, on_a.service_tasks), (1, 0), "a task's own failures count, itself does not");
}

#[test]
fn a_node_says_how_it_is_and_what_it_holds_back() {
    use TaskState::*;
    let ago = |mut node: Node, seconds: u64, message: &str| {
        let status = node.status.as_mut().unwrap();
        (status.since, status.message) = ((NOW - Duration::from_secs(seconds)).as_nanos(), message.into());
        node
    };
    let said = |node: Node, tasks: Vec<Task>| {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, NOW);
        tx.create(node);
        for task in tasks {
            tx.create(task);
        }
        let view = empty.apply(1, &tx.build()).unwrap().0;
        super::node(&view, view.nodes().next().unwrap(), NOW).text
    };
    let stopping = Task { desired_state: Shutdown.into(), ..task_in(2, Running, "b") };
    let promoted = |mut node: Node| {
        node.spec.as_mut().unwrap().set_desired_role(NodeRole::Manager);
        node
    };
    let table = [
        (
            said(ago(node("a", NodeState::Ready, Availability::Active), 59, ""), vec![task_in(1, Running, "a")]),
            "host-a is a worker and has been ready for 59 s. It is active: it may be given tasks. 1 task is on it.",
        ),
        (
            said(
                ago(node("b", NodeState::Ready, Availability::Drain), 7200, ""),
                vec![task_in(1, Running, "b"), stopping, task_in(3, Complete, "b")],
            ),
            "host-b is a worker and has been ready for 2 h. It is drained: its tasks have to leave, and it is given no \
             new ones. 2 tasks are on it. Still to stop there: web.2. Still to be replaced elsewhere before it stops \
             there: web.1.",
        ),
        (
            said(
                ago(node("c", NodeState::Down, Availability::Active), 180, "heartbeat failure"),
                vec![task_in(1, Running, "c")],
            ),
            "host-c is a worker and has been down for 3 min: heartbeat failure. It is active: it may be given tasks \
             once it is ready. 1 task is on it. Nobody can say what became of web.1: unless the node returns, given up for lost in 23 h.",
        ),
        (
            said(promoted(ago(node("d", NodeState::Unknown, Availability::Pause), 0, "")), Vec::new()),
            "host-d is a worker that the leader has not heard of yet. It is paused: it keeps its tasks and is given \
             no new ones. It is to be a manager and is none yet. No task is on it.",
        ),
    ];
    for (said, expected) in table {
        assert_eq!(said, expected);
    }
    let many = (1..=12).map(|slot| task_in(slot, Running, "e")).collect();
    let said = said(ago(node("e", NodeState::Ready, Availability::Drain), 0, ""), many);
    assert!(said.ends_with(", web.6, web.7 and 2 more.") && said.contains("12 tasks are on it."), "{said}");
    let all = super::swarm(&view(web(0), Vec::new())).text;
    assert_eq!(
        all,
        "The swarm has 0 managers and 3 workers. Not every node takes tasks: host-b is drained, host-c is down."
    );
}

#[test]
fn what_nobody_knows_is_said_in_one_sentence() {
    let at = |seconds| Some(Timestamp(1_700_000_000_400_000_000) + Duration::from_secs(seconds));
    assert_eq!(unseen(&[]), None);
    let many: Vec<_> = (0..9).map(|number| (at(20 * number), at(20 * number + 10))).collect();
    assert_eq!(unseen(&many).unwrap(), "What happened before 2023-11-14T22:16:10Z is known in parts only.");
    let three = unseen(&many[..3]).unwrap();
    assert!(three.starts_with("What happened between ") && three.matches(", and between ").count() == 2, "{three}");
    assert_eq!(
        unseen(&[(None, at(0)), (at(60), at(120))]).unwrap(),
        "What happened before 2023-11-14T22:13:20Z, and between 2023-11-14T22:14:20Z and 2023-11-14T22:15:20Z is not \
         known."
    );
}
