//! Certificate signing requests: a new key, and a request for its public half.

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};

use super::IdentityError;
use crate::secret::Secret;

/// A new P-256 key (PKCS#8 PEM) and a signing request for it (PEM). The request names no subject: the CA decides that.
pub fn new_key_and_csr() -> Result<(Secret<String>, String), IdentityError> {
    let failed = |error: rcgen::Error| IdentityError::Key(error.to_string());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let csr = csr(&key).map_err(failed)?;
    Ok((Secret::new(key.serialize_pem()), csr))
}

/// A signing request (PEM) for a key there is already (PKCS#8 PEM). Its signature proves that the sender holds the key.
pub fn csr_for(key_pem: &Secret<String>) -> Result<String, IdentityError> {
    let failed = |error: rcgen::Error| IdentityError::Key(error.to_string());
    csr(&KeyPair::from_pem(key_pem.expose()).map_err(failed)?).map_err(failed)
}

fn csr(key: &KeyPair) -> Result<String, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serialize_request(key)?.pem()
}
