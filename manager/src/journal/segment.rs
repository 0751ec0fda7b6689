//! One file of the journal: records one after the other, each its length (4 bytes, big-endian) and a sealed
//! [`JournalRecord`]. A record is bound to its file and its number there.
//!
//! A crash of the writer may leave a torn record at the end of a file, which is not treated as damage. A file that fills a gap
//! is written atomically.
//!
//! File numbers are in the order of the versions in the files. Between two consecutive files many numbers are left free, for
//! files that fill a gap later.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use prost::Message as _;
use skep_proto::v1::JournalRecord;
use skep_raft::Vault;

const SUFFIX: &str = ".segment";

/// What a file is called while it is not whole yet.
const UNFINISHED: &str = "unfinished";

/// Numbers from one file to the next.
pub(super) const STEP: u64 = 1 << 20;

/// Longest sealed record.
const MAX_RECORD: usize = 1 << 20;

/// Most of a file that is read: what a file may have when it is closed, and the record that closed it.
const MAX_READ: u64 = 4 << 20;

/// Bytes of a record's length.
const PREFIX: usize = 4;

/// How the readable part of a file ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With the file.
    Whole,
    /// In a part of a record.
    Torn,
    /// At a record that is not what was written.
    Damaged,
}

/// What could be read of a file.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) records: Vec<JournalRecord>,
    /// Length of the readable part.
    pub(super) bytes: u64,
    pub(super) end: End,
}

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:016x}{SUFFIX}"))
}

/// The numbers of the files there are, oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
        numbers.extend(number.and_then(|number| u64::from_str_radix(number, 16).ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A new file, or an old one to be continued.
pub(super) fn open(dir: &Path, number: u64) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path(dir, number))
}

/// A new file of one record that appears whole or not at all, and counts as written at `modified`.
pub(super) fn put(
    dir: &Path,
    number: u64,
    vault: &Vault,
    record: &JournalRecord,
    modified: SystemTime,
) -> io::Result<()> {
    let unfinished = dir.join(UNFINISHED);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&frame(vault, number, 0, record))?;
    file.set_modified(modified)?;
    fs::rename(unfinished, path(dir, number))
}

/// A record as it is written: the `index`th of file `number`.
pub(super) fn frame(vault: &Vault, number: u64, index: u64, record: &JournalRecord) -> Vec<u8> {
    let sealed = vault.seal(&name(number), index, &record.encode_to_vec());
    let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &sealed].concat()
}

/// Reads a file as far as it can be read.
pub(super) fn read(dir: &Path, number: u64, vault: &Vault) -> io::Result<Contents> {
    let mut bytes = Vec::new();
    File::open(path(dir, number))?.take(MAX_READ).read_to_end(&mut bytes)?;
    let (name, mut records, mut rest) = (name(number), Vec::new(), bytes.as_slice());
    let end = loop {
        if rest.is_empty() {
            break End::Whole;
        }
        let Some((prefix, behind)) = rest.split_first_chunk::<PREFIX>() else { break End::Torn };
        let length = u32::from_be_bytes(*prefix) as usize;
        if length > MAX_RECORD {
            break End::Damaged;
        }
        let Some((sealed, behind)) = behind.split_at_checked(length) else { break End::Torn };
        let opened = vault.open(&name, records.len() as u64, sealed).ok();
        let Some(record) = opened.and_then(|plain| JournalRecord::decode(plain.as_slice()).ok()) else {
            break End::Damaged;
        };
        records.push(record);
        rest = behind;
    };
    Ok(Contents { records, bytes: (bytes.len() - rest.len()) as u64, end })
}

fn name(number: u64) -> String {
    format!("journal {number}")
}
