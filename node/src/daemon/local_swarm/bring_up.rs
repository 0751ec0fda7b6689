//! Bringing a membership up that is on record: a join under way, or a node that starts again.
//!
//! Owns the phase while it is pending. Invariants: it goes on, with a growing pause, until the node has its place, the swarm refuses
//! it, or it is given up; whoever is interrupted goes on from what is on disk.

use std::time::Duration;

use skep_common::net::{backoff::Backoff, identity::Identity};
use skep_proto::v1::Availability;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{LocalSwarm, Phase};
use crate::daemon::{
    address,
    enroll::{self, EnrollError},
    member::MemberError,
    record::{Joining, Record, SwarmDir},
};

/// The task that brings a membership up.
#[derive(Clone, Default)]
pub(super) struct Attempt {
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Attempt {
    /// Gives it up and waits for its end. It may have brought the membership up all the same.
    pub(super) async fn end(&self) {
        self.cancel.cancel();
        self.ended().await;
    }

    /// Waits for its end.
    pub(super) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl LocalSwarm {
    /// Goes on with a membership that is on record: a join under way, or a node that starts again.
    pub(super) fn begin(&self, record: Record) -> Attempt {
        let attempt = Attempt::default();
        self.inner.set(Phase::Pending { record: record.clone(), error: String::new(), attempt: attempt.clone() });
        attempt.tasks.spawn(self.clone().bring_up(record, attempt.cancel.clone()));
        attempt
    }

    async fn bring_up(self, mut record: Record, cancel: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        loop {
            match self.try_bring_up(&mut record, &cancel).await {
                Ok(()) | Err(BringUp::GivenUp) => return,
                Err(BringUp::Refused(error)) => {
                    warn!(%error, "the swarm refuses this node");
                    // There is nothing to go on with.
                    let _ = self.inner.dir.wipe();
                    return self.inner.set(Phase::Refused(error.to_string()));
                }
                Err(BringUp::Failed(error)) => {
                    warn!(error, "the node could not take its place in the swarm; trying again");
                    self.inner.note(error);
                }
            }
            if cancel.run_until_cancelled(backoff.wait()).await.is_none() {
                return;
            }
        }
    }

    /// Ends soon once `cancel` is: whatever waits for others is given up, what is local goes to its end.
    async fn try_bring_up(&self, record: &mut Record, cancel: &CancellationToken) -> Result<(), BringUp> {
        let failed = |error: &dyn std::fmt::Display| BringUp::Failed(error.to_string());
        if let Some(joining) = record.joining.clone() {
            let enrolled = cancel.run_until_cancelled(self.enroll(&joining)).await;
            let identity = enrolled.unwrap_or(Err(BringUp::GivenUp))?;
            identity.save(&self.inner.dir.identity()).map_err(|error| failed(&error))?;
            *record = joined(&self.inner.dir, record).map_err(|error| failed(&error))?;
        }
        self.follow_address(record);
        let identity = Identity::load(&self.inner.dir.identity()).map_err(|error| failed(&error))?;
        if cancel.is_cancelled() {
            return Err(BringUp::GivenUp);
        }
        self.activate(record.clone(), identity, None).await?;
        Ok(())
    }

    /// A machine may have another address than when it joined.
    fn follow_address(&self, record: &mut Record) {
        let Ok(interfaces) = address::interfaces() else { return };
        let managers = record.known_managers(&self.inner.dir).list();
        let way = || managers.iter().find_map(|manager| address::towards(&manager.addr));
        let Some(ip) = address::moved(record.advertise.as_deref(), record.advertise_addr.ip(), &interfaces, way) else {
            return;
        };
        info!(was = %record.advertise_addr.ip(), is = %ip, "this machine has another address; the swarm will be told");
        if record.listen_addr.ip() == record.advertise_addr.ip() {
            record.listen_addr.set_ip(ip);
        }
        record.advertise_addr.set_ip(ip);
        if let Err(error) = self.inner.dir.save(record) {
            warn!(%error, "the new address could not be noted; it will be found again at the next start");
        }
    }

    /// Asks the managers in turn for a certificate, until one gives it or one refuses.
    async fn enroll(&self, joining: &Joining) -> Result<Identity, BringUp> {
        let availability = Availability::try_from(joining.availability).unwrap_or_default();
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            for remote in &joining.remotes {
                match enroll::with_token(remote, &joining.token, availability, &self.inner.dir.next_key()).await {
                    Ok(identity) => return Ok(identity),
                    Err(error) if error.is_passing() => {
                        info!(remote, %error, "the join goes on");
                        self.inner.note(error.to_string());
                    }
                    Err(error) => return Err(BringUp::Refused(error)),
                }
            }
            backoff.wait().await;
        }
    }
}

/// The node has its certificate: the record without the join. It still names the managers, so whoever is interrupted from here on
/// goes on from what is on disk.
fn joined(dir: &SwarmDir, record: &Record) -> std::io::Result<Record> {
    let record = Record { joining: None, ..record.clone() };
    dir.save(&record)?;
    dir.forget_next_key();
    Ok(record)
}

/// Why a membership on record did not come up.
#[derive(Debug, thiserror::Error)]
enum BringUp {
    /// The swarm does not want this node.
    #[error("{0}")]
    Refused(EnrollError),
    /// Something is not as it must be, and may be later: an address, a port, a file.
    #[error("{0}")]
    Failed(String),
    #[error("it was given up")]
    GivenUp,
}

impl From<MemberError> for BringUp {
    fn from(error: MemberError) -> Self {
        Self::Failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use skep_common::net::dial::KnownManagers as _;

    use super::*;

    #[test]
    fn a_node_that_stops_between_its_certificate_and_its_first_session_still_knows_whom_to_call() {
        let root = tempfile::tempdir().unwrap();
        let dir = SwarmDir::new(root.path());
        let remote = "192.0.2.1:2377".to_owned();
        let joining = Joining { remotes: vec![remote.clone()], token: "SWMTKN-1-x".to_owned(), availability: 0 };
        let record = Record {
            listen_addr: "0.0.0.0:2377".parse().unwrap(),
            advertise_addr: "192.0.2.9:2377".parse().unwrap(),
            advertise: None,
            remotes: vec![remote.clone()],
            joining: Some(joining),
            leaving: false,
        };
        dir.save(&record).unwrap();
        joined(&dir, &record).unwrap();

        // The daemon starts again.
        let record = dir.load().unwrap().unwrap();
        assert!(record.joining.is_none());
        let managers = record.known_managers(&dir);
        assert_eq!(
            managers.list().into_iter().map(|manager| manager.addr).collect::<Vec<_>>(),
            std::slice::from_ref(&remote)
        );
        assert!(managers.may_be("whoever answers there", &remote));
    }
}
