//! An identity on disk: `node.crt`, `node.key` (0600) and `root-ca.crt` in one directory.
//!
//! Three files cannot be replaced at once, so the key file may hold two keys for a moment: the new one is added
//! first, then the certificate is replaced, then the old key goes. Whichever step a crash cuts off, the key that
//! fits `node.crt` is there.

use std::{fs, io, path::Path};

use super::{Identity, IdentityError};
use crate::{durable::write_atomic, secret::Secret};

const CERTIFICATE: &str = "node.crt";
const KEY: &str = "node.key";
const ROOTS: &str = "root-ca.crt";
const KEY_END: &str = "-----END PRIVATE KEY-----";

impl Identity {
    /// Reads what [`Self::save`] wrote. [`IdentityError::Missing`] when nothing was ever saved there.
    pub fn load(directory: &Path) -> Result<Self, IdentityError> {
        let chain = match fs::read(directory.join(CERTIFICATE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IdentityError::Missing(directory.to_owned()));
            }
            chain => at(&directory.join(CERTIFICATE), chain)?,
        };
        let keys = Secret::new(at(&directory.join(KEY), fs::read_to_string(directory.join(KEY)))?);
        let roots = at(&directory.join(ROOTS), fs::read(directory.join(ROOTS)))?;

        let mut result = Err(IdentityError::Key("the file holds none".into()));
        for key in keys.expose().split_inclusive(KEY_END).filter(|part| part.contains(KEY_END)) {
            result = Self::from_pem(&chain, Secret::new(key.trim_start().to_owned()), &roots);
            // Only a key of another certificate is a reason to look at the next one.
            if !matches!(result, Err(IdentityError::Key(_))) {
                break;
            }
        }
        result
    }

    /// Writes the identity to `directory`, durably; one that was there before stays loadable until this one is.
    pub fn save(&self, directory: &Path) -> Result<(), IdentityError> {
        let write = |name: &str, bytes: &[u8], mode| {
            let path = directory.join(name);
            at(&path, write_atomic(&path, bytes, mode))
        };
        at(directory, fs::create_dir_all(directory))?;
        write(ROOTS, self.roots_pem(), 0o644)?;
        if let Ok(old) = Self::load_key(directory) {
            let both = Secret::new(format!("{}\n{}", self.key_pem().expose().trim_end(), old.expose()));
            write(KEY, both.expose().as_bytes(), 0o600)?;
        } else {
            write(KEY, self.key_pem().expose().as_bytes(), 0o600)?;
        }
        write(CERTIFICATE, self.chain_pem(), 0o644)?;
        write(KEY, self.key_pem().expose().as_bytes(), 0o600)
    }

    fn load_key(directory: &Path) -> Result<Secret<String>, IdentityError> {
        Ok(Self::load(directory)?.key_pem().clone())
    }
}

fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, IdentityError> {
    result.map_err(|source| IdentityError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use skep_proto::v1::NodeRole;

    use super::*;
    use crate::net::testing::TestCa;

    #[test]
    fn what_is_saved_loads_again_and_the_key_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("certificates");
        let ca = TestCa::new("swarm");
        assert!(matches!(Identity::load(&directory), Err(IdentityError::Missing(_))));

        ca.identity("a", NodeRole::Worker).save(&directory).unwrap();
        ca.identity("a", NodeRole::Manager).save(&directory).unwrap();
        let loaded = Identity::load(&directory).unwrap();
        assert_eq!((loaded.node_id(), loaded.role()), ("a", NodeRole::Manager));
        assert_eq!(fs::metadata(directory.join(KEY)).unwrap().permissions().mode() & 0o777, 0o600);
        let keys = fs::read_to_string(directory.join(KEY)).unwrap();
        assert_eq!(keys.matches(KEY_END).count(), 1, "the old key is gone");
    }

    #[test]
    fn a_crash_between_any_two_writes_leaves_an_identity() {
        let ca = TestCa::new("swarm");
        let (old, new) = (ca.identity("a", NodeRole::Worker), ca.identity("a", NodeRole::Manager));
        let both = format!("{}\n{}", new.key_pem().expose(), old.key_pem().expose());
        let steps: [(&str, &[u8], NodeRole); 3] = [
            (KEY, both.as_bytes(), NodeRole::Worker),
            (CERTIFICATE, new.chain_pem(), NodeRole::Manager),
            (KEY, new.key_pem().expose().as_bytes(), NodeRole::Manager),
        ];
        let directory = tempfile::tempdir().unwrap();
        old.save(directory.path()).unwrap();
        for (file, bytes, role) in steps {
            fs::write(directory.path().join(file), bytes).unwrap();
            assert_eq!(Identity::load(directory.path()).unwrap().role(), role);
        }
    }

    #[test]
    fn spoiled_files_are_errors_not_missing_identities() {
        let directory = tempfile::tempdir().unwrap();
        TestCa::new("swarm").identity("a", NodeRole::Worker).save(directory.path()).unwrap();
        fs::write(directory.path().join(KEY), "no key").unwrap();
        assert!(matches!(Identity::load(directory.path()), Err(IdentityError::Key(_))));
        fs::remove_file(directory.path().join(KEY)).unwrap();
        assert!(matches!(Identity::load(directory.path()), Err(IdentityError::Io { .. })));
    }
}
