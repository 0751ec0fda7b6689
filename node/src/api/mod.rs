//! The Docker Engine API: what the unmodified `docker` CLI speaks, over the traits of [`backend`].
//!
//! A request goes: `server` (connection, limits) → `router` (version, route) → one handler → `backend`. Handlers
//! translate and nothing more: JSON and words become proto in `skep-dockerapi`, decisions are the manager's.

pub mod backend;

mod body;
mod call;
mod container_size;
mod containers;
mod error;
mod event_log;
mod events;
mod host;
mod image_path;
mod images;
mod info;
mod inspect;
mod jobs;
mod load;
mod logs;
mod networks;
mod nodes;
mod not_yet;
mod parameters;
mod ping;
mod reasons;
mod request;
mod revisions;
mod router;
mod server;
mod services;
mod state;
mod swarm;
mod tasks;
mod version;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use self::server::serve;
