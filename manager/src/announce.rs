//! A manager speaks to the others before they can speak to it: to become a member, and to say where it is reached now.
//!
//! Owns nothing. Both go to whichever manager answers (it passes them on to the leader), in turn and with backoff, until
//! there is an answer that settles it.

use std::time::Duration;

use skep_common::{
    limits::MEMBERSHIP_DEADLINE,
    net::{
        backoff::Backoff,
        dial::{Dialer, Expect},
    },
};
use skep_proto::v1::{AnnounceRequest, JoinRequest, membership_client::MembershipClient};
use tonic::{Code, Request, transport::Channel};
use tracing::{debug, info};

use crate::ManagerError;

/// Becomes a member of the managers that one of `remotes` (host:port) belongs to, and returns the Raft id given.
///
/// # Errors
/// When none is named, or this node can never be one.
pub(crate) async fn join(dialer: &Dialer, remotes: &[String], addr: &str) -> Result<u64, ManagerError> {
    if remotes.is_empty() {
        return Err(ManagerError::Refused("no manager to join is known".to_owned()));
    }
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        for remote in remotes {
            let request = within_deadline(JoinRequest { addr: addr.to_owned() });
            match client(dialer, remote).join(request).await {
                Ok(reply) => return Ok(reply.into_inner().raft_id),
                Err(status) if is_final(status.code()) => {
                    return Err(ManagerError::Refused(status.message().to_owned()));
                }
                Err(status) => info!(remote, reason = status.message(), "could not join the managers yet"),
            }
        }
        backoff.wait().await;
    }
}

/// What the others say of a manager that starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// It is a member, reached under the address it named.
    Member,
    /// It is none any more.
    Removed,
}

/// Says under which address the member `raft_id` is reached from now on. Goes on until it is heard: who leads cannot call a
/// manager whose address has changed, so this manager may hear of no leader before.
pub(crate) async fn announce(dialer: &Dialer, remotes: &[String], raft_id: u64, addr: &str) -> Announced {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
    loop {
        for remote in remotes {
            let request = within_deadline(AnnounceRequest { raft_id, addr: addr.to_owned() });
            match client(dialer, remote).announce(request).await {
                Ok(_) => return Announced::Member,
                Err(status) if status.code() == Code::NotFound => return Announced::Removed,
                Err(status) => debug!(remote, reason = status.message(), "this manager is not announced yet"),
            }
        }
        backoff.wait().await;
    }
}

fn client(dialer: &Dialer, remote: &str) -> MembershipClient<Channel> {
    MembershipClient::new(dialer.channel(remote, Expect::Manager))
}

/// A request that changes who is a manager, or where, with the time it may take.
pub(crate) fn within_deadline<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(MEMBERSHIP_DEADLINE);
    request
}

/// Whether asking again is of no use. A manager that lags behind refuses a node it has not heard of yet, so a refusal for
/// want of rights is not final.
fn is_final(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::Unimplemented)
}
