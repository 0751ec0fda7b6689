//! Nodes talking to nodes: who a node is ([`identity`]), the TLS between them ([`tls`]), serving calls ([`server`]),
//! making them ([`dial`]), passing them on ([`forward`]) and trying again ([`backoff`]).

pub mod backoff;
pub mod dial;
pub mod forward;
pub mod identity;
pub mod server;
pub mod source;
pub mod tls;

#[cfg(test)]
mod testing;
