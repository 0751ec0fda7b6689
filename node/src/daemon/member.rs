//! A node as a member of a swarm: always an agent, a manager while the swarm wants it to be one.
//!
//! Owns the agent, the manager while there is one, and the loop that looks after both (`supervise`). Invariant: stopping and
//! leaving end that loop first, so nothing is begun any more, and end in bounded time from any state.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use skep_common::{
    clock::{Clock as _, SystemClock},
    feature_level::FEATURE_LEVEL,
    limits::{LEAVE_LIMIT, PEER_PORT},
    net::{backoff::Backoff, dial::Dialer, identity::Identity, server::ServerLimits},
};
use skep_manager::{Manager, ManagerConfig, ManagerError, Membership, Start};
use skep_proto::v1::{NodeDescription, NodeRole, PeerManager};
use skep_runtime::Runtime;
use skep_worker::{Link, Managers, SessionState, Worker, WorkerConfig};
use tokio::{
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{
    certificates::Certificates,
    enroll::{self, EnrollError},
    record::{Record, SwarmDir},
    troubles,
};

/// How long a manager may take to close its state. One that takes longer has a disk that does not answer.
const CLOSING: Duration = Duration::from_secs(5);

/// What a member is made of.
pub(super) struct MemberConfig {
    /// Where its files are.
    pub(super) dir: SwarmDir,
    /// How it is reached.
    pub(super) record: Record,
    /// Who it is.
    pub(super) identity: Identity,
    /// What runs its containers.
    pub(super) runtime: Arc<dyn Runtime>,
    /// What the machine is.
    pub(super) description: NodeDescription,
    /// What its ports take on.
    pub(super) limits: ServerLimits,
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
    session: watch::Receiver<SessionState>,
    /// Until it is stopped.
    worker: Mutex<Option<Worker>>,
    /// Until it has ended.
    supervising: tokio::sync::Mutex<Option<Supervising>>,
}

struct Supervising {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// What the member and its supervising loop both stand on.
pub(super) struct Shared {
    pub(super) dir: SwarmDir,
    pub(super) record: Record,
    pub(super) certificates: Certificates,
    pub(super) dialer: Dialer,
    pub(super) managers: Managers,
    limits: ServerLimits,
    pub(super) manager: watch::Sender<Option<Manager>>,
    pub(super) trouble: watch::Sender<String>,
    /// What is wrong with the manager, for the agent to tell the swarm.
    pub(super) manager_trouble: watch::Sender<String>,
}

impl Member {
    /// Starts the agent and, when the certificate says so, the manager. `bootstrap` is the first manager of a new swarm.
    ///
    /// # Errors
    /// When a port is taken or the state cannot be opened. A swarm that cannot be reached is no error.
    pub(super) async fn start(config: MemberConfig, bootstrap: Option<Start>) -> Result<Self, MemberError> {
        let certificates = Certificates::new(config.dir.clone(), config.identity);
        let identity = certificates.shown().clone();
        let managers = config.record.known_managers(&config.dir);
        let dialer = Dialer::new(identity.clone()).trusting(Arc::new(managers.clone()));
        let peer_addr = SocketAddr::new(config.record.listen_addr.ip(), PEER_PORT);
        let listen = bind(peer_addr).await?;
        let advertised = SocketAddr::new(config.record.advertise_addr.ip(), PEER_PORT);
        let description = NodeDescription { peer_addr: advertised.to_string(), ..config.description };

        let shared = Arc::new(Shared {
            dir: config.dir,
            record: config.record,
            certificates,
            dialer: dialer.clone(),
            managers: managers.clone(),
            limits: config.limits,
            manager: watch::Sender::new(None),
            trouble: watch::Sender::default(),
            manager_trouble: watch::Sender::default(),
        });
        if let Some(start) = bootstrap {
            let listen = bind(shared.record.listen_addr).await?;
            shared.start_manager(listen, start, &CancellationToken::new()).await?;
            managers.learn(vec![shared.as_peer()], 0);
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
            manager_trouble: shared.manager_trouble.subscribe(),
            listen,
            limits: config.limits,
        })
        .await;
        let session = worker.session();
        let (worker, supervising) = (Mutex::new(Some(worker)), tokio::sync::Mutex::default());
        let member = Self { shared, session, worker, supervising };
        member.supervise().await;
        Ok(member)
    }

    async fn supervise(&self) {
        let stop = CancellationToken::new();
        let (shared, session, ended) = (Arc::clone(&self.shared), self.session.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let telling = troubles::follow(shared.manager.subscribe(), Manager::troubles, &shared.manager_trouble);
            tokio::join!(Arc::clone(&shared).supervise(session, ended.clone()), ended.run_until_cancelled(telling));
        });
        *self.supervising.lock().await = Some(Supervising { stop, task });
    }

    async fn stop_supervising(&self) {
        let mut supervising = self.supervising.lock().await;
        if let Some(Supervising { stop, task }) = &mut *supervising {
            stop.cancel();
            // One that panicked has ended too. A caller that stops waiting leaves it to the next.
            let _ = task.await;
        }
        *supervising = None;
    }

    /// This node's id.
    pub(super) fn node_id(&self) -> String {
        self.shared.certificates.shown().current().node_id().to_owned()
    }

    /// The IP the others reach it under.
    pub(super) fn addr(&self) -> std::net::IpAddr {
        self.shared.record.advertise_addr.ip()
    }

    /// The managers it knows.
    pub(super) fn managers(&self) -> Vec<PeerManager> {
        self.shared.managers.list()
    }

    /// Its manager while it is one; not while it is only on its way to be one.
    pub(super) fn manager(&self) -> Option<Manager> {
        let manager = self.shared.manager.borrow().clone()?;
        let membership = manager.status().borrow().membership;
        (membership != Membership::Pending).then_some(manager)
    }

    /// Whether it is to manage, and is no manager yet: it still opens its state, joins the others, or catches up with them.
    pub(super) fn is_starting(&self) -> bool {
        self.is_manager() && self.manager().is_none()
    }

    /// Whether this node is to manage, by its certificate.
    pub(super) fn is_manager(&self) -> bool {
        self.shared.certificates.shown().current().role() == NodeRole::Manager
    }

    /// What is wrong at the moment; empty when nothing is.
    pub(super) fn trouble(&self) -> String {
        if let Some(trouble) = self.shared.certificates.trouble() {
            return match self.is_locked_out() {
                true => format!(
                    "{trouble}; if the clock is right, bring the node back with \
                    \"swarm join --token TOKEN MANAGER:2377\": it stays the node it is"
                ),
                false => trouble,
            };
        }
        let manager = self.shared.manager.borrow().clone();
        if let Some(shut_out) = manager.and_then(|manager| manager.shut_out()) {
            return shut_out;
        }
        let trouble = self.shared.trouble.borrow().clone();
        if !trouble.is_empty() {
            return trouble;
        }
        match &self.session.borrow().link {
            Link::Connecting { error } if !error.is_empty() => {
                format!("this node has no session with its swarm: {error}")
            }
            _ => lock(&self.worker).as_ref().map(Worker::message).unwrap_or_default(),
        }
    }

    /// Whether the swarm takes no call of this node, because its certificate is not valid, and no manager of its own can help.
    pub(super) fn is_locked_out(&self) -> bool {
        let shown = self.shared.certificates.shown().current();
        let can_issue = self.shared.manager.borrow().as_ref().is_some_and(Manager::can_issue_own);
        !can_issue && !shown.certificate().is_valid(SystemClock::new().now())
    }

    /// Asks `remotes` (host:port) in turn for a valid certificate for this same node, with a join token and the key it holds.
    /// Changes nothing.
    ///
    /// # Errors
    /// When no manager gives it by `ends`.
    pub(super) async fn ask_again(
        &self,
        remotes: &[String],
        token: &str,
        ends: Instant,
    ) -> Result<Identity, EnrollError> {
        let current = self.shared.certificates.shown().current();
        let mut last = EnrollError::Unreachable("no manager was named".to_owned());
        for remote in remotes {
            match timeout_at(ends, enroll::again(remote, token, &current, &self.shared.dir.next_key())).await {
                Ok(Ok(identity)) => return Ok(identity),
                Ok(Err(error)) => last = error,
                Err(_) => return Err(EnrollError::Unreachable(format!("{remote} gave no certificate in time"))),
            }
        }
        Err(last)
    }

    /// Is the same node again, with a certificate that one of `remotes` has given.
    ///
    /// # Errors
    /// When it is worse than the one there is, or cannot be kept.
    pub(super) fn come_back(&self, identity: Identity, remotes: &[String]) -> Result<(), EnrollError> {
        self.shared.certificates.install(identity)?;
        self.shared.managers.also(remotes);
        Ok(())
    }

    /// Waits until the agent has a session and, if the node is a manager, its manager is a member.
    pub(super) async fn wait_connected(&self) {
        let is_manager = self.is_manager();
        let mut session = self.session.clone();
        // A watch whose sender is gone means the member is being stopped; then nobody waits any more.
        let _ = session.wait_for(|state| state.is_connected()).await;
        if !is_manager {
            return;
        }
        let mut manager = self.shared.manager.subscribe();
        loop {
            let started = manager.borrow_and_update().clone();
            let Some(started) = started else {
                if manager.changed().await.is_err() {
                    return;
                }
                continue;
            };
            let mut status = started.status();
            tokio::select! {
                member = status.wait_for(|status| status.membership == Membership::Member) => {
                    if member.is_ok() {
                        return;
                    }
                }
                _ = manager.changed() => {}
            }
        }
    }

    /// Stops agent and manager. Containers run on.
    pub(super) async fn shutdown(&self) {
        let worker = lock(&self.worker).take();
        let resting = async {
            if let Some(worker) = worker {
                worker.shutdown().await;
            }
        };
        tokio::join!(self.stop_supervising(), resting);
        self.shared.stop_manager().await;
    }

    /// Stops agent and manager, and every task with its container. The manager leaves consensus first.
    ///
    /// # Errors
    /// When the rest could not form a quorum and `force` is not set. Then nothing was stopped.
    pub(super) async fn leave(&self, force: bool) -> Result<(), ManagerError> {
        let ends = Instant::now() + LEAVE_LIMIT;
        let Shared { dir, record, .. } = &*self.shared;
        let starting = self.is_starting();
        if force {
            dir.mark_leaving(record, true);
        } else {
            // Or it would join anew as soon as it is out.
            self.stop_supervising().await;
            let manager = self.shared.manager.borrow().clone();
            let consent = async {
                match &manager {
                    Some(manager) => manager.leave(false).await,
                    None => Ok(()),
                }
            };
            if let Err(error) = dir.leave_unless_refused(record, consent).await {
                self.supervise().await;
                return Err(error);
            }
        }
        let worker = lock(&self.worker).take();
        // Containers take their time to stop, the others theirs to agree, and a state to be closed: all at once.
        let farewell = async {
            self.stop_supervising().await;
            let manager = self.shared.manager.borrow().clone();
            let left = match manager {
                Some(manager) if force => manager.leave(true).await,
                None if starting => {
                    _ = ask_to_go(&self.shared.dialer, &self.shared.other_managers()).await;
                    Ok(())
                }
                _ => Ok(()),
            };
            self.shared.stop_manager().await;
            left
        };
        let release = async {
            if let Some(worker) = worker {
                worker.leave(ends).await;
            }
        };
        let (left, ()) = tokio::join!(farewell, release);
        left
    }
}

/// Has the others (host:port) take this node, whose manager does not run, out of their consensus. Says whether they did.
pub(super) async fn ask_to_go(dialer: &Dialer, others: &[String]) -> bool {
    let asked = skep_manager::leave(dialer, others).await;
    if let Err(status) = &asked {
        warn!(reason = status.message(), "the other managers have not let this one go");
    }
    asked.is_ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The other managers, host:port.
    pub(super) fn other_managers(&self) -> Vec<String> {
        self.record.others(&self.managers, self.certificates.shown().current().node_id())
    }

    /// Starts the manager; as long as nobody gives that up.
    pub(super) async fn start_manager(
        &self,
        listen: TcpListener,
        start: Start,
        give_up: &CancellationToken,
    ) -> Result<(), MemberError> {
        let identity = self.certificates.shown().current();
        let manager = Manager::start(ManagerConfig {
            node_id: identity.node_id().to_owned(),
            cluster_id: identity.cluster_id().to_owned(),
            data_dir: self.dir.manager(),
            listen,
            limits: self.limits,
            advertise_addr: self.record.advertise_addr.to_string(),
            identity: self.certificates.shown().clone(),
            dialer: self.dialer.clone(),
            clock: Arc::new(SystemClock::new()),
            feature_level: FEATURE_LEVEL,
            start,
            give_up: give_up.clone(),
        })
        .await?;
        self.manager.send_replace(Some(manager));
        Ok(())
    }

    pub(super) async fn stop_manager(&self) {
        if let Some(manager) = self.manager.send_replace(None)
            && timeout(CLOSING, manager.shutdown()).await.is_err()
        {
            error!("the manager's state could not be closed in time; going on without it");
        }
    }

    pub(super) async fn wipe_manager(&self) {
        let dir = self.dir.manager();
        let wiped = tokio::task::spawn_blocking({
            let dir = dir.clone();
            move || std::fs::remove_dir_all(dir)
        });
        if let Ok(Err(error)) = wiped.await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            warn!(%error, dir = %dir.display(), "cannot remove the state of a manager that is none any more; trying again");
        }
    }

    fn as_peer(&self) -> PeerManager {
        PeerManager {
            node_id: self.certificates.shown().current().node_id().to_owned(),
            addr: self.record.advertise_addr.to_string(),
            leader: true,
        }
    }
}

/// Binds, and waits a little for a port that the daemon before this one still holds.
pub(super) async fn bind(addr: SocketAddr) -> Result<TcpListener, MemberError> {
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
