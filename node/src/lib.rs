//! the daemon: role lifecycle and the Docker Engine API server.

pub mod api;
