//! One member of the Raft group, as the manager uses it.

use std::sync::Arc;

use skep_common::{clock::Clock, net::dial::Dialer};
use skep_proto::v1::Transaction;
use skep_store::{ChangeSet, Store};
use tokio::sync::watch;

use crate::{Leadership, MembershipError, ProposeError, RaftConfig, ReadError, Standing, StartError};

/// A running member. Clones are the same member.
#[derive(Clone)]
pub struct RaftNode {}

/// A transaction that was committed and applied.
#[derive(Debug, Clone)]
pub struct Applied {
    /// The index of its log entry: the version of what it changed.
    pub version: u64,
    /// What it changed.
    pub changes: Arc<ChangeSet>,
}

/// A member as the one asked sees it. Only the leader knows who can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberHealth {
    /// Its Raft id.
    pub raft_id: u64,
    /// Its node id.
    pub node_id: String,
    /// host:port of its managers' service.
    pub addr: String,
    /// Whether it votes; if not, it is catching up.
    pub voter: bool,
    /// Whether it answered lately.
    pub reachable: bool,
    /// Whether it leads.
    pub leader: bool,
}

#[expect(clippy::unimplemented, unused_variables, reason = "the API first")]
impl RaftNode {
    /// Opens the directory and takes part. A new member waits for the leader to call; a first one for
    /// [`bootstrap`](Self::bootstrap).
    ///
    /// # Errors
    /// When the directory is not what [`Open`](crate::Open) says, or cannot be read.
    pub async fn start(
        config: RaftConfig,
        store: Arc<Store>,
        dialer: Dialer,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        unimplemented!()
    }

    /// Makes a new group of this member alone and proposes `first`. Can be repeated after a crash in between.
    ///
    /// # Errors
    /// Those of [`propose`](Self::propose).
    pub async fn bootstrap(&self, first: Transaction) -> Result<Applied, ProposeError> {
        unimplemented!()
    }

    /// Commits and applies a transaction.
    ///
    /// # Errors
    /// See [`ProposeError`]; only after `Unknown` is it open whether anything was written.
    pub async fn propose(&self, transaction: Transaction) -> Result<Applied, ProposeError> {
        unimplemented!()
    }

    /// Like [`propose`](Self::propose), but only as the leader of `term`.
    ///
    /// # Errors
    /// `NotLeader` when the term is over; else those of [`propose`](Self::propose).
    pub async fn propose_in(&self, term: u64, transaction: Transaction) -> Result<Applied, ProposeError> {
        unimplemented!()
    }

    /// Returns once the store shows everything that was committed before the call: a read after it is linearizable.
    ///
    /// # Errors
    /// When this member does not lead, or finds no quorum.
    pub async fn read_barrier(&self) -> Result<(), ReadError> {
        unimplemented!()
    }

    /// Who leads, as it changes.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        unimplemented!()
    }

    /// Where this member stands, as it changes.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        unimplemented!()
    }

    /// This member's id.
    pub fn raft_id(&self) -> u64 {
        unimplemented!()
    }

    /// Makes a node a member and returns its new id, never used before. An older member of the same node is removed first.
    /// Returns as soon as the group knows the new one, so that the node can start under its id; the leader makes it a
    /// voter once it has caught up (its [`standing`](Self::standing) says so), or drops it when it does not in time.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn add_member(&self, node_id: &str, addr: &str) -> Result<u64, MembershipError> {
        unimplemented!()
    }

    /// Removes a member. A leader that removes itself steps down once that is committed, and the others elect.
    ///
    /// # Errors
    /// `QuorumLoss` when fewer than a quorum of those that would remain can be reached.
    pub async fn remove_member(&self, raft_id: u64) -> Result<(), MembershipError> {
        unimplemented!()
    }

    /// Records the new address of a member.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn update_member_addr(&self, raft_id: u64, addr: &str) -> Result<(), MembershipError> {
        unimplemented!()
    }

    /// Gives up leading, for another member to take over. Returns when there is another leader, or after a bounded wait
    /// without one.
    pub async fn step_down(&self) {
        unimplemented!()
    }

    /// The members, by Raft id.
    pub fn members(&self) -> Vec<MemberHealth> {
        unimplemented!()
    }

    /// The service the other members call.
    pub fn service(&self) -> skep_proto::v1::raft_server::RaftServer<RaftService> {
        unimplemented!()
    }

    /// Takes no more part and closes the directory. What was acknowledged stays.
    pub async fn shutdown(&self) {
        unimplemented!()
    }
}

/// The service side of the Raft wire.
pub struct RaftService {}

#[expect(clippy::unimplemented, reason = "the API first")]
#[async_trait::async_trait]
impl skep_proto::v1::raft_server::Raft for RaftService {
    async fn append(
        &self,
        _: tonic::Request<skep_proto::v1::AppendRequest>,
    ) -> Result<tonic::Response<skep_proto::v1::AppendReply>, tonic::Status> {
        unimplemented!()
    }
    async fn vote(
        &self,
        _: tonic::Request<skep_proto::v1::VoteRequest>,
    ) -> Result<tonic::Response<skep_proto::v1::VoteReply>, tonic::Status> {
        unimplemented!()
    }
    async fn offer_snapshot(
        &self,
        _: tonic::Request<skep_proto::v1::SnapshotOffer>,
    ) -> Result<tonic::Response<skep_proto::v1::SnapshotOfferReply>, tonic::Status> {
        unimplemented!()
    }
    async fn install_snapshot(
        &self,
        _: tonic::Request<tonic::Streaming<skep_proto::v1::SnapshotChunk>>,
    ) -> Result<tonic::Response<skep_proto::v1::SnapshotReply>, tonic::Status> {
        unimplemented!()
    }
}
