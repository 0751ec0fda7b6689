//! Who leads, and where this member stands: what loops of the manager watch.

/// Who leads in which term, as this member knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// The term of the member's vote.
    pub term: u64,
    /// The leader of that term, when known.
    pub leader: Option<Leader>,
    /// Whether this member leads, and everything committed before its term is applied here.
    pub is_self: bool,
}

/// The leader as others reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its Raft id.
    pub raft_id: u64,
    /// Its node id.
    pub node_id: String,
    /// host:port of its managers' service.
    pub addr: String,
}

/// A member's place in the group, by the newest membership it has on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Standing {
    /// Not a voter yet: the leader has not reached it, or it is catching up.
    #[default]
    Pending,
    /// Votes and counts.
    Voter,
    /// Was a member and is one no more.
    Removed,
}
