//! A node as a member of a swarm: always an agent, a manager while the swarm wants it to be one.
//!
//! Owns the node's identity files and the life of its manager. One loop, level-triggered: it compares the role the swarm
//! has for this node with the role its certificate says and with the manager that runs (or not), and takes the one next
//! step; after a crash at any point it simply goes on from what is there.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use skep_ca::renewal_moment;
use skep_common::{
    clock::{Clock as _, SystemClock, Timestamp},
    limits::PEER_PORT,
    net::{
        backoff::Backoff,
        dial::Dialer,
        identity::{Identity, IdentityHandle},
    },
};
use skep_manager::{Manager, ManagerConfig, ManagerError, Membership, Start};
use skep_proto::v1::{NodeDescription, NodeRole, PeerManager};
use skep_runtime::Runtime;
use skep_worker::{Managers, SessionState, Worker, WorkerConfig};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    enroll::{self, EnrollError},
    record::{Record, SwarmDir},
};

/// What a member is made of.
pub(super) struct MemberConfig {
    /// Where its files are.
    pub(super) dir: SwarmDir,
    /// How it is reached.
    pub(super) record: Record,
    /// Who it is.
    pub(super) identity: Identity,
    /// Managers to begin with, host:port.
    pub(super) remotes: Vec<String>,
    /// What runs its containers.
    pub(super) runtime: Arc<dyn Runtime>,
    /// What the machine is.
    pub(super) description: NodeDescription,
    /// Where the agent keeps task.db.
    pub(super) worker_dir: std::path::PathBuf,
}

/// Why a member could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum MemberError {
    /// A port is taken.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// host:port.
        addr: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The manager cannot start.
    #[error("{0}")]
    Manager(#[from] ManagerError),
}

/// A running member. Dropping it stops nothing: see [`Member::shutdown`].
pub(super) struct Member {
    shared: Arc<Shared>,
    worker: Worker,
    supervisor: JoinHandle<()>,
}

struct Shared {
    dir: SwarmDir,
    record: Record,
    identity: IdentityHandle,
    dialer: Dialer,
    managers: Managers,
    manager: watch::Sender<Option<Manager>>,
    trouble: watch::Sender<String>,
    stop: CancellationToken,
}

impl Member {
    /// Starts the agent and, when the certificate says so, the manager. `bootstrap` is the first manager of a new swarm.
    ///
    /// # Errors
    /// When a port is taken or the state cannot be opened. A swarm that cannot be reached is no error.
    pub(super) async fn start(config: MemberConfig, bootstrap: Option<Start>) -> Result<Self, MemberError> {
        let identity = IdentityHandle::new(config.identity);
        let dialer = Dialer::new(identity.clone());
        let managers = Managers::open(config.dir.managers(), config.remotes);
        let peer_addr = SocketAddr::new(config.record.listen_addr.ip(), PEER_PORT);
        let listen = bind(peer_addr).await?;
        let advertised = SocketAddr::new(config.record.advertise_addr.ip(), PEER_PORT);
        let description = NodeDescription { peer_addr: advertised.to_string(), ..config.description };

        let shared = Arc::new(Shared {
            dir: config.dir,
            record: config.record,
            identity: identity.clone(),
            dialer: dialer.clone(),
            managers: managers.clone(),
            manager: watch::Sender::new(None),
            trouble: watch::Sender::new(String::new()),
            stop: CancellationToken::new(),
        });
        if let Some(start) = bootstrap {
            shared.start_manager(start).await?;
            managers.learn(vec![shared.as_peer()]);
        }
        let worker = Worker::start(WorkerConfig {
            node_id: identity.current().node_id().to_owned(),
            data_dir: config.worker_dir,
            identity,
            dialer,
            clock: Arc::new(SystemClock::new()),
            runtime: config.runtime,
            managers,
            description: watch::Sender::new(description).subscribe(),
            listen,
        })
        .await;
        let supervisor = tokio::spawn(Arc::clone(&shared).supervise(worker.session()));
        Ok(Self { shared, worker, supervisor })
    }

    /// This node's id.
    pub(super) fn node_id(&self) -> String {
        self.shared.identity.current().node_id().to_owned()
    }

    /// The IP the others reach it under.
    pub(super) fn addr(&self) -> std::net::IpAddr {
        self.shared.record.advertise_addr.ip()
    }

    /// The managers it knows.
    pub(super) fn managers(&self) -> Vec<PeerManager> {
        self.shared.managers.list()
    }

    /// Its manager while it is one.
    pub(super) fn manager(&self) -> Option<Manager> {
        self.shared.manager.borrow().clone()
    }

    /// What is wrong at the moment; empty when nothing is.
    pub(super) fn trouble(&self) -> String {
        let trouble = self.shared.trouble.borrow().clone();
        if trouble.is_empty() { self.worker.message() } else { trouble }
    }

    /// Waits until the agent has a session and, if the node is a manager, its manager is a member.
    pub(super) async fn wait_connected(&self) {
        let role = self.shared.identity.current().role();
        let mut session = self.worker.session();
        let mut manager = self.shared.manager.subscribe();
        // A watch whose sender is gone means the member is being stopped; then nobody waits any more.
        let _ = session.wait_for(|state| state.is_connected()).await;
        if role == NodeRole::Manager {
            let _ = manager.wait_for(Option::is_some).await;
        }
    }

    /// Stops agent and manager. Containers run on.
    pub(super) async fn shutdown(self) {
        self.shared.stop.cancel();
        let _ = self.supervisor.await;
        self.worker.shutdown().await;
        self.shared.stop_manager().await;
    }

    /// Stops agent and manager, and every task with its container. The manager leaves consensus first.
    ///
    /// # Errors
    /// When the rest could not form a quorum and `force` is not set. Then nothing was stopped.
    pub(super) async fn leave(self, force: bool) -> Result<(), (Self, ManagerError)> {
        if let Some(manager) = self.manager()
            && let Err(error) = manager.leave(force).await
        {
            return Err((self, error));
        }
        self.shared.stop.cancel();
        let _ = self.supervisor.await;
        self.worker.leave().await;
        self.shared.stop_manager().await;
        Ok(())
    }
}

/// What the supervisor found to be the next step.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Renew,
    StartManager,
    StopManager,
    Nothing,
}

/// The next step towards what the swarm wants of this node. `wanted` is the role in the store, `held` the
/// certificate's; a certificate past its renewal moment is due.
fn next_step(wanted: NodeRole, held: NodeRole, runs: bool, removed: bool, due: bool) -> Step {
    match (wanted, held, runs) {
        (NodeRole::Worker, _, true) => Step::StopManager,
        (_, _, true) if removed => Step::StopManager,
        _ if wanted != held || due => Step::Renew,
        (NodeRole::Manager, NodeRole::Manager, false) => Step::StartManager,
        _ => Step::Nothing,
    }
}

impl Shared {
    async fn supervise(self: Arc<Self>, mut session: watch::Receiver<SessionState>) {
        /// How often everything is compared even if nothing was heard.
        const PERIOD: Duration = Duration::from_secs(30);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let stop = self.stop.clone();
        let clock = SystemClock::new();
        let mut due_at = self.renewal();
        loop {
            let held = self.identity.current().role();
            // Until the swarm has said otherwise, the certificate speaks for it.
            let wanted = session.borrow_and_update().node_role().unwrap_or(held);
            let mut status = self.manager.borrow().as_ref().map(Manager::status);
            let removed =
                status.as_mut().is_some_and(|status| status.borrow_and_update().membership == Membership::Removed);
            let now = clock.now();
            let step = next_step(wanted, held, status.is_some(), removed, now >= due_at);
            let result = match step {
                Step::Nothing => Ok(()),
                Step::Renew => {
                    self.renew().await.inspect(|()| due_at = self.renewal()).map_err(|error| error.to_string())
                }
                Step::StopManager => {
                    self.retire_manager().await;
                    Ok(())
                }
                Step::StartManager => self.resume_manager().await.map_err(|error| error.to_string()),
            };
            let wait = match &result {
                Ok(()) if step == Step::Nothing => {
                    backoff.reset();
                    let until_due = u64::try_from(due_at.as_nanos().saturating_sub(now.as_nanos())).unwrap_or(0);
                    PERIOD.min(Duration::from_nanos(until_due))
                }
                Ok(()) => Duration::ZERO,
                Err(error) => {
                    warn!(?step, error, "this node could not follow the swarm's wish; trying again");
                    backoff.next_delay()
                }
            };
            self.trouble.send_replace(result.err().unwrap_or_default());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                Ok(()) = session.changed() => {}
                () = changed(status.as_mut()) => {}
            }
        }
    }

    fn renewal(&self) -> Timestamp {
        let identity = self.identity.current();
        renewal_moment(identity.certificate().not_before, identity.certificate().not_after)
    }

    /// Gets a certificate for the role the swarm wants this node to have, from whichever manager answers.
    async fn renew(&self) -> Result<(), EnrollError> {
        let current = self.identity.current();
        let mut last = EnrollError::Unreachable("no manager is known".to_owned());
        for manager in self.managers.list() {
            match enroll::renew(&self.dialer, &manager.addr, current.roots_pem()).await {
                Ok(identity) => {
                    identity.save(&self.dir.identity())?;
                    info!(role = ?identity.role(), "the node has a new certificate");
                    self.identity.replace(identity);
                    return Ok(());
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Starts the manager of a node that was one before, or has just been promoted.
    async fn resume_manager(&self) -> Result<(), ManagerError> {
        if self.dir.manager().exists() {
            let own = self.record.advertise_addr.to_string();
            let remotes = self.other_managers().chain([own]).collect();
            match self.start_manager(Start::Resume { remotes }).await {
                Err(MemberError::Manager(ManagerError::Wiped(_))) => {
                    warn!("this manager's log is gone: it joins anew, under a new Raft id");
                    self.wipe_manager();
                }
                other => return other.map_err(into_manager),
            }
        }
        let start = Start::Join { remotes: self.other_managers().collect() };
        let joined = self.start_manager(start).await.map_err(into_manager);
        if joined.is_err() {
            self.wipe_manager();
        }
        joined
    }

    fn other_managers(&self) -> impl Iterator<Item = String> {
        let own = self.identity.current().node_id().to_owned();
        self.managers.list().into_iter().filter(move |manager| manager.node_id != own).map(|manager| manager.addr)
    }

    async fn start_manager(&self, start: Start) -> Result<(), MemberError> {
        let identity = self.identity.current();
        let listen = bind(self.record.listen_addr).await?;
        let manager = Manager::start(ManagerConfig {
            node_id: identity.node_id().to_owned(),
            cluster_id: identity.cluster_id().to_owned(),
            data_dir: self.dir.manager(),
            listen,
            advertise_addr: self.record.advertise_addr.to_string(),
            identity: self.identity.clone(),
            dialer: self.dialer.clone(),
            clock: Arc::new(SystemClock::new()),
            start,
        })
        .await?;
        self.manager.send_replace(Some(manager));
        Ok(())
    }

    async fn stop_manager(&self) {
        if let Some(manager) = self.manager.send_replace(None) {
            manager.shutdown().await;
        }
    }

    /// Stops the manager for good: its Raft id is never used again.
    async fn retire_manager(&self) {
        self.stop_manager().await;
        self.wipe_manager();
        info!("this node no longer manages the swarm");
    }

    fn wipe_manager(&self) {
        let dir = self.dir.manager();
        if let Err(error) = std::fs::remove_dir_all(&dir)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            warn!(%error, dir = %dir.display(), "cannot remove the state of a manager that is none any more; remove it by hand");
        }
    }

    fn as_peer(&self) -> PeerManager {
        PeerManager {
            node_id: self.identity.current().node_id().to_owned(),
            addr: self.record.advertise_addr.to_string(),
            leader: true,
        }
    }
}

async fn changed<T>(watch: Option<&mut watch::Receiver<T>>) {
    if let Some(watch) = watch
        && watch.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

fn into_manager(error: MemberError) -> ManagerError {
    match error {
        MemberError::Manager(error) => error,
        MemberError::Listen { source, .. } => ManagerError::Listen(source),
    }
}

/// Binds, and waits a little for a port that the daemon before this one still holds.
async fn bind(addr: SocketAddr) -> Result<TcpListener, MemberError> {
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(200));
    for _ in 0..20 {
        match TcpListener::bind(addr).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => backoff.wait().await,
            Err(source) => return Err(MemberError::Listen { addr, source }),
        }
    }
    TcpListener::bind(addr).await.map_err(|source| MemberError::Listen { addr, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use NodeRole::{Manager as M, Worker as W};

    #[test]
    fn every_situation_has_one_next_step() {
        // wanted, held, runs, removed, due
        let cases = [
            ((W, W, false, false, false), Step::Nothing),
            ((M, M, true, false, false), Step::Nothing),
            ((M, W, false, false, false), Step::Renew),
            ((M, M, false, false, false), Step::StartManager),
            ((W, M, true, false, false), Step::StopManager),
            ((W, M, false, false, false), Step::Renew),
            ((M, M, true, true, false), Step::StopManager),
            ((W, W, false, false, true), Step::Renew),
            ((M, M, true, false, true), Step::Renew),
        ];
        for ((wanted, held, runs, removed, due), step) in cases {
            assert_eq!(next_step(wanted, held, runs, removed, due), step, "{wanted:?} {held:?} {runs} {removed} {due}");
        }
    }

    #[test]
    fn promotion_and_demotion_end_in_nothing_to_do() {
        for wanted in [W, M] {
            let (mut held, mut runs) = if wanted == M { (W, false) } else { (M, true) };
            for _ in 0..4 {
                match next_step(wanted, held, runs, false, false) {
                    Step::Renew => held = wanted,
                    Step::StartManager => runs = true,
                    Step::StopManager => runs = false,
                    Step::Nothing => break,
                }
            }
            assert_eq!((held, runs), (wanted, wanted == M));
            assert_eq!(next_step(wanted, held, runs, false, false), Step::Nothing);
        }
    }
}
