//! One snapshot's file: sealed chunks of a fixed size, so that any of them can be read by its number and a transfer can go on
//! where it stopped.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt as _,
    sync::Arc,
};

use aws_lc_rs::digest::{Context, SHA256};
use skep_common::limits::SNAPSHOT_CHUNK_BYTES;
use skep_proto::v1;
use skep_store::View;
use tokio_util::sync::CancellationToken;

use super::{SnapshotError, codec, pace::Pace};
use crate::{
    convert::{Malformed, snapshot_meta_from_proto},
    seal::{Location, OVERHEAD, Seal},
    types::SnapshotMeta,
};

const CHUNK: u64 = SNAPSHOT_CHUNK_BYTES as u64;
const SEALED_CHUNK: u64 = (SNAPSHOT_CHUNK_BYTES + OVERHEAD) as u64;

/// Length of the digest in a description.
const DIGEST_BYTES: usize = 32;

/// Longest snapshot id.
const MAX_ID_BYTES: usize = 128;

/// What a snapshot is: its place in the log, its length and its SHA-256, both of the plain bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Description {
    pub(crate) meta: SnapshotMeta,
    pub(crate) size: u64,
    pub(crate) sha256: [u8; DIGEST_BYTES],
}

impl Description {
    /// How many chunks it has.
    pub(crate) fn chunks(&self) -> u64 {
        self.size.div_ceil(CHUNK)
    }

    /// Length of the chunk at plain offset `offset`.
    pub(super) fn chunk_len(&self, offset: u64) -> u64 {
        (self.size - offset).min(CHUNK)
    }

    pub(super) fn id(&self) -> &str {
        &self.meta.snapshot_id
    }
}

impl TryFrom<&v1::SnapshotOffer> for Description {
    type Error = Malformed;

    fn try_from(offer: &v1::SnapshotOffer) -> Result<Self, Malformed> {
        let meta = offer.meta.as_ref().ok_or(Malformed("an offer without a snapshot"))?;
        if meta.last_log_id.is_none() {
            return Err(Malformed("a snapshot of nothing"));
        }
        if meta.snapshot_id.len() > MAX_ID_BYTES {
            return Err(Malformed("a snapshot id that is too long"));
        }
        if offer.size == 0 {
            return Err(Malformed("a snapshot without content"));
        }
        let sha256 = offer.sha256.as_slice().try_into().map_err(|_| Malformed("a digest of another length"))?;
        Ok(Self { meta: snapshot_meta_from_proto(meta)?, size: offer.size, sha256 })
    }
}

/// A complete snapshot. Stays readable when its file is removed.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFile {
    pub(crate) description: Arc<Description>,
    pub(super) file: Arc<File>,
    pub(super) seal: Arc<Seal>,
}

impl SnapshotFile {
    /// The plain bytes of chunk `number`.
    pub(crate) fn chunk(&self, number: u64) -> Result<Vec<u8>, SnapshotError> {
        read_chunk(&self.file, &self.seal, &self.description, number)
    }

    /// Reads all of it; it must have the announced digest and be a state.
    pub(crate) fn load(&self, give_up: &CancellationToken) -> Result<View, SnapshotError> {
        let mut digest = Context::new(&SHA256);
        let chunks = (0..self.description.chunks()).map(|number| {
            if give_up.is_cancelled() {
                return Err(SnapshotError::GivenUp);
            }
            let chunk = self.chunk(number)?;
            digest.update(&chunk);
            Ok(chunk)
        });
        let view = codec::decode(chunks)?;
        match digest.finish().as_ref() == self.description.sha256 {
            true => Ok(view),
            false => Err(SnapshotError::content("its digest is another")),
        }
    }
}

/// The plain bytes of chunk `number` in `file`.
pub(super) fn read_chunk(
    file: &File,
    seal: &Seal,
    description: &Description,
    number: u64,
) -> Result<Vec<u8>, SnapshotError> {
    let location = Location::Chunk(description.id(), number);
    let plain = description.chunk_len(number * CHUNK);
    let mut sealed = vec![0; plain as usize + OVERHEAD];
    file.read_exact_at(&mut sealed, number * SEALED_CHUNK).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::damaged(location, "it is cut off"),
        _ => SnapshotError::Io(error),
    })?;
    seal.open(location, &sealed).map_err(|error| SnapshotError::damaged(location, error))
}

/// Writes the chunk at plain offset `offset` of the snapshot `id`.
pub(super) fn write_chunk(file: &File, seal: &Seal, id: &str, offset: u64, plain: &[u8]) -> io::Result<()> {
    let number = offset / CHUNK;
    file.write_all_at(&seal.seal(Location::Chunk(id, number), plain), number * SEALED_CHUNK)
}

/// How many whole chunks of a snapshot can be in a file of this length, and the plain bytes they hold.
pub(super) fn whole_chunks(file_len: u64, description: &Description) -> (u64, u64) {
    let complete = description.size + description.chunks() * OVERHEAD as u64;
    match file_len >= complete {
        true => (description.chunks(), description.size),
        false => {
            let whole = file_len / SEALED_CHUNK;
            (whole, whole * CHUNK)
        }
    }
}

/// Length of a file that holds the first `chunks` chunks, all of them full.
pub(super) fn sealed_len(chunks: u64) -> u64 {
    chunks * SEALED_CHUNK
}

/// Takes plain bytes and writes them out chunk by chunk.
pub(super) struct ChunkWriter<'a> {
    file: &'a File,
    seal: &'a Seal,
    id: &'a str,
    pending: Vec<u8>,
    written: u64,
    digest: Context,
    pace: Pace,
}

impl<'a> ChunkWriter<'a> {
    pub(super) fn new(file: &'a File, seal: &'a Seal, id: &'a str) -> Self {
        let pending = Vec::with_capacity(SNAPSHOT_CHUNK_BYTES);
        Self { file, seal, id, pending, written: 0, digest: Context::new(&SHA256), pace: Pace::default() }
    }

    /// Writes the last chunk. The size and digest of what was written.
    pub(super) fn finish(mut self) -> io::Result<(u64, [u8; DIGEST_BYTES])> {
        self.write_pending()?;
        let mut sha256 = [0; DIGEST_BYTES];
        sha256.copy_from_slice(self.digest.finish().as_ref());
        Ok((self.written, sha256))
    }

    fn write_pending(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            write_chunk(self.file, self.seal, self.id, self.written, &self.pending)?;
            self.digest.update(&self.pending);
            self.written += self.pending.len() as u64;
            self.pace.wrote(self.file, self.pending.len())?;
            self.pending.clear();
        }
        Ok(())
    }
}

impl Write for ChunkWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.pending.len() == SNAPSHOT_CHUNK_BYTES {
            self.write_pending()?;
        }
        let taken = bytes.len().min(SNAPSHOT_CHUNK_BYTES - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
