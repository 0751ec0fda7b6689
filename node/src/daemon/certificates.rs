//! The node's certificates: the one issued by the swarm, on disk, and the one in use.
//!
//! Owns the identity files and the identity in use. Invariant: the certificate on disk is the one the swarm issued. One that
//! this node's own manager issued is only used instead of it, in memory, while that one is not valid.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skep_ca::renewal_moment;
use skep_common::{
    clock::{Clock as _, SystemClock, Timestamp},
    net::identity::{Identity, IdentityHandle, date},
};
use skep_core::supervision::Certificate;
use tracing::info;

use super::{enroll::EnrollError, record::SwarmDir};

/// A node's certificates.
pub(super) struct Certificates {
    dir: SwarmDir,
    shown: IdentityHandle,
    in_use: Mutex<InUse>,
}

struct InUse {
    issued: Arc<Identity>,
    renew_at: Timestamp,
    /// What stands in for it.
    own: Option<Arc<Identity>>,
}

impl Certificates {
    /// Holds and shows `issued`, which is on disk.
    pub(super) fn new(dir: SwarmDir, issued: Identity) -> Self {
        let renew_at = renewal(&issued);
        let shown = IdentityHandle::new(issued);
        let in_use = Mutex::new(InUse { issued: shown.current(), renew_at, own: None });
        Self { dir, shown, in_use }
    }

    /// The identity in force.
    pub(super) fn shown(&self) -> &IdentityHandle {
        &self.shown
    }

    /// Switches to the right certificate for `now`, and returns it.
    pub(super) fn refresh(&self, now: Timestamp) -> Certificate {
        let mut in_use = self.in_use();
        let issued = of(&in_use.issued, in_use.renew_at);
        match &in_use.own {
            Some(own) => {
                // It has served its time as soon as it is there: a proper one is to be asked for.
                let own = of(own, own.certificate().not_before);
                if issued.is_stood_in_for(&own, now) {
                    return own;
                }
                info!("the certificate that the swarm issued to this node is in force again");
                in_use.own = None;
                self.shown.replace(Arc::clone(&in_use.issued));
                issued
            }
            None => issued,
        }
    }

    /// Makes what the swarm has issued this node's, on disk and in force.
    ///
    /// # Errors
    /// When it is worse than the one there is, or cannot be kept.
    pub(super) fn install(&self, issued: Identity) -> Result<(), EnrollError> {
        let (mut in_use, now) = (self.in_use(), SystemClock::new().now());
        let renew_at = renewal(&issued);
        if !of(&issued, renew_at).may_replace(&of(&in_use.issued, in_use.renew_at), now) {
            let validity = issued.certificate();
            return Err(EnrollError::Untimely(date(validity.not_before), date(validity.not_after), date(now)));
        }
        issued.save(&self.dir.identity())?;
        let issued = Arc::new(issued);
        *in_use = InUse { issued: Arc::clone(&issued), renew_at, own: None };
        self.shown.replace(issued);
        self.dir.forget_next_key();
        Ok(())
    }

    /// Shows what this node's manager has issued, until the one that is held is valid or renewed.
    pub(super) fn stand_in(&self, own: Identity) {
        let mut in_use = self.in_use();
        let own = Arc::new(own);
        in_use.own = Some(Arc::clone(&own));
        self.shown.replace(own);
    }

    /// What is wrong with this node's clock or certificate, in a sentence.
    pub(super) fn trouble(&self) -> Option<String> {
        let (issued, now) = (Arc::clone(&self.in_use().issued), SystemClock::new().now());
        let validity = issued.certificate();
        if now < validity.not_before {
            let (from, now) = (date(validity.not_before), date(now));
            return Some(format!(
                "the clock of this node says {now}, and its certificate is valid from {from} on: set the clock right"
            ));
        }
        (now > validity.not_after).then(|| {
            let (until, now) = (date(validity.not_after), date(now));
            format!("this node's certificate was valid until {until}, and its clock says {now}")
        })
    }

    fn in_use(&self) -> MutexGuard<'_, InUse> {
        self.in_use.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn renewal(identity: &Identity) -> Timestamp {
    renewal_moment(identity.certificate().not_before, identity.certificate().not_after)
}

fn of(identity: &Identity, renew_at: Timestamp) -> Certificate {
    let held = identity.certificate();
    Certificate { role: held.role, not_before: held.not_before, not_after: held.not_after, renew_at }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use skep_ca::{RootCa, Subject};
    use skep_common::net::identity::new_key_and_csr;
    use skep_proto::v1::NodeRole;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A certificate issued at `now`, for ninety days.
    fn issued(ca: &RootCa, now: Timestamp) -> Identity {
        let (key, csr) = new_key_and_csr().unwrap();
        let subject = Subject { node_id: "m", cluster_id: "swarm", role: NodeRole::Manager };
        let certificate = ca.issue(csr.as_bytes(), subject, now, DAY * 90).unwrap();
        Identity::from_pem(&certificate.certificate_pem, key, ca.certificate_pem()).unwrap()
    }

    #[test]
    fn what_stands_in_for_a_certificate_is_on_no_disk_and_gives_way_to_it() {
        let root = tempfile::tempdir().unwrap();
        let dir = SwarmDir::new(root.path());
        let now = SystemClock::new().now();
        let ca = RootCa::generate(now - DAY * 400, "swarm").unwrap();
        let held = issued(&ca, now);
        held.save(&dir.identity()).unwrap();
        let not_before = held.certificate().not_before;
        let certificates = Certificates::new(dir.clone(), held);

        // The clock was behind for a while.
        let behind = now - DAY * 100;
        certificates.stand_in(issued(&ca, behind));
        assert!(certificates.refresh(behind).not_before < behind);
        assert_eq!(Identity::load(&dir.identity()).unwrap().certificate().not_before, not_before);
        assert_eq!(certificates.refresh(now).not_before, not_before);
        assert_eq!(certificates.shown().current().certificate().not_before, not_before);

        // What the swarm issues takes its place, unless that was dated by a clock that is wrong.
        for wrong in [now - DAY * 100, now - DAY * 10, now + DAY] {
            let refused = certificates.install(issued(&ca, wrong)).unwrap_err().to_string();
            assert!(refused.contains("clock is wrong"), "{refused}");
            assert_eq!(Identity::load(&dir.identity()).unwrap().certificate().not_before, not_before);
        }
        let next = issued(&ca, now + Duration::from_secs(60));
        let begin = next.certificate().not_before;
        certificates.install(next).unwrap();
        assert_eq!(certificates.shown().current().certificate().not_before, begin);
        assert_eq!(Identity::load(&dir.identity()).unwrap().certificate().not_before, begin);
    }

    #[test]
    fn what_the_disk_does_not_take_is_not_in_force_and_asked_for_again_with_the_same_key() {
        let root = tempfile::tempdir().unwrap();
        let dir = SwarmDir::new(root.path());
        let now = SystemClock::new().now();
        let ca = RootCa::generate(now - DAY * 400, "swarm").unwrap();
        let held = issued(&ca, now - DAY);
        held.save(&dir.identity()).unwrap();
        let not_before = held.certificate().not_before;
        let certificates = Certificates::new(dir.clone(), held);

        // No file takes the place of a directory.
        for file in fs::read_dir(dir.identity()).unwrap() {
            let path = file.unwrap().path();
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
        }
        fs::write(dir.next_key(), "key").unwrap();
        certificates.install(issued(&ca, now)).unwrap_err();
        assert_eq!(certificates.shown().current().certificate().not_before, not_before);
        assert!(dir.next_key().exists(), "another key would make another node");
    }
}
