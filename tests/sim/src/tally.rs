//! Counts of what happened. A simulation in which some kind of thing never happens proves nothing about it.

use std::fmt;

/// A kind of thing that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A leader was elected, other than the first.
    NewLeader,
    /// The leading manager was killed.
    ManagerKilled,
    /// A daemon was killed.
    AgentKilled,
    /// A daemon lost its task.db.
    DiskLost,
    /// A machine went down with its containers.
    Reboot,
    /// A node's link was cut.
    NodeCut,
    /// A message was lost, repeated or held up.
    MessageHarmed,
    /// A transaction was refused: the state had moved on.
    Conflict,
    /// A user's update that concerns tasks.
    Update,
    /// A rollback, asked for or not.
    Rollback,
    /// A node was drained.
    Drain,
    /// A run of a job began.
    JobRun,
    /// A run of a job was over with every completion there.
    JobComplete,
    /// A tick of a schedule passed without a run.
    TickPassed,
    /// A task was moved to spread its service.
    Move,
    /// Managers were cut off from the others.
    Partition,
    /// A leader was replaced without knowing.
    StaleLeader,
    /// A manager got a vote.
    Promotion,
    /// A member was taken out.
    Demotion,
    /// A change of role was refused: too few managers would be left.
    RoleRefused,
    /// The leader was to be a worker, and moved the lead away.
    LeadMoved,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::NewLeader,
        Self::ManagerKilled,
        Self::AgentKilled,
        Self::DiskLost,
        Self::Reboot,
        Self::NodeCut,
        Self::MessageHarmed,
        Self::Conflict,
        Self::Update,
        Self::Rollback,
        Self::Drain,
        Self::JobRun,
        Self::JobComplete,
        Self::TickPassed,
        Self::Move,
        Self::Partition,
        Self::StaleLeader,
        Self::Promotion,
        Self::Demotion,
        Self::RoleRefused,
        Self::LeadMoved,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::NewLeader => "leader changes",
            Self::ManagerKilled => "managers killed",
            Self::AgentKilled => "agents killed",
            Self::DiskLost => "disks lost",
            Self::Reboot => "reboots",
            Self::NodeCut => "nodes cut off",
            Self::MessageHarmed => "messages harmed",
            Self::Conflict => "conflicts",
            Self::Update => "updates",
            Self::Rollback => "rollbacks",
            Self::Drain => "drains",
            Self::JobRun => "job runs",
            Self::JobComplete => "job runs completed",
            Self::TickPassed => "ticks passed",
            Self::Move => "moves",
            Self::Partition => "partitions",
            Self::StaleLeader => "leaders replaced unawares",
            Self::Promotion => "promotions",
            Self::Demotion => "demotions",
            Self::RoleRefused => "role changes refused",
            Self::LeadMoved => "leads moved",
        }
    }
}

/// How often each kind of thing happened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally([u64; Kind::ALL.len()]);

impl Tally {
    pub(crate) fn count(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    /// How often this happened.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        Kind::ALL.into_iter().filter(|kind| self.of(*kind) == 0).map(Kind::name).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = Kind::ALL.iter().map(|kind| format!("{} {}", self.of(*kind), kind.name())).collect();
        f.write_str(&counts.join(", "))
    }
}
