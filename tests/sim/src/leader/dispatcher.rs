//! The dispatcher of a term: sessions, what nodes are told, what they report.

use std::{collections::BTreeMap, time::Duration};

use skep_common::{id::Ids as _, limits};
use skep_core::{assign::Assignments, status};
use skep_proto::v1::{Node as StoredNode, NodeState, Object, Transaction, action::Action, object::Object as Kind};
use skep_store::{AnyObject, Change, View};

use super::{Delivery, Leader, Loop, Session};
use crate::{
    Mutant,
    context::{Context, Step, must},
    event::Event,
    network::{self, ToAgent, ToLeader},
    node::Node,
};

/// How long a node may be silent.
const GRACE: Duration = limits::HEARTBEAT_PERIOD.saturating_mul(limits::MISSED_HEARTBEATS);

impl Leader {
    /// Whether a session is one of this term, or was.
    pub(crate) fn knows(&self, node: &str, session: &str) -> bool {
        self.sessions.get(node).is_some_and(|known| known.id == session)
    }

    /// Sends to a node, if it can be reached from here.
    pub(super) fn tell(&self, context: &mut Context, node: &Node, connection: &str, message: ToAgent) {
        if node.machine.reach.reaches(self.is_cut) {
            network::to_agent(context, node, connection, message);
        } else {
            network::breaks(context, node, connection);
        }
    }

    pub(crate) fn receive(&mut self, context: &mut Context, view: &View, node: &Node, message: ToLeader) -> Step {
        let id = &node.machine.id;
        if view.node(id).is_none() {
            // An agent believes this only of several managers, and a leader alone is one.
            if self.is_confirmed {
                self.tell(context, node, "", ToAgent::Removed);
            }
            return Ok(());
        }
        match message {
            ToLeader::Open { attempt } => {
                let session = self.ids.next_id();
                context.log(format_args!("{id} opens session {session}"));
                let description = Some(node.machine.description.clone());
                self.liveness.borrow_mut().opened(id, &session, "10.0.0.1", description, "", context.now);
                self.call(context, Loop::Liveness);
                let heard = self.awake(context.now);
                let opened = Session { id: session.clone(), stream: None, is_called: false, heard };
                self.sessions.insert(id.clone(), opened);
                self.tell(context, node, &attempt.clone(), ToAgent::Opened { attempt, session });
            }
            ToLeader::Assignments { session, stream, have } if self.is_live(context, id, &session) => {
                let may_be_replaced = !self.is_confirmed && !context.mutant.has(Mutant::UnconfirmedLeader);
                if may_be_replaced || self.inbox.borrow().has_some_of(id) {
                    // What the node is told has to hold what was taken from it, here or by a newer leader: it may have
                    // forgotten it since.
                    let again = ToLeader::Assignments { session, stream, have };
                    context.soon(2, 50, Event::AtLeader { node: id.clone(), message: again });
                    return Ok(());
                }
                let Some(known) = self.sessions.get_mut(id) else { return Ok(()) };
                // A request that was overtaken by a newer one.
                if known.stream.as_ref().is_some_and(|(newest, _)| *newest >= stream) {
                    return Ok(());
                }
                let mut assignments = Assignments::begin(id, view, &have);
                let messages: Vec<_> = std::iter::from_fn(|| assignments.next(view)).collect();
                known.stream = Some((stream, assignments));
                for message in messages {
                    let session = session.clone();
                    self.tell(context, node, &session.clone(), ToAgent::Assignments { session, stream, message });
                }
            }
            ToLeader::Heartbeat { session }
                if self.liveness.borrow_mut().beat(id, &session, "", context.now).is_ok() =>
            {
                let heard = self.awake(context.now);
                if let Some(known) = self.sessions.get_mut(id) {
                    known.heard = heard;
                }
            }
            ToLeader::Reports { session, updates } if self.is_live(context, id, &session) => {
                let live = self.sessions.get(id).is_some_and(|known| known.id == session);
                must!(live, "reports of {id} were taken over session {session}, which is over");
                let own = status::check(view, id, &updates);
                // A leader that was replaced may not know what the node was given since.
                if !self.is_confirmed && own.is_err() {
                    self.tell(context, node, &session.clone(), ToAgent::Stale { session });
                    return Ok(());
                }
                must!(own.is_ok(), "{own:?}");
                self.inbox.borrow_mut().reports.push(Delivery { node: id.clone(), session, updates });
                self.call(context, Loop::Statuses);
            }
            ToLeader::Assignments { session, .. }
            | ToLeader::Heartbeat { session }
            | ToLeader::Reports { session, .. } => {
                self.tell(context, node, &session.clone(), ToAgent::Stale { session });
            }
        }
        Ok(())
    }

    fn is_live(&self, context: &Context, node: &str, session: &str) -> bool {
        context.mutant.has(Mutant::UnfencedSession) || self.liveness.borrow().check(node, session).is_ok()
    }

    /// The streams of the nodes whose tasks a change concerns have something to say.
    pub(super) fn flush_soon(&mut self, context: &mut Context, change: &Change) {
        let tasks = match change {
            Change::Create(task) | Change::Remove(task) => [Some(task), None],
            Change::Update { old, new } => [Some(old), Some(new)],
        };
        for task in tasks.into_iter().flatten() {
            let AnyObject::Task(task) = task else { continue };
            let node = task.node_id.clone();
            let Some(session) = self.sessions.get_mut(&node) else { continue };
            if let Some((_, assignments)) = &mut session.stream {
                assignments.note(change);
            }
            if !session.is_called {
                session.is_called = true;
                context.soon(1, 20, Event::Flush { term: self.term, node });
            }
        }
    }

    pub(crate) fn flush(&mut self, context: &mut Context, view: &View, node: &Node) {
        let Some(session) = self.sessions.get_mut(&node.machine.id) else { return };
        session.is_called = false;
        let Some((stream, assignments)) = &mut session.stream else { return };
        let (id, stream) = (session.id.clone(), *stream);
        let news: Vec<_> = std::iter::from_fn(|| assignments.next(view)).collect();
        for message in news {
            let message = ToAgent::Assignments { session: id.clone(), stream, message };
            self.tell(context, node, &id, message);
        }
    }

    /// Time in which nobody looked is held against no node.
    pub(super) fn sleeps(&mut self, now: Duration) {
        let slept = now - std::mem::replace(&mut self.looked_at, now);
        if slept > 2 * limits::HEARTBEAT_PERIOD {
            self.asleep += slept;
        }
    }

    /// The time in which somebody looked.
    fn awake(&self, now: Duration) -> Duration {
        now.saturating_sub(self.asleep)
    }

    /// Of the nodes that are READY the plan calls DOWN those that were not heard of for the grace period, and no other.
    pub(super) fn silence_is_judged_rightly(&self, now: Duration, view: &View, plan: &[Transaction]) -> Step {
        let state = |node: &StoredNode| node.status.as_ref().map(|status| status.state());
        let mut plan = plan.to_vec();
        plan.iter_mut().for_each(|transaction| view.spell_out(transaction));
        let actions = plan.iter().flat_map(|transaction| &transaction.actions);
        let planned = actions.filter_map(|action| match &action.action {
            Some(Action::Update(Object { object: Some(Kind::Node(node)) })) => Some((node.id.as_str(), state(node))),
            _ => None,
        });
        let planned: BTreeMap<&str, Option<NodeState>> = planned.collect();
        for node in view.nodes().filter(|node| state(node) == Some(NodeState::Ready)) {
            let Some(session) = self.sessions.get(&node.id) else { continue };
            let is_silent = self.awake(now) >= session.heard + GRACE;
            let is_called_down = planned.get(node.id.as_str()) == Some(&Some(NodeState::Down));
            must!(
                is_silent == is_called_down,
                "{} was heard of at {:?} of {:?}, and is called {:?}",
                node.id,
                session.heard,
                self.awake(now),
                planned.get(node.id.as_str())
            );
        }
        Ok(())
    }
}
