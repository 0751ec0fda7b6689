//! This node's membership as the API sees it: `swarm init`, `join`, `leave`, and what `info` says.
//!
//! Owns the phase the node is in and the membership record. One change at a time; reading the status never blocks.
//! [`bring_up`] resumes a recorded membership at the start.

mod bring_up;
#[cfg(test)]
mod tests;

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
            left => swarm.clear_away(left),
        }
        Ok(swarm)
    }

    /// Removes what is left of a membership that has ended, in the background. None begins meanwhile. `left`: the record of one
    /// that the daemon before was leaving when it ended.
    fn clear_away(&self, left: Option<Record>) {
        // Nobody else knows of this swarm yet: the lock is free.
        let Ok(change) = Arc::clone(&self.inner.change).try_lock_owned() else { return };
        let swarm = self.clone();
        tokio::spawn(async move {
            let _change = change;
            let Inner { runtime, worker_dir, dir, stopping, .. } = &*swarm.inner;
            let Some(record) = left else {
                stopping.run_until_cancelled(skep_worker::remove_leftovers(runtime, worker_dir)).await;
                return;
            };
            info!("the node goes on leaving its swarm");
            // The others may not have heard of it, and to ask them twice does no harm. What is left of this manager may be what
            // they need for a quorum: it is not given up before they can do without.
            let consent = swarm.inner.ask_to_go(swarm.inner.managing(&record));
            match stopping.run_until_cancelled(consent).await {
                Some(true) => {}
                Some(false) => {
                    warn!("the node stays in its swarm; repeat \"swarm leave --force\" to leave it all the same");
                    dir.mark_leaving(&record, false);
                    _ = swarm.begin(Record { leaving: false, ..record });
                    return;
                }
                None => return,
            }
            let cleared = stopping.run_until_cancelled(skep_worker::remove_leftovers(runtime, worker_dir)).await;
            if cleared.is_some()
                && let Err(error) = dir.wipe()
            {
                warn!(%error, "the record of the swarm this node has left cannot be removed; trying again at the next start");
            }
        });
    }

    /// The daemon is to end: whatever a change waits for is given up, while whoever asked for it can still be told so.
    pub(super) fn stop(&self) {
        self.inner.stopping.cancel();
    }

    /// Stops agent and manager; containers and membership stay.
    pub(super) async fn shutdown(&self) {
        self.stop();
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
            Phase::Inactive if self.inner.dir.manager().exists() => {
                if !force {
                    return Err(SwarmError::LeaveNeedsForce(self.inner.without_record()));
                }
            }
            Phase::Inactive => return Err(SwarmError::NotInSwarm),
            Phase::Pending { attempt, record, .. } => {
                let managing = self.inner.managing(&record);
                if (managing.is_some() || self.inner.dir.manager().exists()) && !force {
                    return Err(SwarmError::LeaveNeedsForce(leave_warning(0, false)));
                }
                attempt.end().await;
                // It may just have come up.
                if let Phase::Active(member) = self.inner.phase() {
                    end_membership(&member, force).await?;
                } else {
                    self.inner.dir.mark_leaving(&record, true);
                    self.inner.part(managing).await;
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
        let others = record.others(&managers, identity.node_id());
        Some((Dialer::new(IdentityHandle::new(identity)).trusting(Arc::new(managers)), others))
    }

    /// Ends what there is of a membership that is not up: has the other managers let this one go, and removes its containers.
    async fn part(&self, managing: Option<(Dialer, Vec<String>)>) {
        tokio::join!(self.ask_to_go(managing), skep_worker::remove_leftovers(&self.runtime, &self.worker_dir));
    }

    /// Has the other managers let this one go. Says whether they did, or there was nobody to be asked.
    async fn ask_to_go(&self, managing: Option<(Dialer, Vec<String>)>) -> bool {
        match managing {
            Some((_, others)) if others.is_empty() => true,
            Some((dialer, others)) => ask_to_go(&dialer, &others).await,
            None => {
                if self.dir.manager().exists() {
                    warn!(
                        "leaving without the consent of the other managers: there is no certificate to ask them with"
                    );
                }
                true
            }
        }
    }

    fn note(&self, text: String) {
        if let Phase::Pending { error, .. } = &mut *self.phase.lock().unwrap_or_else(PoisonError::into_inner) {
            *error = text;
        }
    }

    fn must_be_inactive(&self) -> Result<(), SwarmError> {
        match self.phase() {
            // It may be the only copy of a swarm.
            Phase::Inactive if self.dir.manager().exists() => Err(SwarmError::Invalid(self.without_record())),
            Phase::Inactive | Phase::Refused(_) => Ok(()),
            _ => Err(SwarmError::AlreadyInSwarm),
        }
    }

    /// What to say of the state of a manager whose membership is on record no more.
    fn without_record(&self) -> String {
        format!(
            "{} holds the state of a manager, but the record of its membership is lost: put {} back, or give the state up \
             with \"swarm leave --force\"",
            self.dir.manager().display(),
            self.dir.file().display()
        )
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
            // `leave` need not wait meanwhile.
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
        // `leave` need not wait meanwhile.
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
