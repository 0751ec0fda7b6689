//! What a power cut would leave of a directory, for tests: recorded around every sync while the real code runs on a real disk.
//!
//! Of a file the content of its last sync is there for certain, of the directory the names of its last sync. What came after may be
//! there or not: a name without the content it was written for, a content under its old name, all of it or nothing.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

type Names = BTreeMap<OsString, u64>;
type Contents = BTreeMap<u64, Vec<u8>>;

/// One moment at which the power may go.
#[derive(Debug, Clone)]
pub struct Cut {
    durable: Left,
    present: Left,
}

/// The files of the directory, by inode.
#[derive(Debug, Clone, Default)]
pub struct Left {
    names: Names,
    contents: Contents,
}

struct Recorder {
    directory: PathBuf,
    inode: u64,
    durable: Left,
    cuts: Vec<Cut>,
}

thread_local! {
    static RECORDER: RefCell<Option<Recorder>> = const { RefCell::new(None) };
}

/// Runs `act` on this thread. What it came to, and every moment at which the power may go meanwhile; the last one is after it.
/// Everything in `directory` counts as durable at the beginning. Nothing in it may be a directory.
///
/// # Panics
/// When the directory cannot be read: this is for tests.
#[expect(clippy::expect_used, reason = "for tests")]
pub fn record<T>(directory: &Path, act: impl FnOnce() -> T) -> (T, Vec<Cut>) {
    let durable = Left::read(directory).expect("the directory can be read");
    let inode = fs::metadata(directory).expect("the directory is there").ino();
    let recorder = Recorder { directory: directory.to_owned(), inode, durable, cuts: Vec::new() };
    RECORDER.with(|cell| cell.replace(Some(recorder)));
    let result = act();
    before_sync();
    let recorder = RECORDER.with(|cell| cell.take()).expect("it was put there");
    (result, recorder.cuts)
}

impl Cut {
    /// What may be left.
    pub fn outcomes(&self) -> Vec<Left> {
        let mixed = |names: &Names, contents: &Contents| Left { names: names.clone(), contents: contents.clone() };
        let mut outcomes = vec![
            mixed(&self.durable.names, &self.durable.contents),
            mixed(&self.present.names, &self.durable.contents),
            mixed(&self.durable.names, &self.present.contents),
            mixed(&self.present.names, &self.present.contents),
        ];
        for left in &mut outcomes {
            // A name may be there before the first byte of its file.
            for inode in left.names.values() {
                left.contents.entry(*inode).or_default();
            }
        }
        outcomes
    }
}

impl Left {
    fn read(directory: &Path) -> io::Result<Self> {
        let mut left = Self::default();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let inode = entry.metadata()?.ino();
            left.names.insert(entry.file_name(), inode);
            left.contents.insert(inode, fs::read(entry.path())?);
        }
        Ok(left)
    }

    /// The content of a file, if it is there.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.contents.get(self.names.get(&OsString::from(name))?).map(Vec::as_slice)
    }

    /// Makes it a real directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_to(&self, directory: &Path) -> io::Result<()> {
        for (name, inode) in &self.names {
            fs::write(directory.join(name), self.contents.get(inode).map_or(&[][..], Vec::as_slice))?;
        }
        Ok(())
    }
}

/// A sync is about to be made: until it is, everything since the last one is open.
pub(super) fn before_sync() {
    with_recorder(|recorder| {
        // Files come and go while this looks, but only by the thread that looks.
        if let Ok(mut present) = Left::read(&recorder.directory) {
            // A file that was renamed or removed may keep the old name.
            for (inode, content) in &recorder.durable.contents {
                present.contents.entry(*inode).or_insert_with(|| content.clone());
            }
            recorder.cuts.push(Cut { durable: recorder.durable.clone(), present });
        }
    });
}

/// A file or directory was synced.
pub(super) fn note_sync(file: &File) -> io::Result<()> {
    let metadata = file.metadata()?;
    let mut noted = Ok(());
    with_recorder(|recorder| {
        if metadata.is_dir() {
            if metadata.ino() == recorder.inode {
                noted = Left::read(&recorder.directory).map(|present| recorder.durable.names = present.names);
            }
            return;
        }
        let read = || -> io::Result<Vec<u8>> {
            // The file's own position is its owner's.
            let mut content = Vec::new();
            File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))?
                .read_to_end(&mut content)?;
            Ok(content)
        };
        noted = read().map(|content| drop(recorder.durable.contents.insert(metadata.ino(), content)));
    });
    noted
}

fn with_recorder(act: impl FnOnce(&mut Recorder)) {
    RECORDER.with(|cell| {
        if let Some(recorder) = cell.borrow_mut().as_mut() {
            act(recorder);
        }
    });
}
