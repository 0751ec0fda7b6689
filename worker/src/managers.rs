//! The managers this node knows: whom to call, and whose calls to answer.
//!
//! Owns the list and the file it is kept in, so that a node finds its swarm again after a restart even if all
//! managers it first knew are gone. Invariants: a known list is never replaced by an empty one; the file follows the
//! list, and a spoiled file costs only what was learned since the node joined.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use skep_common::durable::write_atomic;
use skep_proto::v1::PeerManager;
use tokio::sync::watch;
use tracing::warn;

/// More managers than any swarm has. A longer list is cut.
const MOST: usize = 100;

/// The shared list. Clones see the same one.
#[derive(Debug, Clone)]
pub struct Managers {
    list: Arc<watch::Sender<Arc<[PeerManager]>>>,
    file: Arc<Mutex<PathBuf>>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
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
            Vec::new()
        });
        let unknown = |addr| PeerManager { addr, ..PeerManager::default() };
        let list = if saved.is_empty() { remotes.into_iter().map(unknown).collect() } else { saved };
        Self { list: Arc::new(watch::Sender::new(list.into())), file: Arc::new(Mutex::new(file)) }
    }

    /// Takes a list from the swarm in place of the one before, and keeps it on disk when it has changed. Does file
    /// I/O; a disk that refuses is a warning, the list in memory stands.
    pub fn learn(&self, mut managers: Vec<PeerManager>) {
        if managers.is_empty() {
            return;
        }
        managers.sort_unstable_by(|a, b| a.node_id.cmp(&b.node_id));
        managers.truncate(MOST);
        let mut to_save = false;
        self.list.send_if_modified(|list| {
            to_save = !addresses(list).eq(addresses(&managers));
            let news = **list != *managers;
            if news {
                *list = managers.into();
            }
            news
        });
        if !to_save {
            return;
        }
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Read again under the lock: of two lists learned at once, the one in memory is the one on disk.
        if let Err(error) = save(&file, &self.list()) {
            warn!(%error, file = %file.display(), "the list of managers could not be saved");
        }
    }

    /// The managers, by node id.
    pub fn list(&self) -> Vec<PeerManager> {
        self.list.borrow().to_vec()
    }

    /// Whether the list names this node. `None` while the list comes from addresses alone.
    pub fn includes(&self, node_id: &str) -> Option<bool> {
        let list = self.list.borrow();
        let known = list.iter().any(|manager| !manager.node_id.is_empty());
        known.then(|| list.iter().any(|manager| manager.node_id == node_id))
    }

    /// Tells of changes.
    pub fn changed(&self) -> watch::Receiver<Arc<[PeerManager]>> {
        self.list.subscribe()
    }
}

fn addresses(list: &[PeerManager]) -> impl Iterator<Item = (&str, &str)> {
    list.iter().map(|manager| (manager.node_id.as_str(), manager.addr.as_str()))
}

fn load(file: &Path) -> io::Result<Vec<PeerManager>> {
    let bytes = match fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let saved: Saved = serde_json::from_slice(&bytes)?;
    let manager = |SavedManager { node_id, addr }| PeerManager { node_id, addr, leader: false };
    Ok(saved.managers.into_iter().map(manager).collect())
}

fn save(file: &Path, list: &[PeerManager]) -> io::Result<()> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    let managers = list.iter().map(|m| SavedManager { node_id: m.node_id.clone(), addr: m.addr.clone() }).collect();
    write_atomic(file, &serde_json::to_vec_pretty(&Saved { managers })?, 0o600)
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

        managers.learn(vec![manager("b", "192.0.2.3:2377", true), manager("a", "192.0.2.2:2377", false)]);
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
        managers.learn(Vec::new());
        assert_eq!(managers.list().len(), 1);
    }

    #[test]
    fn a_new_leader_alone_writes_nothing_to_disk() {
        let directory = tempfile::tempdir().unwrap();
        let managers = open(directory.path());
        managers.learn(vec![manager("a", "192.0.2.2:2377", false)]);
        fs::remove_file(directory.path().join("swarm/managers.json")).unwrap();
        managers.learn(vec![manager("a", "192.0.2.2:2377", true)]);
        assert!(managers.list()[0].leader);
        assert!(!directory.path().join("swarm/managers.json").exists());
    }

    #[test]
    fn a_spoiled_file_means_the_given_addresses() {
        let directory = tempfile::tempdir().unwrap();
        open(directory.path()).learn(vec![manager("a", "192.0.2.2:2377", false)]);
        fs::write(directory.path().join("swarm/managers.json"), [0xff, 0x00, 0x7b]).unwrap();
        assert_eq!(open(directory.path()).list(), [manager("", "192.0.2.1:2377", false)]);
    }
}
