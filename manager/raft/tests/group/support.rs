//! Managers in one process, on loopback, with real identities: each serves nothing but the Raft service.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use skep_ca::{RootCa, Subject};
use skep_common::{
    clock::{Clock as _, SystemClock, Timestamp},
    feature_level::FEATURE_LEVEL,
    net::{
        dial::Dialer,
        identity::{Identity, IdentityHandle, new_key_and_csr},
        server::{RoleAnswer, RoleSource, RpcServer},
    },
};
use skep_proto::v1::{Annotations, Node, NodeRole, NodeSpec, Transaction};
use skep_raft::{
    Applied, FIRST_RAFT_ID, Leadership, MemberState, OnFatal, Open, ProposeError, RaftConfig, RaftNode, Roster,
    StartError, ToldMembers, Tuning,
};
use skep_store::{Store, TxBuilder, View};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

const CLUSTER: &str = "swarm";

/// Far longer than anything takes: only a hang gets there.
const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate authority, a place on disk, and the timing all its managers run with.
pub(crate) struct Swarm {
    ca: RootCa,
    dir: TempDir,
    pub(crate) tuning: Tuning,
    /// Gives up what is being started.
    pub(crate) give_up: CancellationToken,
}

/// A running manager.
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) addr: String,
    pub(crate) raft: RaftNode,
    pub(crate) store: Arc<Store>,
    pub(crate) dialer: Dialer,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

struct Members(Roster);

impl RoleSource for Members {
    fn role_of(&self, _: &str) -> RoleAnswer {
        RoleAnswer::Is(NodeRole::Manager)
    }

    fn is_member(&self, node_id: &str) -> bool {
        self.0.includes(node_id)
    }
}

impl Swarm {
    pub(crate) fn new() -> Self {
        Self::with(Tuning::default())
    }

    pub(crate) fn with(tuning: Tuning) -> Self {
        let ca = RootCa::generate(SystemClock::new().now(), CLUSTER).unwrap();
        Self { ca, dir: tempfile::tempdir().unwrap(), tuning, give_up: CancellationToken::new() }
    }

    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn dialer(&self, name: &str) -> (IdentityHandle, Dialer) {
        let (key, csr) = new_key_and_csr().unwrap();
        let subject = Subject { node_id: name, cluster_id: CLUSTER, role: NodeRole::Manager };
        let certificate =
            self.ca.issue(csr.as_bytes(), subject, SystemClock::new().now(), Duration::from_secs(7200)).unwrap();
        let identity = Identity::from_pem(&certificate.certificate_pem, key, self.ca.certificate_pem()).unwrap();
        let handle = IdentityHandle::new(identity);
        (handle.clone(), Dialer::new(handle))
    }

    /// Starts a manager on a free port, or on the one it had.
    pub(crate) async fn start(&self, name: &str, open: Open, addr: Option<&str>) -> Result<Manager, StartError> {
        self.start_with(name, open, addr, ToldMembers::default()).await
    }

    async fn start_with(
        &self,
        name: &str,
        open: Open,
        addr: Option<&str>,
        told: ToldMembers,
    ) -> Result<Manager, StartError> {
        let listener = TcpListener::bind(addr.unwrap_or("127.0.0.1:0")).await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (identity, dialer) = self.dialer(name);
        let store = Arc::new(Store::default());
        let config = RaftConfig {
            dir: self.dir(name),
            open,
            node_id: name.to_owned(),
            addr: addr.clone(),
            tuning: self.tuning.clone(),
            feature_level: FEATURE_LEVEL,
            on_fatal: OnFatal::new(|reason| panic!("{reason}")),
            give_up: self.give_up.clone(),
        };
        let raft = RaftNode::start(config, store.clone(), dialer.clone(), Arc::new(SystemClock::new())).await?;
        raft.learn_members(told);
        let stop = CancellationToken::new();
        let roles = Arc::new(Members(raft.roster()));
        let server = RpcServer::new(listener, identity, roles, Routes::new(raft.service()));
        let server = tokio::spawn(server.serve(stop.clone()));
        Ok(Manager { name: name.to_owned(), addr, raft, store, dialer, stop, server })
    }

    pub(crate) async fn bootstrap(&self, name: &str) -> Manager {
        let manager = self.start(name, Open::Create { raft_id: FIRST_RAFT_ID }, None).await.unwrap();
        manager.raft.bootstrap(create(name)).await.unwrap();
        manager
    }

    /// Starts a new manager and waits until it votes.
    pub(crate) async fn join(&self, leader: &Manager, name: &str) -> Manager {
        let manager = self.join_as_learner(leader, name, None).await;
        manager.wait_member_state(MemberState::Voter).await;
        manager
    }

    pub(crate) async fn join_as_learner(&self, leader: &Manager, name: &str, addr: Option<&str>) -> Manager {
        if leader.store.view().node(name).is_none() {
            leader.raft.propose(create(name)).await.unwrap();
        }
        // The address must be known before the member is: take a port and keep it.
        let addr = match addr {
            Some(addr) => addr.to_owned(),
            None => free_addr().await,
        };
        let raft_id = leader.raft.add_member(name, &addr).await.unwrap();
        let told = leader.raft.tell_members();
        self.start_with(name, Open::Create { raft_id }, Some(&addr), told).await.unwrap()
    }

    pub(crate) async fn two(&self) -> Vec<Manager> {
        let first = self.bootstrap("n1").await;
        let second = self.join(&first, "n2").await;
        vec![first, second]
    }

    /// Joins a manager that the others reach by a line of its own; its own calls take another way.
    pub(crate) async fn join_behind_a_line(&self, leader: &Manager, name: &str) -> (Line, Manager) {
        leader.raft.propose(create(name)).await.unwrap();
        let own = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let line = Line::to(own.clone()).await;
        let raft_id = leader.raft.add_member(name, &line.addr).await.unwrap();
        let told = leader.raft.tell_members();
        let manager = self.start_with(name, Open::Create { raft_id }, Some(&own), told).await.unwrap();
        manager.wait_member_state(MemberState::Voter).await;
        (line, manager)
    }

    pub(crate) async fn three(&self) -> Vec<Manager> {
        let first = self.bootstrap("n1").await;
        let second = self.join(&first, "n2").await;
        let third = self.join(&first, "n3").await;
        vec![first, second, third]
    }

    pub(crate) async fn restart(&self, stopped: (String, String)) -> Manager {
        let (name, addr) = stopped;
        self.start(&name, Open::Resume, Some(&addr)).await.unwrap()
    }
}

/// A way to a manager that can be cut, when it still accepts connections and carries nothing, or be slow.
pub(crate) struct Line {
    pub(crate) addr: String,
    is_cut: watch::Sender<bool>,
    is_slow: Arc<AtomicBool>,
}

impl Line {
    async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (is_cut, cut) = watch::channel(false);
        let is_slow = Arc::new(AtomicBool::new(false));
        let slow = is_slow.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, mut cut, slow) = (target.clone(), cut.clone(), slow.clone());
                tokio::spawn(async move {
                    // Fails with the line itself.
                    let _ = cut.wait_for(|cut| !cut).await;
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) =
                        (near.into_split(), far.into_split());
                    tokio::select! {
                        () = carry(&mut from_near, &mut to_far, &slow) => {}
                        _ = copy(&mut from_far, &mut to_near) => {}
                        _ = cut.wait_for(|cut| *cut) => {}
                    }
                });
            }
        });
        Self { addr, is_cut, is_slow }
    }

    /// Carries no more than three megabytes a second towards the manager.
    pub(crate) fn slow_down(&self) {
        self.is_slow.store(true, Ordering::Relaxed);
    }

    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn carry(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, slow: &AtomicBool) {
    let mut piece = vec![0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        if slow.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(5)).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

impl Manager {
    /// Ends it without a word to the others. Its name and address, to start it again.
    pub(crate) async fn stop(self) -> (String, String) {
        self.stop.cancel();
        self.raft.shutdown().await;
        self.server.await.unwrap();
        (self.name, self.addr)
    }

    pub(crate) async fn wait_leadership(&self, is: impl FnMut(&Leadership) -> bool) -> Leadership {
        let mut leadership = self.raft.leadership();
        timeout(PATIENCE, leadership.wait_for(is)).await.expect("leadership in time").unwrap().clone()
    }

    pub(crate) async fn wait_member_state(&self, wanted: MemberState) {
        let mut member_state = self.raft.member_state();
        timeout(PATIENCE, member_state.wait_for(|member_state| *member_state == wanted))
            .await
            .expect("member_state in time")
            .unwrap();
    }

    /// Waits until its state is the other's.
    pub(crate) async fn wait_same_state(&self, other: &Manager) {
        eventually("equal states", || encoded(&self.store.view()) == encoded(&other.store.view())).await;
    }

    pub(crate) async fn propose(&self, transaction: Transaction) -> Result<Applied, ProposeError> {
        self.raft.propose(transaction).await
    }
}

/// Waits until one of them leads. Its place among them.
pub(crate) async fn leader_of(managers: &[Manager]) -> usize {
    let mut leading = None;
    eventually("a leader", || {
        leading = managers.iter().position(|manager| manager.raft.leadership().borrow().is_self);
        leading.is_some()
    })
    .await;
    leading.unwrap()
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, waiting).await.is_ok(), "no {what} in time");
}

/// A state as comparable bytes: equal states encode equally.
pub(crate) fn encoded(view: &View) -> Vec<u8> {
    use skep_proto::Message as _;
    let header = view.snapshot_header().encode_length_delimited_to_vec();
    view.snapshot().fold(header, |mut bytes, object| {
        bytes.extend(object.encode_length_delimited_to_vec());
        bytes
    })
}

pub(crate) fn create(name: &str) -> Transaction {
    let annotations = Annotations { name: name.to_owned(), ..Annotations::default() };
    let spec = NodeSpec { annotations: Some(annotations), ..NodeSpec::default() };
    let view = View::default();
    let mut transaction = TxBuilder::new(&view, Timestamp::from_secs(1));
    transaction.create(Node { id: name.to_owned(), spec: Some(spec), ..Node::default() });
    transaction.build()
}

/// An address nobody listens at.
pub(crate) async fn free_addr() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}
