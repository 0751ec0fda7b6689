//! Three managers: calls passed on, leaders lost, roles changed.

use std::fs;

use crate::support::{
    agent::Agent,
    cluster::{Member, TestManager, leader, spec, three_managers},
    eventually,
};
use skep_common::{feature_level::FEATURE_LEVEL, net::dial::Expect};
use skep_manager::Membership;
use skep_proto::v1::{
    ClusterSpec, CreateServiceRequest, GetClusterRequest, JoinRequest, ListNodesRequest, NodeRole, NodeSpec,
    PeerManager, Reachability, SessionRequest, UpdateNodeRequest, control_client::ControlClient,
    dispatcher_client::DispatcherClient, membership_client::MembershipClient,
};
use tonic::{Code, Status};

/// Sets the role a node is to have, as often as others are faster.
async fn set_role(manager: &TestManager, node: &str, role: NodeRole) -> Result<(), Status> {
    loop {
        let node = manager.node(node).await;
        let spec = NodeSpec { desired_role: role.into(), ..node.spec.unwrap() };
        let request = UpdateNodeRequest { key: node.id, version: node.meta.unwrap().version, spec: Some(spec) };
        match manager.control().update_node(request).await {
            Err(status) if status.message() == "update out of sequence" => {}
            result => return result.map(drop),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_manager_answers_and_only_the_leader_decides() {
    let managers = three_managers(ClusterSpec::default()).await;
    let lead = leader(&managers).await;
    let follower = &managers[(lead + 1) % 3];

    follower.create("web", 0).await;
    for manager in &managers {
        assert_eq!(manager.service("web").await.spec, Some(spec("web", 0)), "read your writes, anywhere");
    }
    let nodes = follower.control().list_nodes(ListNodesRequest::default()).await.unwrap().into_inner().nodes;
    let health: Vec<_> = nodes.iter().filter_map(|node| node.manager.as_ref()).collect();
    assert_eq!(health.iter().filter(|manager| manager.leader).count(), 1);
    assert!(health.iter().all(|manager| manager.reachability() == Reachability::Reachable));

    // Join tokens work at a follower, and agents are sent to the leader.
    let token = follower.cluster().await.join_tokens.unwrap().worker;
    let worker = Member::enroll(&follower.addr, &token).await.unwrap();
    let mut asked = DispatcherClient::new(worker.dialer.channel(&follower.addr, Expect::Manager));
    let sent_on = eventually("the follower knows the new node", || async {
        let status = asked.clone().session(SessionRequest::default()).await.err()?;
        (status.code() == Code::FailedPrecondition).then_some(status)
    })
    .await;
    assert_eq!(sent_on.metadata().get("skep-leader-addr").unwrap(), managers[lead].addr.as_str());
    assert!(asked.session(SessionRequest::default()).await.is_err());

    // A worker's call passed on is a worker's call still.
    let mut control = ControlClient::new(worker.dialer.channel(&follower.addr, Expect::Manager));
    assert_eq!(control.get_cluster(GetClusterRequest {}).await.unwrap_err().code(), Code::PermissionDenied);
    for manager in &managers {
        manager.manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_leader_is_replaced_and_nothing_else_is() {
    let mut managers = three_managers(ClusterSpec::default()).await;
    let token = managers[0].cluster().await.join_tokens.unwrap().worker;
    let member = Member::enroll(&managers[0].addr, &token).await.unwrap();
    let addrs: Vec<_> = managers.iter().map(|manager| manager.addr.clone()).collect();
    let agent = Agent::start(member, "w1", &addrs);
    managers[0].create("web", 3).await;
    let before: Vec<String> = managers[0].wait_running("web", 3).await.into_iter().map(|task| task.id).collect();

    let lost = managers.remove(leader(&managers).await);
    lost.manager.shutdown().await;
    assert_eq!(
        managers[0].service("web").await.spec,
        Some(spec("web", 3)),
        "who asks meanwhile waits for the next leader"
    );
    let next = leader(&managers).await;
    eventually("the agent serves the new leader", || async {
        let told = agent.told.borrow().clone()?;
        let leads = |peer: &PeerManager| peer.leader && peer.addr == managers[next].addr;
        told.managers.iter().any(leads).then_some(())
    })
    .await;
    let follower = &managers[1 - next];
    follower.create("more", 2).await;
    follower.wait_running("more", 2).await;
    let mut after: Vec<String> = follower.wait_running("web", 3).await.into_iter().map(|task| task.id).collect();
    let mut before = before;
    before.sort();
    after.sort();
    assert_eq!(before, after, "no task was restarted");

    let lost = lost.restart().await;
    eventually("the lost one is back and knows what it missed", || async {
        let status = lost.manager.status().borrow().clone();
        (status.membership == Membership::Member && !status.is_leader).then_some(())
    })
    .await;
    assert_eq!(lost.service("more").await.spec, Some(spec("more", 2)));
    for manager in managers.iter().chain([&lost]) {
        manager.manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn managers_become_workers_and_the_last_one_may_not() {
    let managers = three_managers(ClusterSpec::default()).await;
    let lead = leader(&managers).await;
    let witness = &managers[(lead + 1) % 3];

    // The leader itself: leadership moves first, then the member goes, then the role.
    set_role(witness, &managers[lead].member.id, NodeRole::Worker).await.unwrap();
    eventually("the old leader is a worker", || async {
        let node = witness.node(&managers[lead].member.id).await;
        (node.role() == NodeRole::Worker && node.manager.is_none()).then_some(())
    })
    .await;
    let mut status = managers[lead].manager.status();
    let removed = status.wait_for(|status| status.membership == Membership::Removed);
    tokio::time::timeout(std::time::Duration::from_secs(30), removed).await.unwrap().unwrap();
    managers[lead].member.renew(&witness.addr).await.unwrap();
    assert_eq!(managers[lead].member.identity.current().role(), NodeRole::Worker);

    let rest: Vec<_> = (0..3).filter(|index| *index != lead).map(|index| &managers[index]).collect();
    set_role(rest[0], &rest[1].member.id, NodeRole::Worker).await.unwrap();
    eventually("one manager is left", || async {
        (rest[0].node(&rest[1].member.id).await.role() == NodeRole::Worker).then_some(())
    })
    .await;
    let refused = set_role(rest[0], &rest[0].member.id, NodeRole::Worker).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert_eq!(refused.message(), "attempting to demote the last manager of the swarm");
    for manager in &managers {
        manager.manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_returns_says_where_it_is_and_hears_whether_it_still_is_one() {
    let mut managers = three_managers(ClusterSpec::default()).await;
    let lead = leader(&managers).await;
    let away = managers.remove((lead + 1) % 3);
    let others: Vec<String> = managers.iter().map(|manager| manager.addr.clone()).collect();
    away.manager.shutdown().await;

    let back = away.return_elsewhere(others.clone()).await;
    eventually("the others reach it where it is now", || async {
        let known = managers[0].node(&back.member.id).await.manager?;
        (known.addr == back.addr && known.reachability() == Reachability::Reachable).then_some(())
    })
    .await;

    // It joins anew, and what it had written under its former id comes back.
    back.manager.shutdown().await;
    let mut membership = MembershipClient::new(back.member.dialer.channel(&others[0], Expect::Manager));
    let refused =
        membership.join(JoinRequest { addr: back.addr.clone(), feature_level: FEATURE_LEVEL }).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("the managers cannot reach this node at "), "{refused}");
    let listening = tokio::net::TcpListener::bind(&back.addr).await.unwrap();
    membership.join(JoinRequest { addr: back.addr.clone(), feature_level: FEATURE_LEVEL }).await.unwrap();
    drop(listening);
    let back = back.return_elsewhere(others).await;
    let mut status = back.manager.status();
    status.wait_for(|status| status.membership == Membership::Removed).await.unwrap();
    // It leads no longer, nobody calls it, and it is out all the same.
    back.manager.leave(false).await.unwrap();
    for manager in managers.iter().chain([&back]) {
        manager.manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_member_that_was_dropped_hears_of_it() {
    let first = TestManager::bootstrap(ClusterSpec::default()).await;
    let token = first.cluster().await.join_tokens.unwrap().manager;
    let member = Member::enroll(&first.addr, &token).await.unwrap();
    // Nobody has given it this id, as if it had been dropped before it came.
    let dropped = TestManager::start_as(member, 4711, vec![first.addr.clone()]).await;
    let mut status = dropped.manager.status();
    let removed = status.wait_for(|status| status.membership == Membership::Removed);
    tokio::time::timeout(std::time::Duration::from_secs(30), removed).await.unwrap().unwrap();
    for manager in [&first, &dropped] {
        manager.manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_member_that_has_no_state_yet_leaves_for_the_others_too() {
    let first = TestManager::bootstrap(ClusterSpec::default()).await;
    let token = first.cluster().await.join_tokens.unwrap().manager;
    let member = Member::enroll(&first.addr, &token).await.unwrap();
    // It is called where it no longer is, so nothing arrives.
    let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remotes = vec![first.addr.clone()];
    let joined =
        skep_manager::join(&member.dialer, &remotes, &listening.local_addr().unwrap().to_string(), FEATURE_LEVEL).await;
    drop(listening);
    let newcomer = TestManager::start_as(member, joined.unwrap().raft_id, remotes).await;
    newcomer.manager.leave(false).await.unwrap();
    let node = first.node(&newcomer.member.id).await;
    assert_eq!((node.role(), node.manager), (NodeRole::Worker, None));
    for manager in [&first, &newcomer] {
        manager.manager.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_leaves_and_the_others_go_on() {
    let managers = three_managers(ClusterSpec::default()).await;
    let lead = leader(&managers).await;
    managers[lead].manager.leave(false).await.unwrap();
    managers[lead].manager.shutdown().await;
    let rest: Vec<_> = (0..3).filter(|index| *index != lead).map(|index| &managers[index]).collect();
    eventually("the others miss nobody", || async {
        let node = rest[0].node(&managers[lead].member.id).await;
        let known = rest[0].manager.status().borrow().managers.len();
        (node.role() == NodeRole::Worker && known == 2).then_some(())
    })
    .await;
    rest[0].create("web", 0).await;

    // Two remain: without one of them the other could decide nothing, but it may go when both agree.
    rest[1].manager.leave(false).await.unwrap();
    rest[1].manager.shutdown().await;
    eventually("the last one decides alone", || async {
        rest[0].control().create_service(CreateServiceRequest { spec: Some(spec("alone", 0)) }).await.ok()
    })
    .await;
    rest[0].manager.leave(false).await.unwrap();
    rest[0].manager.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_written_is_a_trouble_until_it_can() {
    let first = TestManager::bootstrap(ClusterSpec { snapshot_interval: 1, ..ClusterSpec::default() }).await;
    let mut troubles = first.manager.troubles();
    let (place, aside) = (first.data_dir().join("snapshots"), first.data_dir().join("aside"));
    fs::rename(&place, &aside).unwrap();
    first.create("web", 0).await;
    let told = troubles.wait_for(|troubles| !troubles.is_empty()).await.unwrap().clone();
    assert!(told[0].starts_with("this manager cannot write a snapshot of the swarm's state"), "{told:?}");

    fs::rename(&aside, &place).unwrap();
    troubles.wait_for(Vec::is_empty).await.unwrap();
}
