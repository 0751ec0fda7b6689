//! The list of managers this node knows: which to call, and which calls to accept.
//!
//! Owns the list and its file, so that a node finds its swarm again after a restart even if all managers it first knew are
//! gone. Invariants: a list is never replaced by an empty or an older one, which could name managers removed since; the file
//! follows the list, and with a damaged file the node starts from the managers it joined.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use skep_common::{durable::write_atomic, net::dial::KnownManagers};
use skep_proto::v1::PeerManager;
use tokio::sync::watch;
use tracing::warn;

/// More managers than any swarm has. A longer list is cut.
const MOST: usize = 100;

/// The version of a list from a manager that tells none, being of a release before lists had versions.
const UNTOLD: u64 = 0;

/// The shared list. Clones see the same one.
#[derive(Debug, Clone)]
pub struct Managers {
    known: Arc<watch::Sender<Known>>,
    file: Arc<Mutex<PathBuf>>,
}

/// A list of managers, and the version of the swarm's state that it is from.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    list: Arc<[PeerManager]>,
    version: u64,
}

#[derive(Default, Serialize, Deserialize)]
struct Saved {
    #[serde(default)]
    version: u64,
    managers: Vec<SavedManager>,
}

#[derive(Serialize, Deserialize)]
struct SavedManager {
    node_id: String,
    addr: String,
}

impl Managers {
    /// The list saved in `file`; when there is none, or it cannot be read, `remotes` (host:port), whose node ids are
    /// not known yet.
    pub fn open(file: impl Into<PathBuf>, remotes: Vec<String>) -> Self {
        let file = file.into();
        let saved = load(&file).unwrap_or_else(|error| {
            warn!(%error, file = %file.display(), "the list of managers cannot be read; starting from the given addresses");
            Saved::default()
        });
        let unknown = |addr| PeerManager { addr, ..PeerManager::default() };
        let manager = |SavedManager { node_id, addr }| PeerManager { node_id, addr, leader: false };
        let list: Vec<_> = match saved.managers {
            none if none.is_empty() => remotes.into_iter().map(unknown).collect(),
            managers => managers.into_iter().map(manager).collect(),
        };
        let known = Known { list: list.into(), version: saved.version };
        Self { known: Arc::new(watch::Sender::new(known)), file: Arc::new(Mutex::new(file)) }
    }

    /// Takes a list from the swarm in place of the one before, and keeps it on disk when it has changed. One from an older
    /// version of the swarm's state is not taken: false. One without a version takes no place of one that has it, and is no reason
    /// to leave who sent it. Does file I/O; a disk that refuses is a warning, the list in memory stands.
    pub fn learn(&self, managers: Vec<PeerManager>, version: u64) -> bool {
        if version < self.known.borrow().version {
            return version == UNTOLD;
        }
        if !managers.is_empty() {
            self.set(managers, version);
        }
        true
    }

    /// Takes addresses (host:port) in addition, given by a person: whoever answers there as a manager is believed, until the
    /// swarm has named its managers anew.
    pub fn also(&self, addrs: &[String]) {
        let Known { list, version } = self.known.borrow().clone();
        let is_there = |addr: &String| list.iter().any(|known| known.node_id.is_empty() && known.addr == *addr);
        let unknown = addrs.iter().filter(|addr| !is_there(addr));
        let unknown = unknown.map(|addr| PeerManager { addr: addr.clone(), ..PeerManager::default() });
        self.set(list.iter().cloned().chain(unknown).collect(), version);
    }

    fn set(&self, mut managers: Vec<PeerManager>, version: u64) {
        managers.sort_unstable_by(|a, b| a.node_id.cmp(&b.node_id));
        managers.truncate(MOST);
        let mut to_save = false;
        self.known.send_if_modified(|known| {
            to_save = known.version != version || !addresses(&known.list).eq(addresses(&managers));
            let news = Known { list: managers.into(), version };
            std::mem::replace(known, news.clone()) != news
        });
        if !to_save {
            return;
        }
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Read again under the lock: of two lists learned at once, the one in memory is the one on disk.
        let known = self.known.borrow().clone();
        if let Err(error) = save(&file, &known) {
            warn!(%error, file = %file.display(), "the list of managers could not be saved");
        }
    }

    /// The managers, by node id.
    pub fn list(&self) -> Vec<PeerManager> {
        self.known.borrow().list.to_vec()
    }

    /// Whether the list names this node. `None` while the list comes from addresses alone.
    pub fn includes(&self, node_id: &str) -> Option<bool> {
        let list = self.known.borrow().list.clone();
        let known = list.iter().any(|manager| !manager.node_id.is_empty());
        known.then(|| list.iter().any(|manager| manager.node_id == node_id))
    }
}

impl KnownManagers for Managers {
    fn may_be(&self, node_id: &str, addr: &str) -> bool {
        let list = self.known.borrow().list.clone();
        list.iter().any(|known| known.node_id == node_id || (known.node_id.is_empty() && known.addr == addr))
    }
}

fn addresses(list: &[PeerManager]) -> impl Iterator<Item = (&str, &str)> {
    list.iter().map(|manager| (manager.node_id.as_str(), manager.addr.as_str()))
}

fn load(file: &Path) -> io::Result<Saved> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
        other => other?,
    };
    Ok(serde_json::from_slice(&bytes)?)
}

fn save(file: &Path, known: &Known) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let managers =
        known.list.iter().map(|m| SavedManager { node_id: m.node_id.clone(), addr: m.addr.clone() }).collect();
    write_atomic(file, &serde_json::to_vec_pretty(&Saved { version: known.version, managers })?, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(id: &str, addr: &str, leader: bool) -> PeerManager {
        PeerManager { node_id: id.into(), addr: addr.into(), leader }
    }

    fn open(directory: &Path) -> Managers {
        Managers::open(directory.join("swarm/managers.json"), vec!["192.0.2.1:2377".into()])
    }

    #[test]
    fn what_was_learned_outlives_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let managers = open(directory.path());
        assert_eq!(managers.list(), [manager("", "192.0.2.1:2377", false)]);
        assert_eq!(managers.includes("a"), None);

        managers.learn(vec![manager("b", "192.0.2.3:2377", true), manager("a", "192.0.2.2:2377", false)], 1);
        assert_eq!(managers.includes("a"), Some(true));
        assert_eq!(managers.includes("c"), Some(false));

        let again = open(directory.path());
        let expected = [manager("a", "192.0.2.2:2377", false), manager("b", "192.0.2.3:2377", false)];
        assert_eq!(again.list(), expected, "who leads is not for keeping");
    }

    #[test]
    fn an_empty_list_is_not_learned() {
        let directory = tempfile::tempdir().unwrap();
        let managers = open(directory.path());
        managers.learn(Vec::new(), 1);
        assert_eq!(managers.list().len(), 1);
    }

    #[test]
    fn a_new_leader_alone_writes_nothing_to_disk() {
        let directory = tempfile::tempdir().unwrap();
        let managers = open(directory.path());
        managers.learn(vec![manager("a", "192.0.2.2:2377", false)], 1);
        fs::remove_file(directory.path().join("swarm/managers.json")).unwrap();
        managers.learn(vec![manager("a", "192.0.2.2:2377", true)], 1);
        assert!(managers.list()[0].leader);
        assert!(!directory.path().join("swarm/managers.json").exists());
    }

    #[test]
    fn a_spoiled_file_means_the_given_addresses() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path()).learn(vec![manager("a", "192.0.2.2:2377", false)], 1);
        fs::write(directory.path().join("swarm/managers.json"), [0xff, 0x00, 0x7b]).unwrap();
        assert_eq!(open(directory.path()).list(), [manager("", "192.0.2.1:2377", false)]);
    }

    #[test]
    fn an_older_list_is_not_learned_also_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (removed, left) = (manager("a", "192.0.2.2:2377", true), manager("b", "192.0.2.3:2377", false));
        assert!(open(directory.path()).learn(vec![left.clone()], 7));
        let again = open(directory.path());
        assert!(!again.learn(vec![removed, left.clone()], 6));
        assert_eq!(again.list(), std::slice::from_ref(&left));
        assert!(!again.may_be("a", "192.0.2.2:2377") && again.may_be("b", "192.0.2.9:2377"));
        assert!(again.learn(vec![left], 7), "the same again");
    }

    #[test]
    fn a_manager_of_the_release_before_is_followed_and_teaches_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (manager("a", "192.0.2.2:2377", false), manager("b", "192.0.2.3:2377", false));
        let managers = open(directory.path());
        assert!(managers.learn(vec![old.clone()], UNTOLD));
        assert_eq!(managers.list(), std::slice::from_ref(&old), "all there is");
        assert!(managers.learn(vec![new.clone()], 7));
        assert!(managers.learn(vec![old], UNTOLD), "in the middle of an upgrade");
        assert_eq!(managers.list(), [new]);
    }

    #[test]
    fn the_list_of_the_release_before_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("managers.json");
        fs::write(&file, r#"{"managers":[{"node_id":"a","addr":"192.0.2.2:2377"}]}"#).unwrap();
        let managers = Managers::open(file, Vec::new());
        assert_eq!(managers.list(), [manager("a", "192.0.2.2:2377", false)]);
        assert!(managers.learn(vec![manager("b", "192.0.2.3:2377", false)], 1));
    }

    #[test]
    fn an_address_that_was_given_is_believed_until_the_managers_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let managers = open(directory.path());
        assert!(managers.may_be("x", "192.0.2.1:2377") && !managers.may_be("x", "192.0.2.2:2377"));
        assert!(managers.learn(vec![manager("a", "192.0.2.2:2377", false)], 3));
        assert!(!managers.may_be("x", "192.0.2.1:2377") && managers.may_be("a", "192.0.2.1:2377"));
        managers.also(&["192.0.2.5:2377".into(), "192.0.2.2:2377".into()]);
        assert!(managers.may_be("x", "192.0.2.5:2377") && managers.may_be("x", "192.0.2.2:2377"));
        assert!(managers.learn(vec![manager("a", "192.0.2.2:2377", false)], 3));
        assert!(!managers.may_be("x", "192.0.2.5:2377"));
    }
}
