//! Telling watchers what changed: each hears only of what it selected, found by index.
//!
//! Invariants: a watcher misses nothing between its view and its first event; its queue is bounded, and one that does not
//! keep up hears [`WatchError::Lagged`] once and nothing more.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::{
    Stream,
    channel::mpsc::{Receiver, Sender, channel},
};
use skep_proto::v1::ObjectKind;

use crate::{
    change::{Change, ChangeSet},
    object::AnyObject,
};

/// Entries a watcher may be behind.
const QUEUE: usize = 1024;

/// What a watcher wants to hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Every change.
    All,
    /// Changes of these kinds.
    Kinds(Vec<ObjectKind>),
    /// Changes of tasks assigned to this node.
    TasksOfNode(String),
    /// Changes of tasks of this service.
    TasksOfService(String),
}

/// What one log entry changed, as far as the watcher asked.
#[derive(Debug, Clone, PartialEq)]
pub struct WatchEvent {
    /// Index of the entry.
    pub version: u64,
    /// The changes, by kind and id; never empty.
    pub changes: Vec<Change>,
}

/// Why a watcher hears nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// It fell behind, or the state was replaced: it must begin again with a view.
    #[error("the watcher fell behind and must start again from a view")]
    Lagged,
}

/// A stream of events. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watcher {
    events: Receiver<Arc<WatchEvent>>,
    lagged: Arc<AtomicBool>,
    ended: bool,
}

impl Stream for Watcher {
    type Item = Result<Arc<WatchEvent>, WatchError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if !self.lagged.load(Ordering::Acquire) {
            match Pin::new(&mut self.events).poll_next(cx) {
                Poll::Ready(Some(event)) => return Poll::Ready(Some(Ok(event))),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {}
            }
        }
        self.ended = true;
        let lagged = self.lagged.load(Ordering::Acquire);
        Poll::Ready(lagged.then_some(Err(WatchError::Lagged)))
    }
}

/// The watchers of one store.
#[derive(Default)]
pub(crate) struct Hub {
    next: u64,
    watchers: BTreeMap<u64, Registered>,
    all: BTreeSet<u64>,
    by_kind: BTreeMap<ObjectKind, BTreeSet<u64>>,
    by_node: BTreeMap<String, BTreeSet<u64>>,
    by_service: BTreeMap<String, BTreeSet<u64>>,
}

struct Registered {
    selector: Selector,
    events: Sender<Arc<WatchEvent>>,
    lagged: Arc<AtomicBool>,
}

impl Hub {
    pub(crate) fn register(&mut self, selector: Selector) -> Watcher {
        // The channel adds one place for its sender.
        let (sender, events) = channel(QUEUE - 1);
        let lagged = Arc::new(AtomicBool::new(false));
        let id = self.next;
        self.next += 1;
        for set in self.sets(&selector) {
            set.insert(id);
        }
        self.watchers.insert(id, Registered { selector, events: sender, lagged: lagged.clone() });
        Watcher { events, lagged, ended: false }
    }

    pub(crate) fn publish(&mut self, set: &ChangeSet) {
        let mut heard: BTreeMap<u64, Vec<Change>> = BTreeMap::new();
        for change in &set.changes {
            for id in self.interested(change) {
                heard.entry(id).or_default().push(change.clone());
            }
        }
        for (id, changes) in heard {
            let Some(watcher) = self.watchers.get_mut(&id) else { continue };
            if let Err(error) = watcher.events.try_send(Arc::new(WatchEvent { version: set.version, changes })) {
                watcher.lagged.store(error.is_full(), Ordering::Release);
                self.forget(id);
            }
        }
    }

    /// Tells every watcher to start again.
    pub(crate) fn lag_all(&mut self) {
        for watcher in std::mem::take(self).watchers.into_values() {
            watcher.lagged.store(true, Ordering::Release);
        }
    }

    fn interested(&self, change: &Change) -> BTreeSet<u64> {
        let mut ids = self.all.clone();
        let mut add = |set: Option<&BTreeSet<u64>>| ids.extend(set.into_iter().flatten());
        add(self.by_kind.get(&change.kind()));
        for object in [change.before(), change.after()].into_iter().flatten() {
            if let AnyObject::Task(task) = object {
                add(self.by_node.get(&task.node_id));
                add(self.by_service.get(&task.service_id));
            }
        }
        ids
    }

    fn forget(&mut self, id: u64) {
        let Some(watcher) = self.watchers.remove(&id) else { return };
        for set in self.sets(&watcher.selector) {
            set.remove(&id);
        }
        self.by_node.retain(|_, set| !set.is_empty());
        self.by_service.retain(|_, set| !set.is_empty());
    }

    fn sets(&mut self, selector: &Selector) -> Vec<&mut BTreeSet<u64>> {
        match selector {
            Selector::All => vec![&mut self.all],
            Selector::TasksOfNode(id) => vec![self.by_node.entry(id.clone()).or_default()],
            Selector::TasksOfService(id) => vec![self.by_service.entry(id.clone()).or_default()],
            Selector::Kinds(kinds) => {
                for kind in kinds {
                    self.by_kind.entry(*kind).or_default();
                }
                self.by_kind.iter_mut().filter(|(kind, _)| kinds.contains(kind)).map(|(_, set)| set).collect()
            }
        }
    }
}
