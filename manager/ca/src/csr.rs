//! What is read of a certificate signing request: its public key, once the request has proved that its sender holds
//! the private one. Subject, extensions and everything else in it are not even looked at.

use x509_parser::{
    certification_request::X509CertificationRequest,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY},
    pem::parse_x509_pem,
    prelude::FromDer as _,
    x509::SubjectPublicKeyInfo,
};

use crate::CaError;

/// A request for one small key needs a few hundred bytes.
const MAX_BYTES: usize = 16 << 10;

/// The public key in `csr_pem`: SubjectPublicKeyInfo, DER. It must be a P-256 key, and the request signed with it.
/// Two requests with the same key are the same request.
pub fn public_key_of(csr_pem: &[u8]) -> Result<Vec<u8>, CaError> {
    if csr_pem.len() > MAX_BYTES {
        return Err(CaError::Request("it is too large".into()));
    }
    let (_, pem) = parse_x509_pem(csr_pem).map_err(|_| CaError::Request("it is not PEM".into()))?;
    let (_, csr) =
        X509CertificationRequest::from_der(&pem.contents).map_err(|_| CaError::Request("it cannot be read".into()))?;
    let key = &csr.certification_request_info.subject_pki;
    if !is_p256(key) {
        return Err(CaError::Request("its key is not an ECDSA P-256 key".into()));
    }
    csr.verify_signature().map_err(|_| CaError::Request("its signature is wrong".into()))?;
    Ok(key.raw.to_vec())
}

fn is_p256(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PublicKeyData as _};
    use skep_common::net::identity::new_key_and_csr;

    use super::*;

    fn error(csr_pem: &[u8]) -> String {
        public_key_of(csr_pem).unwrap_err().to_string()
    }

    #[test]
    fn gives_the_key_that_signed_it() {
        let (key, csr) = new_key_and_csr().unwrap();
        let key = KeyPair::from_pem(key.expose()).unwrap();
        assert_eq!(public_key_of(csr.as_bytes()).unwrap(), key.subject_public_key_info());
    }

    #[test]
    fn other_kinds_of_key_are_refused() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        assert!(error(csr.as_bytes()).ends_with("its key is not an ECDSA P-256 key"));
    }

    #[test]
    fn a_request_for_another_ones_key_is_refused() {
        // The last byte before the signature's end is part of it; flipping it leaves everything else intact.
        let (_, csr) = new_key_and_csr().unwrap();
        let (_, pem) = parse_x509_pem(csr.as_bytes()).unwrap();
        let mut der = pem.contents;
        *der.last_mut().unwrap() ^= 1;
        let forged = pem_of(&der);
        assert!(error(forged.as_bytes()).ends_with("its signature is wrong"));
    }

    #[test]
    fn junk_is_refused() {
        assert!(error(b"").ends_with("it is not PEM"));
        assert!(
            error(b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n")
                .ends_with("it cannot be read")
        );
        assert!(error(&vec![b'A'; MAX_BYTES + 1]).ends_with("it is too large"));
        let (_, csr) = new_key_and_csr().unwrap();
        for end in 0..csr.len() - 30 {
            assert!(public_key_of(&csr.as_bytes()[..end]).is_err());
        }
    }

    fn pem_of(der: &[u8]) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::from("-----BEGIN CERTIFICATE REQUEST-----\n");
        for (index, chunk) in der.chunks(3).enumerate() {
            let bits = chunk.iter().enumerate().fold(0u32, |bits, (i, byte)| bits | u32::from(*byte) << (16 - 8 * i));
            for position in 0..4 {
                let digit = ALPHABET[(bits >> (18 - 6 * position)) as usize & 63];
                text.push(if position > chunk.len() { '=' } else { digit.into() });
            }
            if index % 16 == 15 {
                text.push('\n');
            }
        }
        text + "\n-----END CERTIFICATE REQUEST-----\n"
    }
}
