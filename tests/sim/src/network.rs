//! Messages between agents and whoever leads, and how they are lost, repeated, delayed and overtaken.
//!
//! A message that is lost breaks the connection it was sent on: the agent notices within two seconds, as keepalives
//! would make it. Repeated and overtaken messages are worse than TCP's; what is built for them holds all the more.

use skep_proto::v1::{AssignmentVersion, AssignmentsMessage, TaskStatusUpdate};

use crate::{
    context::Context,
    event::{AgentEvent, Event},
    node::{Machine, Node, Reach},
    tally::Kind,
};

/// From an agent.
#[derive(Debug, Clone)]
pub(crate) enum ToLeader {
    /// Opens a session. The leader names it; the number tells the agent's attempts apart.
    Open {
        attempt: String,
    },
    /// Asks for the session's assignments, but for what the node has. The number tells the streams apart.
    Assignments {
        session: String,
        stream: u64,
        have: Vec<AssignmentVersion>,
    },
    Heartbeat {
        session: String,
    },
    Reports {
        session: String,
        updates: Vec<TaskStatusUpdate>,
    },
}

impl ToLeader {
    /// The session it names.
    pub(crate) fn session(&self) -> Option<&str> {
        match self {
            Self::Open { .. } => None,
            Self::Assignments { session, .. } | Self::Heartbeat { session } | Self::Reports { session, .. } => {
                Some(session)
            }
        }
    }
}

/// From the leader.
#[derive(Debug, Clone)]
pub(crate) enum ToAgent {
    Opened {
        attempt: String,
        session: String,
    },
    /// There is no such session (any more).
    Stale {
        session: String,
    },
    /// There is no such node (any more).
    Removed,
    Assignments {
        session: String,
        stream: u64,
        message: AssignmentsMessage,
    },
    /// These reports are committed.
    Taken {
        session: String,
        updates: Vec<TaskStatusUpdate>,
    },
}

/// Sends to the leader, if the network is kind.
pub(crate) fn to_leader(
    context: &mut Context,
    machine: &Machine,
    incarnation: Option<u64>,
    connection: &str,
    message: ToLeader,
) {
    let event = |message| Event::AtLeader { node: machine.id.clone(), message };
    send(context, machine, incarnation, connection, event, message);
}

/// Sends to a node, if the network is kind.
pub(crate) fn to_agent(context: &mut Context, node: &Node, connection: &str, message: ToAgent) {
    let event = |message| Event::AtAgent { node: node.machine.id.clone(), message };
    let incarnation = node.agent.as_ref().map(|agent| agent.incarnation);
    send(context, &node.machine, incarnation, connection, event, message);
}

/// The agent of a node notices that nothing comes over a connection any more.
pub(crate) fn breaks(context: &mut Context, node: &Node, connection: &str) {
    if let Some(agent) = &node.agent {
        let broken = AgentEvent::Broken { session: connection.to_owned() };
        context.agent_soon(&node.machine.id, agent.incarnation, 500, 2000, broken);
    }
}

/// `incarnation`: of the agent that notices when the message is lost.
fn send<M: Clone>(
    context: &mut Context,
    machine: &Machine,
    incarnation: Option<u64>,
    connection: &str,
    event: impl Fn(M) -> Event,
    message: M,
) {
    if machine.reach == Reach::Nobody || harmed(context) {
        if let Some(incarnation) = incarnation {
            let broken = AgentEvent::Broken { session: connection.to_owned() };
            context.agent_soon(&machine.id, incarnation, 500, 2000, broken);
        }
        return;
    }
    if harmed(context) {
        context.soon(1, 3000, event(message.clone()));
    }
    let (low, high) = if harmed(context) { (100, 3000) } else { (1, 10) };
    context.soon(low, high, event(message));
}

/// Whether something happens to a message.
fn harmed(context: &mut Context) -> bool {
    let harmed = context.misfortune(context.temper.loss);
    if harmed {
        context.tally.count(Kind::MessageHarmed);
    }
    harmed
}
