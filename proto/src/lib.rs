//! The one vocabulary of log, snapshot and wire: generated from `skep/v1/*.proto`.
//!
//! Invariants: maps are ordered, so equal messages encode to equal bytes; messages that hold secrets
//! never show them in `Debug`.

#![allow(missing_docs, reason = "generated; the .proto files carry the documentation")]
#![allow(clippy::large_enum_variant, reason = "generated")]

pub use prost::Message;

/// Package `skep.v1`.
pub mod v1 {
    tonic::include_proto!("skep.v1");
}

mod redacted;
mod shared;

pub use shared::Shared;

/// The compiled descriptors of every file, for tests that go over all services.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/skep.bin"));
