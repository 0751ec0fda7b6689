//! Takes the outer archive apart: every file in it goes to disk under a name of ours, with its digest.
//!
//! Nothing the archive calls its files is ever used as a path; names are only keys.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Read,
    os::unix::fs::OpenOptionsExt as _,
    path::{Component, Path, PathBuf},
};

use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::{bad, blobs::Sha, budget::Budget, disk, entries, reader::decompressed, shortened, shown, unreadable};
use crate::RuntimeError;

/// The largest manifest, index or configuration that is read.
const MAX_DOCUMENT: u64 = 8 << 20;
/// Links followed from one name to another.
const MAX_LINKS: usize = 8;

/// A file of the archive, on disk.
#[derive(Debug, Clone)]
pub(super) struct Spooled {
    pub(super) path: PathBuf,
    pub(super) digest: Sha,
    pub(super) size: u64,
}

/// All files of an archive by their names in it.
#[derive(Debug, Default)]
pub(super) struct Contents {
    files: BTreeMap<String, Spooled>,
    /// `docker save` of old links layers that several images share.
    links: BTreeMap<String, String>,
}

impl Contents {
    /// Reads an archive to its end and spools its files into `dir`.
    pub(super) fn spool(source: impl Read, dir: &Path, budget: &mut Budget) -> Result<Self, RuntimeError> {
        let unreadable = |error: std::io::Error| unreadable("it", &error);
        let mut contents = Self::default();
        entries::for_each(decompressed(source).map_err(unreadable)?, "it", |entry| {
            let path = entry.path().map_err(unreadable)?.into_owned();
            let name = normal_name(&path)?;
            let kind = entry.header().entry_type();
            // All files of an archive go into one directory.
            budget.entry(1)?;
            match kind {
                EntryType::Regular | EntryType::Continuous => {
                    let path = dir.join(format!("file-{}", contents.files.len()));
                    let size = entry.size();
                    let file = spool(entry, size, path, budget)?;
                    if contents.files.insert(name.clone(), file).is_some() {
                        return Err(bad(format!("it holds two files named {}", shown(&name))));
                    }
                }
                EntryType::Symlink | EntryType::Link => {
                    let target = entry.link_name().map_err(unreadable)?.unwrap_or_default().into_owned();
                    let target = link_target(&name, &target, kind == EntryType::Symlink)?;
                    contents.links.insert(name, target);
                }
                EntryType::Directory | EntryType::XGlobalHeader => {}
                _ => return Err(bad(format!("{} is neither a file nor a directory", shown(&name)))),
            }
            Ok(())
        })?;
        Ok(contents)
    }

    /// The file of this name.
    pub(super) fn file(&self, name: &str) -> Option<&Spooled> {
        let mut name = name;
        for _ in 0..MAX_LINKS {
            match self.links.get(name) {
                Some(target) => name = target,
                None => return self.files.get(name),
            }
        }
        None
    }

    /// The blob of this digest in an OCI layout, its digest checked.
    pub(super) fn blob(&self, digest: &Sha) -> Result<&Spooled, RuntimeError> {
        let file = self
            .file(&format!("blobs/sha256/{}", digest.hex()))
            .ok_or_else(|| bad(format!("blob {digest} is missing")))?;
        if file.digest == *digest {
            Ok(file)
        } else {
            Err(bad(format!("blob {digest} has the digest {}", file.digest)))
        }
    }
}

/// Writes a content into a new file and takes its digest. Not synced yet.
fn spool(content: impl Read, size: u64, path: PathBuf, budget: &mut Budget) -> Result<Spooled, RuntimeError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| disk("cannot write the image to disk", &error))?;
    let mut hasher = Sha256::new();
    let size = entries::copy(content, size, "it", &mut file, budget, |bytes| hasher.update(bytes))?;
    Ok(Spooled { path, digest: Sha::from_hasher(hasher), size })
}

/// Reads a JSON document.
pub(super) fn document<T: DeserializeOwned>(
    file: &Spooled,
    what: &str,
    budget: &mut Budget,
) -> Result<T, RuntimeError> {
    if file.size > MAX_DOCUMENT {
        return Err(bad(format!("its {what} is larger than {MAX_DOCUMENT} bytes")));
    }
    budget.document(file.size)?;
    let bytes = fs::read(&file.path).map_err(|error| disk("cannot read back the image", &error))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| bad(format!("its {what} makes no sense: {}", shortened(&error.to_string()))))
}

/// A name without `.` parts; one that leads out of the archive is refused.
pub(super) fn normal_name(path: &Path) -> Result<String, RuntimeError> {
    let mut name = String::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => {
                let part = part.to_str().ok_or_else(|| bad(format!("the name {} is not UTF-8", shown(path))))?;
                name.push_str(if name.is_empty() { "" } else { "/" });
                name.push_str(part);
            }
            _ => return Err(bad(format!("{} leads out of the archive", shown(path)))),
        }
    }
    Ok(name)
}

/// Where a link leads: a hard link names its target from the root of the archive, a symbolic one from its own place.
fn link_target(name: &str, target: &Path, symbolic: bool) -> Result<String, RuntimeError> {
    let out = || bad(format!("the link {} leads out of the archive", shown(name)));
    let mut parts: Vec<&str> = if symbolic { name.split('/').collect() } else { Vec::new() };
    parts.pop();
    for part in target.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str().ok_or_else(out)?),
            Component::ParentDir => {
                parts.pop().ok_or_else(out)?;
            }
            _ => return Err(out()),
        }
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use std::{rc::Rc, sync::Arc};

    use proptest::{prop_assert, proptest};
    use tokio::sync::Semaphore;
    use tokio_util::sync::CancellationToken;

    use super::{super::work::Work, *};

    #[test]
    fn names_stay_inside() {
        assert_eq!(normal_name(Path::new("./a/./b")).unwrap(), "a/b");
        for wrong in ["../a", "a/../../b", "/etc/passwd", "a/.."] {
            assert!(normal_name(Path::new(wrong)).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_name_it_stays_inside_or_is_refused(name in "[./a]{0,12}") {
            if let Ok(name) = normal_name(Path::new(&name)) {
                prop_assert!(name.split('/').all(|part| part != ".." && part != "."));
                prop_assert!(!name.starts_with('/'));
            }
        }
    }

    #[test]
    fn a_spooled_file_is_hashed_as_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let work = Work::begin(Arc::new(Semaphore::new(1)), CancellationToken::new());
        let mut budget = Budget::of_disk(dir.path(), Rc::new(work)).unwrap();
        let file = spool(&b"bytes"[..], 5, dir.path().join("a"), &mut budget).unwrap();
        assert_eq!((file.digest, file.size), (Sha::of(b"bytes"), 5));
        assert_eq!(fs::read(file.path).unwrap(), b"bytes");
    }

    #[test]
    fn links_stay_inside() {
        let target = |to: &str| link_target("b/layer.tar", Path::new(to), true);
        assert_eq!(target("../a/layer.tar").unwrap(), "a/layer.tar");
        assert!(target("../../a").is_err());
        assert!(target("/a").is_err());
        assert_eq!(link_target("b/layer.tar", Path::new("a/layer.tar"), false).unwrap(), "a/layer.tar");
    }
}
