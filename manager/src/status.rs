//! What a manager knows of itself, its membership and whether it leads: published as a `watch`, read without asking anybody.

use skep_proto::v1::PeerManager;

/// This manager's membership, whether it leads, and who the managers are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ManagerStatus {
    /// Whether it takes part in consensus.
    pub membership: Membership,
    /// Whether it leads and its leader-only loops run.
    pub is_leader: bool,
    /// The members as this manager knows them, by node id; `leader` is set on at most one.
    pub managers: Vec<PeerManager>,
}

/// Whether a manager takes part in consensus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Membership {
    /// Not a member yet: joining, or catching up.
    #[default]
    Pending,
    /// A member.
    Member,
    /// Was a member and is one no more: this manager can only be shut down.
    Removed,
}
