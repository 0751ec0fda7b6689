//! How much room a container takes: what it wrote, and all that with its image. Files are counted as Docker counts
//! them: their lengths, each of several names of one file once, directories not at all.
//!
//! A container may have written any number of files, so counting has an end: who asks for sizes gives it.

use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use http::StatusCode;
use skep_runtime::{ContainerState, RuntimeError};

use super::{error::ApiError, state::Api};

/// How long the counting of one answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    /// That it wrote.
    pub(super) written: u64,
    /// Those and its image's.
    pub(super) all: u64,
}

/// The sizes of a container, unless counting them is not done by `end`.
pub(super) async fn of(api: &Api, container: &ContainerState, end: Instant) -> Result<Sizes, ApiError> {
    let image = match api.backend.runtime.image(&container.image_id).await {
        Ok(image) => image.size,
        Err(RuntimeError::NoSuchImage(_)) => 0,
        Err(error) => return Err(error.into()),
    };
    let upper = container.directory.join("upper");
    let counted = tokio::task::spawn_blocking(move || below(upper, end)).await;
    let written = counted.unwrap_or_else(|failed| Err(io::Error::other(failed))).map_err(|error| {
        let text = format!("the size of the container {} cannot be found out: {error}", container.name);
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    })?;
    Ok(Sizes { written, all: written.saturating_add(image) })
}

/// Bytes of the files below a directory. What goes away meanwhile counts nothing; nothing that leads elsewhere is
/// followed.
fn below(directory: PathBuf, end: Instant) -> io::Result<u64> {
    fn there<T>(result: io::Result<T>) -> io::Result<Option<T>> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }
    let (mut left, mut seen, mut bytes) = (vec![directory], BTreeSet::new(), 0_u64);
    while let Some(directory) = left.pop() {
        let Some(entries) = there(fs::read_dir(directory))? else { continue };
        for entry in entries {
            if Instant::now() > end {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "there are too many files to count"));
            }
            let entry = entry?;
            let Some(metadata) = there(entry.metadata())? else { continue };
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.nlink() == 1 || seen.insert((metadata.dev(), metadata.ino())) {
                bytes = bytes.saturating_add(metadata.len());
            }
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_directories_not() {
        let dir = tempfile::tempdir().unwrap();
        let upper = dir.path().join("upper");
        fs::create_dir_all(upper.join("a/b")).unwrap();
        fs::write(upper.join("one"), "123").unwrap();
        fs::write(upper.join("a/b/two"), "12345").unwrap();
        fs::hard_link(upper.join("one"), upper.join("a/same")).unwrap();
        fs::write(dir.path().join("outside"), "1234567").unwrap();
        std::os::unix::fs::symlink("../outside", upper.join("link")).unwrap();
        let end = Instant::now() + PATIENCE;
        let link = u64::try_from("../outside".len()).unwrap();
        assert_eq!(below(upper.clone(), end).unwrap(), 3 + 5 + link);
        assert_eq!(below(dir.path().join("gone"), end).unwrap(), 0);
        let late = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(below(upper, late).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
