//! Faults, and what users do meanwhile.

use std::time::Duration;

use skep_store::TxBuilder;

use super::Simulation;
use crate::{
    agent,
    chaos::{self, Fault},
    context::Step,
    event::{AgentEvent, Event},
    leader::{Origin, mutations},
    node::Reach,
    tally::Kind,
    users,
};

impl Simulation {
    pub(super) fn chaos(&mut self) -> Step {
        if self.context.is_calm() {
            return Ok(());
        }
        self.context.soon(20, self.context.temper.pace, Event::Chaos);
        if self.context.rng.chance(self.context.temper.users) {
            return self.whim();
        }
        let names: Vec<String> = self.nodes.keys().cloned().collect();
        match chaos::fault(&mut self.context.rng, &self.context.temper, &names) {
            Some(Fault::Depose { kill }) => {
                self.raft.depose(&mut self.context, kill);
                self.leader_is_gone();
            }
            Some(Fault::KillManager) => self.kill_manager(),
            Some(Fault::Split { leader }) => self.split(leader),
            Some(Fault::KillAgent { node, lose_disk, reboot }) => self.kill_agent(&node, lose_disk, reboot)?,
            Some(Fault::Cut { node }) => self.cut(node),
            Some(Fault::Freeze) => self.freeze(),
            Some(Fault::Clock) => self.turn_clock(),
            None => {}
        }
        Ok(())
    }

    fn whim(&mut self) -> Step {
        if self.nodes.len() < 8 && self.context.rng.chance(50) {
            return self.join();
        }
        let is_thin = self.raft.members().iter().any(|member| !member.reachable);
        let members = mutations::members_as_seen(self.context.mutant, self.raft.members());
        if let Some(view) = self.raft.leader_view()
            && let Some(transaction) = users::whim(&mut self.context, &view, &members, is_thin, &mut self.ids)
        {
            self.raft.propose(&mut self.context, Origin::User, &view, vec![transaction]);
        }
        Ok(())
    }

    /// Proposes what a user wants, if somebody is there to take it.
    pub(super) fn user(&mut self, edit: impl FnOnce(&mut TxBuilder<'_>)) -> Step {
        let Some(view) = self.raft.leader_view() else { return Ok(()) };
        let mut tx = TxBuilder::new(&view, self.context.wall());
        edit(&mut tx);
        let transaction = tx.build();
        self.raft.propose(&mut self.context, Origin::User, &view, vec![transaction]);
        Ok(())
    }

    // ---- nodes ---------------------------------------------------------------------------------

    fn kill_agent(&mut self, name: &str, lose_disk: bool, reboot: bool) -> Step {
        let Some(node) = self.nodes.get_mut(name) else { return Ok(()) };
        agent::kill(&mut self.context, node, &mut self.oracle)?;
        self.context.tally.count(Kind::AgentKilled);
        if lose_disk {
            self.context.log(format_args!("{name} loses its task.db"));
            self.context.tally.count(Kind::DiskLost);
            node.machine.disk.clear();
        }
        if reboot {
            self.context.log(format_args!("{name} goes down with its containers"));
            self.context.tally.count(Kind::Reboot);
            let at = node.machine.wall(&self.context);
            for task in node.machine.runtime.running() {
                node.machine.runtime.end(&task, 137, at);
            }
        }
        self.context.soon(50, 8000, Event::AgentStarts { node: name.to_owned() });
        Ok(())
    }

    fn cut(&mut self, name: String) {
        let Some(node) = self.nodes.get_mut(&name) else { return };
        self.context.log(format_args!("{name} is cut off"));
        self.context.tally.count(Kind::NodeCut);
        node.machine.reach = Reach::Nobody;
        self.context.soon(100, 15_000, Event::Reconnect { node: name });
    }

    // ---- managers ------------------------------------------------------------------------------

    fn kill_manager(&mut self) {
        let managers: Vec<u64> = self.raft.managers.keys().copied().collect();
        match self.context.rng.pick(&managers).copied() {
            Some(leader) if self.raft.leader == Some(leader) => {
                self.raft.depose(&mut self.context, true);
                self.leader_is_gone();
            }
            Some(manager) => {
                if self.stale.as_ref().is_some_and(|stale| stale.manager == manager) {
                    self.end_stale();
                }
                self.raft.kill(&mut self.context, manager);
            }
            None => {}
        }
    }

    /// Whoever spoke with the leader notices that it is gone.
    pub(super) fn leader_is_gone(&mut self) {
        self.leader = None;
        for (name, node) in &self.nodes {
            let Some(agent) = &node.agent else { continue };
            let connection = agent.connection();
            if self.stale.as_ref().is_none_or(|stale| !stale.knows(name, connection)) {
                let broken = AgentEvent::Broken { session: connection.to_owned() };
                self.context.agent_soon(name, agent.incarnation, 100, 1500, broken);
            }
        }
    }

    /// Cuts managers off from the others: the leader alone, or any. Their machines go with them; the rest see one side,
    /// the other, or both.
    fn split(&mut self, leader: bool) {
        if self.raft.is_split() {
            return;
        }
        let cut: Vec<u64> = match self.raft.leader.filter(|_| leader) {
            Some(leader) => vec![leader],
            None => self.raft.managers.keys().copied().filter(|_| self.context.rng.chance(400)).collect(),
        };
        if cut.is_empty() || cut.len() == self.raft.managers.len() {
            return;
        }
        self.context.tally.count(Kind::Partition);
        self.context.log(format_args!("{cut:?} are cut off from the other managers"));
        let is_alone = self.raft.split(&cut);
        for (name, node) in &mut self.nodes {
            let own = self.raft.managers.values().find(|manager| manager.node == *name).map(|manager| manager.is_cut);
            let chosen = [None, None, Some(true), Some(false)];
            let side = own.or_else(|| *self.context.rng.pick(&chosen).unwrap_or(&None));
            if node.machine.reach != Reach::Nobody {
                node.machine.reach = side.map_or(Reach::All, |is_cut| Reach::Side { is_cut });
            }
        }
        if let Some(leader) = &mut self.leader {
            leader.is_cut = cut.contains(&leader.manager);
        }
        if is_alone {
            self.context.soon(400, 1100, Event::Elect);
            self.context.soon(2000, 8000, Event::GiveUp { term: self.raft.term });
        }
        self.splits += 1;
        self.context.soon(500, 10_000, Event::Heal { split: self.splits });
    }

    /// The leader stands still: it is as if it were cut off, and what comes to it waits. It goes on with what it knew
    /// before, and hears of the others only after that.
    fn freeze(&mut self) {
        let Some(manager) = self.raft.leader.filter(|_| !self.raft.is_split()) else { return };
        let still = self.context.rng.millis(200, 6000);
        self.context.tally.count(Kind::Freeze);
        self.context.log(format_args!("m{manager} stands still for {still:?}"));
        if let Some(leader) = &mut self.leader {
            leader.still_until = Some(self.context.now + still);
        }
        if self.raft.split(&[manager]) {
            self.context.soon(400, 1100, Event::Elect);
        }
        if let Some(leader) = &mut self.leader {
            leader.is_cut = true;
        }
        let own = self.raft.managers.get(&manager).map(|manager| manager.node.clone());
        for (name, node) in &mut self.nodes {
            if node.machine.reach != Reach::Nobody && Some(name) == own.as_ref() {
                node.machine.reach = Reach::Side { is_cut: true };
            }
        }
        self.splits += 1;
        let awake = still + self.context.rng.millis(10, 1500);
        self.context.after(awake, Event::Heal { split: self.splits });
    }

    /// Until when a leader stands still, if it does.
    pub(super) fn is_still(&self, term: u64) -> Option<Duration> {
        let mut leaders = [&self.leader, &self.stale].into_iter().flatten();
        leaders.find(|leader| leader.term() == term)?.still_until.filter(|until| *until > self.context.now)
    }

    /// A manager's clock jumps.
    fn turn_clock(&mut self) {
        let managers: Vec<u64> = self.raft.managers.keys().copied().collect();
        let Some(manager) = self.context.rng.pick(&managers).copied() else { return };
        let jump = i64::try_from(self.context.rng.between(3_000, 20_000)).unwrap_or(0);
        let jump = if self.context.rng.chance(500) { jump } else { -jump };
        self.context.tally.count(Kind::ClockJump);
        self.context.log(format_args!("the clock of m{manager} jumps by {jump} ms"));
        self.set_clock(manager, jump);
        self.context.soon(100, 8000, Event::SetClock { manager });
    }

    /// A manager's clock is wrong by so many milliseconds from now on.
    pub(super) fn set_clock(&mut self, manager: u64, skew: i64) {
        if let Some(manager) = self.raft.managers.get_mut(&manager) {
            manager.skew = skew;
        }
        for leader in [&mut self.leader, &mut self.stale].into_iter().flatten() {
            if leader.manager == manager {
                leader.skew = skew;
            }
        }
    }

    /// There are two leaders: nodes that see both lose their sessions now and then, and may find either.
    pub(super) fn nodes_turn_around(&mut self) {
        if self.stale.is_none() {
            return;
        }
        for (name, node) in &self.nodes {
            let Some(agent) = node.agent.as_ref().filter(|_| node.machine.reach == Reach::All) else { continue };
            let broken = AgentEvent::Broken { session: agent.connection().to_owned() };
            self.context.agent_soon(name, agent.incarnation, 1, 700, broken);
        }
        self.context.soon(700, 2000, Event::TurnAround);
    }

    /// Managers reach each other again. One that was replaced hears of it.
    pub(super) fn heal(&mut self) {
        for node in self.nodes.values_mut() {
            if matches!(node.machine.reach, Reach::Side { .. }) {
                node.machine.reach = Reach::All;
            }
        }
        self.raft.heal(&mut self.context);
        if let Some(leader) = &mut self.leader {
            leader.is_cut = false;
        }
        self.end_stale();
    }

    /// A leader that has heard from no quorum for long leads no more.
    pub(super) fn give_up(&mut self, term: u64) {
        if self.stale.as_ref().is_some_and(|stale| stale.term() == term) {
            self.end_stale();
        } else if self.raft.term == term && self.raft.leader.is_some_and(|leader| !self.raft.has_quorum(leader)) {
            self.raft.depose(&mut self.context, false);
            self.leader_is_gone();
        }
    }

    fn end_stale(&mut self) {
        let Some(stale) = self.stale.take() else { return };
        for (name, node) in &self.nodes {
            if let Some(agent) = node.agent.as_ref().filter(|agent| stale.knows(name, agent.connection())) {
                let broken = AgentEvent::Broken { session: agent.connection().to_owned() };
                self.context.agent_soon(name, agent.incarnation, 1, 500, broken);
            }
        }
    }
}
