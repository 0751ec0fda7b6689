//! The replicated state of a swarm, as pure data.
//!
//! A [`View`] is one immutable version of the state; [`View::apply`] makes the next one from a log entry, totally and
//! deterministically. [`TxBuilder`] builds transactions. [`Store`] holds the present view of a manager and notifies
//! [`Watcher`]s of the changes they selected; a [`Follower`] polls for everything that changed since its last look. Nothing
//! here does I/O, reads a clock or uses randomness.

mod apply;
mod change;
mod delta;
mod follow;
mod index;
mod key;
mod kinds;
pub mod lifecycle;
mod lookup;
mod object;
mod revision;
mod snapshot;
mod store;
mod sum;
mod table;
#[cfg(test)]
mod tests;
mod transaction;
mod view;
mod watch;

pub use self::{
    apply::ApplyError,
    change::{Change, ChangeSet, Refused},
    follow::{Backlog, Follower, News},
    kinds::{AnyObject, kind_name},
    lookup::LookupError,
    object::{IntoObject, StoreObject},
    snapshot::RestoreError,
    store::Store,
    sum::{NodeLoad, TaskCounts},
    transaction::TxBuilder,
    view::View,
    watch::{Selector, WatchError, WatchEvent, Watcher},
};
