//! Applying a log entry: total, deterministic, all or nothing.
//!
//! Optimistic concurrency: a transaction names the version of each object that its proposer read. If an object has another
//! version by now, the whole transaction is refused, and the proposer plans again on the new state. Several actions on one
//! object in a transaction see each other's changes, and all name the version from before the transaction.
//!
//! The actions of an independent transaction are applied like transactions of their own, one after the other: each is
//! refused alone. They share one log index, so no two of them may touch the same object.

use std::sync::Arc;

use skep_common::clock::Timestamp;
use skep_common::revision::revision_id;
use skep_proto::v1::{Action, AssignRaftId, ManagerStatus, Meta, ObjectKind, ObjectRef, Transaction, action};

use crate::{
    change::{Change, ChangeSet, Refused},
    delta,
    kinds::{AnyObject, kind_name},
    table::Row,
    view::View,
};

/// Why a transaction changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// An object is not at the version the proposer saw.
    #[error("{} {id} is at version {found}, not {read}", kind_name(*kind))]
    Conflict {
        /// Which kind.
        kind: ObjectKind,
        /// Which object.
        id: String,
        /// The version the proposer saw; 0 = none there.
        read: u64,
        /// The version it is at; 0 = none there.
        found: u64,
    },
    /// An object with this id exists.
    #[error("{} {id} already exists", kind_name(*kind))]
    Exists {
        /// Which kind.
        kind: ObjectKind,
        /// Which object.
        id: String,
    },
    /// Another object of the kind has this name.
    #[error("name conflicts with an existing object: {} {name} already exists", kind_name(*kind))]
    Taken {
        /// Which kind.
        kind: ObjectKind,
        /// The name.
        name: String,
        /// The id of the object that has it.
        by: String,
    },
    /// There is no such object.
    #[error("{} {id} not found", kind_name(*kind))]
    NotFound {
        /// Which kind.
        kind: ObjectKind,
        /// Which object.
        id: String,
    },
    /// The transaction makes no sense.
    #[error("malformed transaction: {0}")]
    Malformed(&'static str),
}

impl View {
    /// The state after the entry at `index`, and what it changed.
    ///
    /// # Errors
    /// A refused transaction changes nothing but the version: the caller goes on with [`View::skip`].
    pub fn apply(&self, index: u64, transaction: &Transaction) -> Result<(Self, ChangeSet), ApplyError> {
        let mut next = self.clone();
        let changes = next.advance(index, transaction.clone())?;
        Ok((next, changes))
    }

    /// Makes this the state after the entry at `index` and returns the changes. What no other view shares is changed in
    /// place, and the transaction's objects are taken over without a copy.
    ///
    /// # Errors
    /// A refused transaction changes nothing, not even the version. Of an independent one the refused actions are in the
    /// [`ChangeSet`].
    pub fn advance(&mut self, index: u64, transaction: Transaction) -> Result<ChangeSet, ApplyError> {
        for expected in &transaction.expect {
            self.check(expected)?;
        }
        let (independent, touched) = (transaction.independent, Vec::with_capacity(transaction.actions.len()));
        let mut run =
            Run { after: self, index, now: transaction.now, touched, removed: false, has_raft_id: false, independent };
        let mut refused = Vec::new();
        for (action, content) in transaction.actions.into_iter().enumerate() {
            match run.act(content) {
                Ok(()) => {}
                // It checks before it changes anything, so there is nothing to put back.
                Err(error) if independent => refused.push(Refused { action, error }),
                Err(error) => {
                    run.undo();
                    return Err(error);
                }
            }
        }
        let changes = ChangeSet { refused, ..run.finish(transaction.by.as_str().into()) };
        self.set_version(index);
        Ok(changes)
    }

    /// The same state, after an entry at `index` that changed nothing.
    #[must_use]
    pub fn skip(&self, index: u64) -> Self {
        let mut next = self.clone();
        next.set_version(index);
        next
    }

    fn check(&self, seen: &ObjectRef) -> Result<(), ApplyError> {
        let kind = known_kind(seen)?;
        at_version(self.object(kind, &seen.id).as_ref(), kind, &seen.id, seen.version)
    }
}

fn at_version(found: Option<&AnyObject>, kind: ObjectKind, id: &str, read: u64) -> Result<(), ApplyError> {
    let found = found.map_or(0, AnyObject::version);
    if found == read { Ok(()) } else { Err(ApplyError::Conflict { kind, id: id.to_owned(), read, found }) }
}

fn known_kind(object: &ObjectRef) -> Result<ObjectKind, ApplyError> {
    ObjectKind::try_from(object.kind).map_err(|_| ApplyError::Malformed("unknown kind of object"))
}

/// A transaction being applied.
struct Run<'a> {
    after: &'a mut View,
    index: u64,
    now: i64,
    /// Each object once, in the order they were first touched.
    touched: Vec<Touched>,
    /// Whether one of them was removed.
    removed: bool,
    /// Whether the index is a node's Raft id by now.
    has_raft_id: bool,
    independent: bool,
}

/// An object before and after the transaction; `None`: it does not exist.
struct Touched {
    before: Option<AnyObject>,
    after: Option<AnyObject>,
}

/// An object as a transaction finds it.
struct Found {
    /// In `touched`, if the transaction touched it already.
    touched: Option<usize>,
    row: Option<Row>,
    before: Option<AnyObject>,
    after: Option<AnyObject>,
}

impl Run<'_> {
    /// The object as the proposer of an action must have read it.
    fn read<'f>(&self, found: &'f Found) -> Option<&'f AnyObject> {
        if self.independent { found.after.as_ref() } else { found.before.as_ref() }
    }

    fn act(&mut self, action: Action) -> Result<(), ApplyError> {
        let object = |object: skep_proto::v1::Object| {
            AnyObject::from_proto(object).ok_or(ApplyError::Malformed("an object message without an object"))
        };
        match action.action.ok_or(ApplyError::Malformed("an action without an action"))? {
            action::Action::Create(new) => self.create(object(new)?),
            action::Action::Update(new) => self.update(object(new)?),
            action::Action::Remove(which) => self.remove(&which),
            action::Action::AssignRaftId(assign) => self.assign_raft_id(&assign),
            action::Action::ChangeTask(change) => {
                let id = change.id.clone();
                self.change(ObjectKind::Task, &id, change.version, |task, now| {
                    if let AnyObject::Task(task) = task {
                        delta::change_task(Arc::make_mut(task), change, now);
                    }
                })
            }
            action::Action::ChangeNode(change) => {
                let id = change.id.clone();
                self.change(ObjectKind::Node, &id, change.version, |node, _| {
                    if let AnyObject::Node(node) = node {
                        delta::change_node(Arc::make_mut(node), change);
                    }
                })
            }
        }
    }

    fn create(&mut self, object: AnyObject) -> Result<(), ApplyError> {
        let (kind, id) = (object.kind(), object.id());
        if id.is_empty() {
            return Err(ApplyError::Malformed("an object without an id"));
        }
        if matches!(&object, AnyObject::Revision(it) if it.id != revision_id(&it.service_id, it.number)) {
            return Err(ApplyError::Malformed("a revision with another's id"));
        }
        let found = self.find(kind, id);
        if found.after.is_some() {
            return Err(ApplyError::Exists { kind, id: id.to_owned() });
        }
        self.put(found, object, self.now)
    }

    fn update(&mut self, object: AnyObject) -> Result<(), ApplyError> {
        let (kind, id) = (object.kind(), object.id());
        if kind == ObjectKind::Revision {
            return Err(ApplyError::Malformed("a revision never changes"));
        }
        let found = self.find(kind, id);
        at_version(self.read(&found), kind, id, object.version())?;
        let Some(after) = &found.after else { return Err(ApplyError::NotFound { kind, id: id.to_owned() }) };
        let created_at = created_at(after);
        self.put(found, object, created_at)
    }

    /// An update given as the difference to the version that was read.
    fn change(
        &mut self,
        kind: ObjectKind,
        id: &str,
        read: u64,
        change: impl FnOnce(&mut AnyObject, i64),
    ) -> Result<(), ApplyError> {
        let found = self.find(kind, id);
        at_version(self.read(&found), kind, id, read)?;
        let (Some(read), Some(after)) = (self.read(&found), &found.after) else {
            return Err(ApplyError::NotFound { kind, id: id.to_owned() });
        };
        let (mut object, created_at) = (read.clone(), created_at(after));
        change(&mut object, self.now);
        self.put(found, object, created_at)
    }

    fn remove(&mut self, which: &ObjectRef) -> Result<(), ApplyError> {
        let (kind, id) = (known_kind(which)?, which.id.as_str());
        let found = self.find(kind, id);
        at_version(self.read(&found), kind, id, which.version)?;
        if found.after.is_none() {
            return Err(ApplyError::NotFound { kind, id: id.to_owned() });
        }
        self.after.take(kind, id);
        self.removed = true;
        self.touch(found.touched, found.before, None);
        Ok(())
    }

    /// One index makes one Raft id: a second assignment in the same entry would use it twice.
    fn assign_raft_id(&mut self, assign: &AssignRaftId) -> Result<(), ApplyError> {
        if self.has_raft_id {
            return Err(ApplyError::Malformed("two Raft ids from one entry"));
        }
        let (kind, id) = (ObjectKind::Node, &assign.node_id);
        let found = self.find(kind, id);
        let Some(AnyObject::Node(mut node)) = found.after.clone() else {
            return Err(ApplyError::NotFound { kind, id: id.clone() });
        };
        let manager = ManagerStatus { raft_id: self.index, addr: assign.addr.clone(), ..ManagerStatus::default() };
        Arc::make_mut(&mut node).manager = Some(manager);
        let node = AnyObject::Node(node);
        let created_at = created_at(&node);
        self.put(found, node, created_at)?;
        self.has_raft_id = true;
        Ok(())
    }

    fn find(&self, kind: ObjectKind, id: &str) -> Found {
        let row = self.after.tables().row(kind, id);
        let after = row.and_then(|row| self.after.tables().at(kind, row));
        // An unchanged object has the version of an earlier entry.
        let is_new = after.as_ref().map_or(self.removed, |object| object.version() == self.index);
        let is_it = |object: &AnyObject| object.kind() == kind && object.id() == id;
        let same = |touched: &Touched| touched.before.as_ref().or(touched.after.as_ref()).is_some_and(is_it);
        let touched = if is_new { self.touched.iter().position(same) } else { None };
        let before = touched.map_or(&after, |at| &self.touched[at].before).clone();
        Found { touched, row, before, after }
    }

    fn put(&mut self, found: Found, mut object: AnyObject, created_at: i64) -> Result<(), ApplyError> {
        if let Some((name, by)) = self.after.tables().name_taken(&object) {
            return Err(ApplyError::Taken { kind: object.kind(), name, by });
        }
        self.after.fill_in(&mut object)?;
        self.after.share(&mut object, found.after.as_ref());
        *object.meta_mut() = Meta { version: self.index, created_at, updated_at: self.now };
        self.after.put(found.row, object.clone());
        self.touch(found.touched, found.before, Some(object));
        Ok(())
    }

    fn touch(&mut self, touched: Option<usize>, before: Option<AnyObject>, after: Option<AnyObject>) {
        match touched {
            Some(at) => self.touched[at].after = after,
            None => self.touched.push(Touched { before, after }),
        }
    }

    /// Undoes all changes. Names first: one may have passed from one object to another.
    fn undo(self) {
        for Touched { after, .. } in &self.touched {
            if let Some(after) = after {
                self.after.take(after.kind(), after.id());
            }
        }
        for before in self.touched.into_iter().filter_map(|touched| touched.before) {
            self.after.put(None, before);
        }
    }

    fn finish(self, by: Arc<str>) -> ChangeSet {
        let changes = self.touched.into_iter().filter_map(|touched| match (touched.before, touched.after) {
            (None, Some(new)) => Some(Change::Create(new)),
            (Some(old), Some(new)) => Some(Change::Update { old, new }),
            (Some(old), None) => Some(Change::Remove(old)),
            (None, None) => None,
        });
        let mut changes: Vec<Change> = changes.collect();
        changes.sort_by(|a, b| (a.kind(), a.object().id()).cmp(&(b.kind(), b.object().id())));
        ChangeSet { version: self.index, at: Timestamp(self.now), by, changes, refused: Vec::new() }
    }
}

fn created_at(object: &AnyObject) -> i64 {
    object.meta().map_or(0, |meta| meta.created_at)
}
