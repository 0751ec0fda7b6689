//! Log lines gathered from nodes that hold them, and from one that does not answer.

use std::{pin::Pin, sync::Arc};

use crate::support::{
    agent::Agent,
    cluster::{Member, TestManager, spec},
};
use futures::{Stream, StreamExt as _, stream};
use skep_common::net::server::{RoleAnswer, RoleSource, RpcServer};
use skep_manager::{LogSelector, TaskLog};
use skep_proto::v1::{
    ClusterSpec, LogOptions, LogRecord, NodeRole, PingReply, PingRequest, TaskLogsRequest, UpdateServiceRequest,
    peer_server::{Peer, PeerServer},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, async_trait, service::RoutesBuilder};

/// A node's service that has two lines of every task.
struct Lines;

#[async_trait]
impl Peer for Lines {
    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingReply>, Status> {
        Ok(Response::new(PingReply::default()))
    }

    type TaskLogsStream = Pin<Box<dyn Stream<Item = Result<LogRecord, Status>> + Send>>;

    async fn task_logs(&self, request: Request<TaskLogsRequest>) -> Result<Response<Self::TaskLogsStream>, Status> {
        let TaskLogsRequest { task_id, options } = request.into_inner();
        let follow = options.unwrap_or_default().follow;
        let line = move |number: i64| {
            let data = format!("{task_id} says {number}\n").into_bytes();
            Ok(LogRecord { timestamp: number, data, ..Default::default() })
        };
        let lines = stream::iter([line(1), line(2)]);
        Ok(Response::new(if follow { Box::pin(lines.chain(stream::pending())) } else { Box::pin(lines) }))
    }
}

/// Whoever calls is a manager.
struct AllManagers;

impl RoleSource for AllManagers {
    fn role_of(&self, _: &str) -> RoleAnswer {
        RoleAnswer::Is(NodeRole::Manager)
    }
}

async fn agent(manager: &TestManager, hostname: &str, stop: Option<&CancellationToken>) -> Agent {
    let token = manager.cluster().await.join_tokens.unwrap().worker;
    let member = Member::enroll(&manager.addr, &token).await.unwrap();
    assert_eq!(member.identity.current().role(), NodeRole::Worker);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer_addr = listener.local_addr().unwrap().to_string();
    // Without a server behind it the port is closed, as on a node whose daemon is down.
    if let Some(stop) = stop {
        let mut routes = RoutesBuilder::default();
        routes.add_service(PeerServer::new(Lines));
        let server = RpcServer::new(listener, member.identity.clone(), Arc::new(AllManagers), routes.routes());
        tokio::spawn(server.serve(stop.clone()));
    }
    Agent::start_with_peer(member, hostname, std::slice::from_ref(&manager.addr), &peer_addr)
}

fn text(line: &TaskLog) -> String {
    String::from_utf8(line.record.data.clone()).unwrap()
}

const BOTH: LogOptions = LogOptions { follow: false, tail: None, since: 0, until: 0, stdout: true, stderr: true };

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_all_nodes_come_together_and_a_missing_node_is_noted() {
    let stop = CancellationToken::new();
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let (up, down) = (agent(&manager, "up", Some(&stop)).await, agent(&manager, "down", None).await);
    for agent in [&up, &down] {
        agent.told.clone().wait_for(Option::is_some).await.unwrap();
    }
    let service = manager.create("web", 2).await.id;
    let tasks = manager.wait_running("web", 2).await;

    let stream = manager.manager.logs(LogSelector::Service(service.clone()), BOTH).await.unwrap();
    let lines: Vec<TaskLog> = stream.map(Result::unwrap).collect().await;
    let of = |agent: &Agent| lines.iter().filter(|line| line.node_id == agent.member.id).collect::<Vec<_>>();
    let task = tasks.iter().find(|task| task.node_id == up.member.id).unwrap();
    let told: Vec<String> = of(&up).into_iter().map(text).collect();
    assert_eq!(told, [format!("{} says 1\n", task.id), format!("{} says 2\n", task.id)]);
    assert_eq!(of(&up)[0].record.attrs["com.docker.swarm.service.id"], service);
    assert_eq!(of(&down).len(), 1);
    assert!(text(of(&down)[0]).starts_with("warning: incomplete log stream."), "{}", text(of(&down)[0]));

    let one: Vec<_> = manager.manager.logs(LogSelector::Task(task.id.clone()), BOTH).await.unwrap().collect().await;
    assert_eq!(one.len(), 2);
    stop.cancel();
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_hears_of_tasks_that_come_later_and_ends_with_the_service() {
    let stop = CancellationToken::new();
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let _agent = agent(&manager, "up", Some(&stop)).await;
    let service = manager.create("web", 0).await.id;
    let options = LogOptions { follow: true, ..BOTH };
    let mut stream = manager.manager.logs(LogSelector::Service(service), options).await.unwrap();

    let now = manager.service("web").await;
    let update = UpdateServiceRequest {
        key: "web".into(),
        version: now.meta.unwrap().version,
        spec: Some(spec("web", 1)),
        ..Default::default()
    };
    manager.control().update_service(update).await.unwrap();
    assert!(text(&stream.next().await.unwrap().unwrap()).ends_with("says 1\n"));
    assert!(text(&stream.next().await.unwrap().unwrap()).ends_with("says 2\n"));
    stop.cancel();
    drop(stream);
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_has_no_log() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    for selector in [LogSelector::Service("nope".into()), LogSelector::Task("nope".into())] {
        let refused = manager.manager.logs(selector, BOTH).await.err().unwrap();
        assert_eq!(refused.code(), Code::NotFound);
    }
    let neither = LogOptions { stdout: false, stderr: false, ..BOTH };
    let refused = manager.manager.logs(LogSelector::Task("t".into()), neither).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    manager.manager.shutdown().await;
}
