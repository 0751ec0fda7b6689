//! Writing a transaction against a view.

use std::collections::BTreeMap;

use skep_common::clock::Timestamp;
use skep_proto::v1::{Action, AssignRaftId, ManagerStatus, Node, ObjectKind, ObjectRef, Transaction, action};

use crate::{object::IntoObject, view::View};

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

    /// A new object. Its meta is set when it is applied.
    pub fn create(&mut self, object: impl IntoObject) -> &mut Self {
        self.act(action::Action::Create(object.into_object()))
    }

    /// A changed object; the version in its meta is the one that was read.
    pub fn update(&mut self, object: impl IntoObject) -> &mut Self {
        self.act(action::Action::Update(object.into_object()))
    }

    /// Removes the object at the version the view has.
    pub fn remove(&mut self, kind: ObjectKind, id: &str) -> &mut Self {
        let seen = self.seen(kind, id);
        self.act(action::Action::Remove(seen))
    }

    /// The transaction holds only if this object is still as the view has it, or still not there.
    pub fn expect(&mut self, kind: ObjectKind, id: &str) -> &mut Self {
        let seen = self.seen(kind, id);
        self.transaction.expect.push(seen);
        self
    }

    /// Makes the entry's index the node's Raft id.
    pub fn assign_raft_id(&mut self, node_id: &str, addr: &str) -> &mut Self {
        self.act(action::Action::AssignRaftId(AssignRaftId { node_id: node_id.to_owned(), addr: addr.to_owned() }))
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

    fn act(&mut self, action: action::Action) -> &mut Self {
        self.transaction.actions.push(Action { action: Some(action) });
        self
    }

    fn seen(&self, kind: ObjectKind, id: &str) -> ObjectRef {
        let version = self.view.object(kind, id).map_or(0, |object| object.version());
        ObjectRef { kind: kind.into(), id: id.to_owned(), version }
    }
}
