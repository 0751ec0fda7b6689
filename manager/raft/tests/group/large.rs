//! A large state, by hand, in a release build:
//! `cargo nextest run --release -p skep-raft --run-ignored only --no-capture large`.
//!
//! `SKEP_STATE_MB` says how large, `SKEP_OBJECT_KB` of how large objects. `SKEP_DISKS` names a directory for each of four managers,
//! separated by colons: file systems on loop devices, whose speed `blkio.throttle.write_bps_device` of the root cgroup (or `io.max`)
//! bounds. Prints for each phase how long small writes took meanwhile, and the most memory that the process, all managers, had.

use std::{
    fs,
    os::unix::fs::symlink,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use skep_common::clock::Timestamp;
use skep_proto::v1::{Annotations, Cluster, ClusterSpec, Node, NodeSpec, Transaction};
use skep_raft::{MemberState, Tuning};
use skep_store::{TxBuilder, View};
use tokio::{task::JoinSet, time::sleep};

use crate::support::{Manager, Swarm, create, eventually};

/// Between two small writes.
const EVERY: Duration = Duration::from_millis(20);

/// Bytes of objects that are proposed at once.
const AT_ONCE: usize = 4 << 20;

/// Entries between snapshots, once the cluster's spec says so; until then bytes alone decide.
const INTERVAL: u64 = 600;

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn large(number: usize, bytes: usize) -> Transaction {
    let labels = [("text".to_owned(), "x".repeat(bytes))].into();
    let annotations = Annotations { name: format!("large-{number}"), labels };
    let spec = NodeSpec { annotations: Some(annotations), ..NodeSpec::default() };
    let view = View::default();
    let mut transaction = TxBuilder::new(&view, Timestamp::from_secs(1));
    transaction.create(Node { id: format!("large-{number}"), spec: Some(spec), ..Node::default() });
    transaction.build()
}

fn snapshots(swarm: &Swarm, name: &str, extension: &str) -> usize {
    let Ok(files) = fs::read_dir(swarm.dir(name).join("snapshots")) else { return 0 };
    files.flatten().filter(|file| file.path().extension().is_some_and(|found| found == extension)).count()
}

/// Megabytes, by a line of `/proc/self/status`.
fn memory(line: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let kilobytes = status.lines().find_map(|found| found.strip_prefix(line)?.trim().strip_suffix(" kB"));
    kilobytes.unwrap().parse::<usize>().unwrap() >> 10
}

/// Small writes to a leader, and how long each took.
struct Writes {
    took: Arc<Mutex<Vec<Duration>>>,
    begun: Instant,
    worst: Duration,
    _writing: JoinSet<()>,
}

impl Writes {
    fn to(leader: &Manager) -> Self {
        let (took, raft) = (Arc::new(Mutex::new(Vec::new())), leader.raft.clone());
        let mut writing = JoinSet::new();
        let noted = took.clone();
        writing.spawn(async move {
            for number in 0.. {
                let since = Instant::now();
                raft.propose(create(&format!("small-{number}"))).await.unwrap();
                noted.lock().unwrap().push(since.elapsed());
                sleep(EVERY).await;
            }
        });
        Self { took, begun: Instant::now(), worst: Duration::ZERO, _writing: writing }
    }

    /// Ends a phase.
    fn tell(&mut self, phase: &str) {
        let mut took = std::mem::take(&mut *self.took.lock().unwrap());
        took.sort_unstable();
        let at =
            |share: f64| took.get((took.len().saturating_sub(1) as f64 * share) as usize).copied().unwrap_or_default();
        eprintln!(
            "{phase}: {:?}; {} writes: half {:?}, 99 % {:?}, longest {:?}; {} MB at most, {} MB now",
            self.begun.elapsed(),
            took.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            memory("VmHWM:"),
            memory("VmRSS:")
        );
        self.worst = self.worst.max(at(1.0));
        self.begun = Instant::now();
        fs::write("/proc/self/clear_refs", "5").unwrap();
    }
}

/// Writes until the leader has cut its log behind another snapshot.
async fn go_on_without(swarm: &Swarm, leader: &Manager) {
    let newest = || {
        let files = fs::read_dir(swarm.dir(&leader.name).join("snapshots")).unwrap().flatten();
        files.map(|file| file.file_name()).filter(|name| name.to_string_lossy().ends_with("meta")).max()
    };
    let before = newest();
    for number in 0..INTERVAL {
        leader.raft.propose(create(&format!("meanwhile-{number}"))).await.unwrap();
    }
    let spec =
        ClusterSpec { snapshot_interval: INTERVAL, log_entries_for_slow_followers: 10, ..ClusterSpec::default() };
    let view = View::default();
    let mut transaction = TxBuilder::new(&view, Timestamp::from_secs(1));
    transaction.create(Cluster { id: "cluster".to_owned(), spec: Some(spec), ..Cluster::default() });
    leader.raft.propose(transaction.build()).await.unwrap();
    while newest() == before {
        sleep(EVERY).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a gigabyte of state, minutes of disk"]
async fn a_leader_with_a_gigabyte_of_state_goes_on_leading() {
    let bytes = setting("SKEP_OBJECT_KB", 1000) << 10;
    let objects = (setting("SKEP_STATE_MB", 1024) << 20) / bytes;
    let swarm = Swarm::with(Tuning { snapshot_interval: 1 << 30, ..Tuning::default() });
    for (number, disk) in std::env::var("SKEP_DISKS").iter().flat_map(|disks| disks.split(':')).enumerate() {
        symlink(disk, swarm.dir(&format!("n{}", number + 1))).unwrap();
    }
    let mut managers = swarm.three().await;
    let before = managers[0].raft.leadership().borrow().clone();
    let mut writes = Writes::to(&managers[0]);

    let mut loading = JoinSet::new();
    for number in 0..objects {
        while loading.len() * bytes >= AT_ONCE {
            loading.join_next().await.unwrap().unwrap();
        }
        let raft = managers[0].raft.clone();
        loading.spawn(async move { drop(raft.propose(large(number, bytes)).await.unwrap()) });
    }
    loading.join_all().await;
    writes.tell("loading");
    while (1..=3).any(|number| snapshots(&swarm, &format!("n{number}"), "part") > 0) {
        sleep(EVERY).await;
    }
    writes.tell("the last snapshot");

    let fourth = swarm.join_as_learner(&managers[0], "n4", None).await;
    let mut member_state = fourth.raft.member_state();
    member_state.wait_for(|member_state| *member_state == MemberState::Voter).await.unwrap();
    writes.tell("an empty manager catches up");

    let mut third = managers.pop().unwrap();
    for phase in ["a follower starts", "a follower that was away for long starts"] {
        let held = Arc::downgrade(&third.store);
        let stopped = third.stop().await;
        eventually("nobody holding its state", || held.strong_count() == 0).await;
        writes.tell("a follower stops");
        if phase.contains("away") {
            go_on_without(&swarm, &managers[0]).await;
            writes.tell("the others go on without it");
        }
        // What it reads comes from the disk, if this may be asked for.
        let _ = fs::write("/proc/sys/vm/drop_caches", "1");
        third = swarm.restart(stopped).await;
        writes.tell("its start");
        let until = managers[0].store.view().version();
        while third.store.view().version() < until {
            sleep(EVERY).await;
        }
        writes.tell(phase);
    }

    assert_eq!(*managers[0].raft.leadership().borrow(), before, "another was elected");
    assert!(writes.worst < Duration::from_secs(2));
}
