//! One agent's work: what it lacks, then what changes, as news of that node's tasks alone.
//!
//! Invariant: a message is made when the agent is ready to take it, from the newest state, so a slow agent gets fewer and
//! larger messages, up to their bound, never a queue.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, stream};
use skep_core::assign::Assignments;
use skep_proto::v1::{AssignmentVersion, AssignmentsMessage};
use skep_store::{Follower, News, Selector, Store};
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub(super) type AssignmentsStream = Pin<Box<dyn Stream<Item = Result<AssignmentsMessage, Status>> + Send>>;

struct State {
    store: Arc<Store>,
    changes: Follower,
    assignments: Assignments,
    session_ended: CancellationToken,
}

/// The stream of a node's assignments, to one that has these. Ends with its session.
pub(super) fn stream(
    store: Arc<Store>,
    node_id: &str,
    have: &[AssignmentVersion],
    session_ended: CancellationToken,
) -> AssignmentsStream {
    let mut changes = store.follow(Selector::TasksOfNode(node_id.to_owned()));
    let (view, _) = store.look(&mut changes);
    let assignments = Assignments::begin(node_id, &view, have);
    let state = State { store, changes, assignments, session_ended };
    Box::pin(stream::try_unfold(state, |mut state| async {
        let over = state.session_ended.clone();
        let message = over.run_until_cancelled(state.next()).await.transpose()?;
        Ok(message.map(|message| (message, state)))
    }))
}

impl State {
    async fn next(&mut self) -> Result<AssignmentsMessage, Status> {
        loop {
            let (view, news) = self.store.look(&mut self.changes);
            match news {
                News::Changes(changes) => changes.iter().for_each(|change| self.assignments.note(change)),
                News::Everything => return Err(Status::aborted("the whole state was replaced; ask again")),
            }
            if let Some(message) = self.assignments.next(&view) {
                return Ok(message);
            }
            drop(view);
            self.changes.changed().await;
        }
    }
}
