//! A service's life on one manager with scripted agents: made, run, scaled, moved, removed; and what is refused.

use std::{collections::BTreeSet, time::Duration};

use crate::support::{
    agent::Agent,
    cluster::{Member, TestManager, spec},
    eventually,
};
use skep_common::{clock, limits::ASSIGNMENTS_BYTES, net::dial::Expect, pages};
use skep_proto::Message as _;
use skep_proto::v1::{
    AssignmentsRequest, ClusterSpec, ContainerSpec, CreateServiceRequest, EndpointSpec, GetObjectRequest, GlobalJob,
    ListNodesRequest, ListServicesRequest, ListTasksRequest, Node, NodeState, ObjectKind, PortConfig, ServiceSpec,
    SessionRequest, Task, TaskSpec, UpdateConfig, UpdateServiceRequest, WatchRequest, assignment,
    dispatcher_client::DispatcherClient, service_spec::Mode, watch_message::Action,
};
use tonic::{Code, Status};

/// A cluster whose nodes are found dead quickly.
fn quick() -> ClusterSpec {
    ClusterSpec {
        heartbeat_period: clock::nanos(Duration::from_millis(200)),
        task_history_limit: 5,
        ..Default::default()
    }
}

async fn agent(manager: &TestManager, hostname: &str) -> Agent {
    let token = manager.cluster().await.join_tokens.unwrap().worker;
    let member = Member::enroll(&manager.addr, &token).await.unwrap();
    Agent::start(member, hostname, std::slice::from_ref(&manager.addr))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_spec_reaches_a_node_once_and_its_tasks_without_it() {
    const TASKS: u64 = 60;
    let manager = TestManager::bootstrap(quick()).await;
    let env = vec![format!("LARGE={}", "x".repeat(100_000))];
    let container = ContainerSpec { image: "docker.io/library/busybox:latest".into(), env, ..Default::default() };
    let task = TaskSpec { container: Some(container), ..Default::default() };
    let large = ServiceSpec { task: Some(task.into()), ..spec("large", TASKS) };
    manager.control().create_service(CreateServiceRequest { spec: Some(large) }).await.unwrap();

    // They are more than any client reads at once, when they are assigned and when they are told anew.
    let worker = agent(&manager, "w1").await;
    eventually("all run", || async {
        let listed = manager.control().list_services(ListServicesRequest::default()).await.unwrap().into_inner();
        (listed.services[0].running_tasks == TASKS).then_some(())
    })
    .await;
    let at_once = manager.control().list_tasks(ListTasksRequest::default()).await.unwrap_err();
    assert_eq!(at_once.code(), Code::OutOfRange, "{at_once}");
    let listed = pages::all(|after| {
        let mut control = manager.control();
        let wanted = ListTasksRequest { services: vec!["large".into()], after: Some(after), ..Default::default() };
        async move { Ok::<_, Status>(control.list_tasks(wanted).await?.into_inner()) }
    })
    .await
    .unwrap();
    let ids: BTreeSet<&str> = listed.iter().map(|task| task.id.as_str()).collect();
    assert_eq!((ids.len() as u64, listed.len() as u64), (TASKS, TASKS));
    let member = worker.member.clone();
    drop(worker);

    let mut client = DispatcherClient::new(member.dialer.channel(&manager.addr, Expect::Manager));
    let mut session = client.session(SessionRequest::default()).await.unwrap().into_inner();
    let session_id = session.message().await.unwrap().unwrap().session_id;
    let request = AssignmentsRequest { session_id, have: Vec::new() };
    let mut set = client.assignments(request).await.unwrap().into_inner();
    let (mut tasks, mut revisions, mut generation) = (0, 0, 0);
    while generation == 0 {
        let message = set.message().await.unwrap().unwrap();
        assert!(message.encoded_len() <= ASSIGNMENTS_BYTES + 1000, "{}", message.encoded_len());
        for assignment in &message.update {
            match assignment.assignment.as_ref().unwrap() {
                assignment::Assignment::Revision(_) => revisions += 1,
                assignment::Assignment::Task(task) => {
                    assert!(task.spec.is_none() && task.encoded_len() < 1000, "{}", task.encoded_len());
                    tasks += 1;
                }
            }
        }
        generation = message.generation;
    }
    assert_eq!((tasks, revisions), (TASKS, 1));
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_made_scaled_and_removed() {
    let manager = TestManager::bootstrap(quick()).await;
    let _agents = [agent(&manager, "w1").await, agent(&manager, "w2").await];
    let mut control = manager.control();

    let mut changes =
        control.watch(WatchRequest { kinds: vec![ObjectKind::Service.into()] }).await.unwrap().into_inner();
    let made = manager.create("web", 3).await;
    let first = changes.message().await.unwrap().unwrap();
    assert_eq!((first.action(), first.version), (Action::Create, made.meta.unwrap().version));
    manager.wait_running("web", 3).await;

    let listed = control.list_services(ListServicesRequest::default()).await.unwrap().into_inner().services;
    assert_eq!((listed.len(), listed[0].running_tasks, listed[0].desired_tasks), (1, 3, 3));

    for replicas in [5, 1] {
        let version = manager.service("web").await.meta.unwrap().version;
        let update = UpdateServiceRequest {
            key: "web".into(),
            version,
            spec: Some(spec("web", replicas)),
            ..Default::default()
        };
        let updated = control.update_service(update.clone()).await.unwrap().into_inner();
        assert!(updated.meta.unwrap().version > version && updated.previous_spec.is_some());
        manager.wait_running("web", usize::try_from(replicas).unwrap()).await;
        let stale = control.update_service(update).await.unwrap_err();
        assert_eq!((stale.code(), stale.message()), (Code::Unknown, "update out of sequence"));
    }

    let version = manager.service("web").await.meta.unwrap().version;
    let back = UpdateServiceRequest { key: "web".into(), version, rollback: true, ..Default::default() };
    control.update_service(back).await.unwrap();
    manager.wait_running("web", 5).await;

    control.remove_service(GetObjectRequest { key: "web".into() }).await.unwrap();
    let gone = control.get_service(GetObjectRequest { key: "web".into() }).await.unwrap_err();
    assert_eq!((gone.code(), gone.message()), (Code::NotFound, "service web not found"));
    eventually("the tasks of the removed service are forgotten", || async {
        let all = manager.control().list_tasks(ListTasksRequest::default()).await.unwrap().into_inner().tasks;
        all.is_empty().then_some(())
    })
    .await;
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_told_apart_and_change_nothing() {
    let manager = TestManager::bootstrap(quick()).await;
    let mut control = manager.control();
    manager.create("web", 1).await;
    let before = control.list_services(ListServicesRequest::default()).await.unwrap().into_inner();

    let again = control.create_service(CreateServiceRequest { spec: Some(spec("web", 1)) }).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
    assert_eq!(again.message(), "name conflicts with an existing object: service web already exists");

    let nameless = control.create_service(CreateServiceRequest { spec: Some(spec("bad name!", 1)) }).await.unwrap_err();
    assert_eq!(nameless.code(), Code::InvalidArgument);
    assert_eq!(
        control.create_service(CreateServiceRequest { spec: None }).await.unwrap_err().code(),
        Code::InvalidArgument
    );

    let version = manager.service("web").await.meta.unwrap().version;
    let mut published = spec("web", 1);
    published.endpoint = Some(EndpointSpec { ports: vec![PortConfig::default()], ..Default::default() }.into());
    let mut sloppy = spec("web", 1);
    sloppy.update = Some(UpdateConfig { max_failure_ratio: 2.0, ..Default::default() });
    let mut job = spec("web", 1);
    job.mode = Some(Mode::GlobalJob(GlobalJob {}));
    let refused = [
        (spec("www", 1), Code::Unimplemented, "renaming services is not supported"),
        (published, Code::Unimplemented, "published ports are not supported by this version"),
        (sloppy, Code::InvalidArgument, "update-maxfailureratio cannot be less than 0 or bigger than 1"),
        (job, Code::Unimplemented, "service mode change is not allowed"),
    ];
    for (spec, code, text) in refused {
        let update = UpdateServiceRequest { key: "web".into(), version, spec: Some(spec), ..Default::default() };
        let status = control.update_service(update).await.unwrap_err();
        assert!(status.code() == code && status.message().contains(text), "{status}");
    }
    let back = UpdateServiceRequest { key: "web".into(), version, rollback: true, ..Default::default() };
    let none = control.update_service(back).await.unwrap_err();
    assert_eq!((none.code(), none.message()), (Code::FailedPrecondition, "service web does not have a previous spec"));

    let after = control.list_services(ListServicesRequest::default()).await.unwrap().into_inner();
    assert_eq!(before, after);
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_list_goes_on_where_a_page_ended() {
    let manager = TestManager::bootstrap(quick()).await;
    let agents = (agent(&manager, "w1").await, agent(&manager, "w2").await);
    for name in ["a", "b", "c"] {
        manager.create(name, 2).await;
        manager.wait_running(name, 2).await;
    }
    let control = || manager.control();
    let nodes = |after| async move {
        let wanted = ListNodesRequest { after, ..Default::default() };
        let listed = control().list_nodes(wanted).await.unwrap().into_inner().nodes;
        listed.into_iter().map(|node| node.id).collect::<Vec<_>>()
    };
    let services = |after| async move {
        let wanted = ListServicesRequest { after, ..Default::default() };
        let listed = control().list_services(wanted).await.unwrap().into_inner().services;
        listed.into_iter().map(|service| service.service.unwrap().id).collect::<Vec<_>>()
    };
    let tasks = |after| async move {
        let wanted = ListTasksRequest { after, ..Default::default() };
        let listed = control().list_tasks(wanted).await.unwrap().into_inner().tasks;
        listed.into_iter().map(|task| task.id).collect::<Vec<_>>()
    };
    let all = (nodes(None).await, services(None).await, tasks(None).await);
    assert_eq!((all.0.len(), all.1.len(), all.2.len()), (3, 3, 6));
    assert_eq!(nodes(Some(all.0[0].clone())).await, all.0[1..]);
    assert_eq!(services(Some(all.1[0].clone())).await, all.1[1..]);
    assert_eq!(tasks(Some(all.2[3].clone())).await, all.2[4..]);
    drop(agents);
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ran_on_a_dead_node_runs_elsewhere() {
    let manager = TestManager::bootstrap(quick()).await;
    let (staying, dying) = (agent(&manager, "w1").await, agent(&manager, "w2").await);
    eventually("both are ready", || async {
        let nodes = manager.control().list_nodes(ListNodesRequest::default()).await.unwrap().into_inner().nodes;
        let ready = |node: &&Node| node.status.as_ref().unwrap().state() == NodeState::Ready;
        (nodes.iter().filter(ready).count() == 2).then_some(())
    })
    .await;
    manager.create("web", 4).await;
    let tasks = manager.wait_running("web", 4).await;
    assert_eq!(tasks.iter().filter(|task| task.node_id == dying.member.id).count(), 2, "they were spread");

    let dead = dying.member.id.clone();
    drop(dying);
    eventually("the silent node is down", || async {
        let status = manager.node(&dead).await.status.unwrap();
        (status.state() == NodeState::Down && status.message == "heartbeat failure").then_some(())
    })
    .await;
    eventually("all run on the other", || async {
        let tasks = manager.running("web").await;
        (tasks.len() == 4 && tasks.iter().all(|task| task.node_id == staying.member.id)).then_some(())
    })
    .await;
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_manager_knows_everything_and_disturbs_nothing() {
    let manager = TestManager::bootstrap(quick()).await;
    let _agent = agent(&manager, "w1").await;
    manager.create("web", 2).await;
    manager.wait_running("web", 2).await;
    let ids = |tasks: Vec<Task>| {
        let mut ids: Vec<_> = tasks.into_iter().map(|task| task.id).collect();
        ids.sort();
        ids
    };
    let before = ids(manager.tasks("web").await);

    let manager = manager.restart().await;
    eventually("the agent is back", || async {
        let nodes = manager.control().list_nodes(ListNodesRequest::default()).await.unwrap().into_inner().nodes;
        let ready = |node: &Node| {
            node.description.as_ref().is_some_and(|description| description.hostname == "w1")
                && node.status.as_ref().is_some_and(|status| status.state() == NodeState::Ready)
        };
        nodes.iter().any(ready).then_some(())
    })
    .await;
    assert_eq!(ids(manager.tasks("web").await), before, "no task was replaced");
    assert_eq!(manager.running("web").await.len(), 2);
    manager.manager.shutdown().await;
}
