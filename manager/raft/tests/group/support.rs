//! Managers in one process, on loopback, with real identities: each serves nothing but the Raft service.

use std::{path::PathBuf, sync::Arc, time::Duration};

use skep_ca::{RootCa, Subject};
use skep_common::{
    clock::{Clock as _, SystemClock, Timestamp},
    net::{
        dial::Dialer,
        identity::{Identity, IdentityHandle, new_key_and_csr},
        server::{RoleAnswer, RoleSource, RpcServer},
    },
};
use skep_proto::v1::{Annotations, Node, NodeRole, NodeSpec, Transaction};
use skep_raft::{
    Applied, FIRST_RAFT_ID, Leadership, OnFatal, Open, ProposeError, RaftConfig, RaftNode, Standing, StartError, Tuning,
};
use skep_store::{Store, TxBuilder, View};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
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

struct AllManagers;

impl RoleSource for AllManagers {
    fn role_of(&self, _: &str) -> RoleAnswer {
        RoleAnswer::Is(NodeRole::Manager)
    }
}

impl Swarm {
    pub(crate) fn new() -> Self {
        Self::with(Tuning::default())
    }

    pub(crate) fn with(tuning: Tuning) -> Self {
        let ca = RootCa::generate(SystemClock::new().now(), CLUSTER).unwrap();
        Self { ca, dir: tempfile::tempdir().unwrap(), tuning }
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
            on_fatal: OnFatal::new(|reason| panic!("{reason}")),
        };
        let raft = RaftNode::start(config, store.clone(), dialer.clone(), Arc::new(SystemClock::new())).await?;
        let stop = CancellationToken::new();
        let server = RpcServer::new(listener, identity, Arc::new(AllManagers), Routes::new(raft.service()));
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
        manager.wait_standing(Standing::Voter).await;
        manager
    }

    pub(crate) async fn join_as_learner(&self, leader: &Manager, name: &str, addr: Option<&str>) -> Manager {
        if leader.store.view().node(name).is_none() {
            leader.raft.propose(create(name)).await.unwrap();
        }
        // The address must be known before the member is: take a port and keep it.
        let addr = match addr {
            Some(addr) => addr.to_owned(),
            None => TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string(),
        };
        let raft_id = leader.raft.add_member(name, &addr).await.unwrap();
        self.start(name, Open::Create { raft_id }, Some(&addr)).await.unwrap()
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

    pub(crate) async fn wait_standing(&self, wanted: Standing) {
        let mut standing = self.raft.standing();
        timeout(PATIENCE, standing.wait_for(|standing| *standing == wanted)).await.expect("standing in time").unwrap();
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
