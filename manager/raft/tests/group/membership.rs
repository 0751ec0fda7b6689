//! Who is a member: joining, leaving, coming back, and who may speak for whom.

use std::{fs, time::Duration};

use crate::support::{Manager, Swarm, create, eventually, free_addr, leader_of};
use futures::future::join_all;
use skep_common::{clock::Timestamp, feature_level::FEATURE_LEVEL, net::dial::Expect};
use skep_proto::v1::{AppendRequest, Cluster, RaftVote, VoteRequest, raft_client::RaftClient};
use skep_raft::{
    FIRST_RAFT_ID, MemberHealth, MemberState, MembershipError, Open, ProposeError, StartError, ToldMembers, Tuning,
};
use skep_store::{TxBuilder, View};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code;

fn manager_of(manager: &Manager, node: &str) -> Option<(u64, String)> {
    let view = manager.store.view();
    let status = view.node(node)?.manager.clone()?;
    Some((status.raft_id, status.addr))
}

fn voters(manager: &Manager) -> Vec<String> {
    let mut voters: Vec<String> =
        manager.raft.members().into_iter().filter(|member| member.voter).map(|member| member.node_id).collect();
    voters.sort();
    voters
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_manager_gets_an_id_of_its_own_and_is_on_record() {
    let swarm = Swarm::new();
    let managers = swarm.three().await;
    let [one, two, three] = &managers[..] else { unreachable!() };
    assert_eq!(one.raft.raft_id(), FIRST_RAFT_ID);
    assert!(FIRST_RAFT_ID < two.raft.raft_id() && two.raft.raft_id() < three.raft.raft_id());
    assert_eq!(voters(one), ["n1", "n2", "n3"]);
    for manager in &managers {
        let recorded = Some((manager.raft.raft_id(), manager.addr.clone()));
        eventually("its record", || manager_of(one, &manager.name) == recorded).await;
    }
    let healthy = |member: &MemberHealth| member.reachable && member.leader == (member.node_id == "n1");
    assert!(one.raft.members().iter().all(healthy), "{:?}", one.raft.members());
    assert_eq!(one.raft.add_member("n1", "127.0.0.1:1").await, Err(MembershipError::Leads));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_manager_does_not_come_back_under_its_id_but_as_a_new_member() {
    for lost in ["raft.key", "log.redb"] {
        let swarm = Swarm::new();
        let mut managers = swarm.three().await;
        let wiped = managers.pop().unwrap();
        let old_id = wiped.raft.raft_id();
        let (name, addr) = wiped.stop().await;
        fs::remove_file(swarm.dir(&name).join(lost)).unwrap();
        let refused = swarm.start(&name, Open::Resume, Some(&addr)).await.err().unwrap();
        assert!(matches!(refused, StartError::Wiped { .. }), "{refused}");

        let back = swarm.join_as_learner(&managers[0], &name, Some(&addr)).await;
        back.wait_member_state(MemberState::Voter).await;
        assert!(back.raft.raft_id() > old_id);
        assert!(managers[0].raft.members().iter().all(|member| member.raft_id != old_id));
        back.wait_same_state(&managers[0]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_opened_only_by_its_owner_and_made_only_once() {
    let swarm = Swarm::new();
    let manager = swarm.bootstrap("n1").await;
    let in_use = swarm.start("n1", Open::Resume, None).await.err().unwrap();
    assert!(matches!(in_use, StartError::InUse { .. }), "{in_use}");
    manager.stop().await;
    let occupied = swarm.start("n1", Open::Create { raft_id: 9 }, None).await.err().unwrap();
    assert!(matches!(occupied, StartError::Occupied { .. }), "{occupied}");
    fs::rename(swarm.dir("n1"), swarm.dir("n2")).unwrap();
    let other = swarm.start("n2", Open::Resume, None).await.err().unwrap();
    assert!(matches!(&other, StartError::OtherNode { owner, .. } if owner == "n1"), "{other}");
    fs::write(swarm.dir("n2").join("raft.key"), [7; 32]).unwrap();
    let damaged = swarm.start("n2", Open::Resume, None).await.err().unwrap();
    assert!(matches!(damaged, StartError::Damaged { .. }), "{damaged}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_given_up_leaves_the_state_closed_and_as_it_was() {
    let mut swarm = Swarm::new();
    let first = swarm.bootstrap("n1").await;
    for round in 0..50 {
        let nodes = (0..20).map(|number| create(&format!("n{round}-{number}")));
        join_all(nodes.map(|node| first.propose(node))).await;
    }
    let nodes = first.store.view().node_count();
    let (name, addr) = first.stop().await;
    // At any moment: while the log is read, while what was committed is applied, and too late.
    let (mut given_up, mut started, mut patience) = (0, 0, Duration::ZERO);
    while started == 0 {
        let token = CancellationToken::new();
        swarm.give_up = token.clone();
        let cancelling = tokio::spawn(async move {
            sleep(patience).await;
            token.cancel();
        });
        match swarm.start(&name, Open::Resume, Some(&addr)).await {
            Err(error) => {
                assert!(matches!(error, StartError::GivenUp), "{error}");
                given_up += 1;
            }
            Ok(manager) => {
                cancelling.await.unwrap();
                // One that has started does not mind.
                manager.wait_leadership(|leadership| leadership.is_self).await;
                assert_eq!(manager.store.view().node_count(), nodes);
                manager.stop().await;
                started += 1;
            }
        }
        patience += Duration::from_millis(2);
    }
    assert!(given_up > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_of_a_newer_release_is_not_opened() {
    let swarm = Swarm::new();
    let manager = swarm.bootstrap("n1").await;
    let view = View::default();
    let mut newer = TxBuilder::new(&view, Timestamp::from_secs(1));
    newer.create(Cluster { id: "c".to_owned(), feature_level: FEATURE_LEVEL + 1, ..Cluster::default() });
    assert_eq!(manager.propose(newer.build()).await.unwrap_err(), ProposeError::Unknown);
    let (name, addr) = manager.stop().await;
    let refused = swarm.start(&name, Open::Resume, Some(&addr)).await.err().unwrap();
    assert!(matches!(refused, StartError::TooOld { level, .. } if level == FEATURE_LEVEL + 1), "{refused}");
    assert!(refused.to_string().ends_with("upgrade skep on this node"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_follower_knows_and_the_rest_goes_on() {
    let swarm = Swarm::new();
    let mut managers = swarm.three().await;
    let removed = managers.pop().unwrap();
    let raft_id = removed.raft.raft_id();
    managers[0].raft.remove_member(raft_id).await.unwrap();
    removed.wait_member_state(MemberState::Removed).await;
    assert_eq!(voters(&managers[0]), ["n1", "n2"]);
    assert_eq!(manager_of(&managers[0], "n3"), None);
    assert_eq!(managers[0].raft.remove_member(raft_id).await, Err(MembershipError::NotFound(raft_id)));
    let term = managers[0].raft.leadership().borrow().term;
    managers[0].propose(create("x")).await.unwrap();
    managers[1].wait_same_state(&managers[0]).await;
    assert_eq!(managers[0].raft.leadership().borrow().term, term);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_can_remove_itself() {
    let swarm = Swarm::new();
    let mut managers = swarm.three().await;
    managers[0].raft.remove_member(FIRST_RAFT_ID).await.unwrap();
    managers[0].wait_member_state(MemberState::Removed).await;
    managers.remove(0).stop().await;
    let leader = leader_of(&managers).await;
    managers[leader].propose(create("x")).await.unwrap();
    assert_eq!(voters(&managers[leader]), ["n2", "n3"]);
    eventually("a clean record", || manager_of(&managers[leader], "n1").is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_ends_soon_when_the_lead_is_lost_on_the_way() {
    let swarm = Swarm::with(Tuning { propose_deadline: Duration::from_secs(3600), ..Tuning::default() });
    let first = swarm.bootstrap("n1").await;
    let (near, second) = swarm.join_behind_a_line(&first, "n2").await;
    let (far, _third) = swarm.join_behind_a_line(&first, "n3").await;
    near.cut();
    far.cut();
    let removal = first.raft.remove_member(second.raft.raft_id());
    let removed = timeout(Duration::from_secs(60), removal).await.unwrap();
    assert_eq!(removed, Err(MembershipError::Unknown));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_removed_whom_the_rest_cannot_do_without() {
    let swarm = Swarm::new();
    let mut managers = swarm.three().await;
    let stopped = managers.pop().unwrap();
    let gone = stopped.raft.raft_id();
    stopped.stop().await;
    eventually("an unreachable member", || {
        managers[0].raft.members().iter().any(|member| member.raft_id == gone && !member.reachable)
    })
    .await;
    let refused = managers[0].raft.remove_member(managers[1].raft.raft_id()).await;
    assert_eq!(refused, Err(MembershipError::QuorumLoss { voters: 2, reachable: 1 }));
    assert_eq!(voters(&managers[0]), ["n1", "n2", "n3"]);

    // The dead one may go, and then each but the last.
    managers[0].raft.remove_member(gone).await.unwrap();
    managers[0].raft.remove_member(managers[1].raft.raft_id()).await.unwrap();
    let last = managers[0].raft.remove_member(FIRST_RAFT_ID).await;
    assert_eq!(last, Err(MembershipError::QuorumLoss { voters: 0, reachable: 0 }));
    managers[0].propose(create("x")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_asked_for_at_once_happen_one_after_the_other() {
    let swarm = Swarm::new();
    let managers = swarm.three().await;
    let leader = &managers[0];
    leader.raft.propose(create("n4")).await.unwrap();
    let (four, two, again, moved) = tokio::join!(
        swarm.join(leader, "n4"),
        leader.raft.remove_member(managers[1].raft.raft_id()),
        leader.raft.remove_member(managers[1].raft.raft_id()),
        leader.raft.update_member_addr(managers[2].raft.raft_id(), &managers[2].addr),
    );
    assert_eq!([&two, &again].iter().filter(|result| result.is_ok()).count(), 1, "{two:?} {again:?}");
    moved.unwrap();
    assert_eq!(voters(leader), ["n1", "n3", "n4"]);
    four.wait_same_state(leader).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_never_starts_is_dropped_again() {
    let mut swarm = Swarm::new();
    swarm.tuning.catch_up = std::time::Duration::from_millis(500);
    let leader = swarm.bootstrap("n1").await;
    leader.propose(create("n2")).await.unwrap();
    let raft_id = leader.raft.add_member("n2", "127.0.0.1:1").await.unwrap();
    assert_eq!(manager_of(&leader, "n2").unwrap().0, raft_id);
    eventually("a clean membership", || leader.raft.members().len() == 1).await;
    eventually("a clean record", || manager_of(&leader, "n2").is_none()).await;
    assert_eq!(voters(&leader), ["n1"]);

    let second = swarm.join(&leader, "n2").await;
    assert!(second.raft.raft_id() > raft_id, "no id comes twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_manager_that_moved_is_found_at_its_new_address() {
    let swarm = Swarm::new();
    let mut managers = swarm.three().await;
    let (name, _) = managers.pop().unwrap().stop().await;
    let moved = swarm.start(&name, Open::Resume, None).await.unwrap();
    managers[0].raft.update_member_addr(moved.raft.raft_id(), &moved.addr).await.unwrap();
    managers[0].propose(create("x")).await.unwrap();
    moved.wait_same_state(&managers[0]).await;
    assert_eq!(manager_of(&moved, &name).unwrap().1, moved.addr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_speaks_for_its_own_member_only() {
    let swarm = Swarm::new();
    let managers = swarm.three().await;
    let [one, two, three] = &managers[..] else { unreachable!() };
    let expect = || Expect::Node("n1".into());
    let mut from_two = RaftClient::new(two.dialer.channel(&one.addr, expect()));
    let vote = |raft_id| Some(RaftVote { term: 99, raft_id, committed: false });
    let term = one.raft.leadership().borrow().term;

    let forged = VoteRequest { vote: vote(three.raft.raft_id()), to: FIRST_RAFT_ID, ..VoteRequest::default() };
    assert_eq!(from_two.vote(forged).await.unwrap_err().code(), Code::PermissionDenied);
    let forged = RaftVote { committed: true, ..vote(three.raft.raft_id()).unwrap() };
    let forged = AppendRequest { vote: Some(forged), to: FIRST_RAFT_ID, ..AppendRequest::default() };
    assert_eq!(from_two.append(forged).await.unwrap_err().code(), Code::PermissionDenied);
    let misdirected = VoteRequest { vote: vote(two.raft.raft_id()), to: 12345, ..VoteRequest::default() };
    assert_eq!(from_two.vote(misdirected).await.unwrap_err().code(), Code::FailedPrecondition);
    let empty = from_two.vote(VoteRequest { to: FIRST_RAFT_ID, ..VoteRequest::default() }).await;
    assert_eq!(empty.unwrap_err().code(), Code::InvalidArgument);

    // A pre-vote is answered and changes nothing.
    let asked = VoteRequest { vote: vote(two.raft.raft_id()), to: FIRST_RAFT_ID, pre: true, ..VoteRequest::default() };
    assert!(!from_two.vote(asked).await.unwrap().into_inner().granted, "the leader is well");
    assert_eq!(one.raft.leadership().borrow().term, term);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_no_member_has_no_say_whether_anybody_leads_or_not() {
    let swarm = Swarm::new();
    let mut managers = swarm.three().await;
    let removed = managers.pop().unwrap();
    let removed_id = removed.raft.raft_id();
    managers[0].raft.remove_member(removed_id).await.unwrap();
    removed.wait_member_state(MemberState::Removed).await;
    managers[1].wait_same_state(&managers[0]).await;
    let (_, never_was) = swarm.dialer("n9");

    // With a leader, and without one: a follower alone.
    for leads in [true, false] {
        if !leads {
            managers.remove(0).stop().await;
        }
        let target = managers.last().unwrap();
        let to = target.raft.raft_id();
        for (dialer, raft_id) in [(&removed.dialer, removed_id), (&never_was, 4711), (&never_was, removed_id)] {
            let mut client = RaftClient::new(dialer.channel(&target.addr, Expect::Node(target.name.clone())));
            let vote = |committed| Some(RaftVote { term: 99, raft_id, committed });
            for pre in [true, false] {
                let asked = VoteRequest { vote: vote(false), to, pre, ..VoteRequest::default() };
                assert_eq!(client.vote(asked).await.unwrap_err().code(), Code::PermissionDenied);
            }
            let append = AppendRequest { vote: vote(true), to, ..AppendRequest::default() };
            assert_eq!(client.append(append).await.unwrap_err().code(), Code::PermissionDenied);
        }
        assert!(target.raft.leadership().borrow().term < 99);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_hears_only_those_it_was_told_of_until_its_own_log_names_them() {
    let swarm = Swarm::new();
    let leader = swarm.bootstrap("n1").await;
    // It was told of nobody: the leader itself may not speak to it.
    leader.propose(create("n2")).await.unwrap();
    let addr = free_addr().await;
    let raft_id = leader.raft.add_member("n2", &addr).await.unwrap();
    let told = leader.raft.tell_members();
    let joining = swarm.start("n2", Open::Create { raft_id }, Some(&addr)).await.unwrap();
    let mut client = RaftClient::new(leader.dialer.channel(&addr, Expect::Node("n2".into())));
    let vote = RaftVote { term: 1, raft_id: FIRST_RAFT_ID, committed: false };
    let asked = VoteRequest { vote: Some(vote), to: raft_id, pre: true, ..VoteRequest::default() };
    assert_eq!(client.vote(asked).await.unwrap_err().code(), Code::PermissionDenied);

    joining.raft.learn_members(told);
    joining.wait_member_state(MemberState::Voter).await;
    assert!(client.vote(asked).await.is_ok());
    // Now its log says who the members are, whatever it is told.
    joining.raft.learn_members(ToldMembers { version: 1, nodes: [(9, "n9".to_owned())].into() });
    joining.wait_same_state(&leader).await;
    leader.propose(create("x")).await.unwrap();
    joining.wait_same_state(&leader).await;
}
