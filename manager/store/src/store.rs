//! The present state of one manager, and its watchers.
//!
//! Invariant: state and watchers change under one lock, so a view and a watch taken together have no gap between them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use skep_proto::v1::Transaction;

use crate::{
    apply::ApplyError,
    change::ChangeSet,
    follow::{Follower, News},
    view::View,
    watch::{Hub, Selector, Watcher},
};

/// The live state. A reader waits for at most one entry that is being applied.
#[derive(Default)]
pub struct Store {
    view: RwLock<View>,
    hub: Mutex<Hub>,
}

impl Store {
    /// A store that starts with `view`.
    pub fn new(view: View) -> Arc<Self> {
        Arc::new(Self { view: RwLock::new(view), hub: Mutex::default() })
    }

    /// The present state.
    pub fn view(&self) -> View {
        // Poisoned or not: the process does not outlive a panic.
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Applies the entry at `index` and tells the watchers. After a refused transaction the state is at `index` too.
    ///
    /// # Errors
    /// What [`View::apply`] says; the same on every manager.
    pub fn commit(&self, index: u64, transaction: &Transaction) -> Result<ChangeSet, ApplyError> {
        self.commit_owned(index, transaction.clone())
    }

    /// [`Store::commit`] without a copy of the transaction.
    ///
    /// # Errors
    /// The same.
    pub fn commit_owned(&self, index: u64, transaction: Transaction) -> Result<ChangeSet, ApplyError> {
        let mut hub = self.hub();
        let applied = self.write(|view| {
            let applied = view.advance(index, transaction);
            view.set_version(index);
            applied
        });
        if let Ok(changes) = &applied {
            hub.publish(changes);
        }
        applied
    }

    /// Notes an entry at `index` that holds no transaction.
    pub fn skip(&self, index: u64) {
        let _hub = self.hub();
        self.write(|view| view.set_version(index));
    }

    /// Puts another state in place (a snapshot was installed): every watcher must start again.
    pub fn replace(&self, view: View) {
        let mut hub = self.hub();
        self.set(view);
        hub.lag_all();
    }

    /// Watches changes from now on.
    pub fn watch(&self, selector: Selector) -> Watcher {
        self.hub().register(selector)
    }

    /// The present state, and every change after it.
    pub fn view_and_watch(&self, selector: Selector) -> (View, Watcher) {
        let mut hub = self.hub();
        (self.view(), hub.register(selector))
    }

    /// A follower that polls for changes. Its first look gives the whole state.
    pub fn follow(&self, selector: Selector) -> Follower {
        self.hub().follow(selector)
    }

    /// The present state, and what led to it since this follower last looked.
    pub fn look(&self, follower: &mut Follower) -> (View, News) {
        let _hub = self.hub();
        let news = follower.shared.backlog().take();
        (self.view(), news)
    }

    #[cfg(test)]
    pub(crate) fn watchers(&self) -> usize {
        self.hub().watchers()
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, view: View) {
        self.write(|old| *old = view);
    }

    fn write<R>(&self, write: impl FnOnce(&mut View) -> R) -> R {
        write(&mut self.view.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.view()).finish()
    }
}
