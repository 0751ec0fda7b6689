//! Makes nodes managers and workers as their specs ask: moves leadership, changes the Raft members, writes `Node.role`;
//! and raises the feature level once all managers know the next.

use std::time::Duration;

use skep_core::{
    Plan,
    reconcile::{Now, Reconciler},
    roles::{self, RaftAction},
};
use skep_proto::v1::ObjectKind;
use skep_raft::{MembershipError, RaftNode};
use skep_store::{Selector, View};
use tracing::{debug, info, warn};

use crate::{drive::Component, peers};

pub(crate) struct Roles {
    raft: RaftNode,
    action: Option<RaftAction>,
    raises: Option<u32>,
}

impl Roles {
    pub(crate) fn new(raft: RaftNode) -> Self {
        Self { raft, action: None, raises: None }
    }
}

impl Reconciler for Roles {
    const NAME: &'static str = "roles";

    fn watches(&self) -> Selector {
        Selector::Kinds(vec![ObjectKind::Node])
    }

    /// Which members can be reached is not in the state.
    fn period(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn plan(&mut self, view: &View, now: Now) -> Plan {
        let next = roles::plan(view, &peers::members(&self.raft), now.wall);
        self.action = next.action;
        self.raises = next.raises;
        next.plan
    }
}

impl Component for Roles {
    async fn act(&mut self) -> bool {
        if let Some(level) = self.raises.take() {
            info!(level, "every manager knows the next feature level: the swarm uses it from now on");
        }
        match self.action.take() {
            None => false,
            Some(RaftAction::MoveLeadership) => {
                info!("this manager is to become a worker: another has to lead first");
                self.raft.step_down().await;
                false
            }
            Some(RaftAction::RemoveMember { raft_id }) => match self.raft.remove_member(raft_id).await {
                Ok(()) => {
                    info!(raft_id, "a manager has left the swarm's consensus");
                    true
                }
                Err(MembershipError::QuorumLoss { .. }) => {
                    warn!(raft_id, "a manager waits for its demotion: without it too few managers would be online");
                    false
                }
                Err(error) => {
                    debug!(raft_id, %error, "a manager could not be removed from consensus yet");
                    false
                }
            },
        }
    }
}
