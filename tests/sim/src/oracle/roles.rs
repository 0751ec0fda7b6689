//! Roles: who votes has the role and its record for as long as it does; and what a user was told is done stays done.

use std::collections::BTreeMap;

use skep_proto::v1::{NodeRole, NodeSpec};
use skep_store::{AnyObject, Change, ChangeSet, View};

use super::Sight;
use crate::context::{Step, must};

/// Entries after which everybody has heard of a new member. Its Raft id is the entry that made it one.
const JUST: u64 = 32;

/// What users were, or may have been, told is done.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Services that were made, and those that were removed.
    services: BTreeMap<String, bool>,
    /// What nodes were asked to be; nobody but users asks that. `None`: removed.
    nodes: BTreeMap<String, Option<NodeSpec>>,
}

impl Promises {
    /// What a user asked for is committed: from here on a leader may have said so, and it stays.
    pub(super) fn made(&mut self, changes: &ChangeSet) {
        for change in &changes.changes {
            match change {
                Change::Create(AnyObject::Service(service)) => _ = self.services.insert(service.id.clone(), true),
                Change::Remove(AnyObject::Service(service)) => _ = self.services.insert(service.id.clone(), false),
                Change::Create(AnyObject::Node(node)) | Change::Update { new: AnyObject::Node(node), .. } => {
                    self.nodes.insert(node.id.clone(), node.spec.clone());
                }
                Change::Remove(AnyObject::Node(node)) => _ = self.nodes.insert(node.id.clone(), None),
                _ => {}
            }
        }
    }

    pub(super) fn are_kept(&self, view: &View) -> Step {
        for (id, is_there) in &self.services {
            must!(view.service(id).is_some() == *is_there, "a user was told that {id} is there: {is_there}");
        }
        for (id, spec) in &self.nodes {
            let now = view.node(id).and_then(|node| node.spec.clone());
            must!(now == *spec, "a user was told that {id} is to be {spec:?}, and it is to be {now:?}");
        }
        Ok(())
    }
}

/// Nobody who votes loses the role or the record. One that has just become a member may, and is taken out again.
pub(super) fn changed(sight: &Sight<'_>, change: &Change) -> Step {
    let votes = |id: &str| {
        let member = sight.members.iter().find(|member| member.node_id == id);
        member.is_some_and(|member| member.voter && member.raft_id + JUST < sight.after.version())
    };
    match change {
        Change::Update { old: AnyObject::Node(old), new: AnyObject::Node(new) } if old.role() != new.role() => {
            must!(new.role() == NodeRole::Manager || !votes(&new.id), "{} is a worker and votes", new.id);
        }
        Change::Remove(AnyObject::Node(node)) => {
            must!(!votes(&node.id), "{} is removed and votes", node.id);
        }
        _ => {}
    }
    Ok(())
}
