//! This node's membership as the API sees it: `swarm init`, `join`, `leave`, and what `info` says.
//!
//! Owns the phase the node is in and the membership record. One change at a time; reading the status waits for nobody.
//! [`bring_up`] goes on with a membership that is on record.

mod bring_up;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use skep_ca::{RootCa, Subject};
use skep_common::{
    clock::{Clock as _, SystemClock},
    id::{Ids as _, RandomIds},
    limits::CERTIFICATE_LIFETIME,
    net::{
        dial::Dialer,
        identity::{Identity, IdentityHandle, new_key_and_csr},
        server::ServerLimits,
    },
    token::JoinToken,
};
use skep_manager::{Bootstrap, Membership, Start};
use skep_proto::v1::{NodeDescription, NodeRole};
use skep_runtime::Runtime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::bring_up::Attempt;
use super::{
    DaemonError, address,
    member::{Member, MemberConfig, MemberError, ask_to_go},
    record::{Joining, Record, SwarmDir},
};
use crate::api::backend::{
    InitOptions, JoinOptions, LocalNodeState, LocalStatus, Manager as ManagerBackend, Swarm, SwarmError,
};

/// How long `swarm join` waits before it leaves the rest to the background, as in Docker.
const JOIN_WAIT: Duration = Duration::from_secs(20);

/// Where the node is in its life with swarms.
#[derive(Clone)]
enum Phase {
    Inactive,
    /// Joining, or starting again; `error` is the last thing that went wrong.
    Pending {
        record: Record,
        error: String,
        attempt: Attempt,
    },
    Active(Arc<Member>),
    /// The swarm has refused the join that was on record.
    Refused(String),
}

/// The node's membership. Cheap to clone.
#[derive(Clone)]
pub(super) struct LocalSwarm {
    inner: Arc<Inner>,
}

struct Inner {
    dir: SwarmDir,
    worker_dir: PathBuf,
    runtime: Arc<dyn Runtime>,
    description: NodeDescription,
    limits: ServerLimits,
    phase: Mutex<Phase>,
    /// Held while the membership changes.
    change: Arc<tokio::sync::Mutex<()>>,
    /// Cancelled when the daemon is to end.
    stopping: CancellationToken,
}

impl LocalSwarm {
    /// The membership as the disk remembers it; brought up in the background.
    ///
    /// # Errors
    /// When there is a record that cannot be read.
    pub(super) fn open(
        data_root: &std::path::Path,
        runtime: Arc<dyn Runtime>,
        description: NodeDescription,
        limits: ServerLimits,
    ) -> Result<Self, DaemonError> {
        let swarm = Self {
            inner: Arc::new(Inner {
                dir: SwarmDir::new(data_root),
                worker_dir: data_root.join("worker"),
                runtime,
                description,
                limits,
                phase: Mutex::new(Phase::Inactive),
                change: Arc::default(),
                stopping: CancellationToken::new(),
            }),
        };
        match swarm.inner.dir.load()? {
            Some(record) if !record.leaving => _ = swarm.begin(record),
            left => swarm.clear_away(left.is_some()),
        }
        Ok(swarm)
    }

    /// Removes what is left of a membership that has ended, in the background. None begins meanwhile.
    fn clear_away(&self, interrupted: bool) {
        // Nobody else knows of this swarm yet: the lock is free.
        let Ok(change) = Arc::clone(&self.inner.change).try_lock_owned() else { return };
        let swarm = self.clone();
        tokio::spawn(async move {
            let _change = change;
            let Inner { runtime, worker_dir, dir, stopping, .. } = &*swarm.inner;
            if interrupted {
                info!("the node goes on leaving its swarm");
            }
            let cleared = stopping.run_until_cancelled(skep_worker::remove_leftovers(runtime, worker_dir)).await;
            if interrupted
                && cleared.is_some()
                && let Err(error) = dir.wipe()
            {
                warn!(%error, "the record of the swarm this node has left cannot be removed; trying again at the next start");
            }
        });
    }

    /// Stops agent and manager; containers and membership stay.
    pub(super) async fn shutdown(&self) {
        // Ends what a change may be waiting for.
        self.inner.stopping.cancel();
        if let Phase::Pending { attempt, .. } = self.inner.phase() {
            attempt.end().await;
        }
        let _change = self.inner.change.lock().await;
        match self.inner.phase() {
            Phase::Active(member) => member.shutdown().await,
            Phase::Pending { attempt, .. } => attempt.end().await,
            Phase::Inactive | Phase::Refused(_) => {}
        }
        self.inner.set(Phase::Inactive);
    }

    /// A join that goes on in the background, and why it does.
    fn unfinished(&self) -> SwarmError {
        let error = self.status().error;
        SwarmError::JoinTimeout(if error.is_empty() { error } else { format!(" The reason so far: {error}.") })
    }

    async fn found(&self, options: InitOptions) -> Result<String, SwarmError> {
        let _change = self.inner.change.lock().await;
        self.inner.must_be_inactive()?;
        let interfaces = address::interfaces()?;
        let listen_addr = address::listen(&options.listen_addr, &interfaces)?;
        let record = Record {
            listen_addr,
            advertise_addr: address::advertise(options.advertise_addr.as_deref(), listen_addr, &interfaces)?,
            advertise: options.advertise_addr.clone(),
            remotes: Vec::new(),
            joining: None,
            leaving: false,
        };
        let (identity, bootstrap) = found(&options, &self.inner.description).map_err(internal)?;
        identity.save(&self.inner.dir.identity()).map_err(internal)?;
        self.inner.dir.save(&record).map_err(internal)?;
        let member = match self.activate(record, identity, Some(Start::Bootstrap(Box::new(bootstrap)))).await {
            Ok(member) => member,
            Err(error) => {
                self.inner.dir.wipe().map_err(internal)?;
                return Err(internal(error));
            }
        };
        Ok(member.node_id())
    }

    async fn leave(&self, force: bool) -> Result<(), SwarmError> {
        let _change = self.inner.change.lock().await;
        match self.inner.phase() {
            Phase::Inactive => return Err(SwarmError::NotInSwarm),
            Phase::Pending { attempt, record, .. } => {
                let managing = self.inner.managing(&record);
                if managing.is_some() && !force {
                    return Err(SwarmError::LeaveNeedsForce(leave_warning(0, false)));
                }
                attempt.end().await;
                // It may just have come up.
                if let Phase::Active(member) = self.inner.phase() {
                    end_membership(&member, force).await?;
                } else {
                    self.inner.dir.mark_leaving(&record, true);
                    let farewell = async {
                        if let Some((dialer, others)) = managing {
                            ask_to_go(&dialer, &others).await;
                        }
                    };
                    let leftovers = skep_worker::remove_leftovers(&self.inner.runtime, &self.inner.worker_dir);
                    tokio::join!(farewell, leftovers);
                }
            }
            Phase::Refused(_) => {}
            Phase::Active(member) => end_membership(&member, force).await?,
        }
        self.inner.dir.wipe().map_err(internal)?;
        self.inner.set(Phase::Inactive);
        Ok(())
    }

    async fn activate(
        &self,
        record: Record,
        identity: Identity,
        bootstrap: Option<Start>,
    ) -> Result<Arc<Member>, MemberError> {
        let config = MemberConfig {
            dir: self.inner.dir.clone(),
            record,
            identity,
            runtime: Arc::clone(&self.inner.runtime),
            description: self.inner.description.clone(),
            limits: self.inner.limits,
            worker_dir: self.inner.worker_dir.clone(),
        };
        let member = Arc::new(Member::start(config, bootstrap).await?);
        info!(node = member.node_id(), "the node is part of a swarm");
        self.inner.set(Phase::Active(Arc::clone(&member)));
        Ok(member)
    }
}

impl Inner {
    fn phase(&self) -> Phase {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// The way to the other managers (host:port), when this node, whose membership is not up, is a manager by its certificate.
    fn managing(&self, record: &Record) -> Option<(Dialer, Vec<String>)> {
        let identity = Identity::load(&self.dir.identity()).ok()?;
        if identity.role() != NodeRole::Manager {
            return None;
        }
        let managers = record.known_managers(&self.dir);
        let others = managers.list().into_iter().filter(|manager| manager.node_id != identity.node_id());
        let others = others.map(|manager| manager.addr).filter(|addr| *addr != record.advertise_addr.to_string());
        let others = others.collect();
        Some((Dialer::new(IdentityHandle::new(identity)).trusting(Arc::new(managers)), others))
    }

    fn note(&self, text: String) {
        if let Phase::Pending { error, .. } = &mut *self.phase.lock().unwrap_or_else(PoisonError::into_inner) {
            *error = text;
        }
    }

    fn must_be_inactive(&self) -> Result<(), SwarmError> {
        match self.phase() {
            Phase::Inactive | Phase::Refused(_) => Ok(()),
            _ => Err(SwarmError::AlreadyInSwarm),
        }
    }
}

fn internal(error: impl ToString) -> SwarmError {
    SwarmError::Internal(error.to_string())
}

#[async_trait]
impl Swarm for LocalSwarm {
    fn status(&self) -> LocalStatus {
        match self.inner.phase() {
            Phase::Inactive => LocalStatus::default(),
            Phase::Pending { record, error, .. } => LocalStatus {
                state: LocalNodeState::Pending,
                node_addr: record.advertise_addr.ip().to_string(),
                error,
                ..LocalStatus::default()
            },
            Phase::Active(member) => LocalStatus {
                state: LocalNodeState::Active,
                node_id: member.node_id(),
                node_addr: member.addr().to_string(),
                error: member.trouble(),
                is_manager: member.is_manager(),
                remote_managers: member.managers(),
            },
            Phase::Refused(error) => LocalStatus { state: LocalNodeState::Error, error, ..LocalStatus::default() },
        }
    }

    fn manager(&self) -> Option<Arc<dyn ManagerBackend>> {
        match self.inner.phase() {
            Phase::Active(member) => member.manager().map(|manager| Arc::new(manager) as Arc<dyn ManagerBackend>),
            _ => None,
        }
    }

    async fn init(&self, options: InitOptions) -> Result<String, SwarmError> {
        let swarm = self.clone();
        to_the_end(async move { swarm.found(options).await }).await
    }

    async fn join(&self, options: JoinOptions) -> Result<(), SwarmError> {
        let change = self.inner.change.lock().await;
        if let Phase::Active(member) = self.inner.phase()
            && member.is_locked_out()
        {
            // Whoever wants to leave meanwhile need not wait.
            drop(change);
            let ends = Instant::now() + JOIN_WAIT;
            let identity = member.ask_again(&options.remote_addrs, &options.token, ends).await.map_err(refused)?;
            let change = self.inner.change.lock().await;
            match self.inner.phase() {
                Phase::Active(now) if Arc::ptr_eq(&now, &member) => {}
                _ => return Err(SwarmError::NotInSwarm),
            }
            member.come_back(identity, &options.remote_addrs).map_err(refused)?;
            info!(node = member.node_id(), "the node is back with a new certificate");
            drop(change);
            let connected = tokio::time::timeout(JOIN_WAIT, member.wait_connected()).await;
            return connected.map_err(|_| self.unfinished());
        }
        self.inner.must_be_inactive()?;
        JoinToken::parse(&options.token).map_err(|error| SwarmError::Invalid(error.to_string()))?;
        let interfaces = address::interfaces()?;
        let way = options.remote_addrs.iter().find_map(|remote| address::towards(remote));
        let listen_addr = address::listen(&options.listen_addr, &interfaces)?;
        let advertise_addr = match (&options.advertise_addr, way) {
            (None, Some(ip)) if listen_addr.ip().is_unspecified() => SocketAddr::new(ip, listen_addr.port()),
            (given, _) => address::advertise(given.as_deref(), listen_addr, &interfaces)?,
        };
        let record = Record {
            listen_addr,
            advertise_addr,
            advertise: options.advertise_addr,
            remotes: options.remote_addrs.clone(),
            joining: Some(Joining {
                remotes: options.remote_addrs,
                token: options.token,
                availability: options.availability.into(),
            }),
            leaving: false,
        };
        self.inner.dir.save(&record).map_err(internal)?;
        let attempt = self.begin(record);
        // Whoever wants to leave meanwhile need not wait.
        drop(change);
        let finished = async {
            attempt.ended().await;
            if let Phase::Active(member) = self.inner.phase() {
                member.wait_connected().await;
            }
        };
        if tokio::time::timeout(JOIN_WAIT, finished).await.is_err() {
            return Err(self.unfinished());
        }
        match self.inner.phase() {
            Phase::Active(_) => Ok(()),
            Phase::Refused(error) => {
                self.inner.set(Phase::Inactive);
                Err(SwarmError::Refused(error))
            }
            Phase::Inactive | Phase::Pending { .. } => Err(self.unfinished()),
        }
    }

    async fn leave(&self, force: bool) -> Result<(), SwarmError> {
        let swarm = self.clone();
        to_the_end(async move {
            // The daemon must be able to end; what was not done by then is done when it starts again, as the record says.
            let left = swarm.inner.stopping.run_until_cancelled(LocalSwarm::leave(&swarm, force)).await;
            left.unwrap_or_else(|| Err(internal("the daemon was stopped before the node had left the swarm")))
        })
        .await
    }
}

/// A client that hangs up must not leave a change half made.
async fn to_the_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, SwarmError>> + Send + 'static,
) -> Result<T, SwarmError> {
    tokio::spawn(change).await.unwrap_or_else(|error| Err(internal(error)))
}

/// What leaving does to the managers that stay, in Docker's words.
fn leave_warning(members: usize, is_leader: bool) -> String {
    let head = "You are attempting to leave the swarm on a node that is participating as a manager.";
    let tail = "Use `--force` to suppress this message.";
    match (members, is_leader) {
        // Its state does not say yet.
        (0, _) => format!("{head} {tail}"),
        (1, _) => format!("{head} Removing the last manager erases all current state of the swarm. {tail}"),
        (2, _) => format!(
            "{head} Removing this node leaves 1 managers out of 2. Without a Raft quorum your swarm will be inaccessible. {tail}"
        ),
        (n, _) => format!("{head} Removing this node leaves {} managers out of {n}. {tail}", n - 1),
    }
}

async fn end_membership(member: &Member, force: bool) -> Result<(), SwarmError> {
    if !force && member.is_starting() {
        return Err(SwarmError::LeaveNeedsForce(leave_warning(0, false)));
    }
    if !force && let Some(manager) = member.manager() {
        let status = manager.status().borrow().clone();
        if status.membership != Membership::Removed {
            return Err(SwarmError::LeaveNeedsForce(leave_warning(status.managers.len(), status.is_leader)));
        }
    }
    member.leave(force).await.map_err(refused)
}

fn refused(error: impl ToString) -> SwarmError {
    SwarmError::Refused(error.to_string())
}

/// A new swarm: its root, and this node's certificate under it.
fn found(
    options: &InitOptions,
    description: &NodeDescription,
) -> Result<(Identity, Bootstrap), Box<dyn std::error::Error + Send + Sync>> {
    let now = SystemClock::new().now();
    let mut ids = RandomIds;
    let (node_id, cluster_id) = (ids.next_id(), ids.next_id());
    let root_ca = RootCa::generate(now, &cluster_id)?;
    let (key, csr) = new_key_and_csr()?;
    let subject = Subject { node_id: &node_id, cluster_id: &cluster_id, role: NodeRole::Manager };
    let lifetime = u64::try_from(options.spec.node_cert_expiry).ok().filter(|nanos| *nanos > 0);
    let lifetime = lifetime.map_or(CERTIFICATE_LIFETIME, Duration::from_nanos);
    let certificate = root_ca.issue(csr.as_bytes(), subject, now, lifetime)?;
    let identity = Identity::from_pem(&certificate.certificate_pem, key, root_ca.certificate_pem())?;
    let bootstrap = Bootstrap {
        spec: options.spec.clone(),
        root_ca,
        certificate,
        availability: options.availability,
        description: description.clone(),
    };
    Ok((identity, bootstrap))
}

#[cfg(test)]
mod tests {
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
        let options = InitOptions {
            listen_addr: "127.91.82.73:2377".to_owned(),
            advertise_addr: Some("127.91.82.73".to_owned()),
            spec: ClusterSpec::default(),
            availability: Availability::Active,
        };
        swarm.init(options).await.unwrap();
        let refused = Swarm::leave(&swarm, false).await;
        assert!(matches!(refused, Err(SwarmError::LeaveNeedsForce(_))));
        assert!(!swarm.inner.dir.load().unwrap().unwrap().leaving, "a refused leave changes nothing");
        swarm.shutdown().await;

        let id = container(&runtime).await;
        let swarm = open(root.path(), &runtime);
        while !matches!(swarm.inner.phase(), Phase::Active(_)) {
            tokio::task::yield_now().await;
        }
        let leaving = tokio::spawn({
            let swarm = swarm.clone();
            async move { Swarm::leave(&swarm, true).await }
        });
        while !swarm.inner.dir.load().unwrap().unwrap().leaving {
            tokio::task::yield_now().await;
        }
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
        while !matches!(swarm.inner.phase(), Phase::Active(_)) {
            tokio::task::yield_now().await;
        }
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
        let options = InitOptions {
            listen_addr: "127.91.82.75:2377".to_owned(),
            advertise_addr: Some("127.91.82.75".to_owned()),
            spec: ClusterSpec::default(),
            availability: Availability::Active,
        };
        swarm.init(options).await.unwrap();
        swarm.shutdown().await;
        // The key comes late: whoever reads it waits.
        let key = swarm.inner.dir.manager().join("raft.key");
        let bytes = std::fs::read(&key).unwrap();
        std::fs::remove_file(&key).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&key).status().unwrap().success());

        let swarm = open(root.path(), &runtime);
        while !matches!(swarm.inner.phase(), Phase::Active(_)) {
            tokio::task::yield_now().await;
        }
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
        while !swarm.inner.dir.load().unwrap().unwrap().leaving {
            tokio::task::yield_now().await;
        }
        std::io::Write::write_all(&mut late, &bytes).unwrap();
        drop(late);
        leaving.await.unwrap().unwrap();
        assert_eq!(swarm.status().state, LocalNodeState::Inactive);
        assert!(!swarm.inner.dir.manager().exists());
    }

    #[test]
    fn leaving_says_what_it_does_to_the_rest() {
        assert!(leave_warning(1, true).contains("erases all current state"));
        assert!(
            !leave_warning(0, false).contains("erases"),
            "a manager that has not heard of the others is not the last"
        );
        assert!(leave_warning(2, false).contains("1 managers out of 2"));
        assert!(leave_warning(5, false).contains("4 managers out of 5"));
    }
}
