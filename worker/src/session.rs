//! The agent's session with the dispatcher: finds the leader, opens a session, and reconnects when it ends.
//!
//! Owns [`SessionState`]. A session has four streams: settings and assignments from the leader, heartbeats and status
//! reports to it; the first one that fails ends the session. Invariants: heartbeats have a task of their own, so that slow
//! work here does not make the node look down; the end of a session touches no task.

mod conversation;
mod removal;

use std::{sync::Arc, time::Duration};

use skep_common::net::{
    backoff::Backoff,
    dial::{Dialer, Expect, describe},
    server::is_unknown_node,
};
use skep_proto::v1::{NodeDescription, SessionMessage, SessionRequest, dispatcher_client::DispatcherClient};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};
use tracing::{Instrument as _, debug, info, info_span, warn};

use self::removal::Removal;
use crate::{
    Managers,
    agent::AgentHandle,
    node_message::NodeMessage,
    reporter::Reporter,
    route::{Hint, Route},
    runner::Disposition,
    session_state::{Link, SessionState},
};

/// The managers' metadata key for where the leader is (its `answer` module sets it on FailedPrecondition).
const LEADER_ADDR: &str = "skep-leader-addr";

/// The same for the leader's node id.
const LEADER_NODE: &str = "skep-leader-node";

/// From the first packet to the first word of a session. A manager that takes longer is not worth waiting for.
const OPEN_DEADLINE: Duration = Duration::from_secs(2);

/// How long between attempts: quick, because a failed leader is replaced within a second or two.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// A session that held for this long was a good one: the next attempts begin quickly again.
const PROVEN_AFTER: Duration = Duration::from_secs(2);

/// The same for a node that was removed.
const REMOVED_WAIT: Duration = Duration::from_secs(30);

/// What a session is held with.
pub(crate) struct Session {
    pub(crate) dialer: Dialer,
    pub(crate) managers: Managers,
    pub(crate) description: watch::Receiver<NodeDescription>,
    pub(crate) message: NodeMessage,
    pub(crate) agent: AgentHandle,
    pub(crate) reporter: Reporter,
    pub(crate) state: watch::Sender<SessionState>,
}

/// Why a session is over, or did not come about.
#[derive(Debug)]
enum Ended {
    /// The manager does not lead; where the leader is and which node it is, or nothing.
    NotLeader { leader: Hint },
    /// The manager does not know this node.
    UnknownNode,
    /// The node has something else to say of itself: a new session says it.
    Renew,
    /// Anything else.
    Failed(String),
}

impl From<Status> for Ended {
    fn from(status: Status) -> Self {
        if is_unknown_node(&status) {
            return Self::UnknownNode;
        }
        let text = |key| status.metadata().get(key).and_then(|text| text.to_str().ok()).unwrap_or_default().to_owned();
        match status.code() {
            Code::FailedPrecondition => {
                Self::NotLeader { leader: Hint { addr: text(LEADER_ADDR), node_id: text(LEADER_NODE) } }
            }
            _ => Self::Failed(describe(&status)),
        }
    }
}

/// What to do when a manager cannot be followed and no other one answers.
const ANEW: &str = "if no other manager is left, bring this node back with \"swarm leave --force\" and \
    \"swarm join --token TOKEN MANAGER:2377\"";

fn outdated(addr: &str) -> String {
    format!(
        "the manager at {addr} lags behind what this node has heard of the swarm: it was away, was removed, or was \
        restored from an old copy; {ANEW}"
    )
}

impl Session {
    /// Holds sessions until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.hold_sessions()).await;
    }

    async fn hold_sessions(&mut self) {
        let mut route = Route::default();
        let mut removal = Removal::default();
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let managers = self.managers.list();
            let Some(Hint { addr, node_id }) = route.next(&managers) else {
                self.disconnected(format!("no manager is known; {ANEW}"));
                sleep(LONGEST_WAIT).await;
                continue;
            };
            let mut opened = None;
            let span = info_span!("session", manager = %addr);
            let ended = Box::pin(self.hold(&addr, &node_id, &mut opened)).instrument(span).await;
            if let Some(opened) = opened {
                route.arrived();
                removal = Removal::default();
                if opened.elapsed() >= PROVEN_AFTER {
                    backoff.reset();
                }
            }
            match ended {
                Ended::Renew => continue,
                Ended::NotLeader { leader } => {
                    debug!(manager = %addr, leader = leader.addr, "that manager does not lead");
                    if route.redirected(&addr, leader) {
                        continue;
                    }
                    self.disconnected(format!("{addr} is not the leader"));
                }
                Ended::UnknownNode => {
                    route.failed(&addr);
                    if removal.refused_by(&addr, managers.len(), Instant::now()) {
                        self.removed().await;
                        sleep(REMOVED_WAIT).await;
                    }
                    self.disconnected("this node is not part of the swarm: it was removed".into());
                }
                Ended::Failed(error) => {
                    if opened.is_some() {
                        warn!(manager = %addr, error, "the session is over; opening another");
                    } else {
                        debug!(manager = %addr, error, "no session");
                    }
                    route.failed(&addr);
                    self.disconnected(error);
                }
            }
            backoff.wait().await;
        }
    }

    /// One session, from its opening to its end.
    async fn hold(&mut self, addr: &str, node_id: &str, opened: &mut Option<Instant>) -> Ended {
        let description = self.description.borrow_and_update().clone();
        let request = SessionRequest { description: Some(description), message: self.message.get() };
        // Whom a manager names is one of the managers, also when the list here does not have it yet.
        let expect = if node_id.is_empty() { Expect::Manager } else { Expect::Node(node_id.to_owned()) };
        let mut client = DispatcherClient::new(self.dialer.channel(addr, expect));
        let opening = async {
            let mut facts = client.session(request).await?.into_inner();
            let first = facts.message().await?.ok_or_else(|| Status::aborted("the session ended at once"))?;
            Ok::<_, Status>((facts, first))
        };
        let (mut facts, first) = match timeout(OPEN_DEADLINE, opening).await {
            Ok(Ok(open)) => open,
            Ok(Err(status)) => return status.into(),
            Err(_) => return Ended::Failed(format!("{addr} does not answer")),
        };
        let session_id = first.session_id.clone();
        let period = first.heartbeat_period;
        if !self.learn(addr, first).await {
            return Ended::Failed(outdated(addr));
        }
        *opened = Some(Instant::now());
        info!(session = %session_id, "session opened");

        let mut heartbeats = conversation::heartbeats(client.clone(), session_id.clone(), period, self.message.clone());
        let assignments = conversation::assignments(client.clone(), session_id.clone(), self.agent.clone());
        let reports = conversation::reports(client.clone(), session_id, self.reporter.clone());
        tokio::pin!(assignments, reports);
        let mut description = self.description.clone();
        loop {
            tokio::select! {
                message = facts.message() => match message {
                    Ok(Some(message)) => if !self.learn(addr, message).await {
                        return Ended::Failed(outdated(addr));
                    },
                    Ok(None) => return Ended::Failed("the manager ended the session".into()),
                    Err(status) => return status.into(),
                },
                status = heartbeats.failed() => return status.into(),
                status = &mut assignments => return status.into(),
                status = &mut reports => return status.into(),
                Ok(()) = description.changed() => return Ended::Renew,
            }
        }
    }

    /// Takes in what the manager says of the swarm; false when this node has heard later news from another one.
    async fn learn(&self, addr: &str, message: SessionMessage) -> bool {
        let (managers, list, version) = (self.managers.clone(), message.managers.clone(), message.managers_version);
        // It writes a file. A panic in there is the file's loss, not the session's.
        if !tokio::task::spawn_blocking(move || managers.learn(list, version)).await.unwrap_or(true) {
            return false;
        }
        self.state.send_modify(|state| {
            state.link = Link::Connected { manager: addr.to_owned() };
            state.facts = Some(Arc::new(message));
        });
        true
    }

    fn disconnected(&self, error: String) {
        self.state.send_if_modified(|state| {
            let changed = state.link != Link::Removed;
            if changed {
                state.link = Link::Connecting { error };
            }
            changed
        });
    }

    /// The swarm does not know this node any more: what it runs for the swarm is surplus.
    async fn removed(&self) {
        if self.state.borrow().is_removed() {
            return;
        }
        warn!("this node was removed from the swarm: stopping its tasks");
        self.state.send_modify(|state| state.link = Link::Removed);
        // The agent is gone only while everything is being shut down.
        let _ = self.agent.release_all(Disposition::Forgotten).await;
    }
}

type Client = DispatcherClient<Channel>;
