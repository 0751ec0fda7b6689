//! Status reports of the agents, in batches. Writes `Task.status`.
//!
//! Owns the reports that are not written yet. Invariants: the queue is bounded; reports are acknowledged only once they are
//! committed, so an agent still has what a leader loses; while one batch is being committed the next one fills, so nothing
//! waits for a timer.

use skep_core::{
    Plan,
    reconcile::{Now, Reconciler},
    status::{self, Report},
};
use skep_proto::v1::TaskStatusUpdate;
use skep_store::{Selector, View};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::drive::Component;

/// Most calls in the queue.
const QUEUE: usize = 4096;

/// Reports of one batch; the last call taken may have some more.
const BATCH: usize = 4_096;

/// One agent's call.
struct Delivery {
    reports: Vec<Report>,
    written: oneshot::Sender<()>,
}

/// Where reports are handed in.
#[derive(Clone)]
pub(super) struct Inbox(mpsc::Sender<Delivery>);

impl Inbox {
    /// Hands in a node's reports and waits until they are committed.
    pub(super) async fn deliver(&self, node_id: &str, updates: Vec<TaskStatusUpdate>) -> Result<(), Status> {
        let report = |update| Report { node_id: node_id.to_owned(), update };
        self.written(updates.into_iter().map(report).collect()).await
    }

    /// Waits until all reports delivered before are committed.
    pub(super) async fn settled(&self) -> Result<(), Status> {
        self.written(Vec::new()).await
    }

    async fn written(&self, reports: Vec<Report>) -> Result<(), Status> {
        let lost = || Status::unavailable("the leader is changing; send the reports to the next one");
        let (written, done) = oneshot::channel();
        self.0.send(Delivery { reports, written }).await.map_err(|_| lost())?;
        done.await.map_err(|_| lost())
    }
}

/// The loop that writes them.
pub(super) struct Statuses {
    queue: mpsc::Receiver<Delivery>,
    taken: Vec<Delivery>,
}

impl Statuses {
    pub(super) fn new() -> (Inbox, Self) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Inbox(sender), Self { queue, taken: Vec::new() })
    }
}

impl Reconciler for Statuses {
    const NAME: &'static str = "task statuses";

    /// What is reported does not depend on what else happens.
    fn watches(&self) -> Selector {
        Selector::Kinds(Vec::new())
    }

    fn plan(&mut self, view: &View, now: Now) -> Plan {
        let mut count: usize = self.taken.iter().map(|delivery| delivery.reports.len()).sum();
        while count < BATCH
            && let Ok(delivery) = self.queue.try_recv()
        {
            count += delivery.reports.len();
            self.taken.push(delivery);
        }
        status::plan(view, self.taken.iter().flat_map(|delivery| &delivery.reports), now.wall)
    }

    fn done(&mut self) {
        for delivery in self.taken.drain(..) {
            // The agent may have hung up; the reports are written all the same.
            let _ = delivery.written.send(());
        }
    }
}

impl Component for Statuses {
    async fn woken(&mut self) {
        match self.queue.recv().await {
            Some(delivery) => self.taken.push(delivery),
            None => std::future::pending().await,
        }
    }

    /// What came in while the last batch was written goes at once.
    async fn act(&mut self) -> bool {
        !self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::pin, time::Duration};

    use futures::poll;
    use skep_common::clock::Timestamp;

    use super::*;

    const NOW: Now = Now { wall: Timestamp(1), monotonic: Duration::ZERO };

    #[tokio::test]
    async fn settled_is_over_only_when_everything_handed_in_before_is_written() {
        let (inbox, mut statuses) = Statuses::new();
        let mut delivered = pin!(inbox.deliver("n", vec![TaskStatusUpdate::default()]));
        let mut settled = pin!(inbox.settled());
        assert!(poll!(&mut delivered).is_pending() && poll!(&mut settled).is_pending());
        statuses.woken().await;
        statuses.plan(&View::default(), NOW);
        assert!(poll!(&mut settled).is_pending(), "the report is not written yet");
        statuses.done();
        assert!(delivered.await.is_ok() && settled.await.is_ok());
    }

    #[tokio::test]
    async fn a_batch_is_of_some_thousand_reports_and_the_others_are_next() {
        const CALL: usize = 500;
        let (inbox, mut statuses) = Statuses::new();
        let mut calls: Vec<_> =
            (0..20).map(|_| Box::pin(inbox.deliver("n", vec![TaskStatusUpdate::default(); CALL]))).collect();
        for call in &mut calls {
            assert!(poll!(call).is_pending());
        }
        let mut batches = Vec::new();
        while !statuses.queue.is_empty() {
            statuses.woken().await;
            statuses.plan(&View::default(), NOW);
            batches.push(statuses.taken.len());
            let more = statuses.act().await;
            assert_eq!(more, batches.iter().sum::<usize>() < 20);
            statuses.done();
        }
        assert_eq!(batches, [9, 9, 2]);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_term_that_is_over() {
        let (inbox, statuses) = Statuses::new();
        let mut settled = pin!(inbox.settled());
        assert!(poll!(&mut settled).is_pending());
        drop(statuses);
        assert_eq!(settled.await.unwrap_err().code(), tonic::Code::Unavailable);
    }
}
