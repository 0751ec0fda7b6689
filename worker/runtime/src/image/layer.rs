//! Unpacks a layer into a directory overlayfs can stack.
//!
//! What an image layer says with `.wh.` names (OCI image layer specification, "Whiteouts") is said as overlayfs
//! says it: a character device 0/0 hides a name, the attribute `trusted.overlay.opaque` hides a directory's content.

use std::{
    fs::{self, File, Permissions},
    io::{self, Read},
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::io::Errno;
use tar::{Entry, EntryType};

use super::{
    archive::Spooled,
    bad,
    blobs::{HashingReader, Sha},
    budget::Budget,
    disk, entries,
    reader::decompressed,
    shown,
    tree::{Attributes, DirEntry, Node, Tree},
    unreadable,
};
use crate::RuntimeError;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Other names of this kind are notes of a file system long gone.
const NOTE: &[u8] = b".wh..wh.";
/// How a tar carries extended attributes.
const XATTR: &str = "SCHILY.xattr.";
/// Parts of a name, and of what a symbolic link says: what bounds the work of resolving a name through links.
const MAX_PARTS: usize = 255;

/// Unpacks a layer of this uncompressed digest into a new directory; gives the bytes of its files.
pub(super) fn unpack(layer: &Spooled, diff_id: &Sha, dir: &Path, budget: &mut Budget) -> Result<u64, RuntimeError> {
    fs::create_dir(dir)
        .and_then(|()| fs::set_permissions(dir, Permissions::from_mode(0o755)))
        .map_err(|error| disk("cannot make a layer's directory", &error))?;
    let tree = Tree::open(dir).map_err(|error| disk("cannot open a layer's directory", &error))?;
    let file = File::open(&layer.path).map_err(|error| disk("cannot read back the image", &error))?;
    let unreadable = |error: io::Error| unreadable(&format!("layer {diff_id}"), &error);

    let mut tar = HashingReader::new(decompressed(file).map_err(unreadable)?);
    let mut unpacker = Unpacker { tree, budget, size: 0, directories: Vec::new() };
    entries::for_each(&mut tar, &format!("layer {diff_id}"), |entry| unpacker.entry(entry))?;
    let size = unpacker.finish()?;

    let digest = tar.finish(entries::MAX_HEADERS).map_err(unreadable)?;
    if digest == *diff_id { Ok(size) } else { Err(bad(format!("layer {diff_id} has the digest {digest}"))) }
}

struct Unpacker<'a> {
    tree: Tree,
    budget: &'a mut Budget,
    size: u64,
    /// Directories and their ages, set last: what is put into a directory makes it young again.
    directories: Vec<(PathBuf, i64)>,
}

impl Unpacker<'_> {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<(), RuntimeError> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        let path = inside(&entry.path().map_err(|error| bad(error.to_string()))?)?;
        self.budget.entry(path.components().count())?;

        let refused = |error: io::Error| cannot_unpack(&path, &error);
        if self.whiteout(&path).map_err(refused)? {
            return Ok(());
        }
        let made = self.tree.entry(&path).map_err(refused)?;
        match kind {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let (size, what) = (entry.size(), shown(&path));
                let mut file = made.make_file().map_err(refused)?;
                self.size += entries::copy(&mut *entry, size, &what, &mut file, self.budget, |_| {})?;
            }
            EntryType::Directory => made.make_directory().map_err(refused)?,
            EntryType::Symlink => {
                let target = target(entry, &path)?;
                if target.components().count() > MAX_PARTS {
                    return Err(bad(format!("{} is a link of more than {MAX_PARTS} parts", shown(&path))));
                }
                made.make_symlink(&target).map_err(refused)?;
            }
            EntryType::Link => {
                let target = inside(&target(entry, &path)?)?;
                let source = self.tree.entry(&target).map_err(refused)?;
                return made.make_link(&source).map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => {
                        bad(format!("{} is a link to {}, which is not there", shown(&path), shown(&target)))
                    }
                    _ => refused(error),
                });
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                made.make_node(node(entry, kind)?).map_err(refused)?;
            }
            _ => return Err(bad(format!("{} is of a kind no layer has", shown(&path)))),
        }
        let attributes = attributes(entry)?;
        made.set_attributes(attributes).map_err(refused)?;
        if matches!(kind, EntryType::Directory) {
            self.directories.push((path.clone(), attributes.mtime));
        }
        if matches!(kind, EntryType::Regular | EntryType::Directory) {
            xattrs(entry, &made).map_err(refused)?;
        }
        Ok(())
    }

    /// Deals with a `.wh.` name; false when the path is an ordinary one.
    fn whiteout(&self, path: &Path) -> io::Result<bool> {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let parent = path.parent().unwrap_or(Path::new(""));
        if name == OPAQUE {
            self.tree.entry(&parent.join(".opaque"))?; // makes the directory
            self.tree.entry(parent)?.set_xattr("trusted.overlay.opaque", b"y")?;
            return Ok(true);
        }
        if name.starts_with(NOTE) {
            return Ok(true);
        }
        let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(false) };
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.tree.entry(&parent.join(std::ffi::OsStr::from_bytes(hidden)))?.make_node(Node::Character(0, 0))?;
        Ok(true)
    }

    fn finish(self) -> Result<u64, RuntimeError> {
        for (path, mtime) in self.directories.iter().rev() {
            self.budget.step()?;
            // Later entries may have put something else there.
            let _ = self.tree.entry(path).and_then(|made| made.set_mtime(*mtime));
        }
        Ok(self.size)
    }
}

/// A path of normal parts only.
fn inside(path: &Path) -> Result<PathBuf, RuntimeError> {
    let mut parts = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part),
            _ => return Err(bad(format!("{} leads out of its layer", shown(path)))),
        }
    }
    if parts.components().count() > MAX_PARTS {
        return Err(bad(format!("{} has more than {MAX_PARTS} parts", shown(path))));
    }
    Ok(parts)
}

/// Tells what no disk can do from what this disk cannot.
fn cannot_unpack(path: &Path, error: &io::Error) -> RuntimeError {
    use io::ErrorKind::{
        AlreadyExists, InvalidData, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound, TooManyLinks,
    };
    let what = format!("cannot unpack {}", shown(path));
    let impossible = matches!(
        error.kind(),
        AlreadyExists
            | InvalidData
            | InvalidFilename
            | InvalidInput
            | IsADirectory
            | NotADirectory
            | NotFound
            | TooManyLinks
    );
    // EPERM is a hard link to a directory; ELOOP, links in a circle.
    let impossible =
        impossible || matches!(error.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::PERM | Errno::LOOP));
    if impossible { bad(format!("{what}: {error}")) } else { disk(&what, error) }
}

fn target(entry: &Entry<'_, impl Read>, path: &Path) -> Result<PathBuf, RuntimeError> {
    let target = entry.link_name().ok().flatten().filter(|target| !target.as_os_str().is_empty());
    Ok(target.ok_or_else(|| bad(format!("{} is a link to nowhere", shown(path))))?.into_owned())
}

fn node(entry: &Entry<'_, impl Read>, kind: EntryType) -> Result<Node, RuntimeError> {
    let number = |number: io::Result<Option<u32>>| number.ok().flatten().ok_or_else(|| bad("a device has no number"));
    let header = entry.header();
    Ok(match kind {
        EntryType::Char => Node::Character(number(header.device_major())?, number(header.device_minor())?),
        EntryType::Block => Node::Block(number(header.device_major())?, number(header.device_minor())?),
        _ => Node::Fifo,
    })
}

fn attributes(entry: &Entry<'_, impl Read>) -> Result<Attributes, RuntimeError> {
    let header = entry.header();
    let invalid = |_| bad("an entry's owner or mode makes no sense");
    let id = |id: io::Result<u64>| {
        // The highest number stands for "leave as it is" in chown.
        id.ok().and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX).ok_or_else(|| invalid(()))
    };
    Ok(Attributes {
        uid: id(header.uid())?,
        gid: id(header.gid())?,
        mode: header.mode().map_err(|_| invalid(()))?,
        mtime: header.mtime().ok().and_then(|mtime| i64::try_from(mtime).ok()).unwrap_or(0),
    })
}

/// Takes over file capabilities and the attributes users set. Others steer the host's file systems and security
/// modules, overlayfs among them: those are not an image's to set.
fn xattrs(entry: &mut Entry<'_, impl Read>, made: &DirEntry) -> io::Result<()> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(()) };
    for extension in extensions {
        let extension = extension?;
        let name = extension.key().ok().and_then(|key| key.strip_prefix(XATTR));
        if let Some(name) = name.filter(|name| *name == "security.capability" || name.starts_with("user.")) {
            made.set_xattr(name, extension.value_bytes())?;
        }
    }
    Ok(())
}
