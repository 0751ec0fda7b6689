//! Nodes and what they make of themselves: each with its own [`Supervisor`], in a world where certificates come due or run
//! out, clocks jump, roles change back to back, replies are lost, managers cannot be reached, daemons and leaders end.
//!
//! What decides is what decides in the daemon: `core::supervision` on every node, `core::roles` where somebody leads. What is
//! played is what they decide about: consensus as a list of members, certificates as spans of time, calls as chances. A run
//! is a function of its seed. First everything breaks; then it is repaired, expired workers are brought back by hand, and
//! within minutes every node must be what was asked for. No effect may be a busy loop, and a manager with state and the
//! role must run soon after its daemon does, whatever its certificate.

mod world;

use std::{collections::BTreeMap, time::Duration};

use skep_common::clock::Timestamp;
use skep_core::supervision::{Certificate, Effect, ManagerState, Situation, Supervisor, Wish};
use skep_proto::v1::NodeRole;

use self::world::{Call, World};
use crate::{
    context::{Step, Violation, must},
    rng::Rng,
};

/// Half of how long the start of a manager takes that has no limit.
const SLOW_START: Duration = Duration::from_secs(150);

/// How finely time passes.
const TICK: Duration = Duration::from_millis(100);

/// How long things break, and how long they may take to be right afterwards: longer than any effect may hang.
const TROUBLE: Duration = Duration::from_secs(600);
const REPAIR: Duration = Duration::from_secs(400);

/// A manager must run this long after everything it needs is there.
const SOON: Duration = Duration::from_secs(10);

const DAY: u64 = 24 * 3600;

/// How often each kind of trouble came about in a run.
pub type Troubles = BTreeMap<&'static str, u64>;

/// The manager on a node.
#[derive(Debug, Clone, Copy)]
struct Manager {
    raft_id: u64,
    disowned: bool,
    /// When it last heard a leader.
    heard: Duration,
}

/// A machine and its daemon.
struct Machine {
    id: String,
    // ---- the disk
    certificate: Certificate,
    /// What its manager has issued to stand in for that; it is never on the disk.
    own: Option<Certificate>,
    key: u64,
    next_key: Option<u64>,
    raft_id: Option<u64>,
    // ---- the world around it
    is_cut: bool,
    is_closed: bool,
    /// How wrong its clock is, in seconds.
    skew: i64,
    // ---- the daemon; without one it is down until then
    down_until: Option<Duration>,
    supervisor: Supervisor,
    manager: Option<Manager>,
    wish: Wish,
    under_way: BTreeMap<Effect, (Duration, bool)>,
    look_at: Duration,
    begun: BTreeMap<Effect, u64>,
    /// Since when it could run a manager and does not.
    idle_since: Option<Duration>,
}

impl Machine {
    fn wall(&self, now: Timestamp) -> Timestamp {
        Timestamp::from_secs(now.as_secs() + self.skew)
    }

    /// The certificate it shows at this true time.
    fn shows(&self, now: Timestamp) -> Certificate {
        let wall = self.wall(now);
        self.own.filter(|own| self.certificate.is_stood_in_for(own, wall)).unwrap_or(self.certificate)
    }

    fn is_up(&self) -> bool {
        self.down_until.is_none()
    }

    fn start(&mut self, now: Duration) {
        self.down_until = None;
        self.supervisor = Supervisor::default();
        (self.wish, self.look_at) = (Wish::Unheard, now);
    }

    fn end(&mut self, until: Duration) {
        self.down_until = Some(until);
        (self.manager, self.own) = (None, None);
        self.under_way.clear();
        self.idle_since = None;
    }

    fn situation(&self, now: Timestamp) -> Situation {
        let manager = match &self.manager {
            None => ManagerState::Stopped { has_state: self.raft_id.is_some() },
            Some(manager) if manager.disowned => ManagerState::Disowned,
            Some(_) => ManagerState::Runs { can_issue: true },
        };
        Situation { wish: self.wish, certificate: self.shows(now), manager }
    }
}

struct Run {
    rng: Rng,
    now: Duration,
    /// True time is this and `now`.
    epoch: Timestamp,
    world: World,
    machines: Vec<Machine>,
    next_key: u64,
    troubles: Troubles,
}

/// Plays one seed.
///
/// # Errors
/// What must never be, in a sentence.
pub fn run_lifecycle(seed: u64) -> Result<Troubles, String> {
    let mut run = Run::new(seed);
    let outcome = run.play();
    outcome.map(|()| run.troubles).map_err(|Violation(text)| format!("seed {seed}: {text}"))
}

impl Run {
    fn new(seed: u64) -> Self {
        let (rng, epoch) = (Rng::new(seed), Timestamp::from_secs(1_700_000_000));
        let ids: Vec<String> = (1..=5).map(|number| format!("n{number}")).collect();
        let world = World::new(&ids, 3);
        let mut run = Self {
            rng,
            now: Duration::ZERO,
            epoch,
            world,
            machines: Vec::new(),
            next_key: 100,
            troubles: BTreeMap::new(),
        };
        for (index, id) in ids.iter().enumerate() {
            let role = run.world.role(id);
            let raft_id = (role == NodeRole::Manager).then_some(index as u64 + 1);
            let certificate = run.issue(role, epoch, Duration::from_secs(90 * DAY));
            run.world.certify(id, index as u64);
            run.machines.push(Machine {
                id: id.clone(),
                certificate,
                own: None,
                key: index as u64,
                next_key: None,
                raft_id,
                is_cut: false,
                is_closed: false,
                skew: 0,
                down_until: None,
                supervisor: Supervisor::default(),
                manager: None,
                wish: Wish::Unheard,
                under_way: BTreeMap::new(),
                look_at: Duration::ZERO,
                begun: BTreeMap::new(),
                idle_since: None,
            });
        }
        run
    }

    fn wall(&self) -> Timestamp {
        self.epoch + self.now
    }

    /// A certificate as the authority writes them.
    fn issue(&mut self, role: NodeRole, now: Timestamp, life: Duration) -> Certificate {
        let (not_before, not_after) = (now - Duration::from_secs(3600), now + life);
        let share = 500 + self.rng.between(0, 300);
        let renew_at = not_before + not_after.since(not_before) / 1000 * u32::try_from(share).unwrap_or(500);
        Certificate { role, not_before, not_after, renew_at }
    }

    fn play(&mut self) -> Step {
        while self.is_troubled() {
            if self.rng.chance(8) {
                self.make_trouble();
            }
            self.tick()?;
        }
        self.repair();
        let end = self.now + REPAIR;
        while self.now < end {
            self.bring_back()?;
            self.tick()?;
        }
        self.is_as_asked()
    }

    fn is_troubled(&self) -> bool {
        self.now < TROUBLE
    }

    fn count(&mut self, what: &'static str) {
        *self.troubles.entry(what).or_default() += 1;
    }

    fn make_trouble(&mut self) {
        let index = self.rng.below(self.machines.len());
        let until = self.now + self.rng.millis(500, 60_000);
        let what = match self.rng.below(9) {
            0 | 1 => {
                let times = self.rng.between(1, 5);
                for _ in 0..times {
                    let id = self.machines[index].id.clone();
                    self.world
                        .change_role(&id, |machine| self.machines.iter().any(|it| it.id == machine && it.is_up()));
                }
                "roles changed back to back"
            }
            2 => {
                self.machines[index].end(until);
                "a daemon ended"
            }
            3 => match self.world.leader().map(str::to_owned) {
                Some(leader) => {
                    self.machines.iter_mut().filter(|it| it.id == leader).for_each(|it| it.end(until));
                    "a leader ended"
                }
                None => return,
            },
            4 => {
                let machine = &mut self.machines[index];
                machine.is_cut = !machine.is_cut;
                "a node cut off, or healed"
            }
            5 => {
                let machine = &mut self.machines[index];
                machine.is_closed = !machine.is_closed;
                "a port closed, or opened"
            }
            6 => {
                let days = self.rng.between(1, 200) as i64 - 100;
                self.machines[index].skew = if self.rng.chance(500) { 0 } else { days * DAY as i64 };
                "a clock jumped"
            }
            7 => {
                for machine in &mut self.machines {
                    machine.end(until);
                }
                "all ended at once"
            }
            _ => {
                // Everything was off for that long.
                let days = self.rng.between(40, 100);
                self.epoch = self.epoch + Duration::from_secs(days * DAY);
                for machine in &mut self.machines {
                    machine.end(until);
                }
                "all off for weeks"
            }
        };
        self.count(what);
    }

    fn repair(&mut self) {
        for machine in &mut self.machines {
            (machine.is_cut, machine.is_closed, machine.skew) = (false, false, 0);
            machine.look_at = self.now;
            if !machine.is_up() {
                machine.start(self.now);
            }
        }
    }

    /// What an operator does about nodes whose certificate is not valid.
    fn bring_back(&mut self) -> Step {
        let (now, Some(leader)) = (self.wall(), self.world.leader().map(str::to_owned)) else { return Ok(()) };
        for index in 0..self.machines.len() {
            let machine = &self.machines[index];
            if machine.manager.is_some() || machine.certificate.is_valid(now) || machine.id == leader {
                continue;
            }
            let (id, keys) = (machine.id.clone(), [Some(machine.key), machine.next_key]);
            let known = keys.into_iter().flatten().find(|key| self.world.holds(&id, *key));
            must!(known.is_some(), "{id} holds no key the swarm knows it by, and is locked out for good");
            let role = self.world.role(&id);
            let certificate = self.issue(role, now, Duration::from_secs(90 * DAY));
            let machine = &mut self.machines[index];
            (machine.certificate, machine.own, machine.look_at) = (certificate, None, self.now);
            (machine.key, machine.next_key) = (known.unwrap_or(machine.key), None);
            self.count("a node brought back by hand");
        }
        Ok(())
    }

    fn tick(&mut self) -> Step {
        self.now += TICK;
        for index in 0..self.machines.len() {
            if self.machines[index].down_until.is_some_and(|until| until <= self.now) {
                self.machines[index].start(self.now);
            }
        }
        self.lead();
        self.talk();
        for index in 0..self.machines.len() {
            if self.machines[index].is_up() {
                self.finish_effects(index);
                self.look(index)?;
            }
        }
        Ok(())
    }

    /// Whether two nodes can speak: both are there and take each other's certificate by their own clocks.
    fn can_speak(&self, one: &Machine, other: &Machine) -> bool {
        let there = |machine: &Machine| machine.is_up() && !machine.is_cut;
        let takes = |by: &Machine, of: &Machine| of.shows(self.wall()).is_valid(by.wall(self.wall()));
        one.id == other.id || there(one) && there(other) && takes(one, other) && takes(other, one)
    }

    fn machine(&self, id: &str) -> Option<&Machine> {
        self.machines.iter().find(|machine| machine.id == id)
    }

    /// Who runs the member with this id and can be reached from `from`.
    fn reaches(&self, from: &Machine, id: &str, raft_id: u64) -> bool {
        let runs = |machine: &&Machine| machine.is_up() && machine.manager.is_some_and(|it| it.raft_id == raft_id);
        self.machine(id).filter(runs).is_some_and(|to| to.id == from.id || !to.is_closed && self.can_speak(from, to))
    }

    fn lead(&mut self) {
        let candidates: Vec<(String, bool)> = {
            let members = self.world.members();
            let quorum = |from: &Machine| {
                let voters = members.iter().filter(|member| member.votes);
                let (all, up) = voters.fold((0, 0), |(all, up), member| {
                    (all + 1, up + usize::from(self.reaches(from, &member.node, member.raft_id)))
                });
                up > all / 2
            };
            let leads = |member: &&world::Member| {
                member.votes
                    && self
                        .machine(&member.node)
                        .is_some_and(|it| self.reaches(it, &member.node, member.raft_id) && quorum(it))
            };
            members.iter().filter(leads).map(|member| (member.node.clone(), true)).collect()
        };
        self.world.elect(&candidates.into_iter().map(|(id, _)| id).collect::<Vec<_>>());
        let Some(leader) = self.world.leader().map(str::to_owned) else { return };
        let reachable: Vec<u64> = match self.machine(&leader) {
            Some(from) => {
                let members = self.world.members().iter();
                members.filter(|it| self.reaches(from, &it.node, it.raft_id)).map(|it| it.raft_id).collect()
            }
            None => return,
        };
        if self.rng.chance(300) {
            let told = self.world.tidy(&reachable, self.now, self.wall());
            // One that is voted out and can be reached hears of it.
            for machine in &mut self.machines {
                if let Some(manager) = &mut machine.manager
                    && told.contains(&manager.raft_id)
                    && self.rng.chance(800)
                {
                    (manager.disowned, machine.look_at) = (true, self.now);
                }
            }
        }
        for machine in &mut self.machines {
            if let Some(manager) = &mut machine.manager
                && reachable.contains(&manager.raft_id)
            {
                manager.heard = self.now;
            }
        }
    }

    /// Sessions bring each node its role; managers that hear no leader ask whether they are members.
    fn talk(&mut self) {
        let Some(leader) = self.world.leader().map(str::to_owned) else { return };
        for index in 0..self.machines.len() {
            let machine = &self.machines[index];
            let speaks = self.machine(&leader).is_some_and(|leader| machine.is_up() && self.can_speak(machine, leader));
            if !speaks {
                continue;
            }
            if self.rng.chance(200) {
                let wish = Wish::Role(self.world.role(&self.machines[index].id));
                let machine = &mut self.machines[index];
                if machine.wish != wish {
                    (machine.wish, machine.look_at) = (wish, self.now);
                }
            }
            let is_member = |raft_id| self.world.members().iter().any(|member| member.raft_id == raft_id);
            let now = self.now;
            let asks = self.rng.chance(50);
            let machine = &mut self.machines[index];
            if let Some(manager) = &mut machine.manager
                && now.saturating_sub(manager.heard) >= Duration::from_secs(5)
                && asks
                && !manager.disowned
                && !is_member(manager.raft_id)
            {
                (manager.disowned, machine.look_at) = (true, now);
                self.count("a manager that nobody calls heard that it is none");
            }
        }
    }

    fn look(&mut self, index: usize) -> Step {
        let now = self.now;
        let (time, wall) = (self.wall(), self.machines[index].wall(self.wall()));
        if self.machines[index].look_at <= now {
            let machine = &mut self.machines[index];
            let decision = machine.supervisor.next(&machine.situation(time), wall, now);
            for effect in decision.give_up {
                if let Some((ends, given_up)) = machine.under_way.get_mut(&effect) {
                    (*ends, *given_up) = (now, true);
                }
            }
            for effect in decision.begin {
                let takes = if self.is_troubled() && self.rng.chance(30) {
                    effect.limit().unwrap_or(SLOW_START) * 2
                } else {
                    self.rng.millis(20, 3000)
                };
                let machine = &mut self.machines[index];
                *machine.begun.entry(effect).or_default() += 1;
                machine.under_way.insert(effect, (now + takes, false));
            }
            self.machines[index].look_at = now + decision.look_again;
        }
        let machine = &mut self.machines[index];
        let may_run = machine.raft_id.is_some() && machine.certificate.role == NodeRole::Manager;
        let is_wanted = machine.wish != Wish::Role(NodeRole::Worker);
        let slow = machine.under_way.get(&Effect::Start).is_some_and(|(ends, _)| *ends > now + SOON / 2);
        match (may_run && is_wanted && machine.manager.is_none() && !slow, machine.idle_since) {
            (true, None) => machine.idle_since = Some(now),
            (true, Some(since)) => {
                must!(now - since < SOON, "{} has all it needs and does not run its manager", machine.id)
            }
            (false, _) => machine.idle_since = None,
        }
        Ok(())
    }

    fn finish_effects(&mut self, index: usize) {
        let now = self.now;
        let ended: Vec<(Effect, bool)> = self.machines[index]
            .under_way
            .iter()
            .filter(|(_, (ends, _))| *ends <= now)
            .map(|(it, (_, gone))| (*it, *gone))
            .collect();
        for (effect, given_up) in ended {
            let succeeded = match effect {
                Effect::Renew => self.renew(index, given_up),
                Effect::IssueOwn => self.issue_own(index),
                Effect::Start => self.start_manager(index, given_up),
                Effect::Retire => {
                    let machine = &mut self.machines[index];
                    (machine.manager, machine.raft_id) = (None, None);
                    true
                }
            };
            let jitter = self.rng.between(0, 999) as f64 / 1000.0;
            let machine = &mut self.machines[index];
            machine.under_way.remove(&effect);
            machine.supervisor.ended(effect, succeeded, now, jitter);
            machine.look_at = now;
        }
    }

    /// How a call of this node to the leader ends.
    fn call(&mut self, index: usize, given_up: bool) -> Call {
        let leader = self.world.leader().and_then(|leader| self.machine(leader));
        if !leader.is_some_and(|leader| self.can_speak(&self.machines[index], leader)) {
            return Call::Failed;
        }
        if given_up || self.is_troubled() && self.rng.chance(150) {
            self.count("a reply was lost");
            return Call::Lost;
        }
        Call::Answered
    }

    fn renew(&mut self, index: usize, given_up: bool) -> bool {
        let call = self.call(index, given_up);
        if call == Call::Failed {
            return false;
        }
        self.next_key += 1;
        let key = *self.machines[index].next_key.get_or_insert(self.next_key);
        let id = self.machines[index].id.clone();
        self.world.certify(&id, key);
        if call == Call::Lost {
            return false;
        }
        // The leader's clock dates it.
        let by =
            self.world.leader().and_then(|leader| self.machine(leader)).map_or(self.wall(), |it| it.wall(self.wall()));
        let certificate = self.issue(self.world.role(&id), by, Duration::from_secs(90 * DAY));
        let wall = self.machines[index].wall(self.wall());
        let machine = &mut self.machines[index];
        if !certificate.may_replace(&machine.certificate, wall) {
            self.count("a certificate of a wrong clock was refused");
            return false;
        }
        (machine.certificate, machine.own, machine.key, machine.next_key) = (certificate, None, key, None);
        true
    }

    fn issue_own(&mut self, index: usize) -> bool {
        let wall = self.machines[index].wall(self.wall());
        let runs = self.machines[index].manager.is_some();
        if runs {
            let own = self.issue(NodeRole::Manager, wall, Duration::from_secs(3600));
            self.machines[index].own = Some(Certificate { renew_at: wall, ..own });
            self.count("a manager issued its own certificate");
        }
        runs
    }

    fn start_manager(&mut self, index: usize, given_up: bool) -> bool {
        if let Some(raft_id) = self.machines[index].raft_id {
            self.machines[index].manager = Some(Manager { raft_id, disowned: false, heard: self.now });
            return true;
        }
        let call = self.call(index, given_up);
        let (id, is_closed) = (self.machines[index].id.clone(), self.machines[index].is_closed);
        if call == Call::Failed {
            return false;
        }
        if is_closed {
            self.count("a manager that cannot be reached was refused");
            return false;
        }
        let Some(raft_id) = self.world.join(&id, self.now) else { return false };
        if call == Call::Lost {
            return false;
        }
        let machine = &mut self.machines[index];
        machine.raft_id = Some(raft_id);
        machine.manager = Some(Manager { raft_id, disowned: false, heard: self.now });
        true
    }

    fn is_as_asked(&self) -> Step {
        must!(self.world.leader().is_some(), "nobody leads: {:?}", self.world.members());
        must!(self.world.nodes() == self.machines.len(), "there are {} nodes", self.world.nodes());
        for machine in &self.machines {
            let (id, asked) = (&machine.id, self.world.asked(&machine.id));
            must!(self.world.role(id) == asked, "{id} is to be {asked:?} and is {:?}", self.world.role(id));
            must!(machine.certificate.role == asked, "{id} holds {:?}, and is to be {asked:?}", machine.certificate);
            must!(machine.certificate.is_valid(self.wall()), "the certificate of {id} is not valid");
            let member = self.world.members().iter().find(|member| member.node == *id);
            let runs = machine.manager.map(|manager| manager.raft_id);
            must!(member.map(|member| member.raft_id) == runs, "{id} runs {runs:?} and is {member:?}");
            must!(member.is_some_and(|member| member.votes) == (asked == NodeRole::Manager), "{id} is {member:?}");
            // One that is called for all the time begins at most every two and a half seconds, once it has begun often.
            let most = (TROUBLE + REPAIR).as_secs() / 2;
            let busy = machine.begun.iter().find(|(_, count)| **count > most);
            must!(busy.is_none(), "{id} was busy with {busy:?}");
        }
        Ok(())
    }
}
