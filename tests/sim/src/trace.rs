//! What happened, line by line: all of it as a digest, the last lines to read, everything when asked for.

use std::{collections::VecDeque, fmt, time::Duration};

/// Lines shown with a failure.
const TAIL: usize = 80;

/// The record of a run.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    digest: u64,
    lines: u64,
    tail: VecDeque<String>,
    /// Every line, when it is kept.
    all: Option<Vec<u8>>,
}

impl Trace {
    pub(crate) fn new(keep: bool) -> Self {
        Self { digest: FNV_OFFSET, lines: 0, tail: VecDeque::new(), all: keep.then(Vec::new) }
    }

    pub(crate) fn line(&mut self, now: Duration, text: fmt::Arguments<'_>) {
        let line = format!("{:>11.6} {text}", now.as_secs_f64());
        self.digest = fnv(self.digest, line.as_bytes());
        self.lines += 1;
        if let Some(all) = &mut self.all {
            all.extend_from_slice(line.as_bytes());
            all.push(b'\n');
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// FNV-1a of every line: equal for equal runs.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    pub(crate) fn tail(&self) -> String {
        self.tail.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.all.unwrap_or_default()
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, continued from `digest`.
pub(crate) fn fnv(digest: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(digest, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// FNV-1a of one message after another.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = impl AsRef<[u8]> + 'a>) -> u64 {
    parts.into_iter().fold(FNV_OFFSET, |digest, part| fnv(digest, part.as_ref()))
}
