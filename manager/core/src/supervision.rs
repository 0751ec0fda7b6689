//! Supervises a node's role: renews its certificate, and starts, stops and removes its manager as the swarm wants.
//!
//! [`Supervisor::next`] compares a [`Situation`] with what is under way and decides which [`Effect`]s begin and which are
//! cancelled. The caller runs them and reports the end of each; nothing else is remembered, so after a crash at any point
//! the supervisor goes on from what is there.
//!
//! Invariants: effects of the two [`Lane`]s never wait for each other, so a renewal delays nothing else; a lane runs one
//! effect at a time; every effect has a time limit ([`Effect::limit`]) and is repeated with exponential backoff, also when
//! it succeeded and changed nothing.
//!
//! An expired certificate is useless. One that is not valid yet may be the other nodes' proof that this node's clock is
//! behind: it is kept, and a manager replaces it with one it issues itself only after renewing has failed many times.

use std::{collections::BTreeMap, time::Duration};

use skep_common::clock::Timestamp;
use skep_proto::v1::NodeRole;

/// Longest time until everything is compared again when nothing happens.
const PERIOD: Duration = Duration::from_secs(30);

/// The first wait before an effect begins once more, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// An effect that has not been begun for this long begins without a wait.
const FORGIVEN: Duration = Duration::from_secs(20);

/// Shortest time between two renewals that are due by time alone, or a tenth of a short certificate's life: to a clock that
/// runs ahead every new certificate is due at once.
const RENEWAL_PAUSE: Duration = Duration::from_secs(3600);

/// After so many failed renewals in a row no manager is expected to answer.
const IN_VAIN: u32 = 10;

/// A side effect for the caller to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Ask the managers for a certificate: for the role this node has now, or because renewal is due.
    Renew,
    /// Let this node's own manager issue a certificate from the state it holds: the present one is not valid, and the other
    /// managers may be in the same situation.
    IssueOwn,
    /// Start the manager: from its state, or by joining the others.
    Start,
    /// Stop the manager and forget its state.
    Retire,
}

/// Effects that exclude each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Effects that change the node's certificate.
    Certificate,
    /// Effects that start or stop the manager.
    Manager,
}

impl Effect {
    /// Its lane.
    pub fn lane(self) -> Lane {
        match self {
            Self::Renew | Self::IssueOwn => Lane::Certificate,
            Self::Start | Self::Retire => Lane::Manager,
        }
    }

    /// How long it may take before it is given up.
    pub fn limit(self) -> Option<Duration> {
        match self {
            Self::Renew | Self::IssueOwn | Self::Retire => Some(Duration::from_secs(30)),
            // Opening the state may take long, and would start again from the beginning; joining has limits of its own.
            Self::Start => None,
        }
    }
}

/// The role the swarm wants this node to have, as far as the node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// No manager was heard since the start: the certificate's role counts.
    Unheard,
    /// The role the store has for it.
    Role(NodeRole),
    /// It was removed.
    Nothing,
}

/// The node's certificate, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certificate {
    /// The role it was issued for.
    pub role: NodeRole,
    /// Begin of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// When the next one is due.
    pub renew_at: Timestamp,
}

impl Certificate {
    /// Whether others would accept it, were their clocks the same.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether this one, newly issued, may replace `held`. One that begins and ends before that was issued by a manager
    /// whose clock is behind.
    pub fn may_replace(&self, held: &Self, now: Timestamp) -> bool {
        let is_older = self.not_before < held.not_before && self.not_after < held.not_after;
        match (held.is_valid(now), self.is_valid(now)) {
            (true, true) => self.role != held.role || !is_older,
            (true, false) => false,
            (false, true) => true,
            // To a clock that is behind, a proper certificate is not valid yet either.
            (false, false) => self.not_after > held.not_after,
        }
    }

    /// Whether `own`, which a manager has issued itself, stands in for this one.
    pub fn is_stood_in_for(&self, own: &Self, now: Timestamp) -> bool {
        own.is_valid(now) && !self.is_valid(now)
    }

    fn pause(&self) -> Duration {
        RENEWAL_PAUSE.min(self.not_after.since(self.not_before) / 10)
    }
}

/// The manager on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManagerState {
    /// None runs.
    Stopped {
        /// Whether there is state of one.
        has_state: bool,
    },
    /// It runs: a member, or on its way to be one.
    Runs {
        /// Whether its state has what a certificate for this node is issued from.
        can_issue: bool,
    },
    /// It runs and is no member any more.
    Disowned,
}

/// A node at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// What the swarm wants.
    pub wish: Wish,
    /// What it holds.
    pub certificate: Certificate,
    /// What runs.
    pub manager: ManagerState,
}

impl Situation {
    fn wanted(&self) -> Option<NodeRole> {
        match self.wish {
            Wish::Unheard => Some(self.certificate.role),
            Wish::Role(role) => Some(role),
            Wish::Nothing => None,
        }
    }

    /// What the lane should be doing.
    fn calls_for(&self, lane: Lane, now: Timestamp, may_renew: bool, in_vain: bool) -> Option<Effect> {
        let (wanted, held) = (self.wanted(), self.certificate.role);
        match lane {
            Lane::Certificate => {
                let early = now < self.certificate.not_before;
                let expired = now > self.certificate.not_after;
                let wrong = wanted.is_some_and(|wanted| wanted != held);
                // To a clock that is behind, the next certificate will not be valid yet either.
                let due = (now >= self.certificate.renew_at || early) && may_renew;
                match self.manager {
                    _ if wanted.is_none() => None,
                    ManagerState::Runs { can_issue: true } if expired || early && in_vain => Some(Effect::IssueOwn),
                    _ => (expired || wrong || due).then_some(Effect::Renew),
                }
            }
            Lane::Manager => match (wanted, self.manager) {
                (_, ManagerState::Disowned) => Some(Effect::Retire),
                (None | Some(NodeRole::Worker), ManagerState::Runs { .. }) => Some(Effect::Retire),
                (Some(NodeRole::Manager), ManagerState::Runs { .. }) => None,
                (Some(NodeRole::Manager), ManagerState::Stopped { .. }) => {
                    (held == NodeRole::Manager).then_some(Effect::Start)
                }
                // State left from an earlier time as manager: it holds the swarm's secrets. It is removed only when a manager
                // has said that this node is no manager.
                (_, ManagerState::Stopped { has_state: true }) if self.wish != Wish::Unheard => Some(Effect::Retire),
                (_, ManagerState::Stopped { .. }) => None,
            },
        }
    }
}

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Effects to begin.
    pub begin: Vec<Effect>,
    /// Effects under way to give up; each still reports its end.
    pub give_up: Vec<Effect>,
    /// All effects that are needed, under way or waiting for their backoff.
    pub wanted: Vec<Effect>,
    /// Look again after this, when nothing happens before.
    pub look_again: Duration,
}

/// What is under way, and what has been lately.
#[derive(Debug, Clone, Default)]
pub struct Supervisor {
    under_way: BTreeMap<Lane, UnderWay>,
    attempts: BTreeMap<Effect, Attempts>,
    /// When a certificate was last obtained.
    renewed: Option<Duration>,
    /// Begin of validity of the certificate that was valid at the last look.
    was_valid: Option<Timestamp>,
    /// Renewals that have failed since one succeeded, or since a manager issued for itself.
    failed_renewals: u32,
}

#[derive(Debug, Clone, Copy)]
struct UnderWay {
    effect: Effect,
    since: Duration,
    given_up: bool,
}

#[derive(Debug, Clone, Copy)]
struct Attempts {
    count: u32,
    ended: Duration,
    /// Until when the next one waits.
    until: Duration,
}

impl Supervisor {
    /// Decides at the wall time `now` and the monotonic time `moment`.
    pub fn next(&mut self, situation: &Situation, now: Timestamp, moment: Duration) -> Decision {
        let mut decision = Decision { begin: Vec::new(), give_up: Vec::new(), wanted: Vec::new(), look_again: PERIOD };
        let Certificate { not_before, .. } = situation.certificate;
        let early = now < not_before;
        if early && self.was_valid == Some(not_before) {
            // The clock was set back: the time of the last renewal means nothing any more.
            self.renewed = None;
        }
        self.was_valid = (!early).then_some(not_before);
        let pause_ends = self.renewed.map(|renewed| renewed + situation.certificate.pause());
        let may_renew = pause_ends.is_none_or(|ends| moment >= ends);
        for lane in [Lane::Certificate, Lane::Manager] {
            let wanted = situation.calls_for(lane, now, may_renew, self.failed_renewals >= IN_VAIN);
            decision.wanted.extend(wanted);
            let wait = match self.under_way.get_mut(&lane) {
                Some(running) => {
                    let ends = running.effect.limit().map(|limit| running.since + limit);
                    let left = ends.map_or(PERIOD, |ends| ends.saturating_sub(moment));
                    if !running.given_up && (left.is_zero() || wanted != Some(running.effect)) {
                        running.given_up = true;
                        decision.give_up.push(running.effect);
                    }
                    if running.given_up { PERIOD } else { left }
                }
                None => match wanted {
                    None => PERIOD,
                    Some(effect) => {
                        let wait = self.wait(effect, moment);
                        if wait.is_zero() {
                            self.under_way.insert(lane, UnderWay { effect, since: moment, given_up: false });
                            decision.begin.push(effect);
                            effect.limit().unwrap_or(PERIOD)
                        } else {
                            wait
                        }
                    }
                },
            };
            decision.look_again = decision.look_again.min(wait);
        }
        let due = situation.certificate.renew_at.since(now);
        let due = due.max(pause_ends.unwrap_or_default().saturating_sub(moment));
        if !due.is_zero() {
            decision.look_again = decision.look_again.min(due);
        }
        decision
    }

    /// An effect that was begun has ended, by itself or given up. `jitter`, in 0..1, spreads the waits of nodes that lost the
    /// same manager at the same moment.
    pub fn ended(&mut self, effect: Effect, succeeded: bool, moment: Duration, jitter: f64) {
        if self.under_way.get(&effect.lane()).is_some_and(|running| running.effect == effect) {
            self.under_way.remove(&effect.lane());
        }
        let before = self.attempts.get(&effect).filter(|attempts| moment < attempts.ended + FORGIVEN);
        let count = before.map_or(0, |attempts| attempts.count);
        let step = FIRST_WAIT.saturating_mul(1u32.checked_shl(count).unwrap_or(u32::MAX)).min(LONGEST_WAIT);
        let until = moment + step.mul_f64(0.5 + jitter / 2.0);
        self.attempts.insert(effect, Attempts { count: count.saturating_add(1), ended: moment, until });
        match effect {
            Effect::Renew if succeeded => (self.renewed, self.failed_renewals) = (Some(moment), 0),
            Effect::Renew => self.failed_renewals += 1,
            Effect::IssueOwn => self.failed_renewals = 0,
            Effect::Start | Effect::Retire => {}
        }
    }

    /// How long `effect` still has to wait.
    fn wait(&self, effect: Effect, moment: Duration) -> Duration {
        self.attempts.get(&effect).map_or(Duration::ZERO, |attempts| attempts.until.saturating_sub(moment))
    }
}

#[cfg(test)]
mod tests {
    use NodeRole::{Manager as M, Worker as W};

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    const IDLE: ManagerState = ManagerState::Stopped { has_state: false };
    const LEFT: ManagerState = ManagerState::Stopped { has_state: true };
    const RUNS: ManagerState = ManagerState::Runs { can_issue: true };
    const EMPTY: ManagerState = ManagerState::Runs { can_issue: false };

    fn certificate(role: NodeRole) -> Certificate {
        let not_after = START + DAY * 90;
        Certificate { role, not_before: START, not_after, renew_at: START + DAY * 60 }
    }

    fn first(wish: Wish, held: NodeRole, manager: ManagerState, days: u32) -> Vec<Effect> {
        let situation = Situation { wish, certificate: certificate(held), manager };
        Supervisor::default().next(&situation, START + DAY * days, Duration::ZERO).begin
    }

    #[test]
    fn every_situation_has_its_effects() {
        use Effect::{IssueOwn, Renew, Retire, Start};
        use ManagerState::Disowned;
        let (unheard, manager, worker, nothing) = (Wish::Unheard, Wish::Role(M), Wish::Role(W), Wish::Nothing);
        // What is wanted, the certificate's role, the manager, the certificate's age in days; what begins.
        let cases: &[(Wish, NodeRole, ManagerState, u32, &[Effect])] = &[
            (unheard, W, IDLE, 1, &[]),
            (unheard, M, RUNS, 1, &[]),
            (unheard, M, LEFT, 1, &[Start]),
            (unheard, M, LEFT, 80, &[Renew, Start]),
            (unheard, M, LEFT, 91, &[Renew, Start]),
            (unheard, M, RUNS, 91, &[IssueOwn]),
            // With no state there is nothing to issue from.
            (unheard, M, EMPTY, 91, &[Renew]),
            (unheard, W, LEFT, 1, &[]),
            (manager, M, RUNS, 80, &[Renew]),
            (manager, M, RUNS, 91, &[IssueOwn]),
            (manager, W, IDLE, 1, &[Renew]),
            (manager, W, IDLE, 91, &[Renew]),
            (manager, M, IDLE, 1, &[Start]),
            (manager, M, Disowned, 1, &[Retire]),
            (worker, M, RUNS, 1, &[Renew, Retire]),
            (worker, M, LEFT, 1, &[Renew, Retire]),
            (worker, W, LEFT, 1, &[Retire]),
            (worker, W, IDLE, 1, &[]),
            (worker, W, IDLE, 80, &[Renew]),
            (worker, W, IDLE, 91, &[Renew]),
            (nothing, M, RUNS, 1, &[Retire]),
            (nothing, M, LEFT, 80, &[Retire]),
            (nothing, W, IDLE, 91, &[]),
        ];
        for (wish, held, manager, days, effects) in cases {
            assert_eq!(first(*wish, *held, *manager, *days), *effects, "{wish:?} {held:?} {manager:?} day {days}");
        }
    }

    #[test]
    fn a_clock_that_is_behind_costs_a_manager_no_certificate_unless_nobody_renews_it() {
        let early = Situation { wish: Wish::Role(M), certificate: certificate(M), manager: RUNS };
        let mut supervisor = Supervisor::default();
        let (mut moment, mut begun) = (Duration::ZERO, Vec::new());
        while begun.last() != Some(&Effect::IssueOwn) {
            let decision = supervisor.next(&early, START - DAY + moment, moment);
            for effect in &decision.begin {
                supervisor.ended(*effect, false, moment, 0.0);
            }
            if decision.begin.is_empty() {
                moment += decision.look_again;
            }
            begun.extend(decision.begin);
            assert!(moment < Duration::from_secs(120), "{begun:?}");
        }
        assert_eq!(begun.pop(), Some(Effect::IssueOwn));
        assert_eq!(begun, [Effect::Renew; 10]);
        // Somebody has answered: the clocks differ, and that is all.
        let mut supervisor = Supervisor::default();
        for second in 0..3600 {
            let moment = Duration::from_secs(second);
            for effect in supervisor.next(&early, START - DAY + moment, moment).begin {
                assert_eq!(effect, Effect::Renew);
                supervisor.ended(effect, true, moment, 0.0);
            }
        }
    }

    #[test]
    fn a_certificate_gives_way_to_none_that_is_worse() {
        let held = certificate(M);
        let moved = |days: i64, by: i64| Certificate {
            not_before: Timestamp::from_secs(held.not_before.as_secs() + days * by),
            not_after: Timestamp::from_secs(held.not_after.as_secs() + days * by),
            ..held
        };
        let (day, now) = (24 * 3600, START + DAY * 50);
        assert!(moved(50, day).may_replace(&held, now));
        assert!(!moved(-10, day).may_replace(&held, now), "issued by a clock that is behind");
        assert!(!moved(-50, day).may_replace(&held, now), "over");
        assert!(!moved(60, day).may_replace(&held, now), "not begun");
        let worker = Certificate { role: W, ..moved(-10, day) };
        assert!(worker.may_replace(&held, now), "another role is no matter of time");
        let shorter = Certificate { not_after: now + DAY, ..moved(50, day) };
        assert!(shorter.may_replace(&held, now), "lives are shorter from now on");
        let longer = Certificate { not_before: held.not_before - DAY, ..held };
        assert!(longer.may_replace(&held, now), "one that ends no sooner is no worse");
        let sooner = Certificate { not_after: held.not_after - DAY, ..held };
        assert!(sooner.may_replace(&held, now), "one that begins no sooner is from the same clock");
        let late = START + DAY * 95;
        assert!(moved(90, day).may_replace(&held, late) && !moved(-1, day).may_replace(&held, late));
        let early = START - DAY * 5;
        assert!(moved(1, day).may_replace(&held, early) && !moved(-1, day).may_replace(&held, early));
        assert!(!held.may_replace(&held, early), "neither has begun, and none lasts longer");
        let own = Certificate { not_before: late, not_after: late + DAY, ..held };
        assert!(held.is_stood_in_for(&own, late) && !held.is_stood_in_for(&own, now));
        assert!(!held.is_stood_in_for(&own, late + DAY * 2));
    }

    #[test]
    fn a_clock_that_went_back_voids_the_pause_after_a_renewal() {
        let held = Situation { wish: Wish::Role(W), certificate: certificate(W), manager: IDLE };
        let mut supervisor = Supervisor::default();
        assert_eq!(supervisor.next(&held, START + DAY * 60, Duration::ZERO).begin, [Effect::Renew]);
        supervisor.ended(Effect::Renew, true, Duration::ZERO, 0.0);
        assert_eq!(supervisor.next(&held, START + DAY, Duration::from_secs(1)).begin, []);
        assert_eq!(supervisor.next(&held, START - DAY, Duration::from_secs(2)).begin, [Effect::Renew]);
    }

    #[test]
    fn what_is_no_longer_wanted_is_given_up_once() {
        let mut supervisor = Supervisor::default();
        let joining = Situation { wish: Wish::Role(M), certificate: certificate(M), manager: IDLE };
        assert_eq!(supervisor.next(&joining, START, Duration::ZERO).begin, [Effect::Start]);
        let demoted = Situation { wish: Wish::Role(W), ..joining };
        let decision = supervisor.next(&demoted, START, Duration::from_secs(1));
        assert_eq!((decision.begin, decision.give_up), (vec![Effect::Renew], vec![Effect::Start]));
        let decision = supervisor.next(&demoted, START, Duration::from_secs(2));
        assert_eq!((decision.begin, decision.give_up), (vec![], vec![]));
        supervisor.ended(Effect::Start, false, Duration::from_secs(2), 0.0);
        let left = Situation { manager: LEFT, ..demoted };
        assert_eq!(supervisor.next(&left, START, Duration::from_secs(2)).begin, [Effect::Retire]);
    }

    #[test]
    fn what_takes_too_long_is_given_up() {
        let mut supervisor = Supervisor::default();
        let worker = Situation { wish: Wish::Role(M), certificate: certificate(W), manager: IDLE };
        let limit = Effect::Renew.limit().unwrap();
        assert_eq!(supervisor.next(&worker, START, Duration::ZERO).begin, [Effect::Renew]);
        let decision = supervisor.next(&worker, START, limit - Duration::from_secs(1));
        assert_eq!((decision.give_up, decision.look_again), (vec![], Duration::from_secs(1)));
        assert_eq!(supervisor.next(&worker, START, limit).give_up, [Effect::Renew]);
    }

    /// Begins over and over whatever is wanted, each taking no time; how often in `span`.
    fn begun_in(span: Duration, succeeded: bool, at: Timestamp, situation: &Situation) -> u32 {
        let (mut supervisor, mut moment, mut begun) = (Supervisor::default(), Duration::ZERO, 0);
        while moment < span {
            let decision = supervisor.next(situation, at + moment, moment);
            for effect in &decision.begin {
                supervisor.ended(*effect, succeeded, moment, 0.0);
                begun += 1;
            }
            if decision.begin.is_empty() {
                assert!(!decision.look_again.is_zero(), "it would spin");
                moment += decision.look_again;
            }
        }
        begun
    }

    #[test]
    fn neither_failure_nor_success_in_vain_is_a_busy_loop() {
        let refused = Situation { wish: Wish::Role(M), certificate: certificate(M), manager: IDLE };
        for succeeded in [false, true] {
            let begun = begun_in(Duration::from_secs(600), succeeded, START, &refused);
            assert!((100..300).contains(&begun), "{begun}");
        }
    }

    #[test]
    fn nodes_that_failed_together_try_again_one_after_the_other() {
        let joining = Situation { wish: Wish::Role(M), certificate: certificate(M), manager: IDLE };
        for (jitter, share) in [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)] {
            let mut supervisor = Supervisor::default();
            assert_eq!(supervisor.next(&joining, START, Duration::ZERO).begin, [Effect::Start]);
            supervisor.ended(Effect::Start, false, Duration::ZERO, jitter);
            let wait = supervisor.next(&joining, START, Duration::ZERO).look_again;
            assert_eq!(wait, FIRST_WAIT.mul_f64(share), "{jitter}");
        }
    }

    #[test]
    fn a_clock_that_is_wrong_renews_once_an_hour() {
        let due = Situation { wish: Wish::Role(W), certificate: certificate(W), manager: IDLE };
        assert_eq!(begun_in(Duration::from_secs(24 * 3600), true, START + DAY * 80, &due), 24);
        // One that is behind finds every new certificate not valid yet.
        let early = Situation { manager: IDLE, ..due };
        assert_eq!(begun_in(Duration::from_secs(24 * 3600), true, START - DAY * 2, &early), 24);
        // Short lives are renewed in their own time.
        let short = Certificate { not_after: START + Duration::from_secs(7200), renew_at: START, ..certificate(W) };
        let due = Situation { certificate: short, ..due };
        assert_eq!(begun_in(Duration::from_secs(7200), true, START, &due), 10);
        // But a failed renewal is tried again soon, and a new role waits for nothing.
        assert!(begun_in(Duration::from_secs(60), false, START, &due) > 10);
        let mut supervisor = Supervisor::default();
        assert_eq!(supervisor.next(&due, START, Duration::ZERO).begin, [Effect::Renew]);
        supervisor.ended(Effect::Renew, true, Duration::ZERO, 0.0);
        let promoted = Situation { wish: Wish::Role(M), ..due };
        assert_eq!(supervisor.next(&promoted, START, Duration::from_secs(1)).begin, [Effect::Renew]);
    }

    #[test]
    fn promotion_and_demotion_end_in_nothing_to_do() {
        for wanted in [W, M] {
            let (held, manager) = if wanted == M { (W, IDLE) } else { (M, RUNS) };
            let mut situation = Situation { wish: Wish::Role(wanted), certificate: certificate(held), manager };
            let mut supervisor = Supervisor::default();
            for moment in (0..10).map(Duration::from_secs) {
                for effect in supervisor.next(&situation, START, moment).begin {
                    match effect {
                        Effect::Renew | Effect::IssueOwn => situation.certificate.role = wanted,
                        Effect::Start => situation.manager = RUNS,
                        Effect::Retire => situation.manager = IDLE,
                    }
                    supervisor.ended(effect, true, moment, 0.0);
                }
            }
            let manages = situation.manager == RUNS;
            assert_eq!((situation.certificate.role, manages), (wanted, wanted == M));
            let decision = supervisor.next(&situation, START, Duration::from_secs(60));
            assert!(decision.begin.is_empty() && decision.give_up.is_empty());
        }
    }
}
