//! Heartbeats and elections. openraft's own timers are off: they campaign without asking, so that a member which merely
//! could not hear for a while topples a healthy leader.
//!
//! Here a member that misses its leader first asks the others whether they miss it too and would vote for it (a pre-vote: Ongaro,
//! "Consensus: bridging theory and practice", section 9.6). Only with a quorum's word does it have openraft campaign.
//!
//! Silence alone has to last for a good while, since a leader may merely be slow. But when nobody listens at the leader's address,
//! its process has ended, and the others need not wait any longer than the lease.

use std::{collections::BTreeSet, io, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use skep_common::random;
use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::{
    Tuning,
    health::Health,
    network::Network,
    types::{Member, Metrics, Raft, Vote},
};

pub(crate) struct Timers {
    pub(crate) raft: Raft,
    pub(crate) network: Network,
    pub(crate) health: Arc<Health>,
    pub(crate) tuning: Tuning,
}

/// What this member is to do next, by its place in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    Lead,
    /// Another leads or may, and this member may follow on.
    StandBy,
    /// There is nobody else.
    StandAlone,
    /// No vote, no campaign.
    None,
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
        let heartbeat = self.tuning.heartbeat;
        let mut patience = self.draw_patience();
        let mut next_campaign = Instant::now();
        loop {
            let duty = duty(&self.raft.metrics().borrow());
            let pause = match duty {
                Duty::Lead => {
                    // When the lead is lost, silence begins then.
                    self.health.heard_leader();
                    if self.health.should_beat() {
                        let _ = self.raft.trigger().heartbeat().await;
                    }
                    heartbeat
                }
                Duty::StandBy if Instant::now() < next_campaign => heartbeat / 4,
                Duty::StandBy => match self.is_leader_missing(patience).await {
                    None => {
                        next_campaign = Instant::now() + self.campaign().await;
                        patience = self.draw_patience();
                        Duration::ZERO
                    }
                    Some(look_again) => look_again,
                },
                Duty::StandAlone => {
                    let _ = self.raft.trigger().elect().await;
                    heartbeat
                }
                Duty::None => heartbeat,
            };
            sleep(pause).await;
        }
    }

    /// When to look again whether the leader is missing; `None` when it is.
    async fn is_leader_missing(&self, patience: Duration) -> Option<Duration> {
        let (silence, half) = (self.health.silence(), self.tuning.heartbeat / 2);
        match (self.tuning.lease.checked_sub(silence), patience.checked_sub(silence)) {
            (_, None | Some(Duration::ZERO)) => None,
            (None | Some(Duration::ZERO), Some(left)) => (!self.has_leader_ended().await).then_some(left.min(half)),
            (Some(left), _) => Some(left),
        }
    }

    /// Whether the leader's machine says that nobody listens where the leader should.
    async fn has_leader_ended(&self) -> bool {
        let leader = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let leader = metrics.current_leader.filter(|leader| *leader != metrics.id);
            leader.and_then(|leader| metrics.membership_config.membership().get_node(&leader).cloned())
        };
        let Some(Member { addr, .. }) = leader else { return false };
        let connected = timeout(self.tuning.heartbeat, TcpStream::connect(addr)).await;
        matches!(connected, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Stands for election if a quorum is for it. How long to wait before the next attempt.
    async fn campaign(&self) -> Duration {
        if !self.is_wanted().await {
            return self.tuning.heartbeat.mul_f64(0.5 + random::fraction());
        }
        info!("no leader is heard, standing for election");
        let _ = self.raft.trigger().elect().await;
        // Votes have to reach several disks. Who waits differently long does not collide again.
        self.draw_patience() / 2
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

    fn draw_patience(&self) -> Duration {
        let Tuning { election_min, election_max, .. } = self.tuning;
        election_min + election_max.saturating_sub(election_min).mul_f64(random::fraction())
    }
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
