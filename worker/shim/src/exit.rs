//! How a container ended, as the shim leaves it behind.
//!
//! Owns the file `exit.json`, in two places: the shim's own directory, which is no disk and so never full of what
//! containers write, and the bundle, which outlives the machine's memory. Written once, whole or not at all; it is what
//! makes an end known to a daemon that was away. Not fsynced: what it could outlive, a power cut, ends every container
//! anyway.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

/// Name of the record.
pub const FILE: &str = "exit.json";

/// The exit code of a container whose end was not observed, as in Docker.
pub const LOST: i32 = 255;

/// The version of the record that this build writes. Others are read too: what they lack has the value it had before
/// there was a word for it, what they have more is passed over.
const VERSION: u32 = 2;

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExitRecord {
    /// Which version wrote it; 1 = none is named.
    pub version: u32,
    /// Exit code of the first process; 128 + n when signal n ended it.
    pub code: i32,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom: bool,
    /// When, in nanoseconds since the Unix epoch.
    pub at: i64,
    /// Why, when it was not by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Default for ExitRecord {
    fn default() -> Self {
        Self { version: 1, code: LOST, oom: false, at: 0, error: None }
    }
}

impl ExitRecord {
    /// An end, in this build's version.
    #[must_use]
    pub fn new(code: i32, oom: bool, at: i64, error: Option<String>) -> Self {
        Self { version: VERSION, code, oom, at, error }
    }

    /// Finds the record of a container, by the directory of its shim and its bundle; `None` while there is none.
    ///
    /// # Errors
    /// A file is there and cannot be read, or is no record, and the other place has none.
    pub fn find(dir: &Path, bundle: &Path) -> io::Result<Option<Self>> {
        match Self::load(dir) {
            Ok(Some(record)) => Ok(Some(record)),
            Ok(None) => Self::load(bundle),
            Err(error) => Self::load(bundle)?.map(Some).ok_or(error),
        }
    }

    /// Leaves the record in both places.
    ///
    /// # Errors
    /// Neither took it.
    pub fn keep(&self, dir: &Path, bundle: &Path) -> io::Result<()> {
        match (self.save(dir), self.save(bundle)) {
            (Err(error), Err(_)) => Err(error),
            _ => Ok(()),
        }
    }

    fn load(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save(&self, dir: &Path) -> io::Result<()> {
        let temporary = dir.join(".exit.json.tmp");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(temporary, dir.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_found_wherever_one_place_has_it() {
        let (dir, bundle) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let nowhere = Path::new("/nowhere");
        assert_eq!(ExitRecord::find(dir.path(), bundle.path()).unwrap(), None);
        let record = ExitRecord::new(137, true, 5, None);
        record.keep(dir.path(), bundle.path()).unwrap();
        for (dir, bundle) in [(dir.path(), nowhere), (nowhere, bundle.path()), (dir.path(), bundle.path())] {
            assert_eq!(ExitRecord::find(dir, bundle).unwrap(), Some(record.clone()));
            record.keep(dir, bundle).unwrap();
        }
        assert!(record.keep(nowhere, nowhere).is_err());
    }

    #[test]
    fn garbage_is_an_error_not_an_absence() {
        let (dir, bundle) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(dir.path().join(FILE), b"\0\0\0").unwrap();
        assert!(ExitRecord::find(dir.path(), bundle.path()).is_err());
        let no_directory = dir.path().join(FILE);
        assert!(ExitRecord::find(&no_directory, bundle.path()).is_err());
        let record = ExitRecord::new(3, false, 5, None);
        record.save(bundle.path()).unwrap();
        assert_eq!(ExitRecord::find(dir.path(), bundle.path()).unwrap(), Some(record));
    }

    #[test]
    fn records_of_other_versions_are_read() {
        let read = |text: &str| serde_json::from_str::<ExitRecord>(text).unwrap();
        let old = read(include_str!("../golden/1/exit.json"));
        assert_eq!(old, ExitRecord { version: 1, code: 137, oom: true, at: 1_700_000_000_000_000_002, error: None });
        let failed = read(include_str!("../golden/1/exit-failed.json"));
        assert_eq!(failed.error.as_deref(), Some("exec: \"tool\": executable file not found in $PATH"));
        assert_eq!(read(r#"{"version":9,"code":4,"mood":"good"}"#).code, 4);
        assert_eq!(read("{}").code, LOST);
    }
}
