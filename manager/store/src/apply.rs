//! Applying a log entry: total, deterministic, all or nothing.
//!
//! A transaction says which version of each object its proposer saw. An object that is at another version now was changed
//! in between, and the whole transaction is refused; the proposer looks again and plans anew. Changes that a transaction
//! makes to one object see each other, so all of them carry the version from before it.

use std::{collections::BTreeMap, sync::Arc};

use skep_common::clock::Timestamp;
use skep_proto::v1::{Action, AssignRaftId, ManagerStatus, Meta, ObjectKind, ObjectRef, Transaction, action};

use crate::{
    change::{Change, ChangeSet},
    key::Key,
    object::{AnyObject, kind_name},
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
    NameTaken {
        /// Which kind.
        kind: ObjectKind,
        /// The name.
        name: String,
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
        self.apply_owned(index, transaction.clone())
    }

    /// [`View::apply`] of a transaction that nobody else needs: its objects become those of the state without a copy.
    ///
    /// # Errors
    /// The same.
    pub fn apply_owned(&self, index: u64, transaction: Transaction) -> Result<(Self, ChangeSet), ApplyError> {
        for expected in &transaction.expect {
            self.check(expected)?;
        }
        let mut run = Run { after: self.clone(), index, now: transaction.now, touched: BTreeMap::new() };
        run.after.set_version(index);
        for action in transaction.actions {
            run.act(action)?;
        }
        Ok(run.finish(transaction.by.as_str().into()))
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

/// A transaction half applied.
struct Run {
    after: View,
    index: u64,
    now: i64,
    touched: BTreeMap<(ObjectKind, Key), Touched>,
}

/// What a transaction made of an object so far; `None` is: not there.
#[derive(Clone)]
struct Touched {
    before: Option<AnyObject>,
    after: Option<AnyObject>,
}

impl Run {
    fn act(&mut self, action: Action) -> Result<(), ApplyError> {
        let object = |object: skep_proto::v1::Object| {
            AnyObject::from_proto(object).ok_or(ApplyError::Malformed("an object message without an object"))
        };
        match action.action.ok_or(ApplyError::Malformed("an action without an action"))? {
            action::Action::Create(new) => self.create(object(new)?),
            action::Action::Update(new) => self.update(object(new)?),
            action::Action::Remove(which) => self.remove(&which),
            action::Action::AssignRaftId(assign) => self.assign_raft_id(&assign),
        }
    }

    fn create(&mut self, object: AnyObject) -> Result<(), ApplyError> {
        let (kind, id) = (object.kind(), object.id());
        if id.is_empty() {
            return Err(ApplyError::Malformed("an object without an id"));
        }
        let Touched { before, after } = self.so_far(kind, id);
        if after.is_some() {
            return Err(ApplyError::Exists { kind, id: id.to_owned() });
        }
        self.put(before, object, self.now)
    }

    fn update(&mut self, object: AnyObject) -> Result<(), ApplyError> {
        let (kind, id) = (object.kind(), object.id());
        let Touched { before, after } = self.so_far(kind, id);
        at_version(before.as_ref(), kind, id, object.version())?;
        let after = after.ok_or_else(|| ApplyError::NotFound { kind, id: id.to_owned() })?;
        self.put(before, object, created_at(&after))
    }

    fn remove(&mut self, which: &ObjectRef) -> Result<(), ApplyError> {
        let (kind, id) = (known_kind(which)?, which.id.as_str());
        let Touched { before, after } = self.so_far(kind, id);
        at_version(before.as_ref(), kind, id, which.version)?;
        if after.is_none() {
            return Err(ApplyError::NotFound { kind, id: id.to_owned() });
        }
        self.after.take(kind, id);
        self.touched.insert((kind, Key::from(id)), Touched { before, after: None });
        Ok(())
    }

    /// One index makes one Raft id: a second assignment in the same entry would use it twice.
    fn assign_raft_id(&mut self, assign: &AssignRaftId) -> Result<(), ApplyError> {
        let taken =
            |node: &skep_proto::v1::Node| node.manager.as_ref().is_some_and(|manager| manager.raft_id == self.index);
        if self.after.nodes().any(|node| taken(node)) {
            return Err(ApplyError::Malformed("two Raft ids from one entry"));
        }
        let (kind, id) = (ObjectKind::Node, &assign.node_id);
        let Touched { before, after: Some(AnyObject::Node(mut node)) } = self.so_far(kind, id) else {
            return Err(ApplyError::NotFound { kind, id: id.clone() });
        };
        let manager = ManagerStatus { raft_id: self.index, addr: assign.addr.clone(), ..ManagerStatus::default() };
        Arc::make_mut(&mut node).manager = Some(manager);
        let node = AnyObject::Node(node);
        let created_at = created_at(&node);
        self.put(before, node, created_at)
    }

    fn so_far(&self, kind: ObjectKind, id: &str) -> Touched {
        self.touched.get(&(kind, Key::from(id))).cloned().unwrap_or_else(|| {
            let object = self.after.object(kind, id);
            Touched { before: object.clone(), after: object }
        })
    }

    fn put(&mut self, before: Option<AnyObject>, mut object: AnyObject, created_at: i64) -> Result<(), ApplyError> {
        if let Some(name) = self.after.name_taken(&object) {
            return Err(ApplyError::NameTaken { kind: object.kind(), name });
        }
        *object.meta_mut() = Meta { version: self.index, created_at, updated_at: self.now };
        let key = (object.kind(), Key::from(object.id()));
        self.after.put(object.clone());
        self.touched.insert(key, Touched { before, after: Some(object) });
        Ok(())
    }

    fn finish(self, by: Arc<str>) -> (View, ChangeSet) {
        let changes = self.touched.into_values().filter_map(|touched| match (touched.before, touched.after) {
            (None, Some(new)) => Some(Change::Create(new)),
            (Some(old), Some(new)) => Some(Change::Update { old, new }),
            (Some(old), None) => Some(Change::Remove(old)),
            (None, None) => None,
        });
        let changes = ChangeSet { version: self.index, at: Timestamp(self.now), by, changes: changes.collect() };
        (self.after, changes)
    }
}

fn created_at(object: &AnyObject) -> i64 {
    object.meta().map_or(0, |meta| meta.created_at)
}
