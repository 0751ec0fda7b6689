//! A snapshot being received. What has arrived is kept, sealed, under a name made of its digest, so that an interrupted
//! transfer of the same snapshot resumes from there.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::Arc,
};

use skep_common::reserve::is_full;
use skep_store::View;
use tokio_util::sync::CancellationToken;

use super::{
    Snapshots,
    file::{Description, SnapshotFile, read_chunk, sealed_len, whole_chunks, write_chunk},
    pace::Pace,
};
use crate::snapshot::SnapshotError;

/// A snapshot that is not complete yet. One at a time per directory.
pub(crate) struct Incoming {
    snapshots: Arc<Snapshots>,
    path: PathBuf,
    file: File,
    description: Description,
    /// Plain bytes that are here.
    have: u64,
    pace: Pace,
}

impl Incoming {
    /// Goes on receiving this snapshot, or begins. Parts of any other are given up.
    pub(crate) fn open(snapshots: Arc<Snapshots>, description: Description) -> io::Result<Self> {
        let path = snapshots.incoming_path(&description);
        snapshots.remove_incoming_except(&path)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        let (mut chunks, mut have) = whole_chunks(file.metadata()?.len(), &description);
        // A crash may have spoiled the end; the digest over all of it catches what is further up.
        while chunks > 0 && read_chunk(&file, &snapshots.seal, &description, chunks - 1).is_err() {
            chunks -= 1;
            have = whole_chunks(sealed_len(chunks), &description).1;
        }
        Ok(Self { snapshots, path, file, description, have, pace: Pace::default() })
    }

    /// How many plain bytes are here.
    pub(crate) fn have(&self) -> u64 {
        self.have
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.have == self.description.size
    }

    /// Takes the next chunk.
    pub(crate) fn push(&mut self, offset: u64, chunk: &[u8]) -> Result<(), SnapshotError> {
        if self.is_complete() || offset != self.have || chunk.len() as u64 != self.description.chunk_len(offset) {
            return Err(SnapshotError::content("a chunk that does not follow the one before"));
        }
        let written = write_chunk(&self.file, &self.snapshots.seal, self.description.id(), offset, chunk)
            .and_then(|()| self.pace.wrote(&self.file, chunk.len()));
        if let Err(error) = written {
            if is_full(&error) {
                // What is left of the disk is for the log.
                let _ = std::fs::remove_file(&self.path);
            }
            return Err(error.into());
        }
        self.have += chunk.len() as u64;
        Ok(())
    }

    /// Checks all of it and makes it one of the directory's snapshots, durably. One that is not what it was announced to
    /// be is removed; one whose check was given up can be gone on with.
    pub(crate) fn finish(self, give_up: &CancellationToken) -> Result<(SnapshotFile, View), SnapshotError> {
        let complete = SnapshotFile {
            description: Arc::new(self.description),
            file: Arc::new(self.file),
            seal: self.snapshots.seal.clone(),
        };
        match complete.load(give_up) {
            Ok(view) => {
                let placed = self.snapshots.publish(&self.path, &complete);
                self.snapshots.note(&placed);
                placed?;
                Ok((complete, view))
            }
            Err(SnapshotError::GivenUp) => Err(SnapshotError::GivenUp),
            Err(error) => {
                std::fs::remove_file(&self.path)?;
                Err(error)
            }
        }
    }
}
