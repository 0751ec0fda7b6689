//! What all crates share: ids, time, secrets, durable files, disk space, join tokens, validation of input,
//! the bounds, and the table of who may call what.
//!
//! The feature `net` adds [`net`]: node identity, TLS, the RPC server and the dialer. Without it nothing here
//! touches a socket or a runtime, so the pure crates can stand on it.

mod base36;

pub mod authz;
pub mod clock;
pub mod disk_space;
pub mod durable;
pub mod feature_level;
pub mod id;
pub mod limits;
#[cfg(feature = "net")]
pub mod net;
pub mod pages;
pub mod random;
pub mod reserve;
pub mod revision;
pub mod secret;
pub mod template;
pub mod token;
pub mod validate;
