//! A node: the daemon with its role lifecycle ([`daemon`]) and the Docker Engine API it serves ([`api`]).

pub mod api;
pub mod daemon;
