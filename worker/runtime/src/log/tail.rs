//! Finds where the last lines of a log begin, from its end.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use super::files::{count, generation};

const BLOCK: u64 = 64 * 1024;

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) generation: usize,
    pub(super) offset: u64,
}

/// Where the last `lines` lines begin; the beginning of the log when it has fewer.
pub(super) fn start_of_last(path: &Path, lines: u64) -> io::Result<Position> {
    let generations = count(path);
    let mut wanted = lines;
    for n in 0..generations {
        let mut file = File::open(generation(path, n))?;
        let end = file.metadata()?.len();
        if wanted == 0 {
            return Ok(Position { generation: n, offset: end });
        }
        match search(&mut file, end, wanted)? {
            Found::At(offset) => return Ok(Position { generation: n, offset }),
            Found::Fewer(lines) => wanted -= lines,
        }
    }
    Ok(Position { generation: generations.saturating_sub(1), offset: 0 })
}

enum Found {
    At(u64),
    /// The file has only so many lines.
    Fewer(u64),
}

/// Walks back from the end over newlines: the one before the last `wanted` lines is where they begin.
fn search(file: &mut File, end: u64, wanted: u64) -> io::Result<Found> {
    let (mut newlines, mut block_end) = (0, end);
    let mut block = Vec::new();
    while block_end > 0 {
        let block_start = block_end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(block_start))?;
        block.clear();
        file.by_ref().take(block_end - block_start).read_to_end(&mut block)?;
        for (at, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            newlines += 1;
            if newlines > wanted {
                return Ok(Found::At(block_start + at as u64 + 1));
            }
        }
        block_end = block_start;
    }
    if newlines == wanted { Ok(Found::At(0)) } else { Ok(Found::Fewer(newlines)) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn at(generation: usize, offset: u64) -> Position {
        Position { generation, offset }
    }

    #[test]
    fn lines_are_counted_across_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        assert_eq!(start_of_last(&path, 5).unwrap(), at(0, 0), "no log yet");
        fs::write(&path, "5\n6\n").unwrap();
        fs::write(generation(&path, 1), "2\n3\n4\n").unwrap();
        fs::write(generation(&path, 2), "1\n").unwrap();
        assert_eq!(start_of_last(&path, 0).unwrap(), at(0, 4));
        assert_eq!(start_of_last(&path, 1).unwrap(), at(0, 2));
        assert_eq!(start_of_last(&path, 2).unwrap(), at(0, 0));
        assert_eq!(start_of_last(&path, 3).unwrap(), at(1, 4));
        assert_eq!(start_of_last(&path, 6).unwrap(), at(2, 0));
        assert_eq!(start_of_last(&path, 100).unwrap(), at(2, 0));
    }

    #[test]
    fn lines_longer_than_a_block_are_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let long = "x".repeat(150_000);
        fs::write(&path, format!("first\n{long}\nlast\n")).unwrap();
        assert_eq!(start_of_last(&path, 2).unwrap(), at(0, 6));
        assert_eq!(start_of_last(&path, 1).unwrap(), at(0, 6 + 150_001));
    }
}
