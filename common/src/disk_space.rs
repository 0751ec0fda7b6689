//! Free space of a file system, and the levels at which it counts as nearly full, full, or in danger.
//!
//! The node itself writes little (the managers' log, records, exit codes); containers and images may write without end. So
//! those are stopped early, one after the other, and the space below the last limit is reserved for the node.

use std::{io, path::Path};

/// Nearly full: less than a twentieth is free, and on a large disk less than this.
const NEARLY_FULL_BYTES: u64 = 1 << 30;
/// See [`NEARLY_FULL_BYTES`].
const NEARLY_FULL_SHARE: u64 = 20;

/// A file system's room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// Bytes that can be written without the reserve some file systems keep for root.
    pub free: u64,
    /// Bytes of the whole file system.
    pub total: u64,
    /// Files that can be made; [`u64::MAX`] where that has no limit of its own.
    pub free_files: u64,
    /// Files there can be, likewise.
    pub total_files: u64,
}

/// What a file system's room means. In the order of getting worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskLevel {
    /// There is room.
    Plenty,
    /// No image is taken in any more.
    NearlyFull,
    /// No container is started and no log is written any more.
    Full,
    /// Something on the node goes on writing: whatever takes the most is ended.
    Danger,
}

impl DiskLevel {
    /// What is wrong, in two or three words; `None` while nothing is.
    #[must_use]
    pub fn problem(self) -> Option<&'static str> {
        match self {
            Self::Plenty => None,
            Self::NearlyFull => Some("disk nearly full"),
            Self::Full | Self::Danger => Some("disk full"),
        }
    }
}

impl DiskSpace {
    /// Asks the file system that `path` is on.
    ///
    /// # Errors
    /// There is no such path.
    pub fn of(path: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(path)?;
        // Some file systems make files as long as there are bytes, and say 0.
        let (free_files, total_files) =
            if stat.f_files == 0 { (u64::MAX, u64::MAX) } else { (stat.f_favail, stat.f_files) };
        Ok(Self {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_files,
            total_files,
        })
    }

    /// What the room means.
    #[must_use]
    pub fn level(&self) -> DiskLevel {
        [DiskLevel::Danger, DiskLevel::Full, DiskLevel::NearlyFull]
            .into_iter()
            .find(|level| self.free < self.begin_of(*level) || self.free_files < self.files_of(*level))
            .unwrap_or(DiskLevel::Plenty)
    }

    /// Free bytes below which a level begins: each limit is half the one before.
    #[must_use]
    pub fn begin_of(&self, level: DiskLevel) -> u64 {
        halved((self.total / NEARLY_FULL_SHARE).min(NEARLY_FULL_BYTES), level)
    }

    fn files_of(&self, level: DiskLevel) -> u64 {
        if self.total_files == u64::MAX { 0 } else { halved(self.total_files / NEARLY_FULL_SHARE, level) }
    }

    /// Whether this many more bytes leave the file system with room.
    #[must_use]
    pub fn has_room_for(&self, bytes: u64) -> bool {
        let after = Self { free: self.free.saturating_sub(bytes), ..*self };
        bytes <= self.free && after.level() == DiskLevel::Plenty
    }
}

fn halved(nearly_full: u64, level: DiskLevel) -> u64 {
    match level {
        DiskLevel::Plenty => u64::MAX,
        DiskLevel::NearlyFull => nearly_full,
        DiskLevel::Full => nearly_full / 2,
        DiskLevel::Danger => nearly_full / 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn disk(total: u64, free: u64) -> DiskSpace {
        DiskSpace { free, total, free_files: u64::MAX, total_files: u64::MAX }
    }

    #[test]
    fn limits_follow_the_size_of_the_disk_up_to_a_point() {
        let levels = |total: u64, frees: [u64; 4]| frees.map(|free| disk(total, free).level());
        let in_order = [DiskLevel::Plenty, DiskLevel::NearlyFull, DiskLevel::Full, DiskLevel::Danger];
        assert_eq!(levels(200 * MIB, [10 * MIB, 9 * MIB, 4 * MIB, 2 * MIB]), in_order);
        assert_eq!(levels(4 << 40, [1024 * MIB, 1023 * MIB, 511 * MIB, 255 * MIB]), in_order);
    }

    #[test]
    fn a_disk_without_room_for_files_is_full_too() {
        let with_files = |free_files| DiskSpace { free_files, total_files: 1000, ..disk(100 * MIB, 90 * MIB) };
        assert_eq!(with_files(50).level(), DiskLevel::Plenty);
        assert_eq!(with_files(49).level(), DiskLevel::NearlyFull);
        assert_eq!(with_files(0).level(), DiskLevel::Danger);
    }

    #[test]
    fn what_would_fill_it_has_no_room() {
        let disk = disk(200 * MIB, 100 * MIB);
        assert!(disk.has_room_for(90 * MIB));
        assert!(!disk.has_room_for(91 * MIB));
        assert!(!disk.has_room_for(u64::MAX));
    }

    #[test]
    fn every_file_system_can_be_asked() {
        let here = DiskSpace::of(Path::new("/")).unwrap();
        assert!(here.free <= here.total && here.total > 0);
        assert!(DiskSpace::of(Path::new("/no/such/place")).is_err());
    }
}
