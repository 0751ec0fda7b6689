//! The dispatcher as agents call it, on the leader and on followers alike.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use skep_common::{
    clock,
    id::RandomIds,
    limits::{MAX_STATUS_BATCH, MISSED_HEARTBEATS},
    net::server::{Caller, unknown_node},
};
use skep_core::{defaults, status};
use skep_proto::v1::{
    AssignmentsRequest, HeartbeatReply, HeartbeatRequest, SessionRequest, UpdateTaskStatusReply,
    UpdateTaskStatusRequest, dispatcher_server::Dispatcher,
};
use skep_raft::Leadership;
use tokio::sync::watch;
use tonic::{Request, Response, Status, async_trait};
use tracing::{error, info};

use super::{
    DispatcherTerm,
    assignments::{self, AssignmentsStream},
    session::{self, SessionStream},
    sessions::{Opening, SessionOver},
};
use crate::answer;

/// Largest description of a node: it is part of the node object.
const MAX_DESCRIPTION_BYTES: usize = 64 << 10;

/// Longest message a node may have shown.
const MAX_MESSAGE_BYTES: usize = 1 << 10;

/// What agents call.
pub(crate) struct DispatcherService {
    term: watch::Receiver<Option<Arc<DispatcherTerm>>>,
    leadership: watch::Receiver<Leadership>,
}

impl DispatcherService {
    /// A service that stands on the present term, if there is one.
    pub(crate) fn new(
        term: watch::Receiver<Option<Arc<DispatcherTerm>>>,
        leadership: watch::Receiver<Leadership>,
    ) -> Self {
        Self { term, leadership }
    }

    /// The term, or the way to the manager that has it.
    fn term(&self) -> Result<Arc<DispatcherTerm>, Status> {
        self.term.borrow().clone().ok_or_else(|| answer::not_the_leader(&self.leadership.borrow()))
    }
}

impl From<SessionOver> for Status {
    fn from(over: SessionOver) -> Self {
        Self::aborted(over.to_string())
    }
}

#[async_trait]
impl Dispatcher for DispatcherService {
    type SessionStream = SessionStream;
    type AssignmentsStream = AssignmentsStream;

    async fn session(&self, request: Request<SessionRequest>) -> Result<Response<SessionStream>, Status> {
        let caller = Caller::of(&request)?.clone();
        let (node_id, addr) = (caller.node_id()?.to_owned(), caller.original_addr.ip().to_canonical());
        let SessionRequest { description, message } = request.into_inner();
        if description.as_ref().is_some_and(|description| description.encoded_len() > MAX_DESCRIPTION_BYTES) {
            return Err(Status::invalid_argument("the description of the node is too large"));
        }
        check_message(&message)?;
        let dispatcher = self.term()?;
        let view = dispatcher.term.store.view();
        let node = view.node(&node_id).cloned().ok_or_else(|| unknown_node(&node_id))?;
        let opening = Opening {
            node,
            addr,
            description,
            message,
            at: dispatcher.term.clock.monotonic(),
            live_for: defaults::heartbeat_period(&view).saturating_mul(MISSED_HEARTBEATS),
        };
        let opened = dispatcher.sessions.open(opening, &mut RandomIds).map_err(|held| {
            error!(node = node_id, at = %addr, held_by = %held.held_by, "two machines use the identity of one node: \
                take one of them out of the swarm and let it join anew");
            Status::already_exists(held.to_string())
        })?;
        info!(node = node_id, %addr, session = opened.id, "session opened");
        // The node may have changed between the look at it and the session's place in the table.
        match dispatcher.term.store.view().node(&node_id) {
            Some(node) => dispatcher.sessions.tell(node),
            None => dispatcher.sessions.remove(&node_id),
        }
        Ok(Response::new(session::stream(opened, node_id, dispatcher.facts.clone(), dispatcher.sessions.clone())))
    }

    async fn heartbeat(&self, request: Request<HeartbeatRequest>) -> Result<Response<HeartbeatReply>, Status> {
        let caller = Caller::of(&request)?;
        let HeartbeatRequest { session_id, message } = request.get_ref();
        check_message(message)?;
        let dispatcher = self.term()?;
        let at = dispatcher.term.clock.monotonic();
        let period: Duration = dispatcher.sessions.beat(caller.node_id()?, session_id, message, at)?;
        Ok(Response::new(HeartbeatReply { period: clock::nanos(period) }))
    }

    async fn assignments(&self, request: Request<AssignmentsRequest>) -> Result<Response<AssignmentsStream>, Status> {
        let node_id = Caller::of(&request)?.node_id()?.to_owned();
        let AssignmentsRequest { session_id, have } = request.into_inner();
        let dispatcher = self.term()?;
        let ended = dispatcher.sessions.check(&node_id, &session_id)?;
        // The set must hold what the node has reported so far: an agent that lost its records believes it.
        dispatcher.reports.settled().await?;
        // Nor may it be older than what another leader has told the node: one that was replaced and has not noticed would
        // take tasks away that were assigned since.
        dispatcher.term.raft.read_barrier().await.map_err(|error| answer::unread(&error))?;
        Ok(Response::new(assignments::stream(dispatcher.term.store.clone(), &node_id, &have, ended)))
    }

    async fn update_task_status(
        &self,
        request: Request<UpdateTaskStatusRequest>,
    ) -> Result<Response<UpdateTaskStatusReply>, Status> {
        let node_id = Caller::of(&request)?.node_id()?.to_owned();
        let UpdateTaskStatusRequest { session_id, updates } = request.into_inner();
        if updates.len() > MAX_STATUS_BATCH {
            return Err(Status::invalid_argument(format!("more than {MAX_STATUS_BATCH} reports in one call")));
        }
        let dispatcher = self.term()?;
        dispatcher.sessions.check(&node_id, &session_id)?;
        status::check(&dispatcher.term.store.view(), &node_id, &updates)
            .map_err(|error| Status::permission_denied(error.to_string()))?;
        dispatcher.reports.deliver(&node_id, updates).await?;
        Ok(Response::new(UpdateTaskStatusReply {}))
    }
}

fn check_message(message: &str) -> Result<(), Status> {
    if message.len() > MAX_MESSAGE_BYTES {
        return Err(Status::invalid_argument("the message of the node is too long"));
    }
    Ok(())
}
