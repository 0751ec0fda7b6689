//! Roles: who votes has the role and its record for as long as it does; and what a user was told is done stays done.

use std::collections::BTreeMap;

use skep_proto::v1::{NodeRole, NodeSpec};
use skep_store::{AnyObject, Change, ChangeSet, View};

use super::Sight;
use crate::{
    context::{Step, must},
    tally::{Excuse, Tally},
};

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

/// Nobody who votes loses the role or the record. One that did not vote yet in the state this was decided on may, and is
/// taken out again.
pub(super) fn changed(sight: &Sight<'_>, change: &Change, tally: &mut Tally) -> Step {
    let mut votes = |id: &str| {
        let votes = sight.members.iter().any(|member| member.node_id == id && member.voter);
        let did = sight.voters_then.iter().any(|voter| voter == id);
        if votes && !did {
            tally.excuse(Excuse::JustJoined);
        }
        votes && did
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
