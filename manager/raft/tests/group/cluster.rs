//! A group of managers as a whole: replication, loss of the leader, restarts, far-behind members.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{Manager, Swarm, create, encoded, eventually, leader_of};
use skep_raft::{Leadership, ProposeError, ReadError, Tuning};
use skep_store::ApplyError;
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_manager_comes_to_the_same_state_and_followers_name_the_leader() {
    let swarm = Swarm::new();
    let managers = swarm.three().await;
    let applied = managers[0].propose(create("x")).await.unwrap();
    assert_eq!(applied.changes.changes.len(), 1);
    for follower in &managers[1..] {
        follower.wait_same_state(&managers[0]).await;
        let Err(ProposeError::NotLeader { leader: Some(leader) }) = follower.propose(create("y")).await else {
            panic!("a follower must not take proposals");
        };
        assert_eq!((leader.node_id.as_str(), &leader.addr), ("n1", &managers[0].addr));
        let refused = follower.raft.read_barrier().await;
        assert_eq!(refused, Err(ReadError::NotLeader { leader: Some(leader) }));
    }
    managers[0].raft.read_barrier().await.unwrap();
    let again = managers[0].propose(create("x")).await;
    assert!(matches!(again, Err(ProposeError::Conflict(ApplyError::Exists { .. }))));
    for manager in managers {
        manager.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_with_a_leader() {
    const ROUNDS: usize = 3;
    let swarm = Swarm::new();
    let mut managers = swarm.three().await;
    let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
    for round in 0..ROUNDS {
        let mut writers = JoinSet::new();
        for writer in 0..4 {
            let rafts: Vec<_> = managers.iter().map(|manager| manager.raft.clone()).collect();
            let acknowledged = acknowledged.clone();
            writers.spawn(async move {
                for number in 0.. {
                    let name = format!("w{round}-{writer}-{number}");
                    let Some(leader) = rafts.iter().find(|raft| raft.leadership().borrow().is_self) else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    match leader.propose(create(&name)).await {
                        Ok(_) => drop(acknowledged.lock().unwrap().insert(name)),
                        // A refusal may come at once, and who never waits lets nobody else run.
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
            });
        }
        let enough = |count: usize| {
            let acknowledged = acknowledged.clone();
            eventually("acknowledged writes", move || acknowledged.lock().unwrap().len() >= count)
        };
        let before = acknowledged.lock().unwrap().len();
        enough(before + 30).await;
        let leader = leader_of(&managers).await;
        let stopped = managers.remove(leader).stop().await;
        let before = acknowledged.lock().unwrap().len();
        enough(before + 30).await;
        writers.shutdown().await;
        managers.push(swarm.restart(stopped).await);
    }
    let leader = leader_of(&managers).await;
    managers[leader].propose(create("end")).await.unwrap();
    for manager in &managers {
        eventually("the last write", || manager.store.view().node("end").is_some()).await;
        let view = manager.store.view();
        for name in &*acknowledged.lock().unwrap() {
            assert!(view.node(name).is_some(), "{name} was acknowledged and is lost");
        }
        manager.wait_same_state(&managers[leader]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_was_down_altogether_comes_back_as_it_was() {
    let swarm = Swarm::new();
    let managers = swarm.three().await;
    for number in 0..20 {
        managers[0].propose(create(&format!("x{number}"))).await.unwrap();
    }
    let state = encoded(&managers[0].store.view());
    let mut stopped = Vec::new();
    for manager in managers {
        stopped.push(manager.stop().await);
    }
    let mut managers = Vec::new();
    for stopped in stopped {
        managers.push(swarm.restart(stopped).await);
    }
    let leader = leader_of(&managers).await;
    let nodes = |bytes: &[u8]| bytes.to_vec().split_off(4);
    for manager in &managers {
        // The new term's first entry counts on the version, which is in the header.
        eventually("the former state", || nodes(&encoded(&manager.store.view())) == nodes(&state)).await;
    }
    managers[leader].propose(create("after")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_far_behind_is_brought_up_by_a_snapshot() {
    let swarm = Swarm::with(Tuning { snapshot_interval: 40, keep_entries: 5, ..Tuning::default() });
    let mut managers = swarm.three().await;
    let behind = managers.pop().unwrap();
    behind.wait_same_state(&managers[0]).await;
    let had = behind.store.view().version();
    let stopped = behind.stop().await;
    // What a member needs that was reached lately stays in the log.
    let is_given_up = || managers[0].raft.members().iter().any(|member| member.node_id == "n3" && !member.reachable);
    eventually("the leader to miss it", is_given_up).await;
    // With the second snapshot the log behind the first is gone.
    fill(&managers[0], || snapshots_in(&swarm.dir("n1")).len() == 2).await;
    let snapshots = swarm.dir("n3").join("snapshots");
    let before = fs::read_dir(&snapshots).unwrap().count();
    let behind = swarm.restart(stopped).await;
    assert!(behind.store.view().version() >= had, "it starts with what it had");
    behind.wait_same_state(&managers[0]).await;
    assert!(fs::read_dir(&snapshots).unwrap().count() > before);

    // What it got is good for a start of its own.
    let stopped = behind.stop().await;
    let behind = swarm.restart(stopped).await;
    behind.wait_same_state(&managers[0]).await;
    managers[0].propose(create("more")).await.unwrap();
    behind.wait_same_state(&managers[0]).await;
}

/// Proposes until `enough`, at most so many that any snapshot interval here has passed often.
async fn fill(manager: &Manager, enough: impl Fn() -> bool) {
    for number in 0..5_000 {
        if enough() {
            return;
        }
        manager.propose(create(&format!("x{number}"))).await.unwrap();
    }
    panic!("no snapshots");
}

/// The files of the snapshots in a member's directory, by age.
fn snapshots_in(dir: &Path) -> Vec<PathBuf> {
    let mut data: Vec<_> = fs::read_dir(dir.join("snapshots")).unwrap().map(|file| file.unwrap().path()).collect();
    data.retain(|path| path.extension().is_some_and(|extension| extension == "data"));
    data.sort();
    data
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_snapshot_gives_way_to_the_older_one_and_the_log() {
    let swarm = Swarm::with(Tuning { snapshot_interval: 30, keep_entries: 5, ..Tuning::default() });
    let manager = swarm.bootstrap("n1").await;
    let data = || snapshots_in(&swarm.dir("n1"));
    fill(&manager, || data().len() == 2).await;
    let state = manager.store.view();
    let stopped = manager.stop().await;
    let newest = data().pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes[20] ^= 1;
    fs::write(&newest, bytes).unwrap();

    let manager = swarm.restart(stopped).await;
    leader_of(std::slice::from_ref(&manager)).await;
    let restored = manager.store.view();
    assert!(restored.nodes().eq(state.nodes()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nothing_is_acknowledged_and_the_leader_says_so() {
    let swarm = Swarm::with(Tuning {
        propose_deadline: Duration::from_secs(1),
        read_deadline: Duration::from_millis(500),
        ..Tuning::default()
    });
    let mut managers = swarm.three().await;
    let stopped = managers.pop().unwrap().stop().await;
    managers.pop().unwrap().stop().await;
    let alone = &managers[0];
    assert_eq!(alone.propose(create("x")).await.unwrap_err(), ProposeError::Unknown);
    assert_eq!(alone.raft.read_barrier().await, Err(ReadError::NoQuorum));
    let lost = alone.wait_leadership(|leadership| !leadership.is_self).await;
    assert_eq!(lost.leader, None);
    assert!(alone.store.view().node("x").is_none());

    managers.push(swarm.restart(stopped).await);
    let leader = leader_of(&managers).await;
    managers[leader].propose(create("y")).await.unwrap();
    managers[0].wait_same_state(&managers[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_steps_down_is_followed_by_another() {
    let swarm = Swarm::new();
    let managers = swarm.three().await;
    let term = managers[0].raft.leadership().borrow().term;
    managers[0].raft.step_down().await;
    let now = managers[0].raft.leadership().borrow().clone();
    assert!(!now.is_self && now.term > term, "{now:?}");
    let leader = leader_of(&managers).await;
    assert_ne!(leader, 0);
    let stale = managers[leader].raft.propose_in(term, create("stale")).await;
    assert!(matches!(stale, Err(ProposeError::NotLeader { .. })));
    let Leadership { term, .. } = *managers[leader].raft.leadership().borrow();
    managers[leader].raft.propose_in(term, create("fresh")).await.unwrap();
}

/// With nothing to write, a leader's hold on its quorum is renewed by heartbeats alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_nothing_to_do_goes_on_leading() {
    let swarm = Swarm::new();
    let managers = swarm.three().await;
    let mut leadership = managers[0].raft.leadership();
    assert!(leadership.borrow_and_update().is_self);
    // For several times the longest silence anyone would bear, there is no news to wait for.
    let change = timeout(swarm.tuning.election_max * 5, leadership.changed()).await;
    assert!(change.is_err(), "{:?}", leadership.borrow());
}

/// Nobody refuses connections to it: only its silence tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_vanishes_is_replaced_too() {
    let swarm = Swarm::new();
    let mut managers = swarm.three().await;
    let (_, addr) = managers.remove(0).stop().await;
    let _accepts_and_never_answers = TcpListener::bind(addr).await.unwrap();
    let leader = leader_of(&managers).await;
    managers[leader].propose(create("x")).await.unwrap();
}

/// Its silence would be borne for longer than this test waits: the closed connections tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_process_ends_is_followed_without_waiting() {
    let swarm = Swarm::with(Tuning {
        lease: Duration::from_secs(200),
        election_min: Duration::from_secs(300),
        election_max: Duration::from_secs(301),
        ..Tuning::default()
    });
    let mut managers = swarm.three().await;
    managers[0].propose(create("x")).await.unwrap();
    managers.remove(0).stop().await;
    let leader = leader_of(&managers).await;
    managers[leader].propose(create("y")).await.unwrap();
}

/// It runs all the time, hears nothing of the leader and can be heard by all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_could_not_hear_topples_nobody() {
    let swarm = Swarm::new();
    let mut managers = swarm.two().await;
    let (line, third) = swarm.join_behind_a_line(&managers[0], "n3").await;
    managers.push(third);
    managers[2].wait_same_state(&managers[0]).await;
    let before = managers[0].raft.leadership().borrow().clone();
    for round in 0..2 {
        line.cut();
        // It misses the leader several times over, and asks the others each time.
        let mut leadership = managers[0].raft.leadership();
        leadership.mark_unchanged();
        assert!(timeout(swarm.tuning.election_max * 4, leadership.changed()).await.is_err(), "{round}");
        managers[0].propose(create(&format!("without-{round}"))).await.unwrap();
        assert_ne!(encoded(&managers[2].store.view()), encoded(&managers[0].store.view()), "it hears after all");
        line.mend();
        managers[2].wait_same_state(&managers[0]).await;
    }
    assert_eq!(*managers[0].raft.leadership().borrow(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_made_at_once_are_each_answered_for_themselves() {
    let swarm = Swarm::new();
    let manager = swarm.bootstrap("n1").await;
    let mut proposals = JoinSet::new();
    for number in 0..200 {
        let raft = manager.raft.clone();
        // Every name comes twice: one of the two is refused.
        proposals.spawn(async move { raft.propose(create(&format!("x{}", number / 2))).await });
    }
    let answers = proposals.join_all().await;
    let versions: BTreeSet<u64> = answers.iter().flatten().map(|applied| applied.version).collect();
    assert_eq!(versions.len(), 100);
    assert!(
        answers.iter().all(|answer| matches!(answer, Ok(_) | Err(ProposeError::Conflict(ApplyError::Exists { .. }))))
    );
    assert_eq!(manager.store.view().node_count(), 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_that_is_too_large_is_refused() {
    let swarm = Swarm::new();
    let manager = swarm.bootstrap("n1").await;
    let refused = manager.propose(create(&"x".repeat(2 << 20))).await.unwrap_err();
    assert!(matches!(refused, ProposeError::TooLarge { .. }), "{refused}");
    manager.propose(create(&"x".repeat(1 << 20))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_word_of_the_state_can_be_read_from_the_directory() {
    let swarm = Swarm::with(Tuning { snapshot_interval: 20, keep_entries: 5, ..Tuning::default() });
    let managers = swarm.three().await;
    for number in 0..50 {
        managers[0].propose(create(&format!("canary{number}"))).await.unwrap();
    }
    for manager in &managers {
        manager.wait_same_state(&managers[0]).await;
        let dir = swarm.dir(&manager.name);
        let snapshots = dir.join("snapshots");
        eventually("a snapshot", || fs::read_dir(&snapshots).unwrap().count() > 0).await;
        assert!(!holds(&dir, b"canary"), "{} has the canary in the clear", dir.display());
    }
}

fn holds(dir: &Path, text: &[u8]) -> bool {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return holds(&path, text);
        }
        // A snapshot may be replaced while this looks.
        fs::read(&path).is_ok_and(|bytes| bytes.windows(text.len()).any(|window| window == text))
    })
}
