//! Mutants: known bugs that can be switched on, to show that the simulation would find them. Without the feature `mutants` none is
//! there, whatever is asked for.

/// A known mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mutant {
    /// The leader takes every report as it comes, also one that is behind.
    BackwardStatus,
    /// The leader does not ask whether a session is the live one.
    UnfencedSession,
    /// A slot's next task starts without waiting for the one before to stop.
    EarlySlotReuse,
    /// After a restart the agent does not look which containers exist.
    ForgetfulAgent,
    /// A new leader waits for changes instead of looking at everything first.
    NoFirstLook,
    /// A loop plans again before it knows what became of what it proposed.
    ImpatientLoop,
    /// A loop that does not know what became of what it proposed plans again without waiting for that to be settled.
    HastyBarrier,
    /// A loop looks at what changed, and never at everything again.
    NoFullLook,
    /// Every update starts before it stops, whatever was asked for.
    HastyUpdate,
    /// A new leader leaves out an entry that was committed.
    ForgetfulLog,
    /// An agent goes on after a gap in its assignments as if there were none.
    IgnoredGap,
    /// The reaper forgets a task as soon as it is not wanted, not when it has stopped.
    HastyReaper,
    /// A tick begins its run without being noted as decided on.
    DoubleTick,
    /// A tick is noted as decided on, and its run does not begin.
    SwallowedTick,
    /// A run that is not over is forgotten when the next one begins.
    ForgottenRun,
    /// A run counts as complete when the next one begins.
    HastyCompletion,
    /// A task that is moved stops before the one that replaces it runs.
    HastyMove,
    /// A manager loses its role while it is still a member.
    HastyDemotion,
    /// A manager is taken out although too few of the others can be reached.
    BlindDemotion,
    /// A leader tells nodes what to do without asking whether it still leads.
    UnconfirmedLeader,
    /// The leader holds it against the nodes that it stood still itself.
    SleepIsSilence,
    /// Silence is measured by a clock that jumps.
    WallClock,
    /// A task starts beside one that does not stop long before its patience has ended.
    ImpatientReplacement,
    /// Every task goes to the first node, whatever that has.
    BlindScheduler,
    /// Nothing is ever forgotten.
    EndlessHistory,
    /// A loop that is behind misses what changes meanwhile.
    LostChanges,
    /// What follows a task does not know how often the program was tried.
    ForgottenAttempts,
    /// A task goes where the service has most, whatever it is to be spread over.
    UnevenSpread,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::BackwardStatus,
        Self::UnfencedSession,
        Self::EarlySlotReuse,
        Self::ForgetfulAgent,
        Self::NoFirstLook,
        Self::ImpatientLoop,
        Self::HastyBarrier,
        Self::NoFullLook,
        Self::HastyUpdate,
        Self::ForgetfulLog,
        Self::IgnoredGap,
        Self::HastyReaper,
        Self::DoubleTick,
        Self::SwallowedTick,
        Self::ForgottenRun,
        Self::HastyCompletion,
        Self::HastyMove,
        Self::HastyDemotion,
        Self::BlindDemotion,
        Self::UnconfirmedLeader,
        Self::SleepIsSilence,
        Self::WallClock,
        Self::ImpatientReplacement,
        Self::BlindScheduler,
        Self::EndlessHistory,
        Self::LostChanges,
        Self::ForgottenAttempts,
        Self::UnevenSpread,
    ];
}

/// Which mutant is on in a run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ActiveMutant(Option<Mutant>);

impl ActiveMutant {
    pub(crate) fn new(mutant: Option<Mutant>) -> Self {
        Self(mutant)
    }

    pub(crate) fn has(self, mutant: Mutant) -> bool {
        cfg!(feature = "mutants") && self.0 == Some(mutant)
    }
}
