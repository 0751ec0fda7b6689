//! The replicated state of a swarm, as pure data.
//!
//! A [`View`] is an immutable state of everything; [`View::apply`] makes the next one from a log entry, totally and
//! deterministically. [`TxBuilder`] writes the entries. [`Store`] holds the present view of a manager and tells
//! [`Watcher`]s what changes, each only what it asked for; a [`Follower`] takes in at once whatever changed since it last looked. Nothing here waits, reads a clock or draws a number.

mod apply;
mod change;
mod delta;
mod follow;
mod index;
mod key;
mod kinds;
mod lookup;
mod object;
mod revision;
mod snapshot;
mod store;
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
    transaction::TxBuilder,
    view::View,
    watch::{Selector, WatchError, WatchEvent, Watcher},
};
