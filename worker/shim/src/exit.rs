//! How a container ended, as the shim leaves it behind.
//!
//! Owns the file `exit.json` of a bundle. Written once, whole or not at all; it is what makes an end known to a daemon
//! that was away. Not fsynced: what it could outlive, a power cut, ends every container anyway.

use std::{fs, io, path::Path};

use serde::{Deserialize, Serialize};

/// Name of the record in the bundle.
pub const FILE: &str = "exit.json";

/// The end of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Exit code of the first process; 128 + n when signal n ended it.
    pub code: i32,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom: bool,
    /// When, in nanoseconds since the Unix epoch.
    pub at: i64,
    /// Why, when it was not by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ExitRecord {
    /// Reads the record of a bundle; `None` while there is none.
    ///
    /// # Errors
    /// The file is there and cannot be read, or is no record.
    pub fn load(bundle: &Path) -> io::Result<Option<Self>> {
        match fs::read(bundle.join(FILE)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the record into a bundle.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, bundle: &Path) -> io::Result<()> {
        let temporary = bundle.join(".exit.json.tmp");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(temporary, bundle.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_its_absence_is_no_error() {
        let bundle = tempfile::tempdir().unwrap();
        assert_eq!(ExitRecord::load(bundle.path()).unwrap(), None);
        let record = ExitRecord { code: 137, oom: true, at: 5, error: None };
        record.save(bundle.path()).unwrap();
        assert_eq!(ExitRecord::load(bundle.path()).unwrap(), Some(record));
    }

    #[test]
    fn garbage_is_an_error_not_an_absence() {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join(FILE), b"\0\0\0").unwrap();
        assert!(ExitRecord::load(bundle.path()).is_err());
    }
}
