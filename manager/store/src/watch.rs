//! Watches: streams of changes, each with a selector; matching watchers are found by index.
//!
//! Invariants: a watcher misses nothing between its view and its first event; its queue is bounded, and one that does not
//! keep up gets [`WatchError::Lagged`] once and nothing more.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures::{
    Stream,
    channel::mpsc::{Receiver, Sender, channel},
};
use skep_common::clock::Timestamp;
use skep_proto::v1::{ObjectKind, Task};

use crate::{
    change::{Change, ChangeSet},
    follow::{Follower, Shared},
    kinds::AnyObject,
};

/// Entries a watcher may be behind.
const QUEUE: usize = 1024;

/// Which changes a watcher gets.
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
    /// The proposer's clock.
    pub at: Timestamp,
    /// Who proposed it; empty when that is not known.
    pub by: Arc<str>,
    /// The changes, by kind and id; never empty.
    pub changes: Vec<Change>,
}

/// Why a watch ended.
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
    /// Number of watchers from which on dropped ones are swept out.
    sweep_at: usize,
}

struct Registered {
    selector: Selector,
    sink: Sink,
}

/// What a watcher is sent.
enum Sink {
    /// Every event, until it falls behind.
    Events { events: Sender<Arc<WatchEvent>>, lagged: Arc<AtomicBool> },
    /// What changed in all since it last looked.
    Backlog(Weak<Shared>),
}

impl Sink {
    fn is_closed(&self) -> bool {
        match self {
            Self::Events { events, .. } => events.is_closed(),
            Self::Backlog(shared) => shared.strong_count() == 0,
        }
    }

    /// Says whether anybody takes more.
    fn deliver(&mut self, set: &ChangeSet, changes: Vec<Change>) -> bool {
        match self {
            Self::Events { events, lagged } => {
                let event = WatchEvent { version: set.version, at: set.at, by: set.by.clone(), changes };
                let sent = events.try_send(Arc::new(event));
                if let Err(error) = &sent {
                    lagged.store(error.is_full(), Ordering::Release);
                }
                sent.is_ok()
            }
            Self::Backlog(shared) => shared.upgrade().map(|shared| shared.push(changes)).is_some(),
        }
    }
}

impl Hub {
    pub(crate) fn register(&mut self, selector: Selector) -> Watcher {
        // The channel adds one for its sender.
        let (sender, events) = channel(QUEUE - 1);
        let lagged = Arc::new(AtomicBool::new(false));
        self.add(selector, Sink::Events { events: sender, lagged: lagged.clone() });
        Watcher { events, lagged, ended: false }
    }

    pub(crate) fn follow(&mut self, selector: Selector) -> Follower {
        let shared = Arc::<Shared>::default();
        self.add(selector, Sink::Backlog(Arc::downgrade(&shared)));
        Follower { shared }
    }

    fn add(&mut self, selector: Selector, sink: Sink) {
        if self.watchers.len() >= self.sweep_at {
            self.sweep();
        }
        let id = self.next;
        self.next += 1;
        match &selector {
            Selector::All => drop(self.all.insert(id)),
            Selector::Kinds(kinds) => kinds.iter().for_each(|kind| enlist(&mut self.by_kind, *kind, id)),
            Selector::TasksOfNode(node) => enlist(&mut self.by_node, node.clone(), id),
            Selector::TasksOfService(service) => enlist(&mut self.by_service, service.clone(), id),
        }
        self.watchers.insert(id, Registered { selector, sink });
    }

    pub(crate) fn publish(&mut self, set: &ChangeSet) {
        let mut due: BTreeMap<u64, Vec<Change>> = BTreeMap::new();
        for change in &set.changes {
            for id in self.interested(change) {
                due.entry(id).or_default().push(change.clone());
            }
        }
        for (id, changes) in due {
            let Some(watcher) = self.watchers.get_mut(&id) else { continue };
            if !watcher.sink.deliver(set, changes) {
                self.forget(id);
            }
        }
    }

    /// Tells every watcher to start again.
    pub(crate) fn lag_all(&mut self) {
        let mut lagged = Vec::new();
        for (id, watcher) in &self.watchers {
            match &watcher.sink {
                Sink::Events { lagged: flag, .. } => {
                    flag.store(true, Ordering::Release);
                    lagged.push(*id);
                }
                Sink::Backlog(shared) => _ = shared.upgrade().map(|shared| shared.forget()),
            }
        }
        lagged.into_iter().for_each(|id| self.forget(id));
    }

    #[cfg(test)]
    pub(crate) fn watchers(&self) -> usize {
        self.watchers.len()
    }

    /// Each watcher once: it is listed under one kind of selector only.
    fn interested<'a>(&'a self, change: &Change) -> impl Iterator<Item = u64> + use<'a> {
        let (new, old) = (task(change.after()), task(change.before()));
        let lists = |by: &'a BTreeMap<String, BTreeSet<u64>>, of: fn(&Task) -> &str| {
            let [new, old] = [new, old].map(|task| task.map(of).filter(|key| !key.is_empty()));
            [new, old.filter(|old| new != Some(*old))].map(|key| key.and_then(|key| by.get(key)))
        };
        let [new_node, old_node] = lists(&self.by_node, |task| &task.node_id);
        let [new_service, old_service] = lists(&self.by_service, |task| &task.service_id);
        let of_kind = self.by_kind.get(&change.kind());
        let listed = [Some(&self.all), of_kind, new_node, old_node, new_service, old_service];
        listed.into_iter().flatten().flatten().copied()
    }

    /// Removes dropped watchers. The bound doubles with the live ones, so this costs each registration O(1).
    fn sweep(&mut self) {
        let closed: Vec<u64> =
            self.watchers.iter().filter(|(_, watcher)| watcher.sink.is_closed()).map(|(id, _)| *id).collect();
        closed.into_iter().for_each(|id| self.forget(id));
        self.sweep_at = (2 * self.watchers.len()).max(64);
    }

    fn forget(&mut self, id: u64) {
        let Some(watcher) = self.watchers.remove(&id) else { return };
        match &watcher.selector {
            Selector::All => drop(self.all.remove(&id)),
            Selector::Kinds(kinds) => kinds.iter().for_each(|kind| delist(&mut self.by_kind, kind, id)),
            Selector::TasksOfNode(node) => delist(&mut self.by_node, node, id),
            Selector::TasksOfService(service) => delist(&mut self.by_service, service, id),
        }
    }
}

fn task(object: Option<&AnyObject>) -> Option<&Task> {
    match object {
        Some(AnyObject::Task(task)) => Some(task),
        _ => None,
    }
}

fn enlist<K: Ord>(lists: &mut BTreeMap<K, BTreeSet<u64>>, key: K, id: u64) {
    lists.entry(key).or_default().insert(id);
}

fn delist<K: Ord>(lists: &mut BTreeMap<K, BTreeSet<u64>>, key: &K, id: u64) {
    let Some(list) = lists.get_mut(key) else { return };
    list.remove(&id);
    if list.is_empty() {
        lists.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, StreamExt as _};
    use skep_proto::v1::{Node, Transaction};

    use super::*;
    use crate::{Store, TxBuilder, View};

    #[test]
    fn an_event_says_who_proposed_it_and_when() {
        let store = Store::new(View::default());
        let mut watcher = store.watch(Selector::All);
        let view = store.view();
        let mut tx = TxBuilder::new(&view, Timestamp(7));
        tx.create(Node { id: "n".into(), ..Node::default() });
        store.commit(3, &Transaction { by: "somebody".into(), ..tx.build() }).unwrap();
        let event = watcher.next().now_or_never().unwrap().unwrap().unwrap();
        assert_eq!((event.version, event.at, event.by.as_ref()), (3, Timestamp(7), "somebody"));
    }

    #[test]
    fn watchers_that_come_and_go_leave_nothing_behind() {
        let mut hub = Hub::default();
        let kept = hub.register(Selector::All);
        for session in 0..10_000 {
            drop(hub.register(Selector::TasksOfNode(format!("node{session}"))));
        }
        assert!(hub.watchers.len() <= 64 && hub.by_node.len() <= 64);
        hub.lag_all();
        assert!(hub.watchers.is_empty() && hub.all.is_empty() && hub.by_node.is_empty());
        drop(kept);
    }
}
