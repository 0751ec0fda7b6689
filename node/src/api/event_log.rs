//! What happened lately in the swarm, kept while this node manages.
//!
//! Owns the last [`KEPT`] events and the feed of new ones. One watch of the control service fills both; a client
//! takes a copy and a subscription at the same moment, so it misses nothing and sees nothing twice. What happened while
//! this node did not manage, or while its watch was interrupted, is not in it: events are for people, not for programs
//! that must not miss one.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use skep_common::{
    clock::{Clock as _, SystemClock},
    net::backoff::Backoff,
};
use skep_dockerapi::{
    convert::{event_from_watch, kinds_with_events},
    time::Time,
    types::Event,
};
use skep_proto::v1::WatchRequest;
use tokio::{sync::broadcast, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::backend::{Manager, Swarm};

/// As many as Docker keeps; also how far behind a slow client may fall.
const KEPT: usize = 256;

/// How soon a node that became a manager starts to watch.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The log. Clones are the same log.
#[derive(Clone)]
pub(super) struct EventLog {
    past: Arc<Mutex<VecDeque<Arc<Event>>>>,
    feed: broadcast::Sender<Arc<Event>>,
}

impl Default for EventLog {
    fn default() -> Self {
        Self { past: Arc::default(), feed: broadcast::Sender::new(KEPT) }
    }
}

impl EventLog {
    /// What is kept, oldest first, and everything after it.
    pub(super) fn follow(&self) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        let past = self.past();
        (past.iter().cloned().collect(), self.feed.subscribe())
    }

    /// How many clients follow.
    pub(super) fn listeners(&self) -> u64 {
        u64::try_from(self.feed.receiver_count()).unwrap_or(u64::MAX)
    }

    /// Adds an event.
    pub(super) fn push(&self, event: Event) {
        let event = Arc::new(event);
        let mut past = self.past();
        if past.len() == KEPT {
            past.pop_front();
        }
        past.push_back(Arc::clone(&event));
        // No receiver is no error. Sent under the lock: see `follow`.
        let _ = self.feed.send(event);
    }

    /// Watches whenever this node manages, until `stop`.
    pub(super) async fn collect(&self, swarm: Arc<dyn Swarm>, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let collecting = async {
            loop {
                let Some(manager) = swarm.manager() else {
                    sleep(LOOK_AGAIN).await;
                    continue;
                };
                match self.watch(manager.as_ref(), &mut backoff).await {
                    Ok(()) => {}
                    Err(error) => debug!(%error, "the watch for events was interrupted"),
                }
                backoff.wait().await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = collecting => {}
        }
    }

    async fn watch(&self, manager: &dyn Manager, backoff: &mut Backoff) -> Result<(), tonic::Status> {
        let kinds = kinds_with_events().map(Into::into).collect();
        let mut changes = manager.control().watch(WatchRequest { kinds }).await?.into_inner();
        backoff.reset();
        while let Some(change) = changes.next().await {
            let now = Time::from(SystemClock::new().now());
            if let Some(event) = event_from_watch(&change?, now) {
                self.push(event);
            }
        }
        Ok(())
    }

    fn past(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: i64) -> Event {
        Event { time_nano: n, ..Event::default() }
    }

    #[tokio::test]
    async fn a_follower_sees_each_event_once() {
        let log = EventLog::default();
        log.push(event(1));
        let (past, mut live) = log.follow();
        log.push(event(2));
        assert_eq!(past.iter().map(|event| event.time_nano).collect::<Vec<_>>(), [1]);
        assert_eq!(live.recv().await.unwrap().time_nano, 2);
        assert!(live.try_recv().is_err());
    }

    #[test]
    fn only_the_last_are_kept() {
        let log = EventLog::default();
        for n in 0..1000 {
            log.push(event(n));
        }
        let (past, _) = log.follow();
        assert_eq!((past.len(), past[0].time_nano), (KEPT, 1000 - 256));
    }
}
