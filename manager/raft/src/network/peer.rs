//! Calls to one other member.

use std::{future::Future, iter, time::Duration};

use openraft::{
    AnyError,
    error::{Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable},
    network::{Backoff, RPCOption, RaftNetwork},
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
};
use skep_common::{net::dial::Expect, random};
use skep_proto::v1::{self, raft_client::RaftClient};
use tokio::time::timeout;
use tonic::{Code, Response, Status, transport::Channel};

use super::{Network, send};
use crate::{
    convert::{
        Malformed, append_reply_from_proto, append_to_proto, log_id_from_proto, log_id_to_proto, required_vote,
        vote_to_proto,
    },
    snapshot::SnapshotData,
    types::{LogId, Member, Snapshot, TypeConfig, Vote},
};

/// The way to one member. Only the node that the member is can answer.
pub(crate) struct Peer {
    network: Network,
    target: u64,
    member: Member,
}

impl Peer {
    pub(super) fn new(network: Network, target: u64, member: Member) -> Self {
        Self { network, target, member }
    }

    pub(super) fn target(&self) -> u64 {
        self.target
    }

    pub(super) fn client(&self) -> RaftClient<Channel> {
        RaftClient::new(self.network.dialer.channel(&self.member.addr, Expect::Node(self.member.node_id.clone())))
    }

    /// Notes that the member has answered.
    pub(super) fn answered(&self) {
        self.network.contacts.answered(self.target);
    }

    /// Waits for an answer no longer than `deadline`.
    pub(super) async fn within<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        match timeout(deadline, call).await {
            Ok(Ok(response)) => {
                self.answered();
                Ok(response.into_inner())
            }
            Ok(Err(status)) => Err(status),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }

    /// Whether the member would vote for this one.
    pub(crate) async fn would_grant(&self, vote: Vote, last_log_id: Option<LogId>, deadline: Duration) -> bool {
        let mut request = vote_request(&vote, last_log_id, self.target);
        request.pre = true;
        self.within(deadline, self.client().vote(request)).await.is_ok_and(|reply| reply.granted)
    }
}

fn vote_request(vote: &Vote, last_log_id: Option<LogId>, to: u64) -> v1::VoteRequest {
    v1::VoteRequest {
        vote: Some(vote_to_proto(vote)),
        last_log_id: last_log_id.as_ref().map(log_id_to_proto),
        to,
        pre: false,
    }
}

/// openraft waits a little before it calls a member again that cannot be reached or refuses; after other errors it calls at
/// once.
fn rpc_error<E: std::error::Error>(status: &Status) -> RPCError<u64, Member, E> {
    match status.code() {
        Code::DeadlineExceeded | Code::Cancelled => RPCError::Network(NetworkError::new(status)),
        _ => RPCError::Unreachable(Unreachable::new(status)),
    }
}

fn malformed<E: std::error::Error>(error: &Malformed) -> RPCError<u64, Member, E> {
    RPCError::Unreachable(Unreachable::new(error))
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RPCError<u64, Member, RaftError<u64>>> {
        let request = append_to_proto(&request, self.target);
        let reply = self.within(option.hard_ttl(), self.client().append(request)).await;
        append_reply_from_proto(&reply.map_err(|status| rpc_error(&status))?).map_err(|error| malformed(&error))
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        _option: RPCOption,
    ) -> Result<VoteResponse<u64>, RPCError<u64, Member, RaftError<u64>>> {
        let request = vote_request(&request.vote, request.last_log_id, self.target);
        let reply = self.within(self.network.vote_deadline, self.client().vote(request)).await;
        let reply = reply.map_err(|status| rpc_error(&status))?;
        Ok(VoteResponse {
            vote: required_vote(reply.vote.as_ref()).map_err(|error| malformed(&error))?,
            vote_granted: reply.granted,
            last_log_id: reply.last_log_id.as_ref().map(log_id_from_proto),
        })
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<TypeConfig, Fatal<u64>>> {
        let SnapshotData::Stored(file) = *snapshot.snapshot else {
            return Err(NetworkError::from(AnyError::error("this snapshot is not stored here")).into());
        };
        let index = snapshot.meta.last_log_id.map_or(0, |log_id| log_id.index);
        let transfer = self.network.transfers.begin(self.target, index);
        let sent = tokio::select! {
            closed = cancel => Err(closed.into()),
            sent = send::send(self, vote, file) => sent,
        };
        if sent.is_ok() {
            transfer.arrived();
        }
        sent
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(iter::repeat_with(|| Duration::from_millis(150).mul_f64(1.0 + random::fraction())))
    }
}
