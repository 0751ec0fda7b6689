//! Joining, leaving and starting again, on a runtime without containers.

use skep_common::secret::Secret;
use skep_proto::v1::{Availability, ClusterSpec, Task};
use skep_runtime::{
    ContainerSpecification, Status,
    mock::{Behaviour, MockRuntime},
};

use super::*;

fn open(root: &std::path::Path, runtime: &MockRuntime) -> LocalSwarm {
    LocalSwarm::open(root, Arc::new(runtime.clone()), NodeDescription::default(), ServerLimits::default()).unwrap()
}

async fn init(swarm: &LocalSwarm, ip: &str) {
    let options = InitOptions {
        listen_addr: format!("{ip}:2377"),
        advertise_addr: Some(ip.to_owned()),
        spec: ClusterSpec::default(),
        availability: Availability::Active,
    };
    swarm.init(options).await.unwrap();
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::task::yield_now().await;
    }
}

/// A container of a task that ends only when it is killed.
async fn container(runtime: &MockRuntime) -> String {
    runtime.behave(Behaviour { stop_code: None, ..Behaviour::default() });
    let task = Task { id: "t1".to_owned(), ..Task::default() };
    let container = ContainerSpecification::for_task(&task, &NodeDescription::default()).unwrap();
    runtime.prepare(&container).await.unwrap();
    runtime.start(&container.id).await.unwrap();
    container.id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_to_end_waits_for_no_container_and_the_next_one_goes_on_leaving() {
    let root = tempfile::tempdir().unwrap();
    let runtime = MockRuntime::new(Arc::new(SystemClock::new()));
    let swarm = open(root.path(), &runtime);
    init(&swarm, "127.91.82.73").await;
    let refused = Swarm::leave(&swarm, false).await;
    assert!(matches!(refused, Err(SwarmError::LeaveNeedsForce(_))));
    assert!(!swarm.inner.dir.load().unwrap().unwrap().leaving, "a refused leave changes nothing");
    swarm.shutdown().await;

    let id = container(&runtime).await;
    let swarm = open(root.path(), &runtime);
    until(|| matches!(swarm.inner.phase(), Phase::Active(_))).await;
    let leaving = tokio::spawn({
        let swarm = swarm.clone();
        async move { Swarm::leave(&swarm, true).await }
    });
    until(|| swarm.inner.dir.load().unwrap().unwrap().leaving).await;
    swarm.shutdown().await;
    assert!(leaving.await.unwrap().is_err());
    assert!(swarm.inner.dir.load().unwrap().is_some_and(|record| record.leaving));
    assert!(matches!(runtime.list().await.unwrap()[0].status, Status::Running { .. }));

    // The daemon starts again.
    runtime.exit(&id, 0, false);
    let swarm = open(root.path(), &runtime);
    assert_eq!(swarm.status().state, LocalNodeState::Inactive);
    drop(swarm.inner.change.lock().await);
    assert!(swarm.inner.dir.load().unwrap().is_none());
    assert!(!swarm.inner.dir.identity().exists() && !swarm.inner.dir.manager().exists());
    assert_eq!(runtime.list().await.unwrap(), []);
    swarm.shutdown().await;

    // What was left behind all the same goes at the next start.
    let id = container(&runtime).await;
    runtime.exit(&id, 0, false);
    let swarm = open(root.path(), &runtime);
    drop(swarm.inner.change.lock().await);
    assert_eq!(runtime.list().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leave_that_is_cut_off_while_the_node_still_joins_is_gone_on_with_too() {
    let root = tempfile::tempdir().unwrap();
    let runtime = MockRuntime::new(Arc::new(SystemClock::new()));
    container(&runtime).await;
    // Nobody listens there.
    let remotes = vec!["127.91.82.74:1".to_owned()];
    let token = JoinToken::generate(b"root", Secret::new([7; 16])).reveal();
    let record = Record {
        listen_addr: "127.91.82.74:2377".parse().unwrap(),
        advertise_addr: "127.91.82.74:2377".parse().unwrap(),
        advertise: None,
        remotes: remotes.clone(),
        joining: Some(Joining { remotes, token, availability: 0 }),
        leaving: false,
    };
    SwarmDir::new(root.path()).save(&record).unwrap();
    let swarm = open(root.path(), &runtime);
    assert!(matches!(swarm.inner.phase(), Phase::Pending { .. }));
    let leaving = tokio::spawn({
        let swarm = swarm.clone();
        async move { Swarm::leave(&swarm, false).await }
    });
    let is_noted = || swarm.inner.dir.load().unwrap().is_some_and(|record| record.leaving);
    while !is_noted() {
        assert!(!leaving.is_finished(), "it says nowhere that it leaves");
        tokio::task::yield_now().await;
    }
    leaving.abort();
    drop(swarm);

    let swarm = open(root.path(), &runtime);
    assert_eq!(swarm.status().state, LocalNodeState::Inactive);
    drop(swarm.inner.change.lock().await);
    assert!(swarm.inner.dir.load().unwrap().is_none());
    assert_eq!(runtime.list().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_of_a_manager_whose_record_or_certificate_is_lost_goes_by_force_alone() {
    let root = tempfile::tempdir().unwrap();
    let runtime = MockRuntime::new(Arc::new(SystemClock::new()));
    let swarm = open(root.path(), &runtime);
    init(&swarm, "127.91.82.78").await;
    swarm.shutdown().await;
    let dir = SwarmDir::new(root.path());
    let record = std::fs::read(dir.file()).unwrap();
    std::fs::remove_file(dir.file()).unwrap();

    let swarm = open(root.path(), &runtime);
    let options = InitOptions {
        listen_addr: "127.91.82.78:2377".into(),
        advertise_addr: Some("127.91.82.78".into()),
        spec: ClusterSpec::default(),
        availability: Availability::Active,
    };
    let refused = swarm.init(options).await.unwrap_err().to_string();
    assert!(refused.contains("the record of its membership is lost"), "{refused}");
    assert!(matches!(Swarm::leave(&swarm, false).await, Err(SwarmError::LeaveNeedsForce(_))));
    swarm.shutdown().await;
    assert!(dir.manager().join("raft.key").exists() && dir.identity().exists());

    // With its record it is what it was; and without its certificate it is a manager all the same.
    std::fs::write(dir.file(), record).unwrap();
    let swarm = open(root.path(), &runtime);
    until(|| matches!(swarm.inner.phase(), Phase::Active(_))).await;
    swarm.shutdown().await;
    std::fs::remove_dir_all(dir.identity()).unwrap();
    let swarm = open(root.path(), &runtime);
    assert!(matches!(swarm.inner.phase(), Phase::Pending { .. }));
    let refused = Swarm::leave(&swarm, false).await;
    assert!(matches!(refused, Err(SwarmError::LeaveNeedsForce(_))), "{refused:?}");
    Swarm::leave(&swarm, true).await.unwrap();
    assert!(!dir.manager().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_whose_leave_was_cut_off_asks_the_others_at_the_next_start_and_stays_until_they_agree() {
    let root = tempfile::tempdir().unwrap();
    let runtime = MockRuntime::new(Arc::new(SystemClock::new()));
    let dir = SwarmDir::new(root.path());
    let now = SystemClock::new().now();
    let ca = RootCa::generate(now, "swarm").unwrap();
    let (key, csr) = new_key_and_csr().unwrap();
    let subject = Subject { node_id: "m", cluster_id: "swarm", role: NodeRole::Manager };
    let certificate = ca.issue(csr.as_bytes(), subject, now, CERTIFICATE_LIFETIME).unwrap();
    let identity = Identity::from_pem(&certificate.certificate_pem, key, ca.certificate_pem()).unwrap();
    identity.save(&dir.identity()).unwrap();
    // Takes the connection and says nothing.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let record = Record {
        listen_addr: "127.91.82.77:2377".parse().unwrap(),
        advertise_addr: "127.91.82.77:2377".parse().unwrap(),
        advertise: None,
        remotes: vec![other.local_addr().unwrap().to_string()],
        joining: None,
        leaving: true,
    };
    dir.save(&record).unwrap();
    let swarm = open(root.path(), &runtime);
    let _asked = other.accept().await.unwrap();
    // They may need its vote to do without it: as long as they have not let it go, it is what it was.
    until(|| matches!(swarm.inner.phase(), Phase::Pending { .. } | Phase::Active(_))).await;
    assert!(!dir.load().unwrap().unwrap().leaving && dir.identity().exists());
    swarm.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_asks_for_a_certificate_again_can_leave_meanwhile() {
    let root = tempfile::tempdir().unwrap();
    let runtime = MockRuntime::new(Arc::new(SystemClock::new()));
    let dir = SwarmDir::new(root.path());
    // It was away for so long that its certificate has run out.
    let long_ago = SystemClock::new().now() - CERTIFICATE_LIFETIME * 3;
    let ca = RootCa::generate(long_ago, "swarm").unwrap();
    let (key, csr) = new_key_and_csr().unwrap();
    let subject = Subject { node_id: "w", cluster_id: "swarm", role: NodeRole::Worker };
    let certificate = ca.issue(csr.as_bytes(), subject, long_ago, CERTIFICATE_LIFETIME).unwrap();
    let identity = Identity::from_pem(&certificate.certificate_pem, key, ca.certificate_pem()).unwrap();
    identity.save(&dir.identity()).unwrap();
    let record = Record {
        listen_addr: "127.91.82.74:2377".parse().unwrap(),
        advertise_addr: "127.91.82.74:2377".parse().unwrap(),
        advertise: Some("127.91.82.74".to_owned()),
        remotes: Vec::new(),
        joining: None,
        leaving: false,
    };
    dir.save(&record).unwrap();
    let swarm = open(root.path(), &runtime);
    until(|| matches!(swarm.inner.phase(), Phase::Active(_))).await;
    // Takes the connection and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = JoinOptions {
        remote_addrs: vec![silent.local_addr().unwrap().to_string()],
        token: JoinToken::generate(ca.certificate_pem(), Secret::new([7; 16])).reveal(),
        listen_addr: String::new(),
        advertise_addr: None,
        availability: Availability::Active,
    };
    let joining = tokio::spawn({
        let swarm = swarm.clone();
        async move { Swarm::join(&swarm, options).await }
    });
    let _asked = silent.accept().await.unwrap();
    Swarm::leave(&swarm, true).await.unwrap();
    assert!(!joining.is_finished(), "leaving waits for the join");
    joining.abort();
    assert_eq!(swarm.status().state, LocalNodeState::Inactive);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_still_opens_its_state_can_leave_by_force() {
    let root = tempfile::tempdir().unwrap();
    let runtime = MockRuntime::new(Arc::new(SystemClock::new()));
    let swarm = open(root.path(), &runtime);
    init(&swarm, "127.91.82.75").await;
    swarm.shutdown().await;
    // The key comes late: whoever reads it waits.
    let key = swarm.inner.dir.manager().join("raft.key");
    let bytes = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&key).status().unwrap().success());

    let swarm = open(root.path(), &runtime);
    until(|| matches!(swarm.inner.phase(), Phase::Active(_))).await;
    let refused = Swarm::leave(&swarm, false).await;
    assert!(matches!(refused, Err(SwarmError::LeaveNeedsForce(_))), "{refused:?}");
    // There is a writer once somebody reads.
    let mut late = loop {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        match rustix::fs::open(&key, flags, rustix::fs::Mode::empty()) {
            Ok(pipe) => break std::fs::File::from(pipe),
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let leaving = tokio::spawn({
        let swarm = swarm.clone();
        async move { Swarm::leave(&swarm, true).await }
    });
    until(|| swarm.inner.dir.load().unwrap().unwrap().leaving).await;
    std::io::Write::write_all(&mut late, &bytes).unwrap();
    drop(late);
    leaving.await.unwrap().unwrap();
    assert_eq!(swarm.status().state, LocalNodeState::Inactive);
    assert!(!swarm.inner.dir.manager().exists());
}

#[test]
fn leaving_says_what_it_does_to_the_rest() {
    assert!(leave_warning(1, true).contains("erases all current state"));
    assert!(!leave_warning(0, false).contains("erases"), "a manager that has not heard of the others is not the last");
    assert!(leave_warning(2, false).contains("1 managers out of 2"));
    assert!(leave_warning(5, false).contains("4 managers out of 5"));
}
