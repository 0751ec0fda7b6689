//! The images of this node: taken from archives, verified, unpacked, looked up by name.
//!
//! Owns `<data root>/images`: `blobs/sha256/<hex>` what archives held, `layers/<name>` each layer as a directory for
//! overlayfs, `images.json` the index that makes both into images, `tmp` what a load under way has made so far.
//! A load changes nothing until its last step, the write of the index; what is below `tmp` is worth nothing.

mod archive;
mod blobs;
mod budget;
mod config;
mod entries;
mod index;
mod layer;
mod layout;
mod reader;
mod store;
mod tree;
mod work;

pub(crate) use self::{config::Defaults, index::StoredImage, store::ImageStore};

use std::path::Path;

use crate::RuntimeError;

/// A name an archive uses, as much of it as fits into a sentence.
fn shown(name: &(impl AsRef<Path> + ?Sized)) -> String {
    format!("{:?}", shortened(&name.as_ref().to_string_lossy()))
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    let short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() { short + "…" } else { short }
}

/// The archive is at fault.
fn bad(reason: impl Into<String>) -> RuntimeError {
    RuntimeError::InvalidArchive(reason.into())
}

/// Why a tar cannot be read, without repeating what it holds.
fn unreadable(what: &str, error: &std::io::Error) -> RuntimeError {
    bad(match error.kind() {
        std::io::ErrorKind::UnexpectedEof => format!("{what} ends early"),
        std::io::ErrorKind::TimedOut => format!("{what} took too long to arrive"),
        _ if error.raw_os_error().is_some() => format!("{what} cannot be read: {error}"),
        _ => format!("{what} is not a tar archive, or a damaged one"),
    })
}

/// The disk is at fault.
fn disk(what: &str, error: &dyn std::error::Error) -> RuntimeError {
    RuntimeError::Storage(format!("{what}: {error}"))
}
