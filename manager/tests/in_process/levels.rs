//! Managers of two releases beside each other, while one after the other is updated.
//!
//! An earlier release is this one held down: it says the lower feature level, and what the log holds of a higher one ends it as
//! that would end the release.

use std::time::Duration;

use skep_common::feature_level::FEATURE_LEVEL;
use skep_proto::v1::ClusterSpec;

use crate::support::{
    agent::Agent,
    cluster::{Member, TestManager},
    eventually,
};

const OLDER: u32 = FEATURE_LEVEL - 1;

/// Longer than the role manager takes to look again.
const LONG_ENOUGH: Duration = Duration::from_millis(2500);

/// Restarts after which one of three managers has surely led.
const MOVES: usize = 30;

/// A manager, and the agent of its node, which says what its release knows.
struct Host {
    manager: TestManager,
    _agent: Agent,
}

impl Host {
    fn new(manager: TestManager, feature_level: u32, addrs: &[String]) -> Self {
        let agent = Agent::start_at(feature_level, manager.member.clone(), "manager", addrs);
        Self { manager, _agent: agent }
    }

    /// The host begins again with another release of skep, or with the same.
    async fn restart_at(self, feature_level: u32, addrs: &[String]) -> Self {
        let Self { manager, .. } = self;
        Self::new(manager.restart_at(feature_level).await, feature_level, addrs)
    }
}

/// A swarm of three managers whose nodes run tasks as well.
struct Swarm {
    hosts: Vec<Host>,
    addrs: Vec<String>,
    services: usize,
}

impl Swarm {
    async fn new(feature_level: u32) -> Self {
        let mut managers = vec![TestManager::bootstrap_at(feature_level, ClusterSpec::default()).await];
        for _ in 0..2 {
            managers.push(TestManager::join_at(feature_level, &managers[0]).await);
        }
        let addrs: Vec<String> = managers.iter().map(|manager| manager.addr.clone()).collect();
        let hosts = managers.into_iter().map(|manager| Host::new(manager, feature_level, &addrs)).collect();
        Self { hosts, addrs, services: 0 }
    }

    async fn restart_at(&mut self, feature_level: u32, host: usize) {
        let restarted = self.hosts.remove(host).restart_at(feature_level, &self.addrs).await;
        self.hosts.insert(host, restarted);
    }

    /// New services come to run, through whichever manager is asked.
    async fn works(&mut self) {
        for Host { manager, .. } in &self.hosts {
            self.services += 1;
            let name = format!("s{}", self.services);
            manager.create(&name, 4).await;
            manager.wait_running(&name, 4).await;
        }
    }

    async fn level(&self) -> u32 {
        self.hosts[0].manager.cluster().await.feature_level
    }

    async fn leader(&self) -> usize {
        eventually("somebody leads", || async { self.hosts.iter().position(|host| host.manager.leads()) }).await
    }

    /// Stops whoever leads, until one of these does, and starts it again. The first host has the older release.
    async fn have_lead(&mut self, wanted: fn(usize) -> bool) {
        for _ in 0..MOVES {
            let leader = self.leader().await;
            if wanted(leader) {
                return;
            }
            let stopped = self.hosts[leader].manager.manager.clone();
            stopped.shutdown().await;
            eventually("another leads", || async {
                let mut others = (0..self.hosts.len()).filter(|host| *host != leader);
                others.find(|host| self.hosts[*host].manager.leads())
            })
            .await;
            self.restart_at(if leader == 0 { OLDER } else { FEATURE_LEVEL }, leader).await;
        }
        panic!("the lead does not move");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_one_level_behind_works_beside_newer_ones_until_it_is_updated() {
    let mut swarm = Swarm::new(OLDER).await;
    swarm.works().await;
    for host in [1, 2] {
        swarm.restart_at(FEATURE_LEVEL, host).await;
        swarm.works().await;
    }

    swarm.have_lead(|host| host != 0).await;
    swarm.works().await;
    tokio::time::sleep(LONG_ENOUGH).await;
    assert_eq!(swarm.level().await, OLDER);

    // The older one leads: it has missed nothing, and the others read what it writes.
    swarm.have_lead(|host| host == 0).await;
    for service in 1..=swarm.services {
        swarm.hosts[0].manager.wait_running(&format!("s{service}"), 4).await;
    }
    swarm.works().await;
    assert_eq!(swarm.level().await, OLDER);

    swarm.restart_at(FEATURE_LEVEL, 0).await;
    eventually("the level rises", || async { (swarm.level().await == FEATURE_LEVEL).then_some(()) }).await;
    swarm.works().await;

    // There is no way back, and no way in for an older one.
    let token = swarm.hosts[0].manager.cluster().await.join_tokens.unwrap().manager;
    let member = Member::enroll(&swarm.addrs[0], &token).await.unwrap();
    let refused = skep_manager::join(&member.dialer, &swarm.addrs[..1], "127.0.0.1:1", OLDER).await.unwrap_err();
    assert!(refused.to_string().contains(&format!("feature level {OLDER}")), "{refused}");
    let back = swarm.hosts.remove(2).manager.refuses_at(OLDER).await;
    assert!(back.to_string().ends_with("upgrade skep on this node"), "{back}");
    for host in &swarm.hosts {
        host.manager.manager.shutdown().await;
    }
}
