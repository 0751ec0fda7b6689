//! Applying a log entry: total, deterministic, all or nothing.
//!
//! A transaction says which version of each object its proposer saw. An object that is at another version now was changed
//! in between, and the whole transaction is refused; the proposer looks again and plans anew. Changes that a transaction
//! makes to one object see each other, so all of them carry the version from before it.

use std::{collections::BTreeSet, sync::Arc};

use skep_common::clock::Timestamp;
use skep_proto::v1::{Action, AssignRaftId, ManagerStatus, ObjectKind, ObjectRef, Transaction, action};

use crate::{
    change::{Change, ChangeSet},
    object::{AnyObject, StoreObject, kind_name},
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
        for expected in &transaction.expect {
            self.check(expected)?;
        }
        let mut run = Run { before: self, after: self.clone(), index, now: transaction.now, touched: BTreeSet::new() };
        run.after.set_version(index);
        for action in &transaction.actions {
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

    fn version_of(&self, kind: ObjectKind, id: &str) -> u64 {
        self.object(kind, id).map_or(0, |object| object.version())
    }

    fn check(&self, seen: &ObjectRef) -> Result<(), ApplyError> {
        let kind = known_kind(seen)?;
        let found = self.version_of(kind, &seen.id);
        if found == seen.version {
            Ok(())
        } else {
            Err(ApplyError::Conflict { kind, id: seen.id.clone(), read: seen.version, found })
        }
    }
}

fn known_kind(object: &ObjectRef) -> Result<ObjectKind, ApplyError> {
    ObjectKind::try_from(object.kind).map_err(|_| ApplyError::Malformed("unknown kind of object"))
}

/// A transaction half applied.
struct Run<'a> {
    before: &'a View,
    after: View,
    index: u64,
    now: i64,
    touched: BTreeSet<(ObjectKind, String)>,
}

impl Run<'_> {
    fn act(&mut self, action: &Action) -> Result<(), ApplyError> {
        let object = |object: &skep_proto::v1::Object| {
            AnyObject::from_proto(object.clone()).ok_or(ApplyError::Malformed("an object message without an object"))
        };
        match action.action.as_ref().ok_or(ApplyError::Malformed("an action without an action"))? {
            action::Action::Create(new) => self.create(object(new)?),
            action::Action::Update(new) => self.update(object(new)?),
            action::Action::Remove(which) => self.remove(which),
            action::Action::AssignRaftId(assign) => self.assign_raft_id(assign),
        }
    }

    fn create(&mut self, object: AnyObject) -> Result<(), ApplyError> {
        let (kind, id) = (object.kind(), object.id().to_owned());
        if id.is_empty() {
            return Err(ApplyError::Malformed("an object without an id"));
        }
        if self.after.object(kind, &id).is_some() {
            return Err(ApplyError::Exists { kind, id });
        }
        self.put(object, self.now)
    }

    fn update(&mut self, object: AnyObject) -> Result<(), ApplyError> {
        let (kind, id) = (object.kind(), object.id().to_owned());
        self.before.check(&ObjectRef { kind: kind.into(), id: id.clone(), version: object.version() })?;
        let created_at = match self.after.object(kind, &id) {
            Some(old) => created_at(&old),
            None => return Err(ApplyError::NotFound { kind, id }),
        };
        self.put(object, created_at)
    }

    fn remove(&mut self, which: &ObjectRef) -> Result<(), ApplyError> {
        self.before.check(which)?;
        let kind = known_kind(which)?;
        if self.after.object(kind, &which.id).is_none() {
            return Err(ApplyError::NotFound { kind, id: which.id.clone() });
        }
        self.after.take(kind, &which.id);
        self.touched.insert((kind, which.id.clone()));
        Ok(())
    }

    /// One index makes one Raft id: a second assignment in the same entry would use it twice.
    fn assign_raft_id(&mut self, assign: &AssignRaftId) -> Result<(), ApplyError> {
        let missing = || ApplyError::NotFound { kind: ObjectKind::Node, id: assign.node_id.clone() };
        let taken =
            |node: &skep_proto::v1::Node| node.manager.as_ref().is_some_and(|manager| manager.raft_id == self.index);
        if self.after.nodes().any(|node| taken(node)) {
            return Err(ApplyError::Malformed("two Raft ids from one entry"));
        }
        let mut node = skep_proto::v1::Node::clone(self.after.node(&assign.node_id).ok_or_else(missing)?);
        let manager = ManagerStatus { raft_id: self.index, addr: assign.addr.clone(), ..ManagerStatus::default() };
        node.manager = Some(manager);
        let created_at = node.meta_mut().created_at;
        self.put(node.into(), created_at)
    }

    fn put(&mut self, object: AnyObject, created_at: i64) -> Result<(), ApplyError> {
        fn stamped<T: StoreObject>(
            object: std::sync::Arc<T>,
            run: &Run<'_>,
            created_at: i64,
        ) -> Result<AnyObject, ApplyError>
        where
            AnyObject: From<T>,
        {
            if T::UNIQUE_NAMES {
                for name in object.names() {
                    if run.after.named(T::KIND, name).is_some_and(|other| other.id() != object.id()) {
                        return Err(ApplyError::NameTaken { kind: T::KIND, name: name.to_owned() });
                    }
                }
            }
            let mut object = std::sync::Arc::unwrap_or_clone(object);
            let meta = object.meta_mut();
            (meta.version, meta.created_at, meta.updated_at) = (run.index, created_at, run.now);
            Ok(object.into())
        }
        let object = match object {
            AnyObject::Node(node) => stamped(node, self, created_at),
            AnyObject::Service(service) => stamped(service, self, created_at),
            AnyObject::Task(task) => stamped(task, self, created_at),
            AnyObject::Cluster(cluster) => stamped(cluster, self, created_at),
        }?;
        self.touched.insert((object.kind(), object.id().to_owned()));
        self.after.put(object);
        Ok(())
    }

    fn finish(self, by: Arc<str>) -> (View, ChangeSet) {
        let changes = self.touched.iter().filter_map(|(kind, id)| {
            match (self.before.object(*kind, id), self.after.object(*kind, id)) {
                (None, Some(new)) => Some(Change::Create(new)),
                (Some(old), Some(new)) => Some(Change::Update { old, new }),
                (Some(old), None) => Some(Change::Remove(old)),
                (None, None) => None,
            }
        });
        let changes = ChangeSet { version: self.index, at: Timestamp(self.now), by, changes: changes.collect() };
        (self.after, changes)
    }
}

fn created_at(object: &AnyObject) -> i64 {
    object.meta().map_or(0, |meta| meta.created_at)
}
