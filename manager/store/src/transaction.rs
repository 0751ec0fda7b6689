//! Writing a transaction against a view.

use std::collections::BTreeMap;

use skep_common::clock::Timestamp;
use skep_proto::v1::{Action, AssignRaftId, ManagerStatus, Node, ObjectKind, ObjectRef, Transaction, action, object};

use crate::{delta, object::IntoObject, view::View};

/// The feature level that independent transactions need.
const INDEPENDENT: u32 = 1;

/// Collects changes that shall happen together or not at all.
#[derive(Debug)]
pub struct TxBuilder<'a> {
    view: &'a View,
    transaction: Transaction,
}

impl<'a> TxBuilder<'a> {
    /// A transaction planned on `view`; `now` becomes the time of its changes.
    pub fn new(view: &'a View, now: Timestamp) -> Self {
        Self { view, transaction: Transaction { now: now.as_nanos(), ..Transaction::default() } }
    }

    /// What it is planned on.
    pub fn view(&self) -> &'a View {
        self.view
    }

    /// Creates an object. Its meta is set when it is applied. A task is written without what its revision says.
    pub fn create(&mut self, object: impl IntoObject) -> &mut Self {
        let create = self.creating(object);
        self.push(create)
    }

    /// Updates an object; the version in its meta is the one that was read. Only the difference is written if the view has
    /// that version.
    pub fn update(&mut self, object: impl IntoObject) -> &mut Self {
        let update = self.updating(object);
        self.push(update)
    }

    /// Removes the object at the version the view has.
    pub fn remove(&mut self, kind: ObjectKind, id: &str) -> &mut Self {
        let remove = self.removing(kind, id);
        self.push(remove)
    }

    /// Makes the transaction conditional: refused unless the object still has the version in the view, or still does not
    /// exist.
    pub fn expect(&mut self, kind: ObjectKind, id: &str) -> &mut Self {
        let seen = self.seen(kind, id);
        self.transaction.expect.push(seen);
        self
    }

    /// Makes the entry's index the node's Raft id.
    pub fn assign_raft_id(&mut self, node_id: &str, addr: &str) -> &mut Self {
        let assign = AssignRaftId { node_id: node_id.to_owned(), addr: addr.to_owned() };
        self.push(Action { action: Some(action::Action::AssignRaftId(assign)) })
    }

    /// Makes every node's `manager` what the Raft members say: Raft id, node id and address of each. Of two members of one
    /// node the newer counts; ids grow.
    pub fn record_members<'m>(&mut self, members: impl IntoIterator<Item = (u64, &'m str, &'m str)>) -> &mut Self {
        let mut by_node: BTreeMap<&str, ManagerStatus> = BTreeMap::new();
        for (raft_id, node_id, addr) in members {
            let newest = by_node.entry(node_id).or_default();
            if raft_id > newest.raft_id {
                *newest = ManagerStatus { raft_id, addr: addr.to_owned(), ..ManagerStatus::default() };
            }
        }
        for node in self.view.nodes() {
            let manager = by_node.get(node.id.as_str());
            if node.manager.as_ref() != manager {
                self.update(Node { manager: manager.cloned(), ..Node::clone(node) });
            }
        }
        self
    }

    /// Its actions are independent: each is refused alone. No two may be of one object. Below feature level 1 they are
    /// still refused together.
    pub fn independent(&mut self) -> &mut Self {
        self.transaction.independent = self.view.feature_level() >= INDEPENDENT;
        self
    }

    /// What [`create`](Self::create) adds.
    pub fn creating(&self, object: impl IntoObject) -> Action {
        let mut new = object.into_object();
        if let Some(object::Object::Task(task)) = &mut new.object {
            self.view.leave_out(task);
        }
        Action { action: Some(action::Action::Create(new)) }
    }

    /// What [`update`](Self::update) adds.
    pub fn updating(&self, object: impl IntoObject) -> Action {
        Action { action: Some(delta::update(self.view, object.into_object(), self.transaction.now)) }
    }

    /// What [`remove`](Self::remove) adds.
    pub fn removing(&self, kind: ObjectKind, id: &str) -> Action {
        Action { action: Some(action::Action::Remove(self.seen(kind, id))) }
    }

    /// Adds what was made for a transaction of the same view and time.
    pub fn push(&mut self, action: Action) -> &mut Self {
        self.transaction.actions.push(action);
        self
    }

    /// Whether it would change nothing.
    pub fn is_empty(&self) -> bool {
        self.transaction.actions.is_empty()
    }

    /// How many changes it holds.
    pub fn len(&self) -> usize {
        self.transaction.actions.len()
    }

    /// The finished transaction.
    pub fn build(self) -> Transaction {
        self.transaction
    }

    fn seen(&self, kind: ObjectKind, id: &str) -> ObjectRef {
        let version = self.view.object(kind, id).map_or(0, |object| object.version());
        ObjectRef { kind: kind.into(), id: id.to_owned(), version }
    }
}
