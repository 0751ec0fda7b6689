//! Reads what shims wrote: the `json-file` logs of containers, older files included.
//!
//! Owns nothing: it only ever opens log files for reading. The shim may write and rotate while they are read.

mod files;
mod line;
mod reader;
mod stream;
mod tail;

pub(crate) use self::stream::read;
