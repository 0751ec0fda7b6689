//! The Docker Engine API as data: its JSON types, its query language, and their conversion to and from proto.
//! No I/O: a server and a client stand on the same types.
//!
//! - [`types`] — what travels, field by field as Docker's Go structs have it;
//! - [`convert`] — between those and the proto vocabulary; enum words are checked here, and nowhere behind;
//! - [`decode`] — JSON into types, as a Go program would, and nothing that was asked for is dropped in silence;
//! - [`filters`], [`time`], [`names`] — filters, times and image names as Docker writes them.

pub mod convert;
pub mod decode;
pub mod filters;
pub mod human;
pub mod names;
pub mod time;
pub mod types;

/// The newest API version spoken: the last whose answers to everything served here are as in [`types`].
pub const API_VERSION: &str = "1.46";

/// The oldest API version spoken, as in today's Docker Engine.
pub const MIN_API_VERSION: &str = "1.24";

/// The one swarm network there is: the host's own. Its id and its name.
pub const HOST_NETWORK: &str = "host";
