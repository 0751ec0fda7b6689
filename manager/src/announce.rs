//! Client calls of a manager to the others: to join the Raft group, to announce its present address, and to leave.
//!
//! Each goes to whichever manager answers, which forwards it to the leader. Joining and announcing try every manager once;
//! the caller decides whether to try again. Permanent refusals are told apart from temporary ones.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use skep_common::{
    limits::{LEAVE_CONSENT, MEMBERSHIP_DEADLINE},
    net::{
        backoff::Backoff,
        dial::{Dialer, Expect, describe},
    },
};
use skep_proto::v1::{
    AnnounceReply, AnnounceRequest, JoinReply, JoinRequest, LeaveRequest, RaftMember,
    membership_client::MembershipClient,
};
use skep_raft::ToldMembers;
use tokio::time::timeout;
use tonic::{Code, Request, Status, transport::Channel};
use tracing::debug;

use crate::{Joined, ManagerError};

/// How long one manager may take to say whether another is a member.
const ANNOUNCE_DEADLINE: Duration = Duration::from_secs(5);

/// Asks to become a member of the managers that one of `remotes` (host:port) belongs to, and returns what it was told. A
/// manager with it must listen at `addr` already; it knows `feature_level`. Dropping the future gives it up; what was granted then
/// lapses, because the others drop a new member that does not come.
///
/// # Errors
/// When no manager admits this node; the text is that of the last one asked.
pub async fn join(dialer: &Dialer, remotes: &[String], addr: &str, feature_level: u32) -> Result<Joined, ManagerError> {
    let mut last = "no manager to join is known".to_owned();
    for remote in remotes {
        let request = within(MEMBERSHIP_DEADLINE, JoinRequest { addr: addr.to_owned(), feature_level });
        match client(dialer, remote).join(request).await {
            Ok(reply) => {
                let JoinReply { raft_id, members, version } = reply.into_inner();
                return Ok(Joined { raft_id, members: told(version, members) });
            }
            // The leader's refusal: the other managers would answer the same.
            Err(status) if matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument) => {
                return Err(ManagerError::Refused(status.message().to_owned()));
            }
            Err(status) => last = describe(&status),
        }
    }
    Err(ManagerError::Refused(format!("could not join the managers yet: {last}")))
}

/// The other managers' answer to an announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Announced {
    /// It is a member and its address is recorded; with the list of members.
    Member(ToldMembers),
    /// It was removed.
    Removed,
    /// No manager has answered.
    Unheard,
}

/// Announces the present address of the member `raft_id`.
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

/// Asks the managers at `remotes` (host:port) to remove the caller, a node with a manager's certificate, from the Raft group.
/// All are asked at once, for any of them may be gone, and again until one of them has done it.
///
/// # Errors
/// The leader's refusal, or that there was no answer within [`LEAVE_CONSENT`].
pub async fn leave(dialer: &Dialer, remotes: &[String]) -> Result<(), Status> {
    if remotes.is_empty() {
        return Err(Status::unavailable("no other manager is known"));
    }
    let mut heard = Heard::default();
    let asking = async {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        loop {
            let mut asked: FuturesUnordered<_> = remotes.iter().map(|remote| ask_to_leave(dialer, remote)).collect();
            heard = Heard::default();
            while let Some(answer) = asked.next().await {
                match answer {
                    Ok(()) => return Ok(()),
                    Err(status) if status.code() == Code::FailedPrecondition => return Err(status),
                    Err(status) => heard.note(&status),
                }
            }
            if heard.is_everybody(remotes.len()) {
                return Ok(());
            }
            debug!(?heard, "the other managers do not let this one go yet");
            backoff.wait().await;
        }
    };
    let late = Err(Status::deadline_exceeded("the other managers did not answer in time"));
    match timeout(LEAVE_CONSENT, asking).await {
        Ok(answer) => answer,
        // All the time there was has gone by: whoever did not answer is not waited for.
        Err(_) if heard.is_all_that_answered() => Ok(()),
        Err(_) => late,
    }
}

/// What the managers that were asked once said, other than yes and the leader's no.
#[derive(Debug, Default)]
struct Heard {
    /// That the caller is no manager any more: an earlier answer was lost.
    no_manager: usize,
    /// Anything else.
    otherwise: usize,
}

impl Heard {
    fn note(&mut self, status: &Status) {
        match status.code() {
            Code::PermissionDenied => self.no_manager += 1,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => {}
            _ => self.otherwise += 1,
        }
    }

    fn is_everybody(&self, asked: usize) -> bool {
        self.no_manager == asked
    }

    fn is_all_that_answered(&self) -> bool {
        self.no_manager > 0 && self.otherwise == 0
    }
}

async fn ask_to_leave(dialer: &Dialer, remote: &str) -> Result<(), Status> {
    client(dialer, remote).leave(within(LEAVE_CONSENT, LeaveRequest {})).await.map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_answer_does_not_undo_what_the_others_say() {
        let heard = |codes: &[Code]| {
            let mut heard = Heard::default();
            codes.iter().for_each(|code| heard.note(&Status::new(*code, "")));
            (heard.is_everybody(3), heard.is_all_that_answered())
        };
        use Code::{Internal, PermissionDenied, Unavailable};
        assert_eq!(heard(&[PermissionDenied; 3]), (true, true));
        assert_eq!(heard(&[PermissionDenied, Unavailable, PermissionDenied]), (false, true));
        assert_eq!(heard(&[PermissionDenied, Internal, PermissionDenied]), (false, false));
        assert_eq!(heard(&[Unavailable; 3]), (false, false));
    }
}
