//! One agent's work: the complete set, then what changes, from a watch on that node's tasks alone.
//!
//! Invariant: a message is made when the agent is ready to take it, from the newest state, so a slow agent gets fewer and
//! larger messages, up to their bound, never a queue.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _, stream};
use skep_core::assign::Assignments;
use skep_proto::v1::AssignmentsMessage;
use skep_store::{Selector, Store, Watcher};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::burst::burst;

pub(super) type AssignmentsStream = Pin<Box<dyn Stream<Item = Result<AssignmentsMessage, Status>> + Send>>;

struct State {
    store: Arc<Store>,
    node_id: String,
    changes: Watcher,
    assignments: Assignments,
    session_ended: CancellationToken,
}

/// The stream of a node's assignments. Ends with its session.
pub(super) fn stream(store: Arc<Store>, node_id: String, session_ended: CancellationToken) -> AssignmentsStream {
    let (view, changes) = store.view_and_watch(Selector::TasksOfNode(node_id.clone()));
    let (assignments, complete) = Assignments::begin(&node_id, &view);
    let state = State { store, node_id, changes, assignments, session_ended };
    let increments = stream::unfold(state, |mut state| async {
        let message = state.next().await?;
        Some((Ok(message), state))
    });
    Box::pin(stream::iter([Ok(complete)]).chain(increments))
}

impl State {
    async fn next(&mut self) -> Option<AssignmentsMessage> {
        let over = self.session_ended.clone();
        over.run_until_cancelled(self.increment()).await
    }

    /// The next message comes from the state, so a watch that fell behind needs no more than a new one. What did not go
    /// into one message is there to be told without any change.
    async fn increment(&mut self) -> AssignmentsMessage {
        loop {
            if let Some(message) = self.assignments.next(&self.store.view()) {
                return message;
            }
            if burst(&mut self.changes).await.is_none() {
                self.changes = self.store.watch(Selector::TasksOfNode(self.node_id.clone()));
            }
        }
    }
}
