//! When a member sends heartbeats, checks for its leader, or campaigns: pure decisions, carried out by the loop in `timers`
//! and run by the thousand in a simulation.
//!
//! Owns the randomised election timeout, the time of the last check, and until when not to campaign. Times are of the
//! monotonic clock.

use std::time::Duration;

use crate::Tuning;

/// What a member is to do by its place in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Duty {
    Lead,
    /// Another leads or may, and this member may follow on.
    StandBy,
    /// It is the only member.
    StandAlone,
    /// No vote, no campaign.
    None,
}

/// What a member has seen by `now`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) now: Duration,
    pub(crate) duty: Duty,
    /// When a leader was heard last.
    pub(crate) heard: Duration,
    /// Since when the leader's connection is closed, when none was heard after that.
    pub(crate) hung_up: Option<Duration>,
    /// Since when it is known that the leader's process has ended, when none was heard after that.
    pub(crate) ended: Option<Duration>,
    /// How many voters, the leader aside, come before this one when several could follow on at once.
    pub(crate) rank: u32,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// Let the followers hear.
    Beat,
    /// Elect itself, as the only voter.
    ElectAlone,
    /// Ask the others, and stand for election if they agree.
    Campaign,
    /// Find out whether anybody listens where the leader should.
    Look,
    Nothing,
}

/// The pace of one member.
#[derive(Debug)]
pub(super) struct Pacing {
    tuning: Tuning,
    /// The silence after which it campaigns.
    patience: Duration,
    rests_until: Duration,
    looked: Option<Duration>,
}

impl Pacing {
    /// `chance` is drawn from 0..1.
    pub(super) fn new(tuning: Tuning, chance: f64) -> Self {
        let patience = patience(&tuning, chance);
        Self { tuning, patience, rests_until: Duration::ZERO, looked: None }
    }

    /// What to do, and how long to wait after it unless the leader is heard.
    pub(super) fn next(&mut self, seen: &Seen) -> (Act, Duration) {
        match seen.duty {
            Duty::Lead => (Act::Beat, self.tuning.heartbeat),
            Duty::StandAlone => (Act::ElectAlone, self.tuning.heartbeat),
            Duty::None => (Act::Nothing, self.tuning.heartbeat),
            Duty::StandBy => self.stand_by(seen),
        }
    }

    fn stand_by(&mut self, seen: &Seen) -> (Act, Duration) {
        if let Some(rest) = left(self.rests_until, seen.now) {
            return (Act::Nothing, rest.min(self.tuning.heartbeat / 4));
        }
        let missed = seen.heard + self.patience;
        let campaign = seen.ended.map_or(missed, |ended| missed.min(ended + self.stagger(seen.rank)));
        let Some(until_campaign) = left(campaign, seen.now) else { return (Act::Campaign, Duration::ZERO) };
        if seen.ended.is_some() {
            return (Act::Nothing, until_campaign);
        }
        match left(self.next_look(seen), seen.now) {
            Some(until_look) => (Act::Nothing, until_look.min(until_campaign)),
            None => {
                self.looked = Some(seen.now);
                (Act::Look, Duration::ZERO)
            }
        }
    }

    /// When to look where the leader should be.
    fn next_look(&self, seen: &Seen) -> Duration {
        let Tuning { heartbeat, lease, .. } = self.tuning;
        let (since, period) =
            seen.hung_up.map_or((seen.heard + lease, heartbeat / 2), |hung_up| (hung_up, heartbeat / 4));
        self.looked.filter(|looked| *looked >= since).map_or(since, |looked| looked + period)
    }

    /// A campaign has been tried; `stood` when the others agreed and this member stood for election. `chance` is drawn from 0..1.
    pub(super) fn campaigned(&mut self, now: Duration, stood: bool, chance: f64) {
        self.patience = patience(&self.tuning, chance);
        self.rests_until = now
            + match stood {
                // Votes have to reach several disks. Who waits differently long does not collide again.
                true => self.patience / 2,
                false => self.tuning.heartbeat.mul_f64(0.5 + chance),
            };
    }

    /// When all know at once that the leader has ended, they come one after the other.
    fn stagger(&self, rank: u32) -> Duration {
        self.tuning.heartbeat / 2 * rank
    }
}

fn patience(tuning: &Tuning, chance: f64) -> Duration {
    tuning.election_min + tuning.election_max.saturating_sub(tuning.election_min).mul_f64(chance)
}

/// How long it is until `at`, unless it is over.
fn left(at: Duration, now: Duration) -> Option<Duration> {
    at.checked_sub(now).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn seen(now: u32) -> Seen {
        Seen { now: MS * now, duty: Duty::StandBy, heard: MS * 1000, hung_up: None, ended: None, rank: 0 }
    }

    /// Patience of 900 ms.
    fn pacing() -> Pacing {
        Pacing::new(Tuning::default(), 0.5)
    }

    #[test]
    fn a_leader_that_is_heard_is_left_alone() {
        assert_eq!(pacing().next(&seen(1000)), (Act::Nothing, MS * 400));
        assert_eq!(pacing().next(&seen(1399)), (Act::Nothing, MS));
    }

    #[test]
    fn a_silent_leader_is_looked_at_again_and_again_and_then_missed() {
        let mut pacing = pacing();
        let mut looks = 0;
        let mut now = 1400;
        loop {
            match pacing.next(&seen(now)) {
                (Act::Look, _) => looks += 1,
                (Act::Nothing, wait) => now += u32::try_from(wait.as_millis()).unwrap(),
                (Act::Campaign, _) => break,
                (act, _) => panic!("{act:?}"),
            }
        }
        assert_eq!((looks, now), (10, 1900));
    }

    #[test]
    fn a_closed_connection_has_the_leader_looked_at_at_once() {
        let mut pacing = pacing();
        let closed = |now: u32| Seen { hung_up: Some(MS * 1010), ..seen(now) };
        assert_eq!(pacing.next(&closed(1010)).0, Act::Look);
        assert_eq!(pacing.next(&closed(1012)), (Act::Nothing, MS * 23));
        assert_eq!(pacing.next(&closed(1035)).0, Act::Look);
    }

    #[test]
    fn a_leader_that_has_ended_is_followed_by_one_after_the_other() {
        let ended = |now: u32, rank: u32| Seen { hung_up: Some(MS * 1010), ended: Some(MS * 1011), rank, ..seen(now) };
        assert_eq!(pacing().next(&ended(1011, 0)).0, Act::Campaign);
        assert_eq!(pacing().next(&ended(1011, 1)), (Act::Nothing, MS * 50));
        assert_eq!(pacing().next(&ended(1061, 1)).0, Act::Campaign);
    }

    #[test]
    fn after_a_campaign_comes_a_rest() {
        let mut pacing = pacing();
        let ended = |now: u32| Seen { ended: Some(MS * 1011), ..seen(now) };
        pacing.campaigned(MS * 1020, true, 0.0);
        assert_eq!(pacing.next(&ended(1030)), (Act::Nothing, MS * 25));
        assert_eq!(pacing.next(&ended(1020 + 375)).0, Act::Campaign);
        pacing.campaigned(MS * 1400, false, 0.0);
        assert_eq!(pacing.next(&ended(1449)), (Act::Nothing, MS));
        assert_eq!(pacing.next(&ended(1450)).0, Act::Campaign);
    }

    #[test]
    fn who_leads_beats_and_who_has_no_vote_does_nothing() {
        let with = |duty| Seen { duty, ..seen(9_000) };
        assert_eq!(pacing().next(&with(Duty::Lead)), (Act::Beat, MS * 100));
        assert_eq!(pacing().next(&with(Duty::StandAlone)).0, Act::ElectAlone);
        assert_eq!(pacing().next(&with(Duty::None)).0, Act::Nothing);
    }
}
