//! One member of the Raft group, as the manager uses it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use openraft::{
    Config, SnapshotPolicy,
    error::{InitializeError, RaftError},
};
use skep_common::{clock::Clock, net::dial::Dialer};
use skep_proto::v1::{Transaction, raft_server::RaftServer};
use skep_store::{ChangeSet, Store};
use tokio::{
    sync::{Mutex, watch},
    task::spawn_blocking,
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::info;

use crate::{
    Leadership, MemberHealth, MemberState, MembershipError, Open, ProposeError, RaftConfig, RaftService, ReadError,
    StartError, Tuning, Vault,
    barrier::Barrier,
    compaction::Compaction,
    dir::{self, Opened},
    health::Health,
    leadership::{Observer, Published},
    log_store::{LogStore, Owner, Pulse},
    lookout::Lookout,
    membership::Members,
    network::{Contacts, Network, Parts, Roster, ToldMembers},
    proposer::Proposer,
    state_machine::StateMachine,
    timers::Timers,
    types::{Member, Raft},
};

/// Longest wait for the answer to one AppendEntries call, a heartbeat or a batch of entries.
const APPEND_DEADLINE: Duration = Duration::from_secs(2);

/// A running member. Clones are the same member.
#[derive(Clone)]
pub struct RaftNode(Arc<Inner>);

struct Inner {
    raft_id: u64,
    vault: Vault,
    own: Member,
    tuning: Tuning,
    raft: Raft,
    log: LogStore,
    snapshot_trouble: watch::Receiver<Option<String>>,
    health: Arc<Health>,
    published: Arc<Published>,
    proposer: Proposer,
    barrier: Barrier,
    members: Arc<Members>,
    roster: Roster,
    service: RaftService,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
    tasks: TaskTracker,
}

/// A transaction that was committed and applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The version of what it changed: the index of its log entry, or a little above when it shared the entry.
    pub version: u64,
    /// What it changed.
    pub changes: Arc<ChangeSet>,
}

impl RaftNode {
    /// Opens the directory and takes part. A new member waits for the leader to call; a first one for
    /// [`bootstrap`](Self::bootstrap). When this returns, `store` shows at least the last state that this member knew to be
    /// committed.
    ///
    /// # Errors
    /// When the directory is not what [`Open`] says, or cannot be read, or when it is given up. The directory is closed then; it
    /// must not be dropped before, or somebody else would find it in use.
    pub async fn start(
        config: RaftConfig,
        store: Arc<Store>,
        dialer: Dialer,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let RaftConfig { dir, open, node_id, addr, tuning, feature_level, on_fatal, give_up } = config;
        tuning.check().map_err(|reason| StartError::Raft(reason.to_owned()))?;
        let own = Member { node_id: node_id.clone(), addr, leaving: false };
        let given_up = give_up.clone();
        let opened = spawn_blocking(move || {
            if let Open::Create { raft_id } = open {
                dir::create(&dir, Owner { node_id: node_id.clone(), raft_id })?;
            }
            dir::open(&dir, &node_id, &given_up)
        });
        let opened = opened.await.map_err(|error| StartError::Raft(error.to_string()))??;
        let Opened { seal, owner: Owner { raft_id, .. }, disk, contents, snapshots, newest } = opened;
        if let Some((_, view)) = &newest {
            StartError::check_level(view, feature_level)?;
        }

        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let on_fatal = on_fatal.until(stop.clone());
        let pulse = Arc::new(Pulse::new(clock.clone()));
        let health = Arc::new(Health::new(clock.clone(), tuning.clone(), pulse.clone()));
        let contacts = Arc::new(Contacts::new(clock.clone()));
        let network = Network::new(dialer, contacts.clone(), tuning.lease);
        let transfers = network.transfers();
        let log = LogStore::new(disk, contents, snapshots.clone(), pulse, on_fatal.clone());
        let log = log.map_err(|error| StartError::Raft(error.to_string()))?;
        let machine = StateMachine::new(
            store.clone(),
            snapshots.clone(),
            newest,
            raft_id,
            feature_level,
            tasks.clone(),
            on_fatal.clone(),
        );
        let applied_bytes = machine.applied_bytes();
        // Applies what was committed since the snapshot.
        let raft = Raft::new(raft_id, Arc::new(openraft_config()), network.clone(), log.clone(), machine);
        let started = match give_up.run_until_cancelled(raft).await {
            Some(Err(fatal)) => {
                let level = StartError::check_level(&store.view(), feature_level);
                level.and_then(|()| Err(StartError::Raft(fatal.to_string())))
            }
            Some(Ok(raft)) => Ok(raft),
            None => Err(StartError::GivenUp),
        };
        let raft = match started {
            Ok(raft) => raft,
            Err(error) => {
                log.close().await;
                return Err(error);
            }
        };

        let published = Arc::new(Published::default());
        let (proposer, submitting) =
            Proposer::new(raft.clone(), store.clone(), published.clone(), tuning.propose_deadline, stop.clone());
        tasks.spawn(submitting);
        let observer = Observer {
            raft: raft.clone(),
            health: health.clone(),
            contacts: contacts.clone(),
            proposer: proposer.clone(),
            published: published.clone(),
            period: tuning.heartbeat,
            on_fatal: on_fatal.clone(),
        };
        tasks.spawn(observer.run(stop.clone()));
        let lookout = Lookout { raft: raft.clone(), health: health.clone() };
        let timers = Timers {
            raft: raft.clone(),
            network,
            health: health.clone(),
            lookout: lookout.clone(),
            tuning: tuning.clone(),
        };
        tasks.spawn(timers.run(stop.clone()));
        let compaction = Compaction {
            raft: raft.clone(),
            store: store.clone(),
            snapshots: snapshots.clone(),
            contacts: contacts.clone(),
            transfers,
            applied_bytes,
            tuning: tuning.clone(),
        };
        tasks.spawn(compaction.run(stop.clone()));
        tasks.spawn(log.clone().keep_space_reserved(stop.clone()));
        let snapshot_trouble = snapshots.trouble();
        let members = Arc::new(Members {
            raft: raft.clone(),
            raft_id,
            store,
            proposer: proposer.clone(),
            published: published.clone(),
            contacts,
            clock,
            tuning: tuning.clone(),
            turn: Mutex::default(),
        });
        tasks.spawn({
            let (members, stop) = (members.clone(), stop.clone());
            async move { members.keep(stop).await }
        });
        let roster = Roster::new(raft.clone());
        let parts = Parts {
            raft: raft.clone(),
            raft_id,
            roster: roster.clone(),
            health: health.clone(),
            lookout,
            snapshots,
            stop: stop.clone(),
        };
        let service = RaftService::new(parts);
        info!(node.id = own.node_id, raft_id, "taking part in consensus");
        Ok(Self(Arc::new(Inner {
            raft_id,
            vault: Vault(seal),
            own,
            tuning,
            raft,
            log,
            snapshot_trouble,
            health,
            published,
            proposer,
            barrier: Barrier::default(),
            members,
            roster,
            service,
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
            tasks,
        })))
    }

    /// Makes a new group of this member alone and proposes `first`. Can be repeated after a crash in between.
    ///
    /// # Errors
    /// Those of [`propose`](Self::propose).
    pub async fn bootstrap(&self, first: Transaction) -> Result<Applied, ProposeError> {
        let Inner { raft, raft_id, own, tuning, .. } = &*self.0;
        match raft.initialize(BTreeMap::from([(*raft_id, own.clone())])).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {}
            Err(_) => return Err(ProposeError::Stopped),
        }
        let mut leadership = self.leadership();
        // The answer holds a lock on what it has seen: only whether there is one is kept.
        let leads = leadership.wait_for(|leadership| leadership.is_self);
        match timeout(tuning.propose_deadline, leads).await.map(|seen| seen.is_ok()) {
            Ok(true) => self.propose(first).await,
            Ok(false) => Err(ProposeError::Stopped),
            Err(_) => Err(ProposeError::NotLeader { leader: None }),
        }
    }

    /// Commits and applies a transaction.
    ///
    /// # Errors
    /// See [`ProposeError`]; only after `Unknown` is it open whether anything was written, until a
    /// [`read_barrier`](Self::read_barrier) has passed.
    pub async fn propose(&self, transaction: Transaction) -> Result<Applied, ProposeError> {
        self.0.proposer.propose(transaction, None).await
    }

    /// Like [`propose`](Self::propose), but only in `term`: an entry of another term does not apply it.
    ///
    /// # Errors
    /// `NotLeader` when the term is over; else those of [`propose`](Self::propose).
    pub async fn propose_in(&self, term: u64, transaction: Transaction) -> Result<Applied, ProposeError> {
        self.0.proposer.propose(transaction, Some(term)).await
    }

    /// Returns once the store shows everything that was committed before the call: a read after it is linearizable.
    ///
    /// It also decides the fate of what this process has proposed: each proposal whose answer was [`ProposeError::Unknown`], or was
    /// no longer waited for, before the call, is in the store when this succeeds or never will be. So who plans again only after
    /// it does not plan the same twice.
    ///
    /// # Errors
    /// When this member does not lead, or finds no quorum.
    pub async fn read_barrier(&self) -> Result<(), ReadError> {
        self.0.barrier.pass(&self.0.raft, &self.0.proposer, self.0.tuning.read_deadline).await
    }

    /// Who leads, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.published.leadership.subscribe()
    }

    /// For how long no leader has been heard here; one that leads hears itself while a quorum answers it.
    pub fn leader_silence(&self) -> Duration {
        self.0.health.leaderless_for()
    }

    /// Where this member stands, as it changes.
    pub fn member_state(&self) -> watch::Receiver<MemberState> {
        self.0.published.member_state.subscribe()
    }

    /// This member's id.
    pub fn raft_id(&self) -> u64 {
        self.0.raft_id
    }

    /// Makes a node a member and returns its new id, never used before. An older member of the same node is removed first.
    /// Returns as soon as the group knows the new one, so that the node can start under its id; the leader makes it a
    /// voter once it has caught up (its [`member_state`](Self::member_state) says so), or drops it when it cannot be reached.
    ///
    /// The node must be in the store; its `manager` is set to the new id and `addr`.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn add_member(&self, node_id: &str, addr: &str) -> Result<u64, MembershipError> {
        let (members, node_id, addr) = (self.0.members.clone(), node_id.to_owned(), addr.to_owned());
        self.to_the_end(async move { members.add(&node_id, &addr).await }).await
    }

    /// Removes a member. A leader that removes itself steps down once that is committed, and the others elect.
    ///
    /// # Errors
    /// `QuorumLoss` when fewer than a quorum of those that would remain can be reached.
    pub async fn remove_member(&self, raft_id: u64) -> Result<(), MembershipError> {
        let members = self.0.members.clone();
        self.to_the_end(async move { members.remove(raft_id).await }).await
    }

    /// Records the new address of a member.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn update_member_addr(&self, raft_id: u64, addr: &str) -> Result<(), MembershipError> {
        let (members, addr) = (self.0.members.clone(), addr.to_owned());
        self.to_the_end(async move { members.update_addr(raft_id, &addr).await }).await
    }

    /// Gives up leading: this member takes no proposals and falls silent, so that another is elected. Returns when there is
    /// another leader, or after a bounded wait without one.
    pub async fn step_down(&self) {
        let mut leadership = self.leadership();
        if !leadership.borrow().is_self {
            return;
        }
        self.0.health.abdicate();
        let another = leadership.wait_for(|leadership| leadership.leader.is_some() && !leadership.is_self);
        let _ = timeout(self.0.tuning.election_max * 3, another).await;
    }

    /// Why the last snapshot could not be written, if it could not. It is tried again; until then the log grows.
    pub fn snapshot_trouble(&self) -> watch::Receiver<Option<String>> {
        self.0.snapshot_trouble.clone()
    }

    /// Whether the disk is full and the log lives on the space reserved for it.
    pub fn log_is_short_of_room(&self) -> watch::Receiver<bool> {
        self.0.log.is_short()
    }

    /// Bytes of the entries this member has appended to its log since it started, as they are on disk, without what the
    /// database takes around them.
    pub fn log_bytes(&self) -> u64 {
        self.0.log.appended_bytes()
    }

    /// The members, by Raft id.
    pub fn members(&self) -> Vec<MemberHealth> {
        self.0.members.list()
    }

    /// Who may speak as a member.
    pub fn roster(&self) -> Roster {
        self.0.roster.clone()
    }

    /// The members as this one would tell another of them; for a leader, after a [`read_barrier`](Self::read_barrier).
    pub fn tell_members(&self) -> ToldMembers {
        self.0.roster.own()
    }

    /// Takes in who the members are, said by the leader.
    pub fn learn_members(&self, members: ToldMembers) {
        self.0.roster.tell(members);
    }

    /// What the manager seals its own files with.
    pub fn vault(&self) -> Vault {
        self.0.vault.clone()
    }

    /// The service the other members call.
    pub fn service(&self) -> RaftServer<RaftService> {
        self.0.service.server()
    }

    /// Takes no more part and closes the directory. What was acknowledged stays.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        // The error says that the task has panicked, which its observer has told already.
        let _ = self.0.raft.shutdown().await;
        self.0.service.close().await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
        self.0.log.close().await;
    }

    #[cfg(test)]
    pub(crate) fn openraft(&self) -> &Raft {
        &self.0.raft
    }

    /// Runs a change of the membership to its end, also when the caller stops waiting for it.
    async fn to_the_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, MembershipError>> + Send + 'static,
    ) -> Result<T, MembershipError> {
        let stop = self.0.stop.clone();
        let change = async move { stop.run_until_cancelled(change).await.unwrap_or(Err(MembershipError::Stopped)) };
        self.0.tasks.spawn(change).await.unwrap_or(Err(MembershipError::Stopped))
    }
}

/// openraft's own timers are off (see `timers`), and so are its way with snapshots (see `compaction`) and its lease (see
/// `runtime`): what it calls the heartbeat interval only bounds an AppendEntries call here, and its election timeout is as short
/// as it takes.
fn openraft_config() -> Config {
    Config {
        cluster_name: "skep".to_owned(),
        enable_heartbeat: false,
        enable_elect: false,
        heartbeat_interval: u64::try_from(APPEND_DEADLINE.as_millis()).unwrap_or(u64::MAX),
        election_timeout_min: 1,
        election_timeout_max: 2,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: u64::MAX,
        ..Config::default()
    }
}
