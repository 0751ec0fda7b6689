//! The entries of a tar, read with a bound on everything: an archive is whatever a stranger made.
//!
//! Invariants: what the tar library holds in memory (long names, extended headers, maps of sparse files) is at most
//! [`MAX_HEADERS`] between two contents that are read, and so is a content that nobody reads; every byte of a content is
//! asked of the budget before it is written, also the zeros of a sparse file, of which the archive itself has none.

use std::{
    cell::Cell,
    fs::File,
    io::{self, Read, Write as _},
    rc::Rc,
};

use tar::{Archive, Entry};

use super::{budget::Budget, disk, unreadable};
use crate::RuntimeError;

/// Bytes between the content of one entry and that of the next. Extended attributes are the longest of them.
pub(super) const MAX_HEADERS: u64 = 1 << 20;
/// All such bytes of an archive: what so many entries as an image may have come to with a kilobyte or two each.
const MAX_ALL_HEADERS: u64 = 4 << 30;
/// What is copied at once.
const CHUNK: usize = 128 * 1024;

/// Calls `each` for every entry of `source`, which errors call `what`. `each` may leave
/// a content that is not long.
pub(super) fn for_each<R: Read>(
    source: R,
    what: &str,
    mut each: impl FnMut(&mut Entry<'_, Bounded<R>>) -> Result<(), RuntimeError>,
) -> Result<(), RuntimeError> {
    let damaged = |error: io::Error| unreadable(what, &error);
    let reading = Rc::new(Reading { at: Cell::new(0), end: Cell::new(MAX_HEADERS) });
    let mut archive = Archive::new(Bounded { inner: source, reading: Rc::clone(&reading) });
    let (mut left, mut content_end) = (MAX_ALL_HEADERS, 0);
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        left = left.saturating_sub(reading.at.get().saturating_sub(content_end));
        reading.end.set(u64::MAX);
        each(&mut entry)?;
        content_end = reading.at.get();
        reading.end.set(content_end.saturating_add(MAX_HEADERS.min(left)));
    }
    Ok(())
}

/// How far an archive was read and how far it may be.
struct Reading {
    at: Cell<u64>,
    end: Cell<u64>,
}

/// An archive that ends with an error where it has gone on for too long.
pub(super) struct Bounded<R> {
    inner: R,
    reading: Rc<Reading>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (at, end) = (self.reading.at.get(), self.reading.end.get());
        let most = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 && !buffer.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "headers without end"));
        }
        let count = self.inner.read(buffer.get_mut(..most).unwrap_or_default())?;
        self.reading.at.set(at.saturating_add(count as u64));
        Ok(count)
    }
}

/// Copies a content of `size` bytes, as its header claims, into a file; shows what is written to `see`. Tells a bad
/// archive, which errors call `what`, from a bad disk.
pub(super) fn copy(
    mut content: impl Read,
    size: u64,
    what: &str,
    file: &mut File,
    budget: &mut Budget,
    mut see: impl FnMut(&[u8]),
) -> Result<u64, RuntimeError> {
    budget.room_for(size)?;
    let (mut buffer, mut written) = (vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK)).max(512)], 0);
    loop {
        let count = content.read(&mut buffer).map_err(|error| unreadable(what, &error))?;
        if count == 0 {
            return Ok(written);
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        budget.bytes(count as u64)?;
        see(bytes);
        file.write_all(bytes).map_err(|error| disk("cannot write the image to disk", &error))?;
        written += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use tar::{Builder, EntryType, Header};

    use super::*;

    fn header(kind: EntryType, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_cksum();
        header
    }

    fn count(tar: impl Read) -> Result<usize, RuntimeError> {
        let mut count = 0;
        for_each(tar, "it", |entry| {
            count += 1;
            if entry.header().entry_type() == EntryType::Regular {
                io::copy(entry, &mut io::sink()).unwrap();
            }
            Ok(())
        })?;
        Ok(count)
    }

    #[test]
    fn contents_that_are_read_may_be_long_and_nothing_else_may() {
        let mut tar = Builder::new(Vec::new());
        let content = vec![0; 3 << 20];
        for name in ["a", "b"] {
            tar.append_data(&mut header(EntryType::Regular, content.len() as u64), name, content.as_slice()).unwrap();
        }
        let good = tar.into_inner().unwrap();
        assert_eq!(count(good.as_slice()).unwrap(), 2);

        let kinds = [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader];
        for kind in kinds.into_iter().chain([EntryType::Directory, EntryType::Symlink, EntryType::XGlobalHeader]) {
            // It claims, and would deliver, more than any memory holds.
            let start = header(kind, 1 << 50);
            let endless = start.as_bytes().chain(io::repeat(b'x'));
            assert!(count(endless).is_err(), "{kind:?}");
        }
    }

    #[test]
    fn a_map_of_a_sparse_file_has_an_end() {
        let mut start = header(EntryType::GNUSparse, 0);
        start.as_gnu_mut().unwrap().isextended[0] = 1;
        start.set_cksum();
        // Each block of the map lists nothing at the same place, and says that there is another.
        let mut map = [0; 512];
        for block in map[..504].chunks_mut(24) {
            block.copy_from_slice(b"00000000000 00000000000 ");
        }
        map[504] = 1;
        let endless = start.as_bytes().chain(Endless { block: map, at: 0 });
        assert!(count(endless).is_err());
    }

    struct Endless {
        block: [u8; 512],
        at: usize,
    }

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            for byte in &mut *buffer {
                *byte = self.block[self.at % 512];
                self.at += 1;
            }
            Ok(buffer.len())
        }
    }
}
