//! The root: a self-signed P-256 certificate of 20 years whose key lives in the encrypted replicated state.
//!
//! What it issues: CN = node id, OU = role, O = swarm id, DNS names for both (managers also `swarm-ca`), CA:FALSE, for TLS on
//! both ends, begun an hour ago because clocks differ.

use std::{fmt, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SanType, SerialNumber, SubjectPublicKeyInfo,
};
use skep_common::{
    clock::Timestamp,
    limits::{CERTIFICATE_BACKDATE, ROOT_LIFETIME},
    net::identity::role_unit,
    random,
    secret::Secret,
};
use skep_proto::v1::{Certificate, NodeRole};
use x509_parser::{pem::parse_x509_pem, time::ASN1Time};

use crate::{CaError, public_key_of};

/// Name of the root, and the DNS name of the managers that speak for it.
const CA_NAME: &str = "swarm-ca";

/// Whom a certificate is for.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The node.
    pub node_id: &'a str,
    /// The swarm.
    pub cluster_id: &'a str,
    /// What the node may be.
    pub role: NodeRole,
}

/// The swarm's root certificate and its key.
pub struct RootCa {
    certificate_pem: String,
    key_pem: Secret<String>,
    not_before: Timestamp,
    expires_at: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

impl RootCa {
    /// A new root for the swarm `cluster_id`.
    pub fn generate(now: Timestamp, cluster_id: &str) -> Result<Self, CaError> {
        Self::try_generate(now, cluster_id).map_err(|error| CaError::Root(error.to_string()))
    }

    fn try_generate(now: Timestamp, cluster_id: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(now, now + ROOT_LIFETIME)?;
        params.distinguished_name.push(DnType::CommonName, CA_NAME);
        params.distinguished_name.push(DnType::OrganizationName, cluster_id);
        // One certificate may stand between it and a node's: the next root, cross-signed while roots rotate.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self {
            certificate_pem: params.self_signed(&key)?.pem(),
            key_pem: Secret::new(key.serialize_pem()),
            not_before: whole_seconds(now - CERTIFICATE_BACKDATE),
            expires_at: whole_seconds(now + ROOT_LIFETIME),
            issuer: Issuer::new(params, key),
        })
    }

    /// The root that [`Self::certificate_pem`] and [`Self::key_pem`] once gave.
    pub fn from_pem(certificate_pem: &[u8], key_pem: Secret<String>) -> Result<Self, CaError> {
        let invalid = |reason: &dyn fmt::Display| CaError::Root(reason.to_string());
        let certificate_text = std::str::from_utf8(certificate_pem).map_err(|_| invalid(&"it is not PEM"))?;
        let (_, pem) = parse_x509_pem(certificate_pem).map_err(|_| invalid(&"it is not PEM"))?;
        let certificate = pem.parse_x509().map_err(|error| invalid(&error))?;
        if !certificate.is_ca() {
            return Err(invalid(&"its certificate is not an authority's"));
        }
        let key = KeyPair::from_pem(key_pem.expose()).map_err(|error| invalid(&error))?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(invalid(&"its key belongs to another certificate"));
        }
        Ok(Self {
            not_before: Timestamp::from_secs(certificate.validity().not_before.timestamp()),
            expires_at: Timestamp::from_secs(certificate.validity().not_after.timestamp()),
            issuer: Issuer::from_ca_cert_pem(certificate_text, key).map_err(|error| invalid(&error))?,
            certificate_pem: certificate_text.to_owned(),
            key_pem,
        })
    }

    /// The certificate: what nodes trust and a join token's digest is of.
    pub fn certificate_pem(&self) -> &[u8] {
        self.certificate_pem.as_bytes()
    }

    /// When it began: no right clock says less.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// The key. Belongs into the encrypted replicated state and nowhere else.
    pub fn key_pem(&self) -> &Secret<String> {
        &self.key_pem
    }

    /// A certificate for the key in `csr_pem`, valid from an hour before `now` until `lifetime` after it, never longer than
    /// the root itself.
    pub fn issue(
        &self,
        csr_pem: &[u8],
        subject: Subject<'_>,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Certificate, CaError> {
        self.certify(public_key_of(csr_pem)?, subject, now, lifetime)
    }

    /// The same for a key taken from its request earlier with [`public_key_of`].
    pub fn certify(
        &self,
        public_key: Vec<u8>,
        subject: Subject<'_>,
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<Certificate, CaError> {
        let expires_at = whole_seconds((now + lifetime).min(self.expires_at));
        let certificate =
            self.leaf(&public_key, subject, now, expires_at).map_err(|error| CaError::Issue(error.to_string()))?;
        Ok(Certificate {
            public_key,
            certificate_pem: certificate.into_bytes(),
            role: subject.role.into(),
            expires_at: expires_at.as_nanos(),
        })
    }

    fn leaf(
        &self,
        public_key: &[u8],
        subject: Subject<'_>,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<String, rcgen::Error> {
        let unit = role_unit(subject.role);
        let mut params = params(now, expires_at)?;
        params.distinguished_name.push(DnType::CommonName, subject.node_id);
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
        params.distinguished_name.push(DnType::OrganizationName, subject.cluster_id);
        let mut names = vec![unit, subject.node_id];
        if subject.role == NodeRole::Manager {
            names.push(CA_NAME);
        }
        for name in names {
            params.subject_alt_names.push(SanType::DnsName(name.try_into()?));
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = SubjectPublicKeyInfo::from_der(public_key)?;
        Ok(params.signed_by(&key, &self.issuer)?.pem())
    }
}

impl fmt::Debug for RootCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootCa").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

fn params(now: Timestamp, expires_at: Timestamp) -> Result<CertificateParams, rcgen::Error> {
    let date = |time: Timestamp| match ASN1Time::from_timestamp(time.as_secs()) {
        Ok(time) => Ok(time.to_datetime()),
        Err(_) => Err(rcgen::Error::Time),
    };
    // 127 random bits: positive in DER, and no two certificates share one.
    let mut serial = random::bytes::<16>();
    serial[0] &= 0x7f;

    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.not_before = date(now - CERTIFICATE_BACKDATE)?;
    params.not_after = date(expires_at)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// X.509 counts seconds.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_secs(time.as_secs())
}

#[cfg(test)]
mod tests;
