//! Docker's `json-file` log: one object a line with `log`, `stream` and `time`, in files of bounded size.
//!
//! Owns the log files of one container. Logging never holds the container up and never fails it: a message the disk
//! does not take is lost, the next one is tried again. On a disk that is nearly full nothing is written, so that what
//! is left stays with the node; once there is room again, the log says how much is missing.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::fstatvfs;

use crate::{plan::Log, timestamp};

/// Messages are gathered up to this many bytes before they go to the disk in one write.
const BATCH: usize = 32 * 1024;

/// Which of the two streams a message came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// The open log of a container.
#[derive(Debug)]
pub(crate) struct JsonLog {
    settings: Log,
    file: Option<File>,
    size: u64,
    batch: Vec<u8>,
    /// Messages in the batch.
    batched: u64,
    /// Messages that were not written since there was room.
    missing: u64,
}

impl JsonLog {
    /// Opens the log, to go on where it ends.
    pub(crate) fn open(settings: Log) -> Self {
        let mut log = Self { settings, file: None, size: 0, batch: Vec::new(), batched: 0, missing: 0 };
        log.reopen();
        log
    }

    /// Adds a message; it is on its way to the disk after [`JsonLog::flush`].
    pub(crate) fn add(&mut self, stream: Stream, message: &[u8]) {
        encode(&mut self.batch, stream, message, timestamp::now());
        self.batched += 1;
        let file_full = self.settings.max_size.is_some_and(|limit| self.size + self.batch.len() as u64 >= limit);
        if file_full || self.batch.len() >= BATCH {
            self.flush();
        }
    }

    /// Writes what was added.
    pub(crate) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        if self.settings.max_size.is_some_and(|limit| self.size >= limit) {
            self.rotate();
        }
        if self.file.is_none() {
            self.reopen();
        }
        self.missing = if self.has_room() && self.write_batch() { 0 } else { self.missing + self.batched };
        self.batched = 0;
        self.batch.clear();
        self.batch.shrink_to(BATCH);
    }

    /// Whether the disk keeps what it must keep free. Where it did not, it must have somewhat more before it counts as
    /// having room again.
    fn has_room(&self) -> bool {
        let keep_free = self.settings.keep_free;
        let wanted = if self.missing == 0 { keep_free } else { keep_free.saturating_add(keep_free / 4) };
        let Some(Ok(disk)) = self.file.as_ref().map(fstatvfs) else { return true };
        disk.f_bavail.saturating_mul(disk.f_frsize) >= wanted
    }

    /// Writes the batch, after a word about what is missing before it.
    fn write_batch(&mut self) -> bool {
        let Some(file) = &mut self.file else { return false };
        if self.missing > 0 {
            let text = format!("disk full on node: {} messages before this one were not written\n", self.missing);
            let mut word = Vec::new();
            encode(&mut word, Stream::Stderr, text.as_bytes(), timestamp::now());
            self.batch.splice(0..0, word);
        }
        let written = file.write_all(&self.batch).is_ok();
        if written {
            self.size += self.batch.len() as u64;
        } else {
            // What was written of it, if anything was, must not run into the next message.
            let _ = file.set_len(self.size);
        }
        written
    }

    fn reopen(&mut self) {
        let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.settings.path);
        self.file = opened.ok();
        self.size = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
    }

    /// Moves each file one number up, the oldest out, and begins a new one. With a single file its content goes.
    fn rotate(&mut self) {
        self.file = None;
        if self.settings.max_files <= 1 {
            let _ = fs::remove_file(&self.settings.path);
        } else {
            let path = |n| rotated(&self.settings.path, n);
            for n in (1..self.settings.max_files).rev() {
                let _: io::Result<()> = fs::rename(path(n - 1), path(n));
            }
        }
        self.reopen();
    }
}

fn rotated(path: &Path, n: u32) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

fn encode(out: &mut Vec<u8>, stream: Stream, message: &[u8], nanos: i64) {
    out.extend_from_slice(b"{\"log\":\"");
    escape(out, message);
    out.extend_from_slice(match stream {
        Stream::Stdout => b"\",\"stream\":\"stdout\",\"time\":\"",
        Stream::Stderr => b"\",\"stream\":\"stderr\",\"time\":\"",
    });
    timestamp::push_rfc3339(out, nanos);
    out.extend_from_slice(b"\"}\n");
}

/// Appends bytes as the inside of a JSON string the way Go's encoder does: what is not UTF-8 becomes U+FFFD, and what
/// is special to HTML or JavaScript is escaped too.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '\0'..='\x1f' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
                }
                _ if character.is_ascii() => out.extend(u8::try_from(character)),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &[u8]) -> String {
        let mut out = Vec::new();
        encode(&mut out, Stream::Stderr, message, 1_500_000_000);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_message_reads_as_docker_writes_it() {
        let want =
            "{\"log\":\"a \\\"b\\\" \\u003cc\\u003e\\n\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:01.5Z\"}\n";
        assert_eq!(line(b"a \"b\" <c>\n"), want);
    }

    #[test]
    fn what_go_has_short_words_for_is_written_with_them() {
        assert!(line(b"\\\r\n\t\x08>&").starts_with(r#"{"log":"\\\r\n\t\u0008\u003e\u0026","#));
    }

    #[test]
    fn every_byte_makes_valid_json_and_text_comes_back() {
        let every: Vec<u8> = (0..=255).collect();
        let value: serde_json::Value = serde_json::from_str(&line(&every)).unwrap();
        assert_eq!(value["log"], String::from_utf8_lossy(&every).as_ref());
        let text = "grüße \u{2028} 🐝\t\u{1}\n";
        let value: serde_json::Value = serde_json::from_str(&line(text.as_bytes())).unwrap();
        assert_eq!(value["log"], text);
    }

    #[test]
    fn old_files_move_up_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("container.log");
        let mut log = JsonLog::open(Log { path: path.clone(), max_size: Some(1), max_files: 3, keep_free: 0 });
        for message in ["one\n", "two\n", "three\n", "four\n"] {
            log.add(Stream::Stdout, message.as_bytes());
        }
        let holds = |n, word: &str| fs::read_to_string(rotated(&path, n)).unwrap().contains(word);
        assert!(holds(0, "four") && holds(1, "three") && holds(2, "two"));
        assert!(!rotated(&path, 3).exists());
    }

    #[test]
    fn a_single_file_starts_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("container.log");
        let mut log = JsonLog::open(Log { path: path.clone(), max_size: Some(1), max_files: 1, keep_free: 0 });
        log.add(Stream::Stdout, b"one\n");
        log.add(Stream::Stdout, b"two\n");
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("one") && text.contains("two"));
    }

    #[test]
    fn a_full_disk_is_left_alone_and_the_log_says_so_when_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("container.log");
        let mut log = JsonLog::open(Log { path: path.clone(), max_size: None, max_files: 1, keep_free: u64::MAX });
        for _ in 0..3 {
            log.add(Stream::Stdout, b"lost\n");
            log.flush();
        }
        assert_eq!(fs::read(&path).unwrap(), b"");
        log.settings.keep_free = 0;
        log.add(Stream::Stdout, b"kept\n");
        log.add(Stream::Stdout, b"and this\n");
        log.flush();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let messages: Vec<_> = lines.iter().map(|line| line["log"].as_str().unwrap()).collect();
        let word = "disk full on node: 3 messages before this one were not written\n";
        assert_eq!(messages, [word, "kept\n", "and this\n"]);
    }

    fn settings(dir: &Path, max_size: Option<u64>) -> Log {
        Log { path: dir.join("container.log"), max_size, max_files: 2, keep_free: 0 }
    }

    #[test]
    fn a_log_goes_on_where_it_ends_and_counts_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), None);
        let path = settings.path.clone();
        for word in ["one\n", "two\n"] {
            let mut log = JsonLog::open(settings.clone());
            log.add(Stream::Stdout, word.as_bytes());
            log.flush();
            assert_eq!(log.size, fs::metadata(&path).unwrap().len());
            log.flush();
            assert_eq!(log.size, fs::metadata(&path).unwrap().len(), "nothing is written twice");
        }
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn a_message_waits_for_others_until_a_batch_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = JsonLog::open(settings(dir.path(), None));
        let written = || fs::metadata(dir.path().join("container.log")).unwrap().len();
        log.add(Stream::Stdout, &[b'x'; 30_000]);
        assert_eq!(written(), 0);
        // Whatever the time is written as, both come to a little over 32 KiB.
        log.add(Stream::Stdout, &[b'x'; 2_768]);
        assert!(written() > 32_768);
        assert!(log.batch.is_empty() && log.batched == 0);
    }

    #[test]
    fn a_file_is_as_long_as_it_may_be_and_one_message_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("container.log");
        let mut log = JsonLog::open(settings(dir.path(), Some(1000)));
        // A message of 600 bytes is well over half of a file and far from a batch.
        for _ in 0..4 {
            log.add(Stream::Stdout, &[b'x'; 600]);
        }
        let messages = |n| fs::read_to_string(rotated(&path, n)).unwrap().lines().count();
        assert_eq!((messages(0), messages(1)), (2, 2));
    }

    #[test]
    fn a_disk_that_was_full_must_have_a_quarter_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = JsonLog::open(settings(dir.path(), None));
        let disk = fstatvfs(log.file.as_ref().unwrap()).unwrap();
        let free = disk.f_bavail * disk.f_frsize;
        // Far from both borders, whatever others write to this disk meanwhile.
        for (tenths, missing, room) in [(5, 0, true), (5, 1, true), (9, 0, true), (9, 1, false), (20, 0, false)] {
            log.settings.keep_free = free / 10 * tenths;
            log.missing = missing;
            assert_eq!(log.has_room(), room, "{tenths} tenths of what is free, {missing} missing");
        }
    }

    #[test]
    fn what_is_missing_adds_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = JsonLog::open(settings(dir.path(), None));
        log.settings.keep_free = u64::MAX;
        for _ in 0..2 {
            log.add(Stream::Stdout, b"one\n");
            log.add(Stream::Stdout, b"two\n");
            log.flush();
        }
        assert_eq!(log.missing, 4);
    }

    #[test]
    fn a_file_that_takes_nothing_costs_messages_and_no_more() {
        // Every write to it fails, as to a disk without a byte left.
        let log = Log { path: "/dev/full".into(), max_size: None, max_files: 1, keep_free: 0 };
        let mut log = JsonLog::open(log);
        log.add(Stream::Stdout, b"one\n");
        log.flush();
        assert_eq!((log.missing, log.size, log.batch.len()), (1, 0, 0));
    }
}
