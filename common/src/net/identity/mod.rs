//! Who this node is: its certificate, its key and the roots it trusts.
//!
//! An [`Identity`] is checked when it is made (the key fits the certificate, the subject is one the swarm's CA
//! writes, there is a root) and never changes; a renewal makes a new one and puts it into the [`IdentityHandle`],
//! which every handshake reads.

mod certificate;
mod csr;
mod files;
mod handle;

use std::{fmt, io, path::PathBuf, sync::Arc};

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use skep_proto::v1::NodeRole;

pub use self::{
    certificate::{MANAGER_UNIT, NodeCertificate, WORKER_UNIT, date, role_unit},
    csr::{csr_for, new_key_and_csr},
    handle::IdentityHandle,
};
use crate::secret::Secret;

/// Why something is not an identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate is not one that a swarm's CA writes.
    #[error("node certificate is invalid: {0}")]
    Certificate(String),
    /// The private key cannot be read, or belongs to another certificate.
    #[error("node key is invalid: {0}")]
    Key(String),
    /// The root bundle holds no usable certificate.
    #[error("root CA certificate is invalid: {0}")]
    Roots(String),
    /// No identity is saved there.
    #[error("there is no node certificate in {0}")]
    Missing(PathBuf),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A node's identity in one swarm. Immutable.
pub struct Identity {
    certificate: NodeCertificate,
    chain_pem: Vec<u8>,
    key_pem: Secret<String>,
    roots_pem: Vec<u8>,
    certified_key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
}

impl Identity {
    /// Puts an identity together from `chain_pem` (leaf first), the leaf's private key (PKCS#8 PEM) and the bundle of
    /// roots to trust. Expired certificates are taken: a node that was off for long must still be able to start.
    pub fn from_pem(chain_pem: &[u8], key_pem: Secret<String>, roots_pem: &[u8]) -> Result<Self, IdentityError> {
        let chain = CertificateDer::pem_slice_iter(chain_pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| IdentityError::Certificate(error.to_string()))?;
        let leaf = chain.first().ok_or_else(|| IdentityError::Certificate("it is empty".into()))?;
        let certificate = NodeCertificate::from_der(leaf)?;

        let key = PrivateKeyDer::from_pem_slice(key_pem.expose().as_bytes())
            .map_err(|error| IdentityError::Key(error.to_string()))?;
        let signing_key = any_supported_type(&key).map_err(|error| IdentityError::Key(error.to_string()))?;
        let certified_key = CertifiedKey::new(chain, signing_key);
        certified_key.keys_match().map_err(|_| IdentityError::Key("it belongs to another certificate".into()))?;

        Ok(Self {
            certificate,
            chain_pem: chain_pem.to_vec(),
            key_pem,
            roots_pem: roots_pem.to_vec(),
            certified_key: Arc::new(certified_key),
            roots: Arc::new(parse_roots(roots_pem)?),
        })
    }

    /// The leaf certificate: node, swarm, role, validity.
    pub fn certificate(&self) -> &NodeCertificate {
        &self.certificate
    }

    /// The node's id.
    pub fn node_id(&self) -> &str {
        &self.certificate.node_id
    }

    /// The swarm's id.
    pub fn cluster_id(&self) -> &str {
        &self.certificate.cluster_id
    }

    /// The role the certificate was issued for.
    pub fn role(&self) -> NodeRole {
        self.certificate.role
    }

    /// The certificate chain, leaf first.
    pub fn chain_pem(&self) -> &[u8] {
        &self.chain_pem
    }

    /// The private key.
    pub fn key_pem(&self) -> &Secret<String> {
        &self.key_pem
    }

    /// The roots this node trusts.
    pub fn roots_pem(&self) -> &[u8] {
        &self.roots_pem
    }

    pub(crate) fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified_key
    }

    pub(crate) fn roots(&self) -> &Arc<RootCertStore> {
        &self.roots
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The certificates of a root bundle. Every one must parse: a bundle with a spoiled part is not silently smaller.
pub(crate) fn parse_roots(roots_pem: &[u8]) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(roots_pem) {
        let root = root.map_err(|error| IdentityError::Roots(error.to_string()))?;
        roots.add(root).map_err(|error| IdentityError::Roots(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(IdentityError::Roots("it is empty".into()));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::TestCa;

    fn pem(identity: &Identity) -> (Vec<u8>, Secret<String>, Vec<u8>) {
        (identity.chain_pem().to_vec(), identity.key_pem().clone(), identity.roots_pem().to_vec())
    }

    #[test]
    fn reads_node_swarm_and_role_from_the_certificate() {
        let identity = TestCa::new("swarm").identity("node", NodeRole::Manager);
        assert_eq!((identity.node_id(), identity.cluster_id(), identity.role()), ("node", "swarm", NodeRole::Manager));
        let shown = format!("{identity:?}");
        assert!(!shown.contains("PRIVATE") && shown.contains("node"), "{shown}");
    }

    #[test]
    fn refuses_what_does_not_belong_together() {
        let ca = TestCa::new("swarm");
        let (chain, key, roots) = pem(&ca.identity("a", NodeRole::Worker));
        let (_, other_key, _) = pem(&ca.identity("b", NodeRole::Worker));
        let error = |chain: &[u8], key: &Secret<String>, roots: &[u8]| {
            Identity::from_pem(chain, key.clone(), roots).unwrap_err().to_string()
        };
        assert_eq!(error(&chain, &other_key, &roots), "node key is invalid: it belongs to another certificate");
        assert_eq!(error(b"", &key, &roots), "node certificate is invalid: it is empty");
        assert_eq!(error(&chain, &key, b""), "root CA certificate is invalid: it is empty");
        assert!(error(&chain, &Secret::new("junk".into()), &roots).starts_with("node key is invalid: "));
        // A root is no node.
        assert!(error(&roots, &key, &roots).starts_with("node certificate is invalid: "));
    }
}
