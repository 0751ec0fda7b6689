//! Reads a log forward, from file to file, a bounded piece at a time.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::PathBuf,
};

use skep_proto::v1::{LogOptions, LogRecord, LogStream};

use super::{
    files::{count, following, generation},
    line::parse,
    tail::start_of_last,
};

/// Read at once.
const PIECE: usize = 64 * 1024;
/// A longer line is no log line and is passed over.
const MAX_LINE: usize = 1 << 20;

/// What a piece held.
#[derive(Debug, PartialEq)]
pub(super) enum Piece {
    /// More of the log, though perhaps nothing that was asked for.
    Records(Vec<LogRecord>),
    /// Nothing more for now.
    End,
    /// Nothing more that was asked for, ever.
    Past,
}

/// A place in a log and what is wanted from there on.
#[derive(Debug)]
pub(super) struct Reader {
    path: PathBuf,
    options: LogOptions,
    file: Option<File>,
    pending: Vec<u8>,
    past: bool,
}

impl Reader {
    /// Begins where the options say.
    pub(super) fn open(path: PathBuf, options: LogOptions) -> io::Result<Self> {
        let mut reader = Self { path, options, file: None, pending: Vec::new(), past: false };
        let start = match options.tail {
            Some(lines) => start_of_last(&reader.path, lines)?,
            None => super::tail::Position { generation: count(&reader.path).saturating_sub(1), offset: 0 },
        };
        reader.open_generation(start.generation)?;
        if let Some(file) = &mut reader.file {
            file.seek(SeekFrom::Start(start.offset))?;
        }
        Ok(reader)
    }

    /// The next piece. Blocks for the disk only.
    pub(super) fn next(&mut self) -> io::Result<Piece> {
        if self.past {
            return Ok(Piece::Past);
        }
        loop {
            if self.file.is_none() {
                self.open_generation(0)?;
            }
            let Some(file) = &mut self.file else { return Ok(Piece::End) };
            let before = self.pending.len();
            if file.take(PIECE as u64).read_to_end(&mut self.pending)? > 0 {
                return Ok(Piece::Records(self.take_lines(before)));
            }
            match following(file, &self.path)? {
                None => return Ok(Piece::End),
                Some(next) => {
                    // What the writer did not finish in the old file it will not finish in the new one.
                    self.pending.clear();
                    self.open_generation(next)?;
                }
            }
        }
    }

    fn open_generation(&mut self, n: usize) -> io::Result<()> {
        self.file = match File::open(generation(&self.path, n)) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// The records of the whole lines read so far; `searched` bytes are known to hold no newline.
    fn take_lines(&mut self, searched: usize) -> Vec<LogRecord> {
        let mut records = Vec::new();
        let (mut start, mut from) = (0, searched);
        while let Some(length) = self.pending.get(from..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
            let end = from + length;
            if let Some(record) = self.pending.get(start..end).and_then(parse) {
                if self.options.until != 0 && record.timestamp > self.options.until {
                    self.past = true;
                    break;
                }
                records.extend(Some(record).filter(|record| self.wants(record)));
            }
            (start, from) = (end + 1, end + 1);
        }
        self.pending.drain(..start);
        if self.pending.len() > MAX_LINE {
            self.pending.clear();
        }
        records
    }

    fn wants(&self, record: &LogRecord) -> bool {
        let both = self.options.stdout == self.options.stderr;
        let side = if record.stream() == LogStream::Stdout { self.options.stdout } else { self.options.stderr };
        (both || side) && record.timestamp >= self.options.since
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, OpenOptions},
        io::Write as _,
        path::Path,
    };

    use super::*;

    fn line(n: u32, stream: &str) -> String {
        format!("{{\"log\":\"{n}\\n\",\"stream\":\"{stream}\",\"time\":\"1970-01-01T00:00:{n:02}Z\"}}\n")
    }

    fn append(path: &Path, text: &str) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Everything up to the end, as text.
    fn drain(reader: &mut Reader) -> String {
        let mut out = String::new();
        while let Piece::Records(records) = reader.next().unwrap() {
            out.extend(records.iter().map(|record| String::from_utf8(record.data.clone()).unwrap()));
        }
        out
    }

    fn log() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for n in 1..=6 {
            append(&path, &line(n, if n % 2 == 0 { "stderr" } else { "stdout" }));
        }
        (dir, path)
    }

    fn read(path: &Path, options: LogOptions) -> String {
        drain(&mut Reader::open(path.to_owned(), options).unwrap())
    }

    #[test]
    fn options_choose_what_is_read() {
        let (_dir, path) = log();
        let second = 1_000_000_000;
        assert_eq!(read(&path, LogOptions::default()), "1\n2\n3\n4\n5\n6\n");
        assert_eq!(read(&path, LogOptions { stdout: true, ..Default::default() }), "1\n3\n5\n");
        assert_eq!(read(&path, LogOptions { stderr: true, ..Default::default() }), "2\n4\n6\n");
        assert_eq!(read(&path, LogOptions { tail: Some(2), ..Default::default() }), "5\n6\n");
        assert_eq!(read(&path, LogOptions { since: 5 * second, ..Default::default() }), "5\n6\n");
        assert_eq!(read(&path, LogOptions { until: 2 * second, ..Default::default() }), "1\n2\n");
    }

    #[test]
    fn what_is_written_later_and_in_halves_is_read_later_and_whole() {
        let (_dir, path) = log();
        let mut reader = Reader::open(path.clone(), LogOptions { tail: Some(0), ..Default::default() }).unwrap();
        assert_eq!(drain(&mut reader), "");
        let text = line(7, "stdout");
        append(&path, &text[..20]);
        assert_eq!(drain(&mut reader), "");
        append(&path, &text[20..]);
        assert_eq!(drain(&mut reader), "7\n");
    }

    #[test]
    fn rotation_loses_nothing_and_repeats_nothing() {
        let (_dir, path) = log();
        let mut reader = Reader::open(path.clone(), LogOptions::default()).unwrap();
        assert_eq!(drain(&mut reader), "1\n2\n3\n4\n5\n6\n");
        append(&path, &line(7, "stdout"));
        // Two rotations between two looks.
        fs::rename(&path, generation(&path, 2)).unwrap();
        fs::write(generation(&path, 1), line(8, "stdout")).unwrap();
        fs::write(&path, line(9, "stdout")).unwrap();
        assert_eq!(drain(&mut reader), "7\n8\n9\n");
        assert_eq!(read(&path, LogOptions::default()), "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    }

    #[test]
    fn a_log_that_is_not_there_yet_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut reader = Reader::open(path.clone(), LogOptions::default()).unwrap();
        assert_eq!(drain(&mut reader), "");
        append(&path, &line(1, "stdout"));
        assert_eq!(drain(&mut reader), "1\n");
    }
}
