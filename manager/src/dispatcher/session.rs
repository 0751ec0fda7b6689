//! One agent's session stream: the facts at once, and again whenever they or the node change.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, stream};
use skep_proto::v1::SessionMessage;
use tokio::sync::watch;
use tonic::Status;

use super::{
    facts::Facts,
    sessions::{Opened, Sessions},
};

pub(super) type SessionStream = Pin<Box<dyn Stream<Item = Result<SessionMessage, Status>> + Send>>;

struct State {
    opened: Opened,
    facts: watch::Receiver<Arc<Facts>>,
    said_something: bool,
    _closer: Closer,
}

/// Closes the session when its stream goes: the agent hung up, or the session is over anyway.
struct Closer {
    sessions: Arc<Sessions>,
    node_id: String,
    session_id: String,
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.sessions.close(&self.node_id, &self.session_id);
    }
}

/// The stream of a session that was just opened. Ends with the session.
pub(super) fn stream(
    opened: Opened,
    node_id: String,
    facts: watch::Receiver<Arc<Facts>>,
    sessions: Arc<Sessions>,
) -> SessionStream {
    let closer = Closer { sessions, node_id, session_id: opened.id.clone() };
    let state = State { opened, facts, said_something: false, _closer: closer };
    Box::pin(stream::unfold(Some(state), |state| async {
        let mut state = state?;
        match state.next().await {
            Some(message) => Some((Ok(message), Some(state))),
            None => Some((Err(Status::aborted("the session is over; open a new one")), None)),
        }
    }))
}

impl State {
    /// The next message; `None` when the session is over.
    async fn next(&mut self) -> Option<SessionMessage> {
        if self.said_something {
            tokio::select! {
                () = self.opened.ended.cancelled() => return None,
                changed = self.opened.node.changed() => changed.ok()?,
                changed = self.facts.changed() => changed.ok()?,
            }
        }
        self.said_something = true;
        // Whatever else has changed meanwhile goes along.
        let node = self.opened.node.borrow_and_update().clone();
        let facts = self.facts.borrow_and_update().clone();
        Some(facts.message(&self.opened.id, &node))
    }
}
