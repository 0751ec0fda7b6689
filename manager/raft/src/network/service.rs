//! The RPC service that the other members call.
//!
//! The authorization table admits only members. Here it is checked that a message is meant for this member, and that the
//! caller is the node which the membership has under the Raft id it names.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use openraft::{error::RaftError, raft::VoteRequest};
use skep_common::{
    limits::MAX_REQUEST_BYTES,
    net::server::{Caller, Connection},
};
use skep_proto::v1::{
    self,
    raft_server::{Raft as RaftRpc, RaftServer},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{receive::Receiving, roster::Roster};
use crate::{
    convert::{
        Malformed, append_from_proto, append_reply_to_proto, log_id_from_proto, log_id_to_proto, required_vote,
        vote_to_proto,
    },
    health::Health,
    lookout::Lookout,
    snapshot::Snapshots,
    types::{LogId, Raft, Vote},
};

/// What the service stands on.
pub(crate) struct Parts {
    pub(crate) raft: Raft,
    pub(crate) raft_id: u64,
    pub(crate) roster: Roster,
    pub(crate) health: Arc<Health>,
    pub(crate) lookout: Lookout,
    pub(crate) snapshots: Arc<Snapshots>,
    pub(crate) stop: CancellationToken,
}

/// The service side of the Raft wire. Clones are the same service.
#[derive(Clone)]
pub struct RaftService {
    raft: Raft,
    raft_id: u64,
    roster: Roster,
    health: Arc<Health>,
    lookout: Lookout,
    /// The connection that the leader was heard over last.
    line: Arc<AtomicU64>,
    receiving: Arc<Receiving>,
}

impl RaftService {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { raft, raft_id, roster, health, lookout, snapshots, stop } = parts;
        let receiving = Arc::new(Receiving::new(snapshots, health.clone(), stop));
        Self { raft, raft_id, roster, health, lookout, line: Arc::default(), receiving }
    }

    pub(crate) fn server(&self) -> RaftServer<Self> {
        RaftServer::new(self.clone()).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    /// Waits for what is being written, and lets nothing more be written. The member must have been told to stop.
    pub(crate) async fn close(&self) {
        self.receiving.close().await;
    }

    /// Refuses what is for another member, or comes from one that the caller is not.
    fn admit(&self, caller: &Caller, sender: u64, to: u64) -> Result<(), Status> {
        if to != self.raft_id {
            return Err(Status::failed_precondition(format!("this is Raft member {}, not {to}", self.raft_id)));
        }
        match caller.peer.node_id() {
            Some(node_id) if self.roster.is(sender, node_id) => Ok(()),
            _ => Err(Status::permission_denied(format!("the caller is not Raft member {sender}"))),
        }
    }

    /// Whether this member would vote for one with this log. The term does not matter: one that lags behind learns the
    /// present term from the vote itself.
    fn would_grant(&self, last_log_id: Option<LogId>) -> bool {
        let leads = self.raft.metrics().borrow().state.is_leader();
        let own_last = self.raft.data_metrics().borrow().last_log;
        self.health.misses_leader(leads) && last_log_id >= own_last
    }

    /// The leader has been heard, over this connection.
    fn heard_leader(&self, connection: Option<&Connection>) {
        self.health.heard_leader();
        let Some(connection) = connection else { return };
        if self.line.swap(connection.number(), Ordering::AcqRel) != connection.number() {
            let (health, closed) = (self.health.clone(), connection.closed());
            // Ends with the connection.
            tokio::spawn(async move {
                closed.await;
                health.note_hung_up();
            });
        }
    }

    fn own_vote(&self) -> Vote {
        self.raft.metrics().borrow().vote
    }
}

fn invalid(error: Malformed) -> Status {
    Status::invalid_argument(error.to_string())
}

fn stopped<E: std::error::Error>(error: E) -> Status {
    Status::unavailable(format!("this manager takes no part in consensus: {error}"))
}

#[async_trait::async_trait]
impl RaftRpc for RaftService {
    async fn append(&self, request: Request<v1::AppendRequest>) -> Result<Response<v1::AppendReply>, Status> {
        let caller = Caller::of(&request)?.clone();
        let connection = request.extensions().get::<Connection>().cloned();
        let request = request.into_inner();
        let to = request.to;
        let request = append_from_proto(request).map_err(invalid)?;
        self.admit(&caller, request.vote.leader_id.node_id, to)?;
        let leads = request.vote >= self.own_vote();
        if leads {
            self.heard_leader(connection.as_ref());
        }
        let reply = self.raft.append_entries(request).await.map_err(stopped::<RaftError<u64>>)?;
        if leads {
            // Storing it may have taken long.
            self.health.heard_leader();
        }
        Ok(Response::new(append_reply_to_proto(&reply)))
    }

    async fn vote(&self, request: Request<v1::VoteRequest>) -> Result<Response<v1::VoteReply>, Status> {
        let caller = Caller::of(&request)?.clone();
        let request = request.into_inner();
        let vote = required_vote(request.vote.as_ref()).map_err(invalid)?;
        self.admit(&caller, vote.leader_id.node_id, request.to)?;
        let last_log_id = request.last_log_id.as_ref().map(log_id_from_proto);
        if !self.health.misses_leader(self.raft.metrics().borrow().state.is_leader()) {
            // Who asks may have seen what this member has yet to see.
            self.lookout.look().await;
        }
        if request.pre {
            let granted = self.would_grant(last_log_id);
            return Ok(Response::new(v1::VoteReply {
                vote: Some(vote_to_proto(&self.own_vote())),
                granted,
                last_log_id: None,
            }));
        }
        if !self.would_grant(last_log_id) && self.own_vote() != vote {
            let (own, last_log_id) = (self.own_vote(), self.raft.data_metrics().borrow().last_log);
            return Ok(Response::new(v1::VoteReply {
                vote: Some(vote_to_proto(&own)),
                granted: false,
                last_log_id: last_log_id.as_ref().map(log_id_to_proto),
            }));
        }
        // It is that one's turn: a campaign of this member now would only get in its way.
        self.health.heard_leader();
        let reply = self.raft.vote(VoteRequest { vote, last_log_id }).await.map_err(stopped::<RaftError<u64>>)?;
        Ok(Response::new(v1::VoteReply {
            vote: Some(vote_to_proto(&reply.vote)),
            granted: reply.vote_granted,
            last_log_id: reply.last_log_id.as_ref().map(log_id_to_proto),
        }))
    }

    async fn offer_snapshot(
        &self,
        request: Request<v1::SnapshotOffer>,
    ) -> Result<Response<v1::SnapshotOfferReply>, Status> {
        let caller = Caller::of(&request)?.clone();
        let offer = request.into_inner();
        let vote = required_vote(offer.vote.as_ref()).map_err(invalid)?;
        self.admit(&caller, vote.leader_id.node_id, offer.to)?;
        let own = self.own_vote();
        let have = if own > vote { 0 } else { self.receiving.have(&offer).await? };
        Ok(Response::new(v1::SnapshotOfferReply { vote: Some(vote_to_proto(&own)), have }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotChunk>>,
    ) -> Result<Response<v1::SnapshotReply>, Status> {
        let caller = Caller::of(&request)?.clone();
        let mut stream = request.into_inner();
        let first = stream.message().await?.and_then(|chunk| chunk.offer);
        let offer = first.ok_or_else(|| Status::invalid_argument("a snapshot begins with its offer"))?;
        let vote = required_vote(offer.vote.as_ref()).map_err(invalid)?;
        self.admit(&caller, vote.leader_id.node_id, offer.to)?;
        let own = self.own_vote();
        if own > vote {
            return Ok(Response::new(v1::SnapshotReply { vote: Some(vote_to_proto(&own)) }));
        }
        let snapshot = self.receiving.take_in(&offer, stream).await?;
        let reply = self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(v1::SnapshotReply { vote: Some(vote_to_proto(&reply.vote)) }))
    }
}
