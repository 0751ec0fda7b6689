//! The snapshots of one member: a directory with the newest two.
//!
//! A snapshot is two files. `NAME.data` holds the state in sealed chunks, `NAME.meta` says what it is and is written last:
//! without it there is no snapshot. NAME begins with the index of the last entry, so names sort by age. Files ending in
//! `.part` are still being written or received.
//!
//! Invariants: one snapshot at a time is installed, and none is removed meanwhile; an older one never replaces a newer one. A
//! snapshot that cannot be written leaves nothing behind, is reported, and can be tried again: the log still has all of it.

mod codec;
mod crc32c;
mod file;
mod incoming;
mod pace;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::digest::{SHA256, digest};
use skep_common::durable::{sync_file, write_atomic};
use skep_proto::{Message as _, v1};
use skep_store::View;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub(crate) use self::{
    crc32c::crc32c,
    file::{Description, SnapshotFile},
    incoming::Incoming,
};
use crate::{
    convert::snapshot_meta_to_proto,
    seal::{Location, Seal},
    types::{LogId, SnapshotMeta},
};

/// The newest is the state; the one before it, with the log since, is what the state can be built from should the newest
/// turn out to be damaged.
const KEPT: usize = 2;

const DATA: &str = "data";
const META: &str = "meta";
const PART: &str = "part";
/// What `write_atomic` leaves behind.
const TMP: &str = "tmp";

/// Begins the names of files that are being received.
const INCOMING: &str = "incoming-";

/// Why a snapshot could not be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SnapshotError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{location}: {reason}")]
    Damaged { location: String, reason: String },
    #[error("nobody wants it any more")]
    GivenUp,
}

impl SnapshotError {
    fn damaged(location: Location<'_>, reason: impl ToString) -> Self {
        Self::Damaged { location: location.to_string(), reason: reason.to_string() }
    }

    pub(crate) fn content(reason: impl ToString) -> Self {
        Self::Damaged { location: "content".into(), reason: reason.to_string() }
    }
}

/// What openraft passes around as a snapshot's data.
#[derive(Debug)]
pub(crate) enum SnapshotData {
    /// Nothing yet.
    Empty,
    /// A snapshot in some member's directory.
    Stored(SnapshotFile),
    /// A snapshot that has been received, checked and put into this member's directory.
    Received(View),
}

/// A snapshot that cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) file: PathBuf,
    pub(crate) error: SnapshotError,
}

/// What a directory of snapshots starts a member with.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The newest that can be read, and its state.
    pub(crate) newest: Option<(Arc<Description>, View)>,
    /// A newer one that cannot.
    pub(crate) unreadable: Option<Unreadable>,
}

/// The directory.
#[derive(Debug)]
pub(crate) struct Snapshots {
    dir: PathBuf,
    seal: Arc<Seal>,
    /// Newest first.
    kept: Mutex<Vec<SnapshotFile>>,
    /// Held while the directory's snapshots change.
    placing: Mutex<()>,
    /// Why the last snapshot could not be written.
    trouble: watch::Sender<Option<String>>,
}

impl Snapshots {
    /// Opens the directory, and makes it if need be.
    pub(crate) fn open(dir: PathBuf, seal: Arc<Seal>) -> io::Result<Arc<Self>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let (kept, placing, trouble) = (Mutex::default(), Mutex::default(), watch::Sender::default());
        let snapshots = Self { dir, seal, kept, placing, trouble };
        snapshots.remove_leftovers()?;
        Ok(Arc::new(snapshots))
    }

    /// Removes what a crash left half written. What was half received can be gone on with.
    fn remove_leftovers(&self) -> io::Result<()> {
        let written = self.names(PART)?.into_iter().filter(|name| !name.starts_with(INCOMING)).map(|name| (name, PART));
        let described = self.names(TMP)?.into_iter().map(|name| (name, TMP));
        for (name, extension) in written.chain(described) {
            fs::remove_file(self.path(&name, extension))?;
        }
        Ok(())
    }

    /// Reads the newest snapshot that can be read; none when that is given up.
    pub(crate) fn load(&self, give_up: &CancellationToken) -> io::Result<Loaded> {
        let mut names = self.names(META)?;
        names.sort_unstable_by(|a, b| b.cmp(a));
        let mut loaded = Loaded::default();
        for name in names {
            let opened = self.open_file(&name);
            if loaded.newest.is_some() {
                self.kept().extend(opened.ok());
                continue;
            }
            match opened.and_then(|file| Ok((file.load(give_up)?, file))) {
                Ok((view, file)) => {
                    loaded.newest = Some((file.description.clone(), view));
                    self.kept().push(file);
                }
                Err(SnapshotError::GivenUp) => return Ok(Loaded::default()),
                Err(error) => {
                    let file = self.path(&name, DATA);
                    warn!(file = %file.display(), %error, "a snapshot is damaged, looking for an older one");
                    loaded.unreadable.get_or_insert(Unreadable { file, error });
                }
            }
        }
        Ok(loaded)
    }

    /// The newest snapshot.
    pub(crate) fn newest(&self) -> Option<SnapshotFile> {
        self.kept().first().cloned()
    }

    /// The last entry that even the oldest snapshot covers.
    pub(crate) fn oldest(&self) -> Option<LogId> {
        self.kept().last().and_then(|snapshot| snapshot.description.meta.last_log_id)
    }

    /// Why the last snapshot could not be written, if it could not.
    pub(crate) fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    /// Records whether a snapshot could be written. Every failure is published, also a repeated one.
    pub(crate) fn note<T>(&self, result: &io::Result<T>) {
        match result {
            Ok(_) => {
                if self.trouble.send_replace(None).is_some() {
                    info!("a snapshot of the Raft state could be written again");
                }
            }
            Err(error) => {
                warn!(%error, "a snapshot of the Raft state could not be written; it will be tried again");
                self.trouble.send_replace(Some(error.to_string()));
            }
        }
    }

    /// Writes a state as a new snapshot, durably.
    pub(crate) fn save(&self, meta: SnapshotMeta, view: &View) -> io::Result<SnapshotFile> {
        let path = self.path(&name_of(&meta), PART);
        let saved = self.write(&path, meta, view).and_then(|snapshot| {
            self.publish(&path, &snapshot)?;
            Ok(snapshot)
        });
        if saved.is_err() {
            // Best effort: a start clears away what is left over.
            let _ = fs::remove_file(&path);
        }
        saved
    }

    fn write(&self, path: &Path, meta: SnapshotMeta, view: &View) -> io::Result<SnapshotFile> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let mut writer = file::ChunkWriter::new(&file, &self.seal, &meta.snapshot_id);
        codec::encode(view, &mut writer)?;
        let (size, sha256) = writer.finish()?;
        let description = Arc::new(Description { meta, size, sha256 });
        Ok(SnapshotFile { description, file: Arc::new(file), seal: self.seal.clone() })
    }

    /// Makes the complete file at `part` a snapshot of this directory, durably, and removes what is too old; that is the file
    /// itself when there is a newer snapshot.
    fn publish(&self, part: &Path, snapshot: &SnapshotFile) -> io::Result<()> {
        let _placing = self.placing();
        let description = &snapshot.description;
        let is_newer = |newest: SnapshotFile| newest.description.meta.last_log_id > description.meta.last_log_id;
        if self.newest().is_some_and(is_newer) {
            return fs::remove_file(part);
        }
        let name = name_of(&description.meta);
        sync_file(&snapshot.file)?;
        fs::rename(part, self.path(&name, DATA))?;
        let meta = v1::SnapshotOffer {
            meta: Some(snapshot_meta_to_proto(&description.meta)),
            size: description.size,
            sha256: description.sha256.to_vec(),
            ..v1::SnapshotOffer::default()
        };
        let sealed = self.seal.seal(Location::Description(&name), &meta.encode_to_vec());
        // Makes the rename durable as well.
        if let Err(error) = write_atomic(&self.path(&name, META), &sealed, 0o600) {
            let _ = fs::remove_file(self.path(&name, DATA));
            return Err(error);
        }
        let mut kept = self.kept().clone();
        kept.retain(|other| name_of(&other.description.meta) != name);
        kept.insert(0, snapshot.clone());
        self.keep(kept, KEPT);
        Ok(())
    }

    /// Removes every snapshot but the newest: with the log before it gone, an older one is of no use.
    pub(crate) fn keep_newest(&self) {
        let _placing = self.placing();
        let kept = self.kept().clone();
        self.keep(kept, 1);
    }

    /// Keeps the first `number` of these and removes all others. What cannot be removed costs room and is tried again with the
    /// next snapshot.
    fn keep(&self, mut kept: Vec<SnapshotFile>, number: usize) {
        kept.truncate(number);
        let names: Vec<String> = kept.iter().map(|snapshot| name_of(&snapshot.description.meta)).collect();
        *self.kept() = kept;
        if let Err(error) = self.remove_all_but(&names) {
            warn!(%error, dir = %self.dir.display(), "an old snapshot could not be removed");
        }
    }

    fn remove_all_but(&self, kept: &[String]) -> io::Result<()> {
        // The description goes first: data without one is no snapshot.
        for extension in [META, DATA] {
            for name in self.names(extension)?.into_iter().filter(|name| !kept.contains(name)) {
                fs::remove_file(self.path(&name, extension))?;
            }
        }
        Ok(())
    }

    fn open_file(&self, name: &str) -> Result<SnapshotFile, SnapshotError> {
        let location = Location::Description(name);
        let sealed = fs::read(self.path(name, META))?;
        let bytes = self.seal.open(location, &sealed).map_err(|error| SnapshotError::damaged(location, error))?;
        let offer =
            v1::SnapshotOffer::decode(bytes.as_slice()).map_err(|error| SnapshotError::damaged(location, error))?;
        let description = Description::try_from(&offer).map_err(|error| SnapshotError::damaged(location, error))?;
        let file = File::open(self.path(name, DATA))?;
        Ok(SnapshotFile { description: Arc::new(description), file: Arc::new(file), seal: self.seal.clone() })
    }

    fn incoming_path(&self, description: &Description) -> PathBuf {
        let digest = u64::from_be_bytes(first_bytes(&description.sha256));
        self.path(&format!("{INCOMING}{}-{digest:016x}", name_of(&description.meta)), PART)
    }

    fn remove_incoming_except(&self, path: &Path) -> io::Result<()> {
        for name in self.names(PART)?.into_iter().filter(|name| name.starts_with(INCOMING)) {
            let other = self.path(&name, PART);
            if other != path {
                fs::remove_file(other)?;
            }
        }
        Ok(())
    }

    /// Names of the files with this extension.
    fn names(&self, extension: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.extension().is_some_and(|found| found == extension) {
                names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
            }
        }
        Ok(names)
    }

    fn path(&self, name: &str, extension: &str) -> PathBuf {
        self.dir.join(format!("{name}.{extension}"))
    }

    fn placing(&self) -> MutexGuard<'_, ()> {
        self.placing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<SnapshotFile>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file name for a snapshot: ids come from other members and are not used as such.
fn name_of(meta: &SnapshotMeta) -> String {
    let index = meta.last_log_id.map_or(0, |log_id| log_id.index);
    let id = digest(&SHA256, meta.snapshot_id.as_bytes());
    format!("{index:020}-{:016x}", u64::from_be_bytes(first_bytes(id.as_ref())))
}

fn first_bytes(digest: &[u8]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    first
}
