//! Where everything is.
//!
//! `<data>/images` the image store; `<data>/containers/<id>` a container's bundle, record and log, lasting;
//! `<exec>/shims/<id>` its shim's lock, claim, socket and exit record, passing.

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use super::storage;
use crate::{RuntimeConfig, RuntimeError};

/// The roots.
#[derive(Debug)]
pub(super) struct Paths {
    data: PathBuf,
    exec: PathBuf,
}

impl Paths {
    /// Makes what is missing, for root alone: layers hold set-uid files and device nodes.
    pub(super) fn create(config: &RuntimeConfig) -> Result<Self, RuntimeError> {
        let make = |path: &Path| -> io::Result<PathBuf> {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            path.canonicalize()
        };
        let made = || -> io::Result<Self> {
            let paths = Self { data: make(&config.data_root)?, exec: make(&config.exec_root)? };
            make(&paths.containers())?;
            make(&paths.shims())?;
            make(&paths.mount_point())?;
            Ok(paths)
        };
        made().map_err(|error| storage("cannot make the runtime's directories", &error))
    }

    pub(super) fn images(&self) -> PathBuf {
        self.data.join("images")
    }

    /// A layer of an image.
    pub(super) fn layer(&self, name: &str) -> PathBuf {
        self.images().join("layers").join(name)
    }

    /// All containers.
    pub(super) fn containers(&self) -> PathBuf {
        self.data.join("containers")
    }

    /// All shims.
    pub(super) fn shims(&self) -> PathBuf {
        self.exec.join("shims")
    }

    /// Where a thread with a mount namespace of its own may look at an image.
    pub(super) fn mount_point(&self) -> PathBuf {
        self.exec.join("mnt")
    }

    /// A container's bundle.
    pub(super) fn bundle(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    /// A shim's directory.
    pub(super) fn shim(&self, id: &str) -> PathBuf {
        self.shims().join(id)
    }
}

/// Whether an id can be a file name of ours.
pub(super) fn is_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_never_a_path() {
        assert!(is_id(&"a".repeat(64)));
        for wrong in ["", "..", "a/b", ".x", "a\0", &"a".repeat(129)] {
            assert!(!is_id(wrong), "{wrong:?}");
        }
    }
}
