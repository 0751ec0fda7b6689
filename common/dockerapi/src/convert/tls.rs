//! The root of trust as Docker shows it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::types::TlsInfo;

/// Root PEM, and subject and public key of its first certificate in DER. What cannot be read is left out.
pub fn tls_info(root_pem: &[u8]) -> TlsInfo {
    let trust_root = String::from_utf8_lossy(root_pem).into_owned();
    let mut info = TlsInfo { trust_root, ..TlsInfo::default() };
    if let Some(der) = first_certificate(&info.trust_root)
        && let Ok((_, certificate)) = X509Certificate::from_der(&der)
    {
        info.cert_issuer_subject = certificate.subject().as_raw().to_vec();
        info.cert_issuer_public_key = certificate.public_key().raw.to_vec();
    }
    info
}

fn first_certificate(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let base64: String = body.split_whitespace().collect();
    STANDARD.decode(base64).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_certificate_no_fields() {
        assert_eq!(tls_info(b""), TlsInfo::default());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(tls_info(broken.as_bytes()), TlsInfo { trust_root: broken.into(), ..TlsInfo::default() });
    }
}
