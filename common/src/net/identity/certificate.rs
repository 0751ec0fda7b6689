//! Parsing of node certificates. The swarm's CA writes: CN = node id, OU = role, O = swarm id.

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use skep_proto::v1::NodeRole;
use x509_parser::{
    prelude::{FromDer as _, X509Certificate},
    time::ASN1Time,
};

use super::IdentityError;
use crate::clock::Timestamp;

/// Organizational unit (and DNS name) of a manager's certificate.
pub const MANAGER_UNIT: &str = "swarm-manager";
/// Organizational unit (and DNS name) of a worker's certificate.
pub const WORKER_UNIT: &str = "swarm-worker";

/// The organizational unit that stands for `role`.
pub fn role_unit(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Manager => MANAGER_UNIT,
        NodeRole::Worker => WORKER_UNIT,
    }
}

/// A moment as people read it, to the minute: certificates and clocks are compared, not measured.
pub fn date(time: Timestamp) -> String {
    match ASN1Time::from_timestamp(time.as_secs()) {
        Ok(time) => {
            let time = time.to_datetime();
            format!("{} {:02}:{:02} UTC", time.date(), time.hour(), time.minute())
        }
        // A year that no certificate can name.
        Err(_) => format!("{} s after 1970", time.as_secs()),
    }
}

/// The fields of a node's certificate. The signature is checked elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeCertificate {
    /// Common name.
    pub node_id: String,
    /// Organization.
    pub cluster_id: String,
    /// Organizational unit.
    pub role: NodeRole,
    /// Begin of validity; one hour before it was issued.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
}

impl NodeCertificate {
    /// Reads a DER certificate. Each of the three parts of the subject must be there exactly once.
    pub fn from_der(der: &[u8]) -> Result<Self, IdentityError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| IdentityError::Certificate(error.to_string()))?;
        let subject = certificate.subject();
        let role = match only(subject.iter_organizational_unit(), "organizational unit")? {
            MANAGER_UNIT => NodeRole::Manager,
            WORKER_UNIT => NodeRole::Worker,
            other => return Err(IdentityError::Certificate(format!("{other:?} is no role"))),
        };
        Ok(Self {
            node_id: only(subject.iter_common_name(), "common name")?.to_owned(),
            cluster_id: only(subject.iter_organization(), "organization")?.to_owned(),
            role,
            not_before: Timestamp::from_secs(certificate.validity().not_before.timestamp()),
            not_after: Timestamp::from_secs(certificate.validity().not_after.timestamp()),
        })
    }

    /// Reads the first certificate of a PEM chain.
    pub fn from_pem(pem: &[u8]) -> Result<Self, IdentityError> {
        let leaf =
            CertificateDer::from_pem_slice(pem).map_err(|error| IdentityError::Certificate(error.to_string()))?;
        Self::from_der(&leaf)
    }

    /// Whether it is valid at `now`: neither expired nor from the future.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

fn only<'a>(
    mut values: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>,
    what: &str,
) -> Result<&'a str, IdentityError> {
    match (values.next(), values.next()) {
        (Some(value), None) => {
            value.as_str().map_err(|_| IdentityError::Certificate(format!("its {what} is not text")))
        }
        (None, _) => Err(IdentityError::Certificate(format!("it has no {what}"))),
        (Some(_), Some(_)) => Err(IdentityError::Certificate(format!("it has more than one {what}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::testing::TestCa;

    #[test]
    fn is_valid_from_its_first_second_through_its_last() {
        let certificate = NodeCertificate {
            node_id: "n".into(),
            cluster_id: "c".into(),
            role: NodeRole::Worker,
            not_before: Timestamp::from_secs(1000),
            not_after: Timestamp::from_secs(2000),
        };
        for (second, valid) in [(999, false), (1000, true), (2000, true), (2001, false)] {
            assert_eq!(certificate.is_valid(Timestamp::from_secs(second)), valid, "{second}");
        }
    }

    #[test]
    fn subjects_the_ca_never_writes_are_refused() {
        let ca = TestCa::new("swarm");
        let error = |subject: &[(rcgen::DnType, &str)]| {
            NodeCertificate::from_der(&ca.certificate_with_subject(subject)).unwrap_err().to_string()
        };
        use rcgen::DnType::{CommonName as Cn, OrganizationName as O, OrganizationalUnitName as Ou};
        assert_eq!(error(&[(O, "s"), (Ou, WORKER_UNIT)]), "node certificate is invalid: it has no common name");
        assert_eq!(error(&[(Cn, "n"), (Ou, WORKER_UNIT)]), "node certificate is invalid: it has no organization");
        assert_eq!(error(&[(Cn, "n"), (O, "s"), (Ou, "root")]), "node certificate is invalid: \"root\" is no role");
        assert!(NodeCertificate::from_der(b"junk").is_err());
    }
}
