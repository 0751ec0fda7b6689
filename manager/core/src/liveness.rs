//! Liveness: decides whether a node is ready, unknown or down, by its session and heartbeats. Heartbeats never enter
//! the log; only changes of state do.
//!
//! Owns `Node.status` and `Node.description`. The tracker itself lives as long as a leadership and is made from the
//! state alone; all its times are monotonic, so no clock that jumps makes a node look dead.
//!
//! Invariants: a node has one live session, the last one opened; a call that names another is refused. (Whether a new
//! session may be opened is decided before that: not from another address while the present one is live.) A node is
//! DOWN only after it was silent for three periods (five after a change of leader) *while this tracker was awake*: time
//! in which nobody looked is not held against anyone. Nor is it held against a node that it has to wait for its turn:
//! after a change of leader all nodes come at once, and as long as some do, the others have three periods more. A plan
//! costs what was heard, or not heard for too long; at all nodes it looks once in a [`PERIOD`].

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use skep_common::{clock::Timestamp, limits};
use skep_proto::v1::{Node, NodeDescription, NodeState, NodeStatus};
use skep_store::{AnyObject, Change, View};

use crate::{
    Plan, defaults, node_status,
    plan::{Planner, Write},
    reconcile::PERIOD,
};

/// A session that is not (any more) the node's one live session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("session {session_id} of node {node_id} is over")]
pub struct StaleSession {
    /// The node.
    pub node_id: String,
    /// The session it named.
    pub session_id: String,
}

/// The leader's tracker of sessions and heartbeats. Made at the start of a term; all `at` are monotonic time.
#[derive(Debug, Clone)]
pub struct Liveness {
    nodes: BTreeMap<String, Tracked>,
    /// When to see whether a node has been silent for too long: each that can be, once, at its deadline or before it. A
    /// heartbeat puts the deadline off and leaves this as it is.
    due: BTreeSet<(Duration, String)>,
    /// Nodes that may be stored differently from what is known here.
    changed: BTreeSet<String>,
    period: Duration,
    looked_at: Duration,
    /// When a node opened its first session since the change of leader.
    arrived_at: Option<Duration>,
    /// When all nodes were looked at last; `None` when they are to be now.
    all_looked_at: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Tracked {
    state: NodeState,
    message: String,
    session: Option<Session>,
    /// When it is DOWN unless a heartbeat comes; `None` when it is down.
    deadline: Option<Duration>,
    /// Where it stands in `due`, if it does.
    due: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Session {
    id: String,
    addr: String,
    description: Option<NodeDescription>,
}

impl Liveness {
    /// A new leader: every node that is not DOWN is UNKNOWN, and has some more time than usual to show up.
    pub fn new(view: &View, at: Duration) -> Self {
        let period = defaults::heartbeat_period(view);
        let mut liveness = Self {
            nodes: BTreeMap::new(),
            due: BTreeSet::new(),
            changed: BTreeSet::new(),
            period,
            looked_at: at,
            arrived_at: None,
            all_looked_at: None,
        };
        liveness.follow_all(view, at);
        for tracked in liveness.nodes.values_mut().filter(|tracked| tracked.state == NodeState::Ready) {
            tracked.state = NodeState::Unknown;
            tracked.message = "Node moved to \"unknown\" state due to leadership change in cluster".into();
        }
        liveness
    }

    /// A session was opened; it ends the one before.
    pub fn opened(
        &mut self,
        node_id: &str,
        session_id: &str,
        addr: &str,
        description: Option<NodeDescription>,
        message: &str,
        at: Duration,
    ) {
        // One that is new was never missed: however many join, a node that is silent is called down.
        if self.nodes.get(node_id).is_some_and(|tracked| tracked.state == NodeState::Unknown) {
            self.arrived_at = Some(at);
        }
        let session = Session { id: session_id.to_owned(), addr: addr.to_owned(), description };
        let tracked = Tracked {
            state: NodeState::Ready,
            message: message.to_owned(),
            session: Some(session),
            deadline: Some(at + self.grace()),
            due: self.nodes.get(node_id).and_then(|before| before.due),
        };
        self.nodes.insert(node_id.to_owned(), tracked);
        self.changed.insert(node_id.to_owned());
        self.queue(node_id);
    }

    /// A node has changed in the state.
    pub fn note(&mut self, change: &Change) {
        if let AnyObject::Node(node) = change.object() {
            self.changed.insert(node.id.clone());
        }
    }

    /// Any node may have changed in the state.
    pub fn reset(&mut self) {
        self.all_looked_at = None;
    }

    /// A heartbeat. Says when the next is due.
    ///
    /// # Errors
    /// When the session is not the live one.
    pub fn beat(
        &mut self,
        node_id: &str,
        session_id: &str,
        message: &str,
        at: Duration,
    ) -> Result<Duration, StaleSession> {
        self.check(node_id, session_id)?;
        let grace = self.grace();
        if let Some(tracked) = self.nodes.get_mut(node_id) {
            tracked.deadline = Some(at + grace);
            if tracked.message != message {
                message.clone_into(&mut tracked.message);
                self.changed.insert(node_id.to_owned());
            }
        }
        self.queue(node_id);
        Ok(self.period)
    }

    /// Whether this is the node's live session; asked of every call that names one.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, node_id: &str, session_id: &str) -> Result<(), StaleSession> {
        let live = self.nodes.get(node_id).and_then(|tracked| tracked.session.as_ref());
        if live.is_some_and(|session| session.id == session_id) {
            return Ok(());
        }
        Err(StaleSession { node_id: node_id.to_owned(), session_id: session_id.to_owned() })
    }

    /// When the next deadline passes: call [`Liveness::plan`] then, and at least once per heartbeat period.
    pub fn next_deadline(&mut self) -> Option<Duration> {
        loop {
            let (at, node_id) = self.due.first()?;
            let tracked = self.nodes.get(node_id)?;
            if tracked.deadline == Some(*at) {
                return Some(*at);
            }
            let node_id = node_id.clone();
            self.dequeue(&node_id);
            self.queue(&node_id);
        }
    }

    /// Decides which nodes are down by now, those silent past their deadline, and writes where the stored nodes differ from
    /// what is known here. `view` must hold all changes that were noted; of others it hears after
    /// [`PERIOD`], or when [`Liveness::reset`] is called.
    pub fn plan(&mut self, view: &View, now: Timestamp, at: Duration) -> Plan {
        self.period = defaults::heartbeat_period(view);
        self.forgive_own_sleep(at);
        if self.all_looked_at.is_none_or(|looked_at| looked_at + PERIOD <= at) {
            self.follow_all(view, at);
        } else {
            for node_id in self.changed.clone() {
                self.follow(view, &node_id, at);
            }
        }
        let may_be_coming = self.arrived_at.map(|arrived_at| arrived_at + self.grace()).filter(|until| *until > at);
        while let Some(node_id) = self.silent(at) {
            let Some(tracked) = self.nodes.get_mut(&node_id) else { continue };
            match may_be_coming.filter(|_| tracked.state == NodeState::Unknown) {
                Some(until) => {
                    tracked.deadline = Some(until);
                    self.queue(&node_id);
                }
                None => {
                    tracked.fall_silent();
                    self.changed.insert(node_id);
                }
            }
        }
        let mut planner = Planner::new(view, now);
        // Who differs is looked at until it is stored so: what is planned may never be written.
        self.changed.retain(|node_id| {
            let tracked = view.node(node_id).zip(self.nodes.get(node_id));
            let update = tracked.and_then(|(node, tracked)| tracked.differing(node, now));
            let differs = update.is_some();
            planner.step(update.map(Write::UpdateNode));
            differs
        });
        planner.finish()
    }

    /// A node whose deadline has passed; it is no longer in `due`.
    fn silent(&mut self, at: Duration) -> Option<String> {
        let end = self.next_deadline().filter(|end| *end <= at)?;
        let (_, node_id) = self.due.first().filter(|(due, _)| *due == end)?;
        let node_id = node_id.clone();
        self.dequeue(&node_id);
        Some(node_id)
    }

    /// Sees to it that the node is looked at no later than at its deadline.
    fn queue(&mut self, node_id: &str) {
        let Some(tracked) = self.nodes.get_mut(node_id) else { return };
        let Some(deadline) = tracked.deadline.filter(|deadline| tracked.due.is_none_or(|due| *deadline < due)) else {
            return;
        };
        if let Some(due) = tracked.due.replace(deadline) {
            self.due.remove(&(due, node_id.to_owned()));
        }
        self.due.insert((deadline, node_id.to_owned()));
    }

    fn dequeue(&mut self, node_id: &str) {
        if let Some(due) = self.nodes.get_mut(node_id).and_then(|tracked| tracked.due.take()) {
            self.due.remove(&(due, node_id.to_owned()));
        }
    }

    fn grace(&self) -> Duration {
        self.period * limits::MISSED_HEARTBEATS
    }

    /// The leader itself was suspended or starved and has not planned for longer than promised. Heartbeats sent meanwhile are
    /// still unread, so every deadline is extended by that time.
    fn forgive_own_sleep(&mut self, at: Duration) {
        let slept = at.saturating_sub(self.looked_at);
        self.looked_at = at;
        if slept > 2 * self.period {
            for deadline in self.nodes.values_mut().filter_map(|tracked| tracked.deadline.as_mut()) {
                *deadline += slept;
            }
        }
    }

    /// Tracks all nodes there are, and takes none of them for known.
    fn follow_all(&mut self, view: &View, at: Duration) {
        let known: Vec<String> = self.nodes.keys().cloned().collect();
        let stored = view.nodes().map(|node| node.id.clone());
        for node_id in known.into_iter().chain(stored) {
            self.follow(view, &node_id, at);
        }
        self.changed.extend(view.nodes().map(|node| node.id.clone()));
        self.all_looked_at = Some(at);
    }

    /// Tracks a node if there is one: a new one has some more time than usual for its first session.
    fn follow(&mut self, view: &View, node_id: &str, at: Duration) {
        match view.node(node_id) {
            None => {
                self.dequeue(node_id);
                self.nodes.remove(node_id);
            }
            Some(node) if !self.nodes.contains_key(node_id) => {
                let deadline = at + self.period * limits::MISSED_FIRST_HEARTBEATS;
                self.nodes.insert(node_id.to_owned(), Tracked::stored(node, deadline));
                self.queue(node_id);
            }
            Some(_) => {}
        }
    }
}

impl Tracked {
    fn stored(node: &Node, deadline: Duration) -> Self {
        let state = node_status::state(node);
        let message = node.status.as_ref().map(|status| status.message.clone()).unwrap_or_default();
        Self { state, message, session: None, deadline: (state != NodeState::Down).then_some(deadline), due: None }
    }

    /// It was silent for too long.
    fn fall_silent(&mut self) {
        self.message = match self.state {
            NodeState::Unknown => "heartbeat failure for node in \"unknown\" state".into(),
            _ => "heartbeat failure".into(),
        };
        self.state = NodeState::Down;
        self.session = None;
        self.deadline = None;
    }

    /// The node as it should be stored, if it is stored differently.
    fn differing(&self, node: &Node, now: Timestamp) -> Option<Node> {
        let stored = node.status.clone().unwrap_or_default();
        let since = if stored.state() == self.state { stored.since } else { now.as_nanos() };
        let addr = self.session.as_ref().map_or(&stored.addr, |session| &session.addr).clone();
        let status = NodeStatus { state: self.state.into(), message: self.message.clone(), addr, since };
        let told = self.session.as_ref().and_then(|session| session.description.as_ref());
        if status == stored && (told.is_none() || told == node.description.as_ref()) {
            return None;
        }
        let mut node = node.clone();
        node.status = Some(status);
        if let Some(description) = told {
            node.description = Some(description.clone());
        }
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use skep_store::TxBuilder;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Two nodes, READY and DOWN, and the default period of 750 ms.
    fn view() -> View {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        for (id, state) in [("a", NodeState::Ready), ("b", NodeState::Down)] {
            let status = NodeStatus { state: state.into(), ..NodeStatus::default() };
            tx.create(Node { id: id.into(), status: Some(status), ..Node::default() });
        }
        let tx = tx.build();
        empty.apply(1, &tx).unwrap().0
    }

    /// Plans and applies, until nothing is left to plan.
    fn settle(liveness: &mut Liveness, view: &View, at: Duration) -> View {
        let mut view = view.clone();
        for tx in liveness.plan(&view.clone(), Timestamp(100), at).transactions {
            view = view.apply(view.version() + 1, &tx).unwrap().0;
        }
        assert!(liveness.plan(&view, Timestamp(101), at).is_empty());
        view
    }

    fn state(view: &View, id: &str) -> NodeState {
        node_status::state(view.node(id).unwrap())
    }

    #[test]
    fn a_new_leader_knows_nothing_and_is_patient() {
        let view = view();
        let mut liveness = Liveness::new(&view, SECOND);
        let after = settle(&mut liveness, &view, SECOND);
        assert_eq!((state(&after, "a"), state(&after, "b")), (NodeState::Unknown, NodeState::Down));
        assert_eq!(liveness.next_deadline(), Some(SECOND + Duration::from_millis(3750)));

        let mut at = SECOND;
        while at < SECOND + Duration::from_millis(3650) {
            at += Duration::from_millis(100);
            assert_eq!(state(&settle(&mut liveness, &after, at), "a"), NodeState::Unknown);
        }
        let late = settle(&mut liveness, &after, SECOND + Duration::from_millis(3750));
        assert_eq!(state(&late, "a"), NodeState::Down);
        let status = late.node("a").unwrap().status.clone().unwrap();
        assert_eq!((status.since, status.message.as_str()), (100, "heartbeat failure for node in \"unknown\" state"));
    }

    #[test]
    fn a_session_makes_a_node_ready_and_silence_takes_it_down() {
        let view = view();
        let mut liveness = Liveness::new(&view, Duration::ZERO);
        let description = NodeDescription { hostname: "h".into(), ..NodeDescription::default() };
        liveness.opened("b", "s1", "10.0.0.2", Some(description), "", SECOND);
        let up = settle(&mut liveness, &view, SECOND);
        let node = up.node("b").unwrap();
        assert_eq!((state(&up, "b"), node.description.as_ref().unwrap().hostname.as_str()), (NodeState::Ready, "h"));
        assert_eq!(node.status.as_ref().unwrap().addr, "10.0.0.2");

        assert_eq!(liveness.beat("b", "s1", "disk full", 2 * SECOND), Ok(Duration::from_millis(750)));
        let up = settle(&mut liveness, &up, 2 * SECOND);
        assert_eq!(up.node("b").unwrap().status.as_ref().unwrap().message, "disk full");

        let up = settle(&mut liveness, &up, 3 * SECOND);
        assert_eq!(state(&settle(&mut liveness, &up, 4 * SECOND), "b"), NodeState::Ready);
        let down = settle(&mut liveness, &up, Duration::from_millis(4250));
        assert_eq!(state(&down, "b"), NodeState::Down);
        // What it says now has to be said in a new session.
        assert!(liveness.beat("b", "s1", "", 5 * SECOND).is_err());
        liveness.opened("b", "s2", "10.0.0.2", None, "", 5 * SECOND);
        assert_eq!(state(&settle(&mut liveness, &down, 5 * SECOND), "b"), NodeState::Ready);
    }

    #[test]
    fn a_newer_session_ends_the_older() {
        let view = view();
        let mut liveness = Liveness::new(&view, Duration::ZERO);
        liveness.opened("a", "s1", "", None, "", SECOND);
        liveness.opened("a", "s2", "", None, "", SECOND);
        let stale = liveness.beat("a", "s1", "", SECOND).unwrap_err();
        assert_eq!(stale.to_string(), "session s1 of node a is over");
        assert!(liveness.check("a", "s2").is_ok() && liveness.check("nobody", "s2").is_err());
    }

    #[test]
    fn nobody_dies_of_the_leaders_own_sleep() {
        let view = view();
        let mut liveness = Liveness::new(&view, Duration::ZERO);
        liveness.opened("a", "s1", "", None, "", Duration::ZERO);
        let up = settle(&mut liveness, &view, Duration::ZERO);
        // Twice the period between two looks is what was promised.
        let up = settle(&mut liveness, &up, Duration::from_millis(1500));
        assert_eq!(liveness.next_deadline(), Some(Duration::from_millis(2250)));
        let woken = settle(&mut liveness, &up, 60 * SECOND);
        assert_eq!(state(&woken, "a"), NodeState::Ready);
        // But silence after that counts as ever.
        let mut at = 60 * SECOND;
        while at < 63 * SECOND {
            at += Duration::from_millis(250);
            liveness.plan(&woken, Timestamp(102), at);
        }
        assert_eq!(state(&settle(&mut liveness, &woken, at), "a"), NodeState::Down);
    }

    #[test]
    fn all_nodes_are_looked_at_after_a_period_whatever_was_heard() {
        let view = view();
        let mut liveness = Liveness::new(&view, Duration::ZERO);
        let known = settle(&mut liveness, &view, Duration::ZERO);
        liveness.opened("a", "s1", "", None, "", SECOND);
        let mut at = SECOND;
        let up = settle(&mut liveness, &known, at);
        // Somebody else writes it, and nobody hears of it.
        let mut tx = TxBuilder::new(&up, Timestamp(3));
        let status = NodeStatus { message: "?".into(), ..up.node("a").unwrap().status.clone().unwrap() };
        tx.update(Node { status: Some(status), ..Node::clone(up.node("a").unwrap()) });
        let other = up.apply(up.version() + 1, &tx.build()).unwrap().0;
        while at < PERIOD {
            assert!(liveness.plan(&other, Timestamp(100), at).is_empty());
            at += Duration::from_millis(500);
            assert!(liveness.beat("a", "s1", "", at).is_ok());
        }
        let all = settle(&mut liveness, &other, at);
        assert_eq!(all.node("a").unwrap().status.as_ref().unwrap().message, "");
    }

    #[test]
    fn a_deadline_that_is_put_off_again_and_again_costs_one_place_in_the_queue() {
        let view = view();
        let mut liveness = Liveness::new(&view, Duration::ZERO);
        liveness.opened("a", "s1", "", None, "", Duration::ZERO);
        for beat in 1..1000 {
            assert!(liveness.beat("a", "s1", "", beat * Duration::from_millis(1)).is_ok());
            assert_eq!(liveness.due.len(), 1);
        }
        assert_eq!(liveness.next_deadline(), Some(Duration::from_millis(999 + 2250)));
        // With a shorter period it may be sooner than it was.
        liveness.period = Duration::from_millis(100);
        assert_eq!(liveness.beat("a", "s1", "", SECOND), Ok(Duration::from_millis(100)));
        assert_eq!((liveness.next_deadline(), liveness.due.len()), (Some(Duration::from_millis(1300)), 1));
    }

    #[test]
    fn who_waits_for_its_turn_after_a_change_of_leader_is_not_called_down() {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        for id in ["a", "b", "c", "d"] {
            let status = NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() };
            tx.create(Node { id: id.into(), status: Some(status), ..Node::default() });
        }
        let view = empty.apply(1, &tx.build()).unwrap().0;
        let mut liveness = Liveness::new(&view, Duration::ZERO);
        let mut view = settle(&mut liveness, &view, Duration::ZERO);
        // One after the other, with less than three periods between them.
        let half = Duration::from_millis(500);
        for step in 1..=24 {
            match step {
                4 => liveness.opened("a", "s", "", None, "", 4 * half),
                8 => liveness.opened("b", "s", "", None, "", 8 * half),
                // Nobody comes by coming again.
                10 => liveness.opened("a", "t", "", None, "", 10 * half),
                // Nor by joining: nobody missed those.
                _ => liveness.opened(&format!("new{step}"), "s", "", None, "", step * half),
            }
            for (id, session) in [("a", if step < 10 { "s" } else { "t" }), ("b", "s")] {
                let _not_there_yet = liveness.beat(id, session, "", step * half);
            }
            view = settle(&mut liveness, &view, step * half);
            let expected = if step * half < 8 * half + liveness.grace() { NodeState::Unknown } else { NodeState::Down };
            assert_eq!((state(&view, "c"), state(&view, "d")), (expected, expected), "{step}");
        }
        assert_eq!((state(&view, "a"), state(&view, "b")), (NodeState::Ready, NodeState::Ready));
    }

    #[test]
    fn a_removed_node_is_forgotten_and_its_session_with_it() {
        let view = view();
        let mut liveness = Liveness::new(&view, Duration::ZERO);
        liveness.opened("a", "s1", "", None, "", SECOND);
        liveness.note(&Change::Remove(view.node("a").unwrap().clone().into()));
        liveness.plan(&View::default(), Timestamp(1), SECOND);
        assert!(liveness.check("a", "s1").is_err());
        assert_eq!(liveness.next_deadline(), None);
    }
}
