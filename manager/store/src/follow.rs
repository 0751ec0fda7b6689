//! Followers: a backlog of changes for a reader that polls the state now and then, merged per object.
//!
//! Owns the backlog of one follower. Invariants: a look gives a state and exactly the changes that led to it from the state
//! of the look before; a backlog holds at most about twice as many changes as objects changed, so a slow follower never
//! overflows and need not read the whole state again.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use futures::task::AtomicWaker;
use skep_proto::v1::ObjectKind;

use crate::{change::Change, key::Key};

/// Changes kept one by one before those of the same object are merged.
const LOOSE: usize = 1024;

/// What happened since a follower last looked.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// These changes, in their order; several of one object may have become one.
    Changes(Vec<Change>),
    /// Anything may have changed: the whole state was replaced, or this is the first look.
    Everything,
}

/// The changes a follower has not seen yet.
#[derive(Debug)]
pub struct Backlog {
    news: News,
    /// Changes there may be before they are merged.
    merge_at: usize,
    loose: usize,
}

impl Default for Backlog {
    fn default() -> Self {
        Self::merging_at(LOOSE)
    }
}

impl Backlog {
    /// One that merges from so many changes on.
    pub fn merging_at(loose: usize) -> Self {
        Self { news: News::Everything, merge_at: loose, loose }
    }

    /// Adds changes.
    pub fn push(&mut self, changes: impl IntoIterator<Item = Change>) {
        let News::Changes(known) = &mut self.news else { return };
        known.extend(changes);
        if known.len() > self.merge_at {
            *known = merged(mem::take(known));
            self.merge_at = self.loose.max(2 * known.len());
        }
    }

    /// Anything may have changed.
    pub fn forget(&mut self) {
        self.news = News::Everything;
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        matches!(&self.news, News::Changes(changes) if changes.is_empty())
    }

    /// Takes all of it out.
    pub fn take(&mut self) -> News {
        self.merge_at = self.loose;
        mem::replace(&mut self.news, News::Changes(Vec::new()))
    }
}

/// The net change of each object, in the order in which they were last touched.
fn merged(changes: Vec<Change>) -> Vec<Change> {
    let mut last: BTreeMap<(ObjectKind, Key), usize> = BTreeMap::new();
    let before = changes.iter().enumerate();
    let before = before.map(|(at, change)| last.insert((change.kind(), change.object().id().into()), at));
    // Of each change the one before it of the same object.
    let before: Vec<Option<usize>> = before.collect();
    let mut net: Vec<Option<Change>> = Vec::with_capacity(changes.len());
    for (change, before) in changes.into_iter().zip(before) {
        let merged = match before.and_then(|before| net[before].take()) {
            Some(earlier) => earlier.then(change),
            // None there was, or those before it came to nothing.
            None => Some(change),
        };
        net.push(merged);
    }
    net.into_iter().flatten().collect()
}

/// A follower's end of a store. Dropping it ends the following.
#[derive(Debug)]
pub struct Follower {
    pub(crate) shared: Arc<Shared>,
}

impl Follower {
    /// Waits until something has changed. Cancel safe.
    pub async fn changed(&mut self) {
        poll_fn(|cx| {
            self.shared.waker.register(cx.waker());
            if self.shared.backlog().is_empty() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }
}

/// What a follower and its store share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    backlog: Mutex<Backlog>,
    waker: AtomicWaker,
}

impl Shared {
    pub(crate) fn backlog(&self) -> MutexGuard<'_, Backlog> {
        // Poisoned or not: the process does not outlive a panic.
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&self, changes: Vec<Change>) {
        self.backlog().push(changes);
        self.waker.wake();
    }

    pub(crate) fn forget(&self) {
        self.backlog().forget();
        self.waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use proptest::prelude::*;
    use skep_common::clock::Timestamp;
    use skep_proto::v1::{Node, ObjectKind};

    use super::*;
    use crate::{Selector, Store, TxBuilder, View};

    fn commit(store: &Store, edit: impl FnOnce(&mut TxBuilder<'_>)) {
        let view = store.view();
        let mut tx = TxBuilder::new(&view, Timestamp(1));
        edit(&mut tx);
        store.commit(view.version() + 1, &tx.build()).unwrap();
    }

    fn node(id: &str, hostname: &str) -> Node {
        let mut node = Node { id: id.into(), ..Node::default() };
        node.description.get_or_insert_default().hostname = hostname.into();
        node
    }

    #[test]
    fn a_look_gives_the_state_and_what_led_to_it() {
        let store = Store::new(View::default());
        let mut follower = store.follow(Selector::Kinds(vec![ObjectKind::Node]));
        assert_eq!(store.look(&mut follower).1, News::Everything);
        assert!(follower.changed().now_or_never().is_none());
        commit(&store, |tx| _ = tx.create(node("a", "1")));
        assert!(follower.changed().now_or_never().is_some());
        let (view, news) = store.look(&mut follower);
        let News::Changes(changes) = news else { panic!("{news:?}") };
        assert_eq!((view.version(), changes.len()), (1, 1));
        assert!(follower.changed().now_or_never().is_none());
        store.replace(View::default());
        assert!(follower.changed().now_or_never().is_some());
        assert_eq!(store.look(&mut follower).1, News::Everything);
    }

    #[test]
    fn a_follower_that_does_not_look_for_long_holds_little_and_begins_nothing_anew() {
        let store = Store::new(View::default());
        let mut follower = store.follow(Selector::All);
        store.look(&mut follower);
        commit(&store, |tx| _ = tx.create(node("a", "0")));
        for turn in 1..10_000 {
            let mut now = Node::clone(store.view().node("a").unwrap());
            now.description.get_or_insert_default().hostname = turn.to_string();
            commit(&store, |tx| _ = tx.update(now));
            assert!(matches!(&follower.shared.backlog().news, News::Changes(kept) if kept.len() <= LOOSE));
        }
        let (view, News::Changes(changes)) = store.look(&mut follower) else { panic!("it began anew") };
        let newest = changes.last().and_then(Change::after).cloned();
        assert_eq!(newest, view.node("a").cloned().map(Into::into));
    }

    #[test]
    fn a_follower_that_is_gone_leaves_nothing_behind() {
        let store = Store::new(View::default());
        drop(store.follow(Selector::All));
        commit(&store, |tx| _ = tx.create(node("a", "1")));
        assert_eq!(store.watchers(), 0);
    }

    proptest! {
        /// Merged or not, the changes lead from the one state to the other.
        #[test]
        fn merged_changes_lead_to_the_same_state(steps in prop::collection::vec((0..4usize, any::<bool>()), 0..60)) {
            let (mut loose, mut tight) = (Backlog::merging_at(usize::MAX), Backlog::merging_at(1));
            (_, _) = (loose.take(), tight.take());
            let mut now: BTreeMap<String, Node> = BTreeMap::new();
            for (turn, (which, removes)) in steps.into_iter().enumerate() {
                let new = node(&format!("n{which}"), &turn.to_string());
                let change = match (now.remove(&new.id), removes) {
                    (None, true) => continue,
                    (None, false) => Change::Create(new.clone().into()),
                    (Some(old), true) => Change::Remove(old.into()),
                    (Some(old), false) => Change::Update { old: old.into(), new: new.clone().into() },
                };
                if !removes {
                    now.insert(new.id.clone(), new);
                }
                loose.push([change.clone()]);
                tight.push([change]);
            }
            let play = |news: News| {
                let News::Changes(changes) = news else { panic!("{news:?}") };
                let mut state = BTreeMap::new();
                for change in changes {
                    let before = state.remove(change.object().id());
                    assert_eq!(before.as_ref(), change.before(), "it does not follow on what was before");
                    if let Some(after) = change.after() {
                        state.insert(after.id().to_owned(), after.clone());
                    }
                }
                state
            };
            prop_assert_eq!(play(loose.take()), play(tight.take()));
        }
    }
}
