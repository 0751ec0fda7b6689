//! Who gets in, who may do what, and who is refused.

use std::net::SocketAddr;

use crate::support::{
    agent::Agent,
    cluster::{Member, TestManager, leader, three_managers},
    eventually,
};
use skep_common::net::{
    dial::{Dialer, Expect},
    identity::{csr_for, new_key_and_csr},
    server::is_unknown_node,
};
use skep_proto::v1::{
    AssignmentsRequest, ClusterSpec, GetClusterRequest, GetRootCaRequest, HeartbeatRequest, IssueCertificateRequest,
    ListNodesRequest, NodeRole, NodeState, RaftVote, RemoveNodeRequest, SessionRequest, TaskStatusUpdate,
    UpdateClusterRequest, UpdateTaskStatusRequest, VoteRequest, ca_client::CaClient, control_client::ControlClient,
    dispatcher_client::DispatcherClient, raft_client::RaftClient,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket},
};
use tonic::{Code, Request};

async fn worker_token(manager: &TestManager) -> String {
    manager.cluster().await.join_tokens.unwrap().worker
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_decides_the_role_and_all_wrong_ones_read_alike() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let tokens = manager.cluster().await.join_tokens.unwrap();
    for (token, role) in [(&tokens.worker, NodeRole::Worker), (&tokens.manager, NodeRole::Manager)] {
        let member = Member::enroll(&manager.addr, token).await.unwrap();
        assert_eq!(member.identity.current().role(), role);
        assert_eq!(manager.node(&member.id).await.role(), role);
    }
    let mangled = tokens.worker.replace("SWMTKN-1-", "SWMTKN-1-0");
    let (digest, _) = tokens.worker.rsplit_once('-').unwrap();
    let wrong_secret = format!("{digest}-{}", "0".repeat(25));
    for wrong in [mangled.as_str(), wrong_secret.as_str(), "SWMTKN", "nothing like a token"] {
        let refused = Member::enroll(&manager.addr, wrong).await.err().unwrap();
        assert_eq!((refused.code(), refused.message()), (Code::PermissionDenied, "join token is invalid"));
    }

    let version = manager.cluster().await.meta.unwrap().version;
    let rotate = UpdateClusterRequest { version, rotate_worker_token: true, ..Default::default() };
    let rotated = manager.control().update_cluster(rotate.clone()).await.unwrap().into_inner();
    assert_ne!(rotated.join_tokens.unwrap().worker, tokens.worker);
    assert!(rotated.root_ca.unwrap().key_pem.is_empty(), "the root's key stays inside");
    assert!(Member::enroll(&manager.addr, &tokens.worker).await.is_err(), "the old token is void");
    let stale = manager.control().update_cluster(rotate).await.unwrap_err();
    assert_eq!(stale.message(), "update out of sequence");
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_a_nodes_key_comes_back_as_that_node_and_in_its_role() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let tokens = manager.cluster().await.join_tokens.unwrap();
    let worker = Member::enroll(&manager.addr, &tokens.worker).await.unwrap();
    let identity = worker.identity.current();
    let mut ca = CaClient::new(Dialer::anonymous(&manager.addr, identity.roots_pem()).unwrap());
    let request = |csr: String, token: &str, node_id: &str| IssueCertificateRequest {
        csr_pem: csr.into_bytes(),
        token: token.to_owned(),
        node_id: node_id.to_owned(),
        ..IssueCertificateRequest::default()
    };

    let own = csr_for(identity.key_pem()).unwrap();
    let again = ca.issue_certificate(request(own.clone(), &tokens.manager, &worker.id)).await.unwrap().into_inner();
    assert_eq!(again.node_id, worker.id);
    assert_eq!(manager.node(&worker.id).await.role(), NodeRole::Worker, "the token lets in, the state has the role");

    let (_, other) = new_key_and_csr().unwrap();
    let refused = ca.issue_certificate(request(other, &tokens.worker, &worker.id)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "another key");
    let refused = ca.issue_certificate(request(own.clone(), "SWMTKN", &worker.id)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "no token");
    let refused = ca.issue_certificate(request(own, &tokens.worker, &manager.member.id)).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound, "another node's key");
    let nodes = manager.control().list_nodes(ListNodesRequest::default()).await.unwrap().into_inner().nodes;
    assert_eq!(nodes.len(), 2, "nobody new was made");
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_issues_its_own_certificate_for_the_key_it_has() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let before = manager.member.identity.current();
    let own = manager.manager.issue_own().unwrap();
    assert_eq!(own.key_pem().expose(), before.key_pem().expose());
    assert_eq!(
        (own.node_id(), own.cluster_id(), own.role()),
        (&*manager.member.id, before.cluster_id(), before.role())
    );
    assert!(own.certificate().not_after < before.certificate().not_after, "it does not live long");

    // The others take it: here a worker that asks for what only managers give.
    let worker = Member::enroll(&manager.addr, &worker_token(&manager).await).await.unwrap();
    manager.member.identity.replace(own);
    worker.renew(&manager.addr).await.unwrap();
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_and_strangers_ask_nothing_of_the_swarm() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let worker = Member::enroll(&manager.addr, &worker_token(&manager).await).await.unwrap();

    let mut as_worker = ControlClient::new(worker.dialer.channel(&manager.addr, Expect::Manager));
    assert_eq!(as_worker.get_cluster(GetClusterRequest {}).await.unwrap_err().code(), Code::PermissionDenied);

    // Nor does it help to claim to speak for the manager.
    let mut forged = Request::new(GetClusterRequest {});
    for (key, value) in [
        ("skep-forwarded-addr", "127.0.0.1:1"),
        ("skep-forwarded-node", manager.member.id.as_str()),
        ("skep-forwarded-role", "swarm-manager"),
    ] {
        forged.metadata_mut().insert(key, value.parse().unwrap());
    }
    assert_eq!(as_worker.get_cluster(forged).await.unwrap_err().code(), Code::PermissionDenied);

    let roots = worker.identity.current().roots_pem().to_vec();
    let stranger = Dialer::anonymous(&manager.addr, &roots).unwrap();
    assert!(CaClient::new(stranger.clone()).get_root_ca(GetRootCaRequest {}).await.is_ok());
    let refused = ControlClient::new(stranger).get_cluster(GetClusterRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_its_nodes_alone() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let token = worker_token(&manager).await;
    let (one, other) =
        (Member::enroll(&manager.addr, &token).await.unwrap(), Member::enroll(&manager.addr, &token).await.unwrap());
    let mut client = DispatcherClient::new(one.dialer.channel(&manager.addr, Expect::Manager));
    let mut session = client.session(SessionRequest::default()).await.unwrap().into_inner();
    let session_id = session.message().await.unwrap().unwrap().session_id;

    let mut thief = DispatcherClient::new(other.dialer.channel(&manager.addr, Expect::Manager));
    let beat = HeartbeatRequest { session_id: session_id.clone(), ..Default::default() };
    assert_eq!(thief.heartbeat(beat.clone()).await.unwrap_err().code(), Code::Aborted);
    let assignments = AssignmentsRequest { session_id: session_id.clone(), have: Vec::new() };
    assert_eq!(thief.assignments(assignments).await.unwrap_err().code(), Code::Aborted);
    let report = TaskStatusUpdate { task_id: "t".into(), status: None };
    let update = UpdateTaskStatusRequest { session_id: session_id.clone(), updates: vec![report] };
    assert_eq!(thief.update_task_status(update).await.unwrap_err().code(), Code::Aborted);
    assert!(client.heartbeat(beat.clone()).await.is_ok());

    // The node itself comes again, as after a crash: the new session ends the old.
    let mut second = client.session(SessionRequest::default()).await.unwrap().into_inner();
    assert_ne!(second.message().await.unwrap().unwrap().session_id, session_id);
    let ended = loop {
        match session.message().await {
            Ok(Some(_)) => {}
            ended => break ended,
        }
    };
    assert_eq!(ended.unwrap_err().code(), Code::Aborted);
    assert_eq!(client.heartbeat(beat).await.unwrap_err().code(), Code::Aborted);
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_machine_with_the_same_identity_is_kept_out() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let member = Member::enroll(&manager.addr, &worker_token(&manager).await).await.unwrap();
    let agent = Agent::start(member.clone(), "w1", std::slice::from_ref(&manager.addr));
    let mut told = agent.told.clone();
    told.wait_for(Option::is_some).await.unwrap();

    let elsewhere = relay_from([127, 0, 0, 2], &manager.addr).await;
    let clone = Agent::start(member, "w1-clone", &[elsewhere]);
    let mut refusals = clone.refusals.clone();
    let refused = refusals.wait_for(|refusals| !refusals.is_empty()).await.unwrap()[0].clone();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains("127.0.0.1") && refused.message().contains("two machines"), "{refused}");
    assert!(agent.refusals.borrow().is_empty(), "the first keeps its session");

    // Once the first is gone the second may take over: a machine may change its address.
    drop(agent);
    let mut told = clone.told.clone();
    told.wait_for(Option::is_some).await.unwrap();
    manager.manager.shutdown().await;
}

/// A way to `target` whose other end is seen at `source`.
async fn relay_from(source: [u8; 4], target: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let target: SocketAddr = target.parse().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind(SocketAddr::from((source, 0))).unwrap();
                if let Ok(mut far) = socket.connect(target).await {
                    let _ = copy_bidirectional(&mut near, &mut far).await;
                }
            });
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_loses_everything() {
    let manager = TestManager::bootstrap(ClusterSpec::default()).await;
    let member = Member::enroll(&manager.addr, &worker_token(&manager).await).await.unwrap();
    let agent = Agent::start(member.clone(), "w1", std::slice::from_ref(&manager.addr));
    let mut told = agent.told.clone();
    told.wait_for(Option::is_some).await.unwrap();

    eventually("it is ready", || async {
        (manager.node(&member.id).await.status?.state() == NodeState::Ready).then_some(())
    })
    .await;
    let remove = |force| RemoveNodeRequest { key: member.id.clone(), force };
    let refused = manager.control().remove_node(remove(false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().ends_with("is not down and can't be removed"), "{refused}");
    let own = RemoveNodeRequest { key: manager.member.id.clone(), force: true };
    assert_eq!(manager.control().remove_node(own).await.unwrap_err().code(), Code::FailedPrecondition);

    manager.control().remove_node(remove(true)).await.unwrap();
    let mut refusals = agent.refusals.clone();
    let is_final = |status: &tonic::Status| skep_common::net::server::is_unknown_node(status);
    refusals.wait_for(|refusals| refusals.iter().any(is_final)).await.unwrap();
    assert!(member.renew(&manager.addr).await.is_err());
    manager.manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_node_and_a_demoted_manager_have_no_say_whether_anybody_leads_or_not() {
    let mut managers = three_managers(ClusterSpec::default()).await;
    let leads = leader(&managers).await;
    managers.swap(0, leads);
    let removed = Member::enroll(&managers[0].addr, &worker_token(&managers[0]).await).await.unwrap();
    let remove = RemoveNodeRequest { key: removed.id.clone(), force: true };
    managers[0].control().remove_node(remove).await.unwrap();
    // It keeps its certificate and its key, and Raft's state too.
    let demoted = managers.pop().unwrap();
    demoted.manager.leave(false).await.unwrap();
    demoted.manager.shutdown().await;
    eventually("the other two know", || async {
        let knows = |manager: &TestManager| manager.manager.status().borrow().managers.len() == 2;
        managers.iter().all(knows).then_some(())
    })
    .await;

    for leads in [true, false] {
        if !leads {
            managers.remove(0).manager.shutdown().await;
        }
        let target = managers.last().unwrap();
        for member in [&removed, &demoted.member] {
            let channel = || member.dialer.channel(&target.addr, Expect::Node(target.member.id.clone()));
            let refused = ControlClient::new(channel()).get_cluster(GetClusterRequest {}).await.unwrap_err();
            // One that has no leader does not know whether it merely has not heard of the node yet.
            assert!(matches!(refused.code(), Code::PermissionDenied | Code::Unavailable), "{refused}");
            let vote = RaftVote { term: 1 << 40, raft_id: 2, committed: false };
            let vote = VoteRequest { vote: Some(vote), to: 3, ..VoteRequest::default() };
            let refused = RaftClient::new(channel()).vote(vote).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        }
        let session = DispatcherClient::new(removed.dialer.channel(&target.addr, Expect::Manager));
        let refused = session.clone().session(SessionRequest::default()).await.unwrap_err();
        assert!(is_unknown_node(&refused) || (!leads && refused.code() == Code::Unavailable), "{refused}");
    }
    managers[0].manager.shutdown().await;
}
