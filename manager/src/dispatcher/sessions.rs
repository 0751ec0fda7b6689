//! The nodes' sessions and heartbeats: one live session per node, for one term of this leader.
//!
//! Owns the sessions and the heartbeats; neither is ever written anywhere, only the node states they lead to are.
//! Invariants: a node has at most one session; a session that is replaced, or whose leader steps down, is ended before
//! the new one is handed out; while a node's session is live nobody at another address gets one, so two machines with
//! one identity do not take turns.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use skep_common::{clock::Timestamp, id::Ids};
use skep_core::{Plan, liveness::Liveness};
use skep_proto::v1::{Node, NodeDescription};
use skep_store::{Change, View};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

/// The sessions of one term.
pub(crate) struct Sessions {
    term: CancellationToken,
    table: Mutex<Table>,
    news: Notify,
}

struct Table {
    open: HashMap<String, Session>,
    liveness: Liveness,
}

struct Session {
    id: String,
    addr: IpAddr,
    ended: CancellationToken,
    /// When the node was last heard, by the monotonic clock.
    heard: Duration,
    node: watch::Sender<Arc<Node>>,
}

/// A node that asks for a session.
pub(super) struct Opening {
    pub(super) node: Arc<Node>,
    pub(super) addr: IpAddr,
    pub(super) description: Option<NodeDescription>,
    pub(super) message: String,
    /// Monotonic time.
    pub(super) at: Duration,
    /// How long a silent session keeps others out.
    pub(super) live_for: Duration,
}

/// What it gets.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    /// Names the session in every later call of the node.
    pub(super) id: String,
    /// Cancelled when the session is over.
    pub(super) ended: CancellationToken,
    /// The node as the state has it.
    pub(super) node: watch::Receiver<Arc<Node>>,
}

/// The node's session is held at another address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("another machine, at {held_by}, holds this node's session: two machines use one identity")]
pub(super) struct HeldElsewhere {
    pub(super) held_by: IpAddr,
}

/// The node has no such session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session is over; open a new one")]
pub(super) struct SessionOver;

impl Sessions {
    /// No sessions yet; all end when `term` does. Monotonic time is `at`.
    pub(super) fn new(term: CancellationToken, view: &View, at: Duration) -> Self {
        let table = Table { open: HashMap::new(), liveness: Liveness::new(view, at) };
        Self { term, table: Mutex::new(table), news: Notify::new() }
    }

    /// Opens the node's session, ending the one it had.
    pub(super) fn open(&self, opening: Opening, ids: &mut dyn Ids) -> Result<Opened, HeldElsewhere> {
        let Opening { node, addr, description, message, at, live_for } = opening;
        let mut table = self.lock();
        if let Some(held) = table.open.get(&node.id) {
            let live = !held.ended.is_cancelled() && at.saturating_sub(held.heard) <= live_for;
            if live && held.addr != addr {
                return Err(HeldElsewhere { held_by: held.addr });
            }
            held.ended.cancel();
        }
        let id = ids.next_id();
        let ended = self.term.child_token();
        table.liveness.opened(&node.id, &id, &addr.to_string(), description, &message, at);
        let session =
            Session { id: id.clone(), addr, ended: ended.clone(), heard: at, node: watch::Sender::new(node.clone()) };
        let opened = Opened { id, ended, node: session.node.subscribe() };
        table.open.insert(node.id.clone(), session);
        drop(table);
        self.news.notify_one();
        Ok(opened)
    }

    /// The token that ends with the node's session, if `session_id` is that session.
    pub(super) fn check(&self, node_id: &str, session_id: &str) -> Result<CancellationToken, SessionOver> {
        let mut table = self.lock();
        table.liveness.check(node_id, session_id).map_err(|_| SessionOver)?;
        Ok(table.live(node_id, session_id)?.ended.clone())
    }

    /// Notes that the node is alive. Says when it is expected to say so again.
    pub(super) fn beat(
        &self,
        node_id: &str,
        session_id: &str,
        message: &str,
        at: Duration,
    ) -> Result<Duration, SessionOver> {
        let mut table = self.lock();
        table.live(node_id, session_id)?.heard = at;
        let period = table.liveness.beat(node_id, session_id, message, at).map_err(|_| SessionOver)?;
        Ok(period)
    }

    /// Removes a session whose stream its node has closed.
    pub(super) fn close(&self, node_id: &str, session_id: &str) {
        let mut table = self.lock();
        if table.live(node_id, session_id).is_ok() {
            table.end(node_id);
        }
    }

    /// Ends the session of a removed node.
    pub(super) fn remove(&self, node_id: &str) {
        self.lock().end(node_id);
    }

    /// Lets a node's session know that the node has changed.
    pub(super) fn tell(&self, node: &Arc<Node>) {
        if let Some(session) = self.lock().open.get(&node.id) {
            session.node.send_replace(node.clone());
        }
    }

    /// Lets all sessions know their node as `view` has it.
    pub(super) fn refresh(&self, view: &View) {
        let mut table = self.lock();
        table.open.retain(|id, session| match view.node(id) {
            Some(node) => {
                session.node.send_replace(node.clone());
                true
            }
            None => {
                session.ended.cancel();
                false
            }
        });
    }

    /// A node has changed in the state.
    pub(super) fn note(&self, change: &Change) {
        self.lock().liveness.note(change);
    }

    /// Any node may have changed in the state.
    pub(super) fn reset(&self) {
        self.lock().liveness.reset();
    }

    /// Where the stored nodes differ from what is known here; `at` is monotonic time.
    pub(super) fn plan(&self, view: &View, now: Timestamp, at: Duration) -> Plan {
        self.lock().liveness.plan(view, now, at)
    }

    /// When, in monotonic time, the next node will have been silent for too long.
    pub(super) fn next_deadline(&self) -> Option<Duration> {
        self.lock().liveness.next_deadline()
    }

    /// Completes when there is something new to write about a node.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn live(&mut self, node_id: &str, session_id: &str) -> Result<&mut Session, SessionOver> {
        let session = self.open.get_mut(node_id).ok_or(SessionOver)?;
        if session.id == session_id && !session.ended.is_cancelled() { Ok(session) } else { Err(SessionOver) }
    }

    fn end(&mut self, node_id: &str) {
        if let Some(session) = self.open.remove(node_id) {
            session.ended.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use skep_common::id::SeededIds;

    use super::*;

    const LIVE: Duration = Duration::from_secs(3);
    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const AWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    struct Dispatcher {
        sessions: Sessions,
        term: CancellationToken,
        ids: SeededIds,
    }

    impl Dispatcher {
        fn new() -> Self {
            let term = CancellationToken::new();
            let sessions = Sessions::new(term.clone(), &View::default(), Duration::ZERO);
            Self { sessions, term, ids: SeededIds::new(1) }
        }

        fn open(&mut self, addr: IpAddr, secs: u64) -> Result<Opened, HeldElsewhere> {
            let opening = Opening {
                node: Arc::new(Node { id: "node".into(), ..Node::default() }),
                addr,
                description: None,
                message: String::new(),
                at: Duration::from_secs(secs),
                live_for: LIVE,
            };
            self.sessions.open(opening, &mut self.ids)
        }
    }

    #[test]
    fn the_same_machine_replaces_its_session() {
        let mut dispatcher = Dispatcher::new();
        let first = dispatcher.open(HOME, 0).unwrap();
        let second = dispatcher.open(HOME, 1).unwrap();
        assert!(first.ended.is_cancelled() && !second.ended.is_cancelled());
        assert!(dispatcher.sessions.check("node", &first.id).is_err());
        assert!(dispatcher.sessions.check("node", &second.id).is_ok());
    }

    #[test]
    fn a_live_session_keeps_another_machine_out() {
        let mut dispatcher = Dispatcher::new();
        let first = dispatcher.open(HOME, 0).unwrap();
        dispatcher.sessions.beat("node", &first.id, "", Duration::from_secs(2)).unwrap();
        assert_eq!(dispatcher.open(AWAY, 5).unwrap_err(), HeldElsewhere { held_by: HOME });
        assert!(!first.ended.is_cancelled());
    }

    #[test]
    fn a_silent_or_closed_session_keeps_nobody_out() {
        let mut dispatcher = Dispatcher::new();
        let first = dispatcher.open(HOME, 0).unwrap();
        let second = dispatcher.open(AWAY, 4).unwrap();
        assert!(first.ended.is_cancelled());
        dispatcher.sessions.close("node", &second.id);
        assert!(dispatcher.open(HOME, 4).is_ok());
    }

    #[test]
    fn closing_an_old_session_leaves_the_new_one_alone() {
        let mut dispatcher = Dispatcher::new();
        let first = dispatcher.open(HOME, 0).unwrap();
        let second = dispatcher.open(HOME, 0).unwrap();
        dispatcher.sessions.close("node", &first.id);
        assert!(dispatcher.sessions.check("node", &second.id).is_ok());
    }

    #[test]
    fn a_session_hears_of_its_node_and_ends_with_it() {
        let mut dispatcher = Dispatcher::new();
        let mut opened = dispatcher.open(HOME, 0).unwrap();
        opened.node.mark_unchanged();
        dispatcher.sessions.tell(&Arc::new(Node { id: "other".into(), ..Node::default() }));
        assert!(!opened.node.has_changed().unwrap());
        dispatcher.sessions.tell(&Arc::new(Node { id: "node".into(), role: 1, ..Node::default() }));
        assert_eq!(opened.node.borrow_and_update().role, 1);
        dispatcher.sessions.remove("node");
        assert!(opened.ended.is_cancelled());
    }

    #[test]
    fn sessions_belong_to_their_node_and_end_with_the_term() {
        let mut dispatcher = Dispatcher::new();
        let opened = dispatcher.open(HOME, 0).unwrap();
        assert!(dispatcher.sessions.check("other", &opened.id).is_err());
        dispatcher.term.cancel();
        assert!(opened.ended.is_cancelled());
        assert_eq!(dispatcher.sessions.beat("node", &opened.id, "", Duration::ZERO), Err(SessionOver));
    }
}
