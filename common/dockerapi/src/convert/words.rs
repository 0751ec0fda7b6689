//! Docker's words for the enums of the proto vocabulary, each pair written down once.
//!
//! Reading ignores case, as Docker does.

use skep_proto::v1::{
    Availability, DrainPace, EndpointMode, FailureAction, NodeRole, NodeState, PortProtocol, PublishMode, Reachability,
    RestartCondition, TaskState, UpdateOrder, UpdateState,
};

/// An enum with Docker's words.
pub trait Word: Copy + PartialEq + Sized + 'static {
    /// Every value and its word.
    const WORDS: &'static [(Self, &'static str)];

    /// The word.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(value, _)| *value == self).map_or("", |(_, word)| word)
    }

    /// The value a word stands for.
    fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| known.eq_ignore_ascii_case(word)).map(|(value, _)| *value)
    }
}

impl Word for NodeRole {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Worker, "worker"), (Self::Manager, "manager")];
}

impl Word for Availability {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Active, "active"), (Self::Pause, "pause"), (Self::Drain, "drain")];
}

impl Word for NodeState {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Unknown, "unknown"),
        (Self::Down, "down"),
        (Self::Ready, "ready"),
        (Self::Disconnected, "disconnected"),
    ];
}

impl Word for Reachability {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Unknown, "unknown"), (Self::Unreachable, "unreachable"), (Self::Reachable, "reachable")];
}

impl Word for TaskState {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::New, "new"),
        (Self::Pending, "pending"),
        (Self::Assigned, "assigned"),
        (Self::Accepted, "accepted"),
        (Self::Preparing, "preparing"),
        (Self::Ready, "ready"),
        (Self::Starting, "starting"),
        (Self::Running, "running"),
        (Self::Complete, "complete"),
        (Self::Shutdown, "shutdown"),
        (Self::Failed, "failed"),
        (Self::Rejected, "rejected"),
        (Self::Remove, "remove"),
        (Self::Orphaned, "orphaned"),
    ];
}

impl Word for RestartCondition {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Any, "any"), (Self::OnFailure, "on-failure"), (Self::None, "none")];
}

impl Word for FailureAction {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Pause, "pause"), (Self::Continue, "continue"), (Self::Rollback, "rollback")];
}

impl Word for UpdateOrder {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::StopFirst, "stop-first"), (Self::StartFirst, "start-first")];
}

impl Word for UpdateState {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Updating, "updating"),
        (Self::Paused, "paused"),
        (Self::Completed, "completed"),
        (Self::RollbackStarted, "rollback_started"),
        (Self::RollbackPaused, "rollback_paused"),
        (Self::RollbackCompleted, "rollback_completed"),
    ];
}

impl Word for DrainPace {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::AtOnce, "at-once"), (Self::Gradual, "gradual")];
}

impl Word for EndpointMode {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Vip, "vip"), (Self::Dnsrr, "dnsrr")];
}

impl Word for PortProtocol {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Tcp, "tcp"), (Self::Udp, "udp"), (Self::Sctp, "sctp")];
}

impl Word for PublishMode {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Ingress, "ingress"), (Self::Host, "host")];
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_to_one<T: Word + std::fmt::Debug>() {
        for (value, word) in T::WORDS {
            assert_eq!(value.word(), *word);
            assert_eq!(T::from_word(&word.to_uppercase()), Some(*value));
        }
        assert_eq!(T::from_word(""), None);
    }

    #[test]
    fn every_word_means_one_value() {
        one_to_one::<NodeRole>();
        one_to_one::<Availability>();
        one_to_one::<NodeState>();
        one_to_one::<Reachability>();
        one_to_one::<TaskState>();
        one_to_one::<RestartCondition>();
        one_to_one::<FailureAction>();
        one_to_one::<UpdateOrder>();
        one_to_one::<UpdateState>();
        one_to_one::<DrainPace>();
        one_to_one::<EndpointMode>();
        one_to_one::<PortProtocol>();
        one_to_one::<PublishMode>();
    }

    #[test]
    fn no_task_state_is_without_a_word() {
        let numbers = (0..=1000).filter_map(|n| TaskState::try_from(n).ok());
        assert!(numbers.clone().count() == TaskState::WORDS.len() && numbers.into_iter().all(|s| !s.word().is_empty()));
    }
}
