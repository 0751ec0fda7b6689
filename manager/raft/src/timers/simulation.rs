//! Elections among simulated members: the real [`Pacing`] and the real [`Health`], with virtual time, network and disks, by the
//! thousand. Votes are counted as Raft counts them; logs are equal.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    sync::Arc,
    time::Duration,
};

use skep_common::clock::{Clock as _, ManualClock, Timestamp};

use super::pacing::{Act, Duty, Pacing};
use crate::{Tuning, health::Health, log_store::Pulse};

const MS: Duration = Duration::from_millis(1);

struct Chance(u64);

impl Chance {
    /// SplitMix64 (Steele et al., 2014).
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn fraction(&mut self) -> f64 {
        f64::from(u32::try_from(self.next() >> 32).unwrap()) / f64::from(u32::MAX)
    }

    fn between(&mut self, from: Duration, to: Duration) -> Duration {
        from + (to - from).mul_f64(self.fraction())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Time to look at what is to be done; stale when it is not the newest of its member.
    Turn {
        of: usize,
        number: u64,
    },
    Message {
        from: usize,
        to: usize,
        what: Message,
    },
    HungUp {
        at: usize,
        of: usize,
    },
    Looked {
        by: usize,
        leader: usize,
        heard: Duration,
    },
    /// The word on a pre-vote, after the look that it caused.
    Asked {
        from: usize,
        to: usize,
        campaign: u64,
    },
    VoteIsDurable {
        of: usize,
        term: u64,
        candidate: usize,
    },
    GivesUp {
        of: usize,
        campaign: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Message {
    Append { term: u64 },
    Ask { campaign: u64 },
    Agree { campaign: u64 },
    RequestVote { term: u64 },
    Vote { term: u64 },
}

struct Member {
    health: Health,
    pacing: Pacing,
    runs: bool,
    hears: bool,
    stalls_until: Duration,
    term: u64,
    leader: Option<usize>,
    leads: bool,
    turn: u64,
    campaign: u64,
    asks: bool,
    agreed: BTreeSet<usize>,
    votes: BTreeSet<usize>,
}

struct Group {
    tuning: Tuning,
    chance: Chance,
    clock: Arc<ManualClock>,
    members: Vec<Member>,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    sent: u64,
    disk: Duration,
    elections: usize,
}

impl Group {
    /// Members of which the first leads.
    fn new(size: usize, seed: u64) -> Self {
        let (tuning, clock) = (Tuning::default(), Arc::new(ManualClock::new(Timestamp::ZERO)));
        let mut chance = Chance(seed);
        let members = (0..size).map(|number| Member {
            health: Health::new(clock.clone(), tuning.clone(), Arc::new(Pulse::new(clock.clone()))),
            pacing: Pacing::new(tuning.clone(), chance.fraction()),
            runs: true,
            hears: true,
            stalls_until: Duration::ZERO,
            term: 1,
            leader: Some(0),
            leads: number == 0,
            turn: 0,
            campaign: 0,
            asks: false,
            agreed: BTreeSet::new(),
            votes: BTreeSet::new(),
        });
        let members = members.collect();
        let mut group =
            Self { tuning, chance, clock, members, events: BinaryHeap::new(), sent: 0, disk: MS * 5, elections: 0 };
        (0..size).for_each(|of| group.turn(of, Duration::ZERO));
        let settle = group.chance.between(MS * 500, MS * 700);
        group.run(settle);
        group
    }

    fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.sent += 1;
        self.events.push(Reverse((self.now() + after, self.sent, event)));
    }

    fn turn(&mut self, of: usize, after: Duration) {
        self.members[of].turn += 1;
        let number = self.members[of].turn;
        self.at(after, Event::Turn { of, number });
    }

    fn send(&mut self, from: usize, to: usize, what: Message) {
        let delay = self.chance.between(MS / 10, MS * 2);
        self.at(delay, Event::Message { from, to, what });
    }

    fn broadcast(&mut self, from: usize, what: Message) {
        for to in (0..self.members.len()).filter(|to| *to != from) {
            self.send(from, to, what);
        }
    }

    fn kill(&mut self, of: usize) {
        self.members[of].runs = false;
        for at in (0..self.members.len()).filter(|at| *at != of) {
            let delay = self.chance.between(MS / 10, MS * 3);
            self.at(delay, Event::HungUp { at, of });
        }
    }

    /// The leader that most know, if it runs.
    fn leader(&self) -> Option<usize> {
        let newest = self.members.iter().filter(|member| member.runs).map(|member| member.term).max()?;
        self.members.iter().position(|member| member.runs && member.leads && member.term == newest)
    }

    fn run(&mut self, time: Duration) {
        let end = self.now() + time;
        while let Some(Reverse((at, _, event))) = self.events.peek().copied() {
            if at > end {
                break;
            }
            self.events.pop();
            self.clock.advance(at - self.now());
            self.handle(event);
        }
        self.clock.advance(end - self.now());
    }

    /// How long it takes until somebody leads.
    fn until_led(&mut self) -> Duration {
        let since = self.now();
        while self.leader().is_none() {
            assert!(self.now() - since < MS * 20_000, "nobody leads");
            self.run(MS);
        }
        self.now() - since
    }

    fn handle(&mut self, event: Event) {
        let whom = match event {
            Event::Turn { of, .. } | Event::VoteIsDurable { of, .. } | Event::GivesUp { of, .. } => of,
            Event::Message { to, .. } | Event::Asked { to, .. } => to,
            Event::HungUp { at, .. } => at,
            Event::Looked { by, .. } => by,
        };
        let stalls = self.members[whom].stalls_until.saturating_sub(self.now());
        if !self.members[whom].runs {
            return;
        }
        if !stalls.is_zero() {
            return self.at(stalls, event);
        }
        match event {
            Event::Turn { of, number } if number == self.members[of].turn => self.act(of),
            Event::Turn { .. } => {}
            Event::Message { from, to, what } => {
                if self.members[from].hears && self.members[to].hears {
                    self.receive(from, to, what);
                }
            }
            Event::HungUp { at, of } => {
                if self.members[at].leader == Some(of) {
                    self.members[at].health.note_hung_up();
                    self.turn(at, Duration::ZERO);
                }
            }
            Event::Looked { by, leader, heard } => self.looked(by, leader, heard),
            Event::Asked { from, to, campaign } => {
                if self.members[to].health.misses_leader(self.members[to].leads) {
                    self.send(to, from, Message::Agree { campaign });
                }
            }
            Event::VoteIsDurable { of, term, candidate } if self.members[of].term == term => match of == candidate {
                true => self.voted_for(of, of),
                false => self.send(of, candidate, Message::Vote { term }),
            },
            Event::VoteIsDurable { .. } => {}
            Event::GivesUp { of, campaign } => {
                let (now, chance) = (self.now(), self.chance.fraction());
                let member = &mut self.members[of];
                if member.asks && member.campaign == campaign {
                    member.asks = false;
                    member.pacing.campaigned(now, false, chance);
                    self.turn(of, Duration::ZERO);
                }
            }
        }
    }

    fn looked(&mut self, by: usize, leader: usize, heard: Duration) {
        if !self.members[leader].runs {
            self.members[by].health.note_ended(heard);
            self.turn(by, Duration::ZERO);
        }
    }

    fn act(&mut self, of: usize) {
        let size = self.members.len();
        let member = &mut self.members[of];
        let duty = if member.leads { Duty::Lead } else { Duty::StandBy };
        let before = (0..of).filter(|other| Some(*other) != member.leader).count();
        let seen = member.health.seen(duty, u32::try_from(before).unwrap());
        let (act, pause) = member.pacing.next(&seen);
        match act {
            Act::Beat => {
                let term = member.term;
                member.health.heard_leader();
                self.broadcast(of, Message::Append { term });
            }
            Act::Look => {
                if let Some(leader) = member.leader {
                    self.at(MS / 5, Event::Looked { by: of, leader, heard: seen.heard });
                }
            }
            Act::Campaign if !member.asks => {
                member.campaign += 1;
                member.asks = true;
                member.agreed = BTreeSet::from([of]);
                let campaign = member.campaign;
                self.at(self.tuning.lease / 2, Event::GivesUp { of, campaign });
                self.broadcast(of, Message::Ask { campaign });
                // Its turn comes again when it has been answered.
                return;
            }
            Act::Campaign | Act::Nothing => {}
            Act::ElectAlone => panic!("{size} members"),
        }
        self.turn(of, pause.max(MS / 10));
    }

    fn receive(&mut self, from: usize, to: usize, what: Message) {
        let (now, half, chance) = (self.now(), self.members.len() / 2, self.chance.fraction());
        let disk = self.chance.between(self.disk / 2, self.disk * 2);
        let member = &mut self.members[to];
        match what {
            Message::Append { term } if term >= member.term => {
                member.leads &= term == member.term;
                (member.term, member.leader) = (term, Some(from));
                member.health.heard_leader();
            }
            Message::Ask { campaign } => match (member.leader, member.health.misses_leader(member.leads)) {
                (Some(leader), false) if !member.leads && leader != to => {
                    let heard = member.health.heard();
                    self.at(MS / 5, Event::Looked { by: to, leader, heard });
                    self.at(MS / 4, Event::Asked { from, to, campaign });
                }
                _ => self.at(Duration::ZERO, Event::Asked { from, to, campaign }),
            },
            Message::Agree { campaign } if member.asks && campaign == member.campaign => {
                member.agreed.insert(from);
                if member.agreed.len() > half {
                    member.asks = false;
                    if member.health.misses_leader(false) {
                        (member.term, member.leader, member.votes) = (member.term + 1, None, BTreeSet::new());
                        let term = member.term;
                        self.elections += 1;
                        self.at(disk, Event::VoteIsDurable { of: to, term, candidate: to });
                        self.broadcast(to, Message::RequestVote { term });
                    }
                    self.members[to].pacing.campaigned(now, true, chance);
                    self.turn(to, Duration::ZERO);
                }
            }
            Message::RequestVote { term } if term > member.term && member.health.misses_leader(member.leads) => {
                (member.term, member.leader, member.leads) = (term, None, false);
                member.health.heard_leader();
                self.at(disk, Event::VoteIsDurable { of: to, term, candidate: from });
            }
            Message::Vote { term } if term == member.term => self.voted_for(to, from),
            _ => {}
        }
    }

    fn voted_for(&mut self, candidate: usize, by: usize) {
        let half = self.members.len() / 2;
        let member = &mut self.members[candidate];
        member.votes.insert(by);
        if member.votes.len() > half && !member.leads {
            (member.leads, member.leader) = (true, Some(candidate));
            self.turn(candidate, Duration::ZERO);
        }
    }
}

#[test]
fn a_leader_whose_process_dies_is_followed_by_another_at_once() {
    for size in [3, 5, 7] {
        let mut gaps: Vec<Duration> = (0..400)
            .map(|seed| {
                let mut group = Group::new(size, seed);
                group.kill(0);
                group.until_led()
            })
            .collect();
        gaps.sort_unstable();
        let (median, longest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
        assert!(median <= MS * 30 && longest <= MS * 1_500, "{size} members: half {median:?}, all {longest:?}");
    }
}

#[test]
fn a_leader_that_stalls_for_half_a_second_goes_on_leading() {
    for seed in 0..400 {
        let mut group = Group::new(3, seed);
        for _ in 0..10 {
            group.members[0].stalls_until = group.now() + MS * 500;
            let pause = group.chance.between(MS * 700, MS * 1_500);
            group.run(pause);
        }
        assert_eq!((group.elections, group.leader()), (0, Some(0)), "seed {seed}");
    }
}

#[test]
fn a_leader_whose_machine_vanishes_is_missed_in_time() {
    for seed in 0..400 {
        let mut group = Group::new(3, seed);
        // Its address does not even refuse.
        group.members[0].hears = false;
        group.members[0].leads = false;
        group.members[0].stalls_until = Duration::MAX;
        assert!(group.until_led() < MS * 5_000, "seed {seed}");
    }
}

#[test]
fn a_member_that_was_cut_off_topples_nobody() {
    for seed in 0..400 {
        let mut group = Group::new(5, seed);
        for _ in 0..3 {
            group.members[3].hears = false;
            let away = group.chance.between(MS * 1_000, MS * 6_000);
            group.run(away);
            group.members[3].hears = true;
            group.run(MS * 1_000);
        }
        assert_eq!((group.elections, group.leader()), (0, Some(0)), "seed {seed}");
    }
}

#[test]
fn a_leader_is_found_on_slow_disks_too() {
    for seed in 0..200 {
        let mut group = Group::new(5, seed);
        group.disk = MS * 200;
        group.kill(0);
        assert!(group.until_led() < MS * 10_000, "seed {seed}");
    }
}
