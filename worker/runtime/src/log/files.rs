//! The files of one log: `container.log` and, older with each number, `container.log.1`, `.2`, …

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// The path of the `n`th generation; 0 is the one written to.
pub(super) fn generation(path: &Path, n: usize) -> PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    name.into()
}

/// How many generations there are.
pub(super) fn count(path: &Path) -> usize {
    (0..).take_while(|n| generation(path, *n).exists()).count()
}

/// Whether an open file is the one at this path.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The generation after an open file, which may have moved up meanwhile; `None` when it is the newest. Of a file that was
/// rotated away altogether, the oldest that is left is next.
pub(super) fn following(file: &File, path: &Path) -> io::Result<Option<usize>> {
    if is_at(file, path)? {
        return Ok(None);
    }
    let count = count(path);
    for n in 1..count {
        if is_at(file, &generation(path, n))? {
            return Ok(Some(n - 1));
        }
    }
    Ok(count.checked_sub(1))
}
