//! The swarm's certificate authority: its root ([`RootCa`]), what it reads of a signing request ([`public_key_of`]),
//! who gets in by a join token ([`TokenGate`]), and when a certificate is due ([`renewal_moment`]). No RPC here: the manager wires these to its services.
//!
//! The authority decides all contents of a certificate; it takes nothing but the public key from the request.

mod csr;
mod renewal;
mod root;
mod token_gate;

pub use csr::public_key_of;
pub use renewal::renewal_moment;
pub use root::{RootCa, Subject};
pub use token_gate::{InvalidToken, TokenGate};

/// Why no certificate was issued, or the authority could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The request is malformed, not signed by its own key, or for a kind of key that is not used here.
    #[error("certificate signing request is invalid: {0}")]
    Request(String),
    /// The root's certificate or key cannot be used.
    #[error("root CA is invalid: {0}")]
    Root(String),
    /// The certificate could not be made.
    #[error("cannot issue a certificate: {0}")]
    Issue(String),
}
