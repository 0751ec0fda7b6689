//! Error answers to callers when a read or a write fails or is refused, in Docker's words where it has some.

use http::HeaderMap;
use skep_core::validate_spec::InvalidSpec;
use skep_raft::{Leadership, MembershipError, ProposeError, ReadError};
use skep_store::{ApplyError, LookupError};
use tonic::{Status, metadata::MetadataValue};

/// Docker's error when there is no leader, with its prefix.
pub(crate) const NO_LEADER: &str = "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are \
    online. Make sure more than half of the managers are online.";

/// Metadata that says why a call was refused, for managers to act on.
const REASON: &str = "skep-reason";

const NOT_LEADING: &str = "not-leading";

/// The refusal of a manager that does not lead (any more). It did nothing, so the call can be repeated safely.
pub(crate) fn not_leading() -> Status {
    let mut status = Status::unavailable("the swarm's leader is changing; try again");
    status.metadata_mut().insert(REASON, MetadataValue::from_static(NOT_LEADING));
    status
}

/// Whether these are the headers of that refusal.
pub(crate) fn says_not_leading(headers: &HeaderMap) -> bool {
    headers.get(REASON).is_some_and(|reason| reason == NOT_LEADING)
}

/// What Docker says when the version given is not the object's.
pub(crate) fn out_of_sequence() -> Status {
    Status::unknown("update out of sequence")
}

/// A failed linearizable read.
pub(crate) fn unread(error: &ReadError) -> Status {
    match error {
        ReadError::NotLeader { .. } => not_leading(),
        ReadError::NoQuorum => Status::unavailable(NO_LEADER),
        ReadError::Stopped => Status::unavailable(error.to_string()),
    }
}

/// A write that was refused, or whose outcome is unknown.
pub(crate) fn unwritten(error: &ProposeError) -> Status {
    match error {
        ProposeError::NotLeader { .. } => not_leading(),
        ProposeError::Conflict(conflict) => conflicting(conflict),
        ProposeError::Unknown => unknown_outcome(),
        ProposeError::TooLarge { .. } => Status::invalid_argument(error.to_string()),
        ProposeError::Stopped => Status::unavailable(error.to_string()),
    }
}

/// A membership change that was refused, or whose outcome is unknown.
pub(crate) fn unchanged(error: &MembershipError) -> Status {
    match error {
        MembershipError::NotLeader { .. } => not_leading(),
        MembershipError::NotFound(_) => Status::not_found(error.to_string()),
        MembershipError::QuorumLoss { .. } | MembershipError::Leads => Status::failed_precondition(error.to_string()),
        MembershipError::Conflict(conflict) => conflicting(conflict),
        MembershipError::Unknown => unknown_outcome(),
        MembershipError::Stopped => Status::unavailable(error.to_string()),
    }
}

fn unknown_outcome() -> Status {
    Status::deadline_exceeded(
        "no majority of the managers answered in time: whether the change was made is not known, it may still be",
    )
}

fn conflicting(error: &ApplyError) -> Status {
    match error {
        ApplyError::Taken { .. } => Status::already_exists(error.to_string()),
        _ => out_of_sequence(),
    }
}

/// Why a spec is refused. The codes are those Docker's clients know.
pub(crate) fn invalid(error: &InvalidSpec) -> Status {
    match error {
        InvalidSpec::Unsupported(_) | InvalidSpec::Rename | InvalidSpec::ModeChange => {
            Status::unimplemented(error.to_string())
        }
        InvalidSpec::Constraint(_) => Status::unknown(error.to_string()),
        _ => Status::invalid_argument(error.to_string()),
    }
}

/// Why a key names no object, in the store's words, which are Docker's.
pub(crate) fn not_found(error: &LookupError) -> Status {
    match error {
        LookupError::NotFound { .. } => Status::not_found(error.to_string()),
        LookupError::Ambiguous { .. } => Status::invalid_argument(error.to_string()),
    }
}

/// Metadata of the answer of a manager that does not lead: where the leader is, host:port.
const LEADER_ADDR: &str = "skep-leader-addr";

/// Metadata beside [`LEADER_ADDR`]: the leader's node id.
const LEADER_NODE: &str = "skep-leader-node";

/// The answer of a manager that does not lead to an agent: who leads, or that there is no leader at the moment.
pub(crate) fn not_the_leader(leadership: &Leadership) -> Status {
    let Some(leader) = leadership.leader.as_ref().filter(|_| !leadership.is_self) else {
        return not_leading();
    };
    let mut status = Status::failed_precondition(format!("the leader is at {}", leader.addr));
    for (name, value) in [(LEADER_ADDR, &leader.addr), (LEADER_NODE, &leader.node_id)] {
        if let Ok(value) = value.parse() {
            status.metadata_mut().insert(name, value);
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use skep_raft::Leader;
    use tonic::{Code, body::Body};

    use super::*;

    #[test]
    fn a_refusal_for_not_leading_is_known_as_one_on_the_wire() {
        let refusals = [
            unread(&ReadError::NotLeader { leader: None }),
            unwritten(&ProposeError::NotLeader { leader: None }),
            unchanged(&MembershipError::NotLeader { leader: None }),
        ];
        for refusal in refusals {
            assert!(says_not_leading(refusal.into_http::<Body>().headers()));
        }
        for other in [unwritten(&ProposeError::Unknown), unread(&ReadError::NoQuorum)] {
            assert!(!says_not_leading(other.into_http::<Body>().headers()));
        }
    }

    #[test]
    fn what_may_yet_happen_is_not_called_failed() {
        for status in [unwritten(&ProposeError::Unknown), unchanged(&MembershipError::Unknown)] {
            assert_eq!(status.code(), Code::DeadlineExceeded);
            assert!(status.message().contains("not known"), "{}", status.message());
        }
    }

    #[test]
    fn agents_are_told_where_the_leader_is() {
        let leader = Leader { raft_id: 2, node_id: "n2".into(), addr: "10.0.0.2:2377".into() };
        let status = not_the_leader(&Leadership { term: 1, leader: Some(leader), is_self: false });
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.metadata().get(LEADER_ADDR).unwrap(), "10.0.0.2:2377");
        assert_eq!(not_the_leader(&Leadership::default()).code(), Code::Unavailable);
    }
}
