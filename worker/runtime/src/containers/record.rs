//! What is written down of a container when it is prepared.
//!
//! Owns `record.json` in the bundle. It is written last: a bundle without one was never finished and is nobody's. Like
//! everything of a container it is not synced; a power cut that loses it also ended the container.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde::{Deserialize, Serialize};

use crate::container::TASK_LABEL;

const FILE: &str = "record.json";

/// A container's unchanging facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) name: String,
    /// As the specification names it.
    pub(super) image: String,
    pub(super) image_id: String,
    pub(super) command: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
    /// Nanoseconds since the Unix epoch.
    pub(super) created: i64,
    pub(super) cgroup: String,
    pub(super) stop_signal: i32,
    /// Whether its output is kept.
    pub(super) logged: bool,
}

impl Record {
    /// Reads the record of a bundle; `None` for a bundle that was not finished.
    pub(super) fn load(bundle: &Path) -> io::Result<Option<Self>> {
        match fs::read(bundle.join(FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The task it belongs to; empty when it belongs to none.
    pub(super) fn task(&self) -> &str {
        self.labels.get(TASK_LABEL).map_or("", String::as_str)
    }

    /// Finishes a bundle.
    pub(super) fn save(&self, bundle: &Path) -> io::Result<()> {
        let temporary = bundle.join(".record.json.tmp");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(temporary, bundle.join(FILE))
    }

    /// Makes a bundle an unfinished one, the first step of its removal.
    pub(super) fn delete(bundle: &Path) -> io::Result<()> {
        match fs::remove_file(bundle.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_is_an_unfinished_bundle() {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join(FILE), "{\"id\":").unwrap();
        assert_eq!(Record::load(bundle.path()).unwrap(), None);
        Record::delete(bundle.path()).unwrap();
        Record::delete(bundle.path()).unwrap();
        assert_eq!(Record::load(bundle.path()).unwrap(), None);
    }
}
