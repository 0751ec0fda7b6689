//! What every session sends besides the agent's own node: managers, root CA, settings. And the loop that passes changes on.
//!
//! Owns the present [`Facts`]. One watcher serves all sessions: a change of a node goes to that node's session alone.

use std::sync::Arc;

use skep_core::defaults;
use skep_proto::v1::{LogDriver, Node, ObjectKind, PeerManager, SessionMessage};
use skep_raft::Leadership;
use skep_store::{AnyObject, Change, Selector, Store, View};
use tokio::sync::watch;

use super::sessions::Sessions;
use crate::{burst::burst, drive::Term, peers};

/// What is sent to all sessions alike.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Facts {
    managers: Vec<PeerManager>,
    managers_version: u64,
    root_ca_pem: Vec<u8>,
    heartbeat_period: i64,
    task_log_driver: Option<LogDriver>,
}

impl Facts {
    pub(super) fn of(view: &View, leadership: &Leadership) -> Self {
        let cluster = view.cluster();
        let root = cluster.and_then(|cluster| cluster.root_ca.as_ref());
        let spec = cluster.and_then(|cluster| cluster.spec.as_ref());
        Self {
            managers: peers::managers(view, leadership),
            managers_version: view.version(),
            root_ca_pem: root.map(|root| root.certificate_pem.clone()).unwrap_or_default(),
            heartbeat_period: skep_common::clock::nanos(defaults::heartbeat_period(view)),
            task_log_driver: spec.and_then(|spec| spec.task_log_driver.clone()),
        }
    }

    /// These facts, coming after `known`: which of the managers leads makes no new list of them.
    fn after(self, known: &Self) -> Self {
        let names = |facts: &Self| -> Vec<(String, String)> {
            facts.managers.iter().map(|manager| (manager.node_id.clone(), manager.addr.clone())).collect()
        };
        let is_new = names(&self) != names(known);
        Self { managers_version: if is_new { self.managers_version } else { known.managers_version }, ..self }
    }

    /// The message that tells a node these facts.
    pub(super) fn message(&self, session_id: &str, node: &Node) -> SessionMessage {
        SessionMessage {
            session_id: session_id.to_owned(),
            node: Some(node.clone()),
            managers: self.managers.clone(),
            managers_version: self.managers_version,
            root_ca_pem: self.root_ca_pem.clone(),
            heartbeat_period: self.heartbeat_period,
            task_log_driver: self.task_log_driver.clone(),
        }
    }
}

/// Keeps the facts and every session's node up to date until the term is over.
pub(super) async fn spread(term: Term, facts: watch::Sender<Arc<Facts>>, sessions: Arc<Sessions>) {
    let over = term.over.clone();
    over.run_until_cancelled(run(&term.store, term.raft.leadership(), &facts, &sessions)).await;
}

async fn run(
    store: &Store,
    mut leadership: watch::Receiver<Leadership>,
    facts: &watch::Sender<Arc<Facts>>,
    sessions: &Sessions,
) {
    loop {
        let (view, mut changes) = store.view_and_watch(Selector::Kinds(vec![ObjectKind::Node, ObjectKind::Cluster]));
        sessions.refresh(&view);
        loop {
            let now = Facts::of(&store.view(), &leadership.borrow_and_update());
            facts.send_if_modified(|known| {
                let now = now.after(known);
                let news = **known != now;
                if news {
                    *known = Arc::new(now);
                }
                news
            });
            tokio::select! {
                events = burst(&mut changes) => match events {
                    Some(events) => events.iter().flat_map(|event| &event.changes).for_each(|change| tell(sessions, change)),
                    // It fell behind: begin anew with the state as it is.
                    None => break,
                },
                // The sender lives as long as the member does; the term ends before that.
                Ok(()) = leadership.changed() => {}
            }
        }
    }
}

fn tell(sessions: &Sessions, change: &Change) {
    match (change.object(), change.after()) {
        (AnyObject::Node(node), Some(_)) => sessions.tell(node),
        (AnyObject::Node(node), None) => sessions.remove(&node.id),
        // What sessions are told of the cluster is in the facts; of the others they are told nothing.
        (AnyObject::Cluster(_) | AnyObject::Service(_) | AnyObject::Revision(_) | AnyObject::Task(_), _) => {}
    }
}
