//! A large state, by hand: `cargo nextest run -p skep-raft --run-ignored only large`, in a cgroup that bounds the disk.

use std::{
    fs,
    time::{Duration, Instant},
};

use skep_raft::Tuning;

use crate::support::{Swarm, create, eventually};

/// Of the text that one object holds twice.
const HALF_OBJECT: usize = 500 << 10;

fn snapshots(swarm: &Swarm, name: &str, extension: &str) -> usize {
    let files = fs::read_dir(swarm.dir(name).join("snapshots")).unwrap().flatten();
    files.filter(|file| file.path().extension().is_some_and(|found| found == extension)).count()
}

/// `SKEP_STATE_MB` says how large. Prints how long writes took while the snapshot was written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a gigabyte of state, minutes of disk"]
async fn a_leader_with_a_gigabyte_of_state_goes_on_leading() {
    let megabytes: usize = std::env::var("SKEP_STATE_MB").map_or(1024, |text| text.parse().unwrap());
    let objects = (megabytes << 20) / (2 * HALF_OBJECT);
    let swarm = Swarm::with(Tuning { snapshot_interval: objects as u64 + 200, ..Tuning::default() });
    let managers = swarm.three().await;
    for number in 0..objects {
        managers[0].propose(create(&format!("{number}-{}", "x".repeat(HALF_OBJECT)))).await.unwrap();
    }
    let before = managers[0].raft.leadership().borrow().clone();
    eventually("no snapshot under way", || snapshots(&swarm, "n1", "part") == 0).await;
    eprintln!("{objects} objects, {} snapshots so far", snapshots(&swarm, "n1", "meta"));

    let mut took = Vec::new();
    let begun = Instant::now();
    let (mut writing, mut number) = (false, 0);
    while !(writing && snapshots(&swarm, "n1", "part") == 0) {
        let since = Instant::now();
        managers[0].propose(create(&format!("small-{number}"))).await.unwrap();
        if writing {
            took.push(since.elapsed());
        }
        number += 1;
        writing |= snapshots(&swarm, "n1", "part") > 0;
    }
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    eprintln!(
        "{:?} for the snapshot, {} writes meanwhile: half {:?}, 99 % {:?}, all {:?}",
        begun.elapsed(),
        took.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    assert_eq!(*managers[0].raft.leadership().borrow(), before, "another was elected");
    assert!(at(1.0) < Duration::from_secs(2));
}
