//! What becomes of proposals that nobody waits for any more.

use std::{collections::BTreeSet, time::Duration};

use skep_raft::{ProposeError, Tuning};
use tokio::task::JoinSet;

use crate::support::{Swarm, create};

/// Long enough that no two proposals share an entry.
const LONG: usize = 150 << 10;

/// Entries a leader has under way at a time.
const UNDER_WAY: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_barrier_a_proposal_that_was_given_up_is_written_or_never_will_be() {
    let swarm = Swarm::with(Tuning {
        propose_deadline: Duration::from_secs(2),
        read_deadline: Duration::from_secs(60),
        // Nobody else is to lead meanwhile.
        lease: Duration::from_secs(60),
        election_min: Duration::from_secs(100),
        election_max: Duration::from_secs(101),
        ..Tuning::default()
    });
    let mut managers = swarm.three().await;
    let mut stopped = Vec::new();
    for follower in managers.drain(1..) {
        stopped.push(follower.stop().await);
    }
    let leader = &managers[0];
    let mut proposals = JoinSet::new();
    for number in 0..UNDER_WAY + 3 {
        let raft = leader.raft.clone();
        proposals.spawn(async move { raft.propose(create(&format!("{number}{}", "x".repeat(LONG)))).await });
    }
    for answer in proposals.join_all().await {
        assert_eq!(answer.unwrap_err(), ProposeError::Unknown);
    }
    let written = || leader.store.view().nodes().filter(|node| node.id.len() > LONG).count();
    assert_eq!(written(), 0);

    let raft = leader.raft.clone();
    let barrier = tokio::spawn(async move { raft.read_barrier().await });
    for stopped in stopped {
        managers.push(swarm.restart(stopped).await);
    }
    barrier.await.unwrap().unwrap();
    let leader = &managers[0];
    let names = || -> BTreeSet<String> { leader.store.view().nodes().map(|node| node.id.clone()).collect() };
    let decided = names();
    assert_eq!(decided.iter().filter(|name| name.len() > LONG).count(), UNDER_WAY, "those that were under way");
    // What comes later in the log comes after anything that is still to come.
    for number in 0..UNDER_WAY + 3 {
        leader.propose(create(&format!("later-{number}"))).await.unwrap();
    }
    let later = names();
    assert!(later.iter().filter(|name| !name.starts_with("later")).eq(decided.iter()), "written after it was decided");
}
