//! The node's own memory of its swarm membership: `swarm/membership.json`.
//!
//! Owns that file. Invariants: it is written before the step it announces (a join is recorded before the first packet
//! leaves, so it goes on after a restart) and removed last when the node leaves; the identity files beside it say who the
//! node is, this file only how it is reached and what it is still waiting for. What a later release has added is passed over,
//! and what an earlier one did not write has a default: either reads the other's.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use skep_common::durable::write_atomic;
use skep_worker::Managers;
use tracing::warn;

use super::DaemonError;

/// How this node takes part in a swarm.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// host:port of 2377 to bind, should the node manage.
    pub(super) listen_addr: SocketAddr,
    /// host:port of 2377 the others reach this node under; the node-to-node service is on the same host.
    pub(super) advertise_addr: SocketAddr,
    /// What the user asked to be advertised, an IP or an interface; without, the address was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) advertise: Option<String>,
    /// host:port of managers that a person has named: where to ask when the list of managers is lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) remotes: Vec<String>,
    /// Set until the node has its certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) joining: Option<Joining>,
    /// The node leaves: nothing is left to do but to clear away what belonged to the membership.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) leaving: bool,
}

/// A join under way. Holds the token, so the file is readable by root only and there is no `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Joining {
    /// host:port of managers, tried in turn.
    pub(super) remotes: Vec<String>,
    /// The join token.
    pub(super) token: String,
    /// `proto::Availability` of the new node.
    pub(super) availability: i32,
}

impl Record {
    /// The managers this node knows: those the swarm has named; when that list is lost, those a person has, and itself if it
    /// was one.
    pub(super) fn known_managers(&self, dir: &SwarmDir) -> Managers {
        let own = dir.manager().exists().then(|| self.advertise_addr.to_string());
        Managers::open(dir.managers(), self.remotes.iter().cloned().chain(own).collect())
    }

    /// Those of `managers` (host:port) that are not this node, whose id is `own`.
    pub(super) fn others(&self, managers: &Managers, own: &str) -> Vec<String> {
        let here = self.advertise_addr.to_string();
        let others = managers.list().into_iter().filter(|manager| manager.node_id != own && manager.addr != here);
        others.map(|manager| manager.addr).collect()
    }
}

/// The directory `swarm/` of a node: the record, and beside it `identity/`, `manager/` and what else dies with the
/// membership.
#[derive(Debug, Clone)]
pub(super) struct SwarmDir(PathBuf);

impl SwarmDir {
    /// Below `data_root`.
    pub(super) fn new(data_root: &Path) -> Self {
        Self(data_root.join("swarm"))
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.join("membership.json")
    }

    /// Key, certificate and root certificate.
    pub(super) fn identity(&self) -> PathBuf {
        self.0.join("identity")
    }

    /// The key of a certificate that was asked for and has not come yet. Asking again with it gives the same answer, so an
    /// answer that was lost makes no second node.
    pub(super) fn next_key(&self) -> PathBuf {
        self.identity().join("next.key")
    }

    /// The certificate has come.
    pub(super) fn forget_next_key(&self) {
        // One that stays is used for the next certificate, and does no harm.
        let _ = fs::remove_file(self.next_key());
    }

    /// The manager's state.
    pub(super) fn manager(&self) -> PathBuf {
        self.0.join("manager")
    }

    /// The list of managers the agent knows.
    pub(super) fn managers(&self) -> PathBuf {
        self.0.join("managers.json")
    }

    /// The record, `None` when the node is in no swarm.
    ///
    /// # Errors
    /// When there is a record and it cannot be read: a node never forgets its swarm by accident.
    pub(super) fn load(&self) -> Result<Option<Record>, DaemonError> {
        let bad = |reason: String| DaemonError::Record { path: self.file(), reason };
        match fs::read(self.file()) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| bad(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(bad(error.to_string())),
        }
    }

    /// Writes the record durably.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub(super) fn save(&self, record: &Record) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        write_atomic(&self.file(), &serde_json::to_vec_pretty(record)?, 0o600)
    }

    /// Asks the swarm to let the node go. That it leaves is noted before anybody is told, for who has said goodbye must not be
    /// back; the note is taken back when the swarm refuses.
    pub(super) async fn leave_unless_refused<E>(
        &self,
        record: &Record,
        consent: impl Future<Output = Result<(), E>>,
    ) -> Result<(), E> {
        self.mark_leaving(record, true);
        let consent = consent.await;
        if consent.is_err() {
            self.mark_leaving(record, false);
        }
        consent
    }

    /// Notes whether the node leaves, so that a daemon that is interrupted goes on with it when it starts again.
    pub(super) fn mark_leaving(&self, record: &Record, leaving: bool) {
        if let Err(error) = self.save(&Record { leaving, ..record.clone() }) {
            // The disk may be full of what leaving removes.
            warn!(%error, leaving, "cannot note whether this node leaves its swarm; going on all the same");
        }
    }

    /// Forgets the membership and everything that belongs to it; the record goes last.
    ///
    /// # Errors
    /// When something cannot be removed; calling again goes on.
    pub(super) fn wipe(&self) -> io::Result<()> {
        for part in [self.manager(), self.identity()] {
            remove_if_there(fs::remove_dir_all(part))?;
        }
        remove_if_there(fs::remove_file(self.managers()))?;
        remove_if_there(fs::remove_file(self.file()))
    }
}

fn remove_if_there(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use skep_ca::{RootCa, Subject};
    use skep_common::{
        clock::{Clock as _, SystemClock},
        feature_level::FEATURE_LEVEL,
        limits::ROOT_LIFETIME,
        net::identity::{Identity, new_key_and_csr},
    };
    use skep_proto::v1::{NodeRole, PeerManager};

    use super::*;

    fn record() -> Record {
        Record {
            listen_addr: "0.0.0.0:2377".parse().unwrap(),
            advertise_addr: "10.0.0.1:2377".parse().unwrap(),
            advertise: Some("eth0".to_owned()),
            remotes: vec!["10.0.0.2:2377".to_owned()],
            joining: Some(Joining {
                remotes: vec!["10.0.0.2:2377".to_owned()],
                token: "SWMTKN-1-x".to_owned(),
                availability: 0,
            }),
            leaving: false,
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_wiped() {
        let root = tempfile::tempdir().unwrap();
        let dir = SwarmDir::new(root.path());
        assert!(dir.load().unwrap().is_none());
        dir.save(&record()).unwrap();
        assert!(dir.load().unwrap() == Some(record()));
        fs::create_dir_all(dir.identity()).unwrap();
        dir.wipe().unwrap();
        assert!(dir.load().unwrap().is_none());
        assert!(!dir.identity().exists());
        dir.wipe().unwrap();
    }

    #[test]
    fn a_record_says_that_the_node_leaves_and_one_that_says_nothing_stays() {
        let root = tempfile::tempdir().unwrap();
        let dir = SwarmDir::new(root.path());
        dir.save(&record()).unwrap();
        assert!(!fs::read_to_string(dir.file()).unwrap().contains("leaving"), "read by releases that do not know it");
        assert!(!dir.load().unwrap().unwrap().leaving);
        dir.mark_leaving(&record(), true);
        assert!(dir.load().unwrap().unwrap().leaving);
    }

    #[tokio::test]
    async fn that_a_node_leaves_is_noted_before_the_swarm_is_asked_and_taken_back_when_it_refuses() {
        let root = tempfile::tempdir().unwrap();
        let dir = SwarmDir::new(root.path());
        dir.save(&record()).unwrap();
        let leaves = || dir.load().unwrap().unwrap().leaving;
        for consent in [Err("no"), Ok(())] {
            let asked = async {
                assert!(leaves(), "the swarm is asked before it is noted");
                consent
            };
            assert_eq!(dir.leave_unless_refused(&record(), asked).await, consent);
            assert_eq!(leaves(), consent.is_ok());
        }
    }

    #[test]
    fn what_a_later_release_has_added_is_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let dir = SwarmDir::new(root.path());
        dir.save(&record()).unwrap();
        let mut later: serde_json::Value = serde_json::from_slice(&fs::read(dir.file()).unwrap()).unwrap();
        later["newer"] = true.into();
        later["joining"]["newer"] = 1.into();
        fs::write(dir.file(), later.to_string()).unwrap();
        assert!(dir.load().unwrap() == Some(record()));
    }

    #[test]
    fn a_list_of_managers_that_is_lost_begins_with_those_a_person_has_named() {
        let root = tempfile::tempdir().unwrap();
        let dir = SwarmDir::new(root.path());
        dir.save(&record()).unwrap();
        let known = || {
            let managers = dir.load().unwrap().unwrap().known_managers(&dir).list();
            managers.into_iter().map(|manager| manager.addr).collect::<Vec<_>>()
        };
        let named = PeerManager { node_id: "m".into(), addr: "10.0.0.9:2377".into(), leader: false };
        record().known_managers(&dir).learn(vec![named], 7);
        assert_eq!(known(), ["10.0.0.9:2377"]);
        fs::write(dir.managers(), "spoiled").unwrap();
        assert_eq!(known(), ["10.0.0.2:2377"]);
        fs::create_dir_all(dir.manager()).unwrap();
        assert_eq!(known(), ["10.0.0.2:2377", "10.0.0.1:2377"], "it manages itself");
    }

    /// The directories that the first release of each feature level left, made by
    /// `cargo nextest run -p skep-node --run-ignored only golden` and never made again.
    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
            if path.is_dir() {
                copy(&path, &to);
            } else {
                fs::copy(path, to).unwrap();
            }
        }
    }

    #[test]
    fn what_earlier_releases_left_is_read_and_gone_on_with() {
        let mut levels = 0;
        for level in fs::read_dir(golden()).unwrap() {
            let root = tempfile::tempdir().unwrap();
            copy(&level.unwrap().path(), root.path());
            let dir = SwarmDir::new(root.path());
            for leaving in [true, false] {
                let read = dir.load().unwrap().unwrap();
                assert!(read == Record { leaving, ..record() });
                dir.save(&Record { leaving: false, ..read }).unwrap();
                let identity = Identity::load(&dir.identity()).unwrap();
                let who = (identity.node_id(), identity.cluster_id(), identity.role());
                assert_eq!(who, ("node", "swarm", NodeRole::Manager));
                identity.save(&dir.identity()).unwrap();
                let known = record().known_managers(&dir);
                let list: Vec<_> = known.list().into_iter().map(|it| (it.node_id, it.addr)).collect();
                assert_eq!(list, [("m".to_owned(), "10.0.0.9:2377".to_owned())]);
                assert!(!known.learn(Vec::new(), 6), "the version it is from is known");
            }
            assert!(dir.next_key().exists());
            levels += 1;
        }
        assert!(levels > 0);
    }

    #[test]
    #[ignore = "makes the golden files of this level"]
    fn the_golden_files_of_this_level_are_made() {
        let root = golden().join(format!("level-{FEATURE_LEVEL}"));
        assert!(!root.exists(), "{} is never made again", root.display());
        let dir = SwarmDir::new(&root);
        dir.save(&Record { leaving: true, ..record() }).unwrap();
        let now = SystemClock::new().now();
        let ca = RootCa::generate(now, "swarm").unwrap();
        let (key, csr) = new_key_and_csr().unwrap();
        let subject = Subject { node_id: "node", cluster_id: "swarm", role: NodeRole::Manager };
        let issued = ca.issue(csr.as_bytes(), subject, now, ROOT_LIFETIME).unwrap();
        let identity = Identity::from_pem(&issued.certificate_pem, key, ca.certificate_pem()).unwrap();
        identity.save(&dir.identity()).unwrap();
        fs::write(dir.next_key(), new_key_and_csr().unwrap().0.expose()).unwrap();
        let manager = PeerManager { node_id: "m".into(), addr: "10.0.0.9:2377".into(), leader: false };
        assert!(record().known_managers(&dir).learn(vec![manager], 7));
    }

    #[test]
    fn a_damaged_record_is_an_error_and_not_an_empty_one() {
        let root = tempfile::tempdir().unwrap();
        let dir = SwarmDir::new(root.path());
        dir.save(&record()).unwrap();
        fs::write(dir.file(), "{").unwrap();
        assert!(matches!(dir.load(), Err(DaemonError::Record { .. })));
    }
}
