//! The facts by which this member leads, votes or campaigns: when it last heard from a leader, whether that process has ended
//! since, when a quorum last heard from this member, whether its disk responds, whether it may lead at all.
//!
//! Invariant: all times are of the monotonic clock, so a process that was suspended sees on waking that time has passed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use skep_common::clock::Clock;
use tokio::sync::Notify;

use crate::{
    Tuning,
    log_store::Pulse,
    timers::{Duty, Seen},
};

pub(crate) struct Health {
    clock: Arc<dyn Clock>,
    tuning: Tuning,
    pulse: Arc<Pulse>,
    marks: Mutex<Marks>,
    /// Told when the leader may have ended.
    news: Notify,
}

#[derive(Debug, Clone, Copy)]
struct Marks {
    /// When a leader was last heard; at first, when this member started.
    heard: Duration,
    /// Since when its connection is closed.
    hung_up: Option<Duration>,
    /// Since when its connections are refused.
    ended: Option<Duration>,
    /// While leading: when a quorum last answered.
    acked: Option<Duration>,
    /// Until when this member does not want to lead.
    abdicates_until: Duration,
}

impl Health {
    pub(crate) fn new(clock: Arc<dyn Clock>, tuning: Tuning, pulse: Arc<Pulse>) -> Self {
        let heard = clock.monotonic();
        let marks = Marks { heard, hung_up: None, ended: None, acked: None, abdicates_until: Duration::ZERO };
        Self { clock, tuning, pulse, marks: Mutex::new(marks), news: Notify::new() }
    }

    /// A leader, or the lead of this member itself, has shown.
    pub(crate) fn heard_leader(&self) {
        let now = self.clock.monotonic();
        let mut marks = self.marks();
        (marks.heard, marks.hung_up, marks.ended) = (now, None, None);
    }

    /// When a leader was heard last.
    pub(crate) fn heard(&self) -> Duration {
        self.marks().heard
    }

    /// How long no leader has been heard.
    pub(crate) fn silence(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.heard())
    }

    /// How long there has been no leader, as far as this member knows: it heard none, or leads itself and no quorum answered.
    pub(crate) fn leaderless_for(&self) -> Duration {
        self.silence().max(self.quorum_silence())
    }

    /// The connection that the leader was heard over is closed. It may come back by another.
    pub(crate) fn note_hung_up(&self) {
        let now = self.clock.monotonic();
        self.marks().hung_up = Some(now);
        self.news.notify_one();
    }

    /// The process of the leader that was heard last, at `heard`, has ended.
    pub(crate) fn note_ended(&self, heard: Duration) {
        let now = self.clock.monotonic();
        let mut marks = self.marks();
        if marks.heard == heard {
            marks.ended = marks.ended.or(Some(now));
            drop(marks);
            self.news.notify_one();
        }
    }

    /// Completes when the leader may have ended.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }

    /// What a member of this rank and duty decides on.
    pub(crate) fn seen(&self, duty: Duty, rank: u32) -> Seen {
        let Marks { heard, hung_up, ended, .. } = *self.marks();
        Seen { now: self.clock.monotonic(), duty, heard, hung_up, ended, rank }
    }

    /// This member does not lead.
    pub(crate) fn follows(&self) {
        self.marks().acked = None;
    }

    /// This member leads, and a quorum answered this long ago, if it has ever. A new leader gets the benefit of the doubt.
    pub(crate) fn leads(&self, quorum_answered: Option<Duration>) {
        let now = self.clock.monotonic();
        let mut marks = self.marks();
        marks.acked = match quorum_answered {
            Some(ago) => Some(now.saturating_sub(ago)),
            None => marks.acked.or(Some(now)),
        };
    }

    /// Steps down for long enough that another member is elected.
    pub(crate) fn abdicate(&self) {
        let until = self.clock.monotonic() + self.tuning.election_max * 3;
        self.marks().abdicates_until = until;
    }

    /// Why this member, though openraft has it lead, is not one to turn to; `None` when it is.
    pub(crate) fn why_not_lead(&self) -> Option<String> {
        let (disk, quorum) = (self.pulse.busy_for(), self.quorum_silence());
        if disk >= self.tuning.disk_stall {
            Some(format!("its disk has been busy with one write for {disk:?}"))
        } else if quorum > self.patience_with_quorum() {
            Some(format!("no quorum has answered it for {quorum:?}"))
        } else if !self.wants_to_lead() {
            Some("it was asked to step down".to_owned())
        } else {
            None
        }
    }

    /// Whether a leader lets its followers hear from it. Without a quorum's answers it alternates: it is silent for a while so
    /// that those who still hear but cannot answer it elect another, then speaks again in case nobody else can win.
    pub(crate) fn should_beat(&self) -> bool {
        let periods = self.quorum_silence().as_nanos() / self.patience_with_quorum().as_nanos().max(1);
        self.wants_to_lead() && periods.is_multiple_of(2)
    }

    /// Whether this member would let another be elected, as far as its own leader is concerned.
    pub(crate) fn misses_leader(&self, leads: bool) -> bool {
        if leads {
            !self.wants_to_lead() || self.quorum_silence() >= self.tuning.lease
        } else {
            let has_ended = self.marks().ended.is_some();
            has_ended || self.silence() >= self.tuning.lease
        }
    }

    fn wants_to_lead(&self) -> bool {
        let abdicates_until = self.marks().abdicates_until;
        self.clock.monotonic() >= abdicates_until && self.pulse.busy_for() < self.tuning.disk_stall
    }

    fn quorum_silence(&self) -> Duration {
        let acked = self.marks().acked;
        acked.map_or(Duration::ZERO, |acked| self.clock.monotonic().saturating_sub(acked))
    }

    fn patience_with_quorum(&self) -> Duration {
        self.tuning.election_max * 2
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use skep_common::clock::{ManualClock, Timestamp};

    use super::*;

    fn health() -> (Arc<ManualClock>, Health) {
        let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
        let pulse = Arc::new(Pulse::new(clock.clone()));
        (clock.clone(), Health::new(clock, Tuning::default(), pulse))
    }

    #[test]
    fn a_follower_misses_its_leader_after_the_lease() {
        let (clock, health) = health();
        clock.advance(Duration::from_secs(9));
        health.heard_leader();
        clock.advance(Tuning::default().lease - Duration::from_millis(1));
        assert!(!health.misses_leader(false));
        clock.advance(Duration::from_millis(1));
        assert!(health.misses_leader(false));
        health.heard_leader();
        assert!(!health.misses_leader(false));
    }

    #[test]
    fn a_leader_whose_process_has_ended_is_missed_at_once_and_until_one_is_heard() {
        let (clock, health) = health();
        clock.advance(Duration::from_secs(9));
        health.heard_leader();
        let heard = health.heard();
        clock.advance(Duration::from_millis(1));
        health.note_hung_up();
        assert!(!health.misses_leader(false), "a connection is not a process");
        health.note_ended(heard);
        assert!(health.misses_leader(false));
        health.heard_leader();
        assert!(!health.misses_leader(false));
        health.note_ended(heard);
        assert!(!health.misses_leader(false), "that was the one before");
    }

    #[test]
    fn a_leader_without_quorum_is_not_turned_to_and_falls_silent_by_turns() {
        let (clock, health) = health();
        let patience = Tuning::default().election_max * 2;
        health.leads(Some(Duration::ZERO));
        assert!(health.why_not_lead().is_none() && health.should_beat() && !health.misses_leader(true));
        clock.advance(patience + Duration::from_millis(1));
        assert!(health.why_not_lead().is_some() && !health.should_beat() && health.misses_leader(true));
        clock.advance(patience);
        assert!(health.why_not_lead().is_some() && health.should_beat());
        health.leads(Some(Duration::ZERO));
        assert!(health.why_not_lead().is_none() && health.should_beat());
    }

    #[test]
    fn a_leader_without_quorum_is_no_leader_that_is_heard() {
        let (clock, health) = health();
        let step = Duration::from_secs(3);
        health.leads(Some(Duration::ZERO));
        clock.advance(step);
        health.heard_leader();
        assert_eq!((health.silence(), health.leaderless_for()), (Duration::ZERO, step));
        health.leads(Some(Duration::ZERO));
        assert_eq!(health.leaderless_for(), Duration::ZERO);
        clock.advance(step);
        health.follows();
        assert_eq!(health.leaderless_for(), step);
        health.heard_leader();
        assert_eq!(health.leaderless_for(), Duration::ZERO);
    }

    #[test]
    fn a_process_that_was_stopped_does_not_believe_it_leads() {
        let (clock, health) = health();
        health.leads(Some(Duration::ZERO));
        clock.advance(Duration::from_secs(30));
        assert!(health.why_not_lead().is_some());
    }

    #[test]
    fn a_leader_that_never_hears_from_a_quorum_is_doubted_too() {
        let (clock, health) = health();
        for _ in 0..3 {
            clock.advance(Tuning::default().election_max);
            health.leads(None);
        }
        assert!(health.why_not_lead().is_none());
        clock.advance(Duration::from_millis(1));
        assert!(health.why_not_lead().is_some());
        health.follows();
        health.leads(None);
        assert!(health.why_not_lead().is_none(), "elected anew");
    }

    #[test]
    fn abdication_ends() {
        let (clock, health) = health();
        clock.advance(Duration::from_secs(1));
        health.abdicate();
        assert!(health.why_not_lead().is_some() && !health.should_beat() && health.misses_leader(true));
        clock.advance(Tuning::default().election_max * 3);
        assert!(health.why_not_lead().is_none() && health.should_beat());
    }

    #[test]
    fn a_stalled_disk_gives_up_the_lead() {
        let (clock, health) = health();
        health.pulse.begin();
        clock.advance(Tuning::default().disk_stall);
        assert!(health.why_not_lead().is_some() && !health.should_beat());
        health.pulse.end();
        assert!(health.why_not_lead().is_none());
    }
}
