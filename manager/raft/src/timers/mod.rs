//! Heartbeats and elections, with pre-vote. openraft's own timers are off: they campaign without a pre-vote, so that a member
//! that was cut off for a while deposes a healthy leader.
//!
//! A member that misses its leader first asks the others whether they miss it too and would vote for it (pre-vote: Ongaro,
//! "Consensus: bridging theory and practice", section 9.6). Only with the consent of a quorum it has openraft campaign.
//!
//! The election timeout is long, since a leader may merely be slow. But when connections to the leader's address are refused,
//! its process has ended, and the election begins at once: no read relies on a lease. A closed connection makes the members
//! check.
//!
//! [`pacing`] decides what to do when; this module does it.

mod pacing;
#[cfg(test)]
mod simulation;

use std::{collections::BTreeSet, sync::Arc};

use futures::{StreamExt as _, stream::FuturesUnordered};
use skep_common::random;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use self::pacing::{Act, Pacing};
pub(crate) use self::pacing::{Duty, Seen};
use crate::{
    Tuning,
    health::Health,
    lookout::Lookout,
    network::Network,
    types::{Metrics, Raft, Vote},
};

pub(crate) struct Timers {
    pub(crate) raft: Raft,
    pub(crate) network: Network,
    pub(crate) health: Arc<Health>,
    pub(crate) lookout: Lookout,
    pub(crate) tuning: Tuning,
}

fn duty(metrics: &Metrics) -> Duty {
    let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
    match (metrics.state.is_leader(), voters.contains(&metrics.id), voters.len()) {
        // A leader that is no voter any more says nothing, for the others to elect one of them.
        (true, true, _) => Duty::Lead,
        (false, true, 1) => Duty::StandAlone,
        (false, true, _) => Duty::StandBy,
        (_, false, _) => Duty::None,
    }
}

impl Timers {
    pub(crate) async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.beat_and_campaign() => {}
        }
    }

    async fn beat_and_campaign(&self) {
        let mut pacing = Pacing::new(self.tuning.clone(), random::fraction());
        loop {
            let (duty, rank) = {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow();
                (duty(&metrics), rank(&metrics))
            };
            let (act, pause) = pacing.next(&self.health.seen(duty, rank));
            match act {
                Act::Beat => {
                    // When the lead is lost, silence begins then.
                    self.health.heard_leader();
                    if self.health.should_beat() {
                        let _ = self.raft.trigger().heartbeat().await;
                    }
                }
                Act::ElectAlone => drop(self.raft.trigger().elect().await),
                Act::Look => self.lookout.look().await,
                Act::Campaign => {
                    let stood = self.is_wanted().await;
                    if stood {
                        info!("no leader is heard, standing for election");
                        let _ = self.raft.trigger().elect().await;
                    }
                    pacing.campaigned(self.health.seen(duty, rank).now, stood, random::fraction());
                }
                Act::Nothing => {}
            }
            // News cut the pause short.
            let _ = timeout(pause, self.health.news()).await;
        }
    }

    /// Asks all voters at once, and waits until a quorum of every active configuration is for it.
    async fn is_wanted(&self) -> bool {
        let metrics = self.raft.metrics().borrow().clone();
        let last_log_id = self.raft.data_metrics().borrow().last_log;
        let vote = Vote::new(metrics.current_term + 1, metrics.id);
        let membership = metrics.membership_config.membership();
        let deadline = Instant::now() + self.tuning.lease / 2;

        let asked = membership.voter_ids().collect::<BTreeSet<u64>>().into_iter().filter(|voter| *voter != metrics.id);
        let mut answers: FuturesUnordered<_> = asked
            .filter_map(|voter| Some((voter, self.network.peer(voter, membership.get_node(&voter)?))))
            .map(|(voter, peer)| async move {
                peer.would_grant(vote, last_log_id, self.tuning.lease / 2).await.then_some(voter)
            })
            .collect();

        let mut granted = BTreeSet::from([metrics.id]);
        while let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await {
            granted.extend(answer);
            if is_quorum(membership.get_joint_config(), &granted) {
                // Meanwhile this member may have voted for another: then it is that one's turn.
                return self.raft.metrics().borrow().vote == metrics.vote && self.health.misses_leader(false);
            }
        }
        debug!(?granted, "no leader is heard, but too few others miss it");
        false
    }
}

/// How many voters come before this one when the leader has ended.
fn rank(metrics: &Metrics) -> u32 {
    let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
    let before = voters.into_iter().filter(|voter| *voter < metrics.id && Some(*voter) != metrics.current_leader);
    u32::try_from(before.count()).unwrap_or(u32::MAX)
}

/// Whether these are a majority of every one of the configurations.
pub(crate) fn is_quorum(configs: &[BTreeSet<u64>], granted: &BTreeSet<u64>) -> bool {
    configs.iter().all(|voters| voters.intersection(granted).count() > voters.len() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_joint_configuration_needs_both_majorities() {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        let one = [set(&[1, 2, 3])];
        assert!(is_quorum(&one, &set(&[1, 3])));
        assert!(!is_quorum(&one, &set(&[1])));
        let joint = [set(&[1, 2, 3]), set(&[3, 4])];
        assert!(!is_quorum(&joint, &set(&[1, 2, 3])));
        assert!(is_quorum(&joint, &set(&[2, 3, 4])));
        assert!(!is_quorum(&[set(&[1, 2])], &set(&[1])), "half is no majority");
    }
}
