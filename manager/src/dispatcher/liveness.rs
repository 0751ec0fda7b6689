//! Writes which nodes are READY, DOWN or UNKNOWN, where they are and what they are, when that changes.
//!
//! Writes `Node.status` and `Node.description`.

use std::{sync::Arc, time::Duration};

use skep_common::{clock::Clock, limits::HEARTBEAT_PERIOD};
use skep_core::{
    Plan, defaults,
    reconcile::{Now, Reconciler},
};
use skep_proto::v1::ObjectKind;
use skep_store::{Change, Selector, View};

use super::sessions::Sessions;
use crate::drive::Component;

pub(super) struct NodeStates {
    sessions: Arc<Sessions>,
    clock: Arc<dyn Clock>,
    /// Half a heartbeat: deadlines are looked at often enough that the leader can tell a silent node from its own sleep.
    period: Duration,
}

impl NodeStates {
    pub(super) fn new(sessions: Arc<Sessions>, clock: Arc<dyn Clock>) -> Self {
        Self { sessions, clock, period: HEARTBEAT_PERIOD / 2 }
    }
}

impl Reconciler for NodeStates {
    const NAME: &'static str = "node states";

    fn watches(&self) -> Selector {
        Selector::Kinds(vec![ObjectKind::Node, ObjectKind::Cluster])
    }

    fn period(&self) -> Duration {
        self.period
    }

    fn note(&mut self, change: &Change, _view: &View) {
        self.sessions.note(change);
    }

    fn reset(&mut self) {
        self.sessions.reset();
    }

    /// When all nodes are looked at, whatever was heard, the tracker knows itself.
    fn sweep(&mut self) {}

    fn plan(&mut self, view: &View, now: Now) -> Plan {
        self.period = defaults::heartbeat_period(view) / 2;
        self.sessions.plan(view, now.wall, now.monotonic)
    }
}

impl Component for NodeStates {
    async fn woken(&mut self) {
        let until = |deadline: Duration| deadline.saturating_sub(self.clock.monotonic());
        let silence = self.sessions.next_deadline().map_or(Duration::MAX, until);
        tokio::select! {
            () = self.sessions.news() => {}
            () = tokio::time::sleep(silence) => {}
        }
    }
}
