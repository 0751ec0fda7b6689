//! Nodes talking to nodes: who a node is ([`identity`]), the TLS between them ([`tls`]), serving calls ([`server`]),
//! making them ([`dial`]), passing them on ([`forward`]), trying again ([`backoff`]) and sharing out the connections a
//! listener can hold ([`permits`]).

pub mod backoff;
pub mod dial;
pub mod forward;
pub mod identity;
pub mod permits;
pub mod server;
pub mod source;
pub mod tls;

#[cfg(test)]
mod testing;
