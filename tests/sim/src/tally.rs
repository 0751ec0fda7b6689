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
    /// Of changes that have nothing to do with each other some were refused.
    PartRefused,
    /// A loop did not learn what became of its proposals.
    Unknown,
    /// A proposal was written when nobody waited for it any more.
    WrittenLate,
    /// A proposal was dropped that nobody waited for any more.
    NeverWritten,
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
    /// A leader stood still for a while.
    Freeze,
    /// A manager's clock jumped.
    ClockJump,
    /// A container did not end for long after it was told to.
    Stubborn,
    /// A service was made whose plans are cut into several entries.
    BigPlan,
    /// The settings of the swarm were changed.
    Settings,
    /// A service was made whose plans are cut into many entries.
    HugePlan,
    /// A plan placed tasks of a service with a placement preference.
    Spread,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::NewLeader,
        Self::ManagerKilled,
        Self::AgentKilled,
        Self::DiskLost,
        Self::Reboot,
        Self::NodeCut,
        Self::MessageHarmed,
        Self::Conflict,
        Self::PartRefused,
        Self::Unknown,
        Self::WrittenLate,
        Self::NeverWritten,
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
        Self::Freeze,
        Self::ClockJump,
        Self::Stubborn,
        Self::BigPlan,
        Self::Settings,
        Self::HugePlan,
        Self::Spread,
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
            Self::PartRefused => "plans refused in part",
            Self::Unknown => "fates unknown",
            Self::WrittenLate => "proposals written late",
            Self::NeverWritten => "proposals never written",
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
            Self::Freeze => "leaders that stood still",
            Self::ClockJump => "clocks that jumped",
            Self::Stubborn => "containers that would not stop",
            Self::BigPlan => "very big services",
            Self::Settings => "changes of settings",
            Self::HugePlan => "huge services",
            Self::Spread => "plans that spread a service",
        }
    }
}

/// Something that would be wrong were there no reason for it. A claim that is excused often claims little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excuse {
    /// A node was down when something was decided about its tasks, and had come back when that was written.
    NodeCameBack,
    /// An update left a task as it was: what was started beside it ended, and is not to be tried again.
    CameToNothing,
    /// A task's start is put off, as it failed too often.
    Delayed,
    /// A task waits, as there is room for it nowhere.
    NoRoom,
    /// A job or a move was under way at the end.
    UnderWay,
    /// A node had yet to hear that a task is forgotten.
    JustForgotten,
    /// A global job has no node that is fit, and may wait for one.
    Nowhere,
    /// A manager got its vote when it had just been decided that it is to be none.
    JustJoined,
}

impl Excuse {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NodeCameBack,
        Self::CameToNothing,
        Self::Delayed,
        Self::NoRoom,
        Self::UnderWay,
        Self::JustForgotten,
        Self::Nowhere,
        Self::JustJoined,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::NodeCameBack => "nodes back before a plan was written",
            Self::CameToNothing => "updates that came to nothing",
            Self::Delayed => "starts put off",
            Self::NoRoom => "tasks without room",
            Self::UnderWay => "tasks under way",
            Self::JustForgotten => "tasks just forgotten",
            Self::Nowhere => "jobs without a node",
            Self::JustJoined => "votes given meanwhile",
        }
    }
}

/// How often each kind of thing happened, and each excuse was needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    kinds: [u64; Kind::ALL.len()],
    excuses: [u64; Excuse::ALL.len()],
}

impl Tally {
    pub(crate) fn count(&mut self, kind: Kind) {
        self.kinds[kind as usize] += 1;
    }

    pub(crate) fn excuse(&mut self, excuse: Excuse) {
        self.excuses[excuse as usize] += 1;
    }

    /// Adds what happened in another run.
    pub fn add(&mut self, other: &Self) {
        let sums = self.kinds.iter_mut().chain(&mut self.excuses);
        for (sum, more) in sums.zip(other.kinds.iter().chain(&other.excuses)) {
            *sum += more;
        }
    }

    /// How often this happened.
    pub fn of(&self, kind: Kind) -> u64 {
        self.kinds[kind as usize]
    }

    /// How often this was needed.
    pub fn excused(&self, excuse: Excuse) -> u64 {
        self.excuses[excuse as usize]
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        Kind::ALL.into_iter().filter(|kind| self.of(*kind) == 0).map(Kind::name).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = Kind::ALL.iter().map(|kind| format!("{} {}", self.of(*kind), kind.name())).collect();
        let excuses: Vec<String> =
            Excuse::ALL.iter().map(|excuse| format!("{} {}", self.excused(*excuse), excuse.name())).collect();
        write!(f, "{}; excused: {}", counts.join(", "), excuses.join(", "))
    }
}
