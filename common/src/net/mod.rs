//! RPC between nodes: identity ([`identity`]), TLS ([`tls`]), server ([`server`]), dialer ([`dial`]), forwarding to the leader
//! ([`forward`]), retries ([`backoff`]) and limits on connections ([`permits`]).

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
