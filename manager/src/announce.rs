//! A manager speaks to the others before they can speak to it: to become a member, to say where it is reached now, and
//! to be a member no more.
//!
//! Owns nothing. All go to whichever manager answers; it passes them on to the leader. Each is one round: whoever asks
//! decides whether to ask again. The two kinds of "no" are told apart: one may pass, and "no member any more" is for good.

use std::{collections::BTreeMap, time::Duration};

use skep_common::{
    limits::MEMBERSHIP_DEADLINE,
    net::dial::{Dialer, Expect, describe},
};
use skep_proto::v1::{
    AnnounceReply, AnnounceRequest, JoinReply, JoinRequest, LeaveRequest, RaftMember,
    membership_client::MembershipClient,
};
use skep_raft::ToldMembers;
use tonic::{Code, Request, Status, transport::Channel};
use tracing::debug;

use crate::{ManagerError, Place};

/// How long one manager may take to say whether another is a member.
const ANNOUNCE_DEADLINE: Duration = Duration::from_secs(5);

/// How long one manager may take to have the leader let another go: half of what that one waits in all (`LEAVE_CONSENT`).
const LEAVE_DEADLINE: Duration = Duration::from_millis(1500);

/// Asks to become a member of the managers that one of `remotes` (host:port) belongs to, and returns the place given. A
/// manager with it must listen at `addr` already. Dropping the future gives it up; what was granted then lapses, because the
/// others drop a new member that does not come.
///
/// # Errors
/// When nobody takes this node in; the words are those of the last one asked.
pub async fn join(dialer: &Dialer, remotes: &[String], addr: &str) -> Result<Place, ManagerError> {
    let mut last = "no manager to join is known".to_owned();
    for remote in remotes {
        let request = within(MEMBERSHIP_DEADLINE, JoinRequest { addr: addr.to_owned() });
        match client(dialer, remote).join(request).await {
            Ok(reply) => {
                let JoinReply { raft_id, members, version } = reply.into_inner();
                return Ok(Place { raft_id, members: told(version, members) });
            }
            // Said by the leader: nobody else would say otherwise.
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument) => {
                return Err(ManagerError::Refused(status.message().to_owned()));
            }
            Err(status) => last = describe(&status),
        }
    }
    Err(ManagerError::Refused(format!("could not join the managers yet: {last}")))
}

/// What the others say of a manager.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Announced {
    /// It is a member, reached under the address it named; and who the members are.
    Member(ToldMembers),
    /// It is none any more.
    Removed,
    /// Nobody has answered.
    Unheard,
}

/// Says under which address the member `raft_id` is reached from now on.
pub(crate) async fn announce(dialer: &Dialer, remotes: &[String], raft_id: u64, addr: &str) -> Announced {
    for remote in remotes {
        let request = within(ANNOUNCE_DEADLINE, AnnounceRequest { raft_id, addr: addr.to_owned() });
        match client(dialer, remote).announce(request).await {
            Ok(reply) => {
                let AnnounceReply { members, version } = reply.into_inner();
                return Announced::Member(told(version, members));
            }
            Err(status) if status.code() == Code::NotFound => return Announced::Removed,
            Err(status) => debug!(remote, reason = describe(&status), "this manager is not announced yet"),
        }
    }
    Announced::Unheard
}

/// Asks one of `remotes` (host:port) after the other to have the caller, a node with a manager's certificate, be a member no
/// more.
///
/// # Errors
/// What the leader said, or why none of them could have it say something.
pub async fn leave(dialer: &Dialer, remotes: &[String]) -> Result<(), Status> {
    let mut last = Status::unavailable("no other manager is known");
    for remote in remotes {
        match client(dialer, remote).leave(within(LEAVE_DEADLINE, LeaveRequest {})).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == Code::FailedPrecondition => return Err(status),
            Err(status) => last = status,
        }
    }
    Err(last)
}

fn told(version: u64, members: BTreeMap<u64, RaftMember>) -> ToldMembers {
    ToldMembers { version, nodes: members.into_iter().map(|(raft_id, member)| (raft_id, member.node_id)).collect() }
}

fn client(dialer: &Dialer, remote: &str) -> MembershipClient<Channel> {
    MembershipClient::new(dialer.channel(remote, Expect::Manager))
}

/// A request with the time it may take.
pub(crate) fn within<T>(deadline: Duration, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(deadline);
    request
}
