//! What the root issues, and what it does not let itself be talked into.

use rcgen::{DnValue, Issuer as Signer};
use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};
use skep_common::net::identity::{Identity, new_key_and_csr};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn subject(role: NodeRole) -> Subject<'static> {
    Subject { node_id: "node1", cluster_id: "swarm1", role }
}

/// Whether `roots` vouch for `certificate_pem` at `at`.
fn trusted(certificate_pem: &[u8], roots: &RootCa, at: Timestamp) -> bool {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from_pem_slice(roots.certificate_pem()).unwrap()).unwrap();
    let leaf = CertificateDer::from_pem_slice(certificate_pem).unwrap();
    let parsed = ParsedCertificate::try_from(&leaf).unwrap();
    let at = UnixTime::since_unix_epoch(Duration::from_secs(at.as_secs() as u64));
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
    verify_server_cert_signed_by_trust_anchor(&parsed, &store, &[], at, algorithms.all).is_ok()
}

/// Subject, DNS names and the CA flag of a certificate, as another library reads them.
fn read(certificate_pem: &[u8]) -> (String, Vec<String>, bool) {
    let der = CertificateDer::from_pem_slice(certificate_pem).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let names = names.value.general_names.iter().map(|name| match name {
        x509_parser::extensions::GeneralName::DNSName(name) => (*name).to_owned(),
        other => panic!("{other}"),
    });
    (certificate.subject().to_string(), names.collect(), certificate.is_ca())
}

#[test]
fn what_it_issues_makes_an_identity_that_its_root_vouches_for() {
    let root = RootCa::generate(NOW, "swarm1").unwrap();
    let (key, csr) = new_key_and_csr().unwrap();
    let issued = root.issue(csr.as_bytes(), subject(NodeRole::Manager), NOW, 90 * DAY).unwrap();
    assert_eq!(issued.expires_at, (NOW + 90 * DAY).as_nanos());
    assert_eq!(issued.role(), NodeRole::Manager);
    assert_eq!(issued.public_key, public_key_of(csr.as_bytes()).unwrap());

    let identity = Identity::from_pem(&issued.certificate_pem, key, root.certificate_pem()).unwrap();
    assert_eq!((identity.node_id(), identity.cluster_id(), identity.role()), ("node1", "swarm1", NodeRole::Manager));
    let certificate = identity.certificate();
    assert_eq!((certificate.not_before, certificate.not_after), (NOW - CERTIFICATE_BACKDATE, NOW + 90 * DAY));

    assert!(trusted(&issued.certificate_pem, &root, NOW));
    assert!(!trusted(&issued.certificate_pem, &root, NOW + 91 * DAY), "expired");
    assert!(!trusted(&issued.certificate_pem, &RootCa::generate(NOW, "swarm1").unwrap(), NOW), "another root");
}

#[test]
fn roles_differ_in_unit_and_names() {
    let root = RootCa::generate(NOW, "swarm1").unwrap();
    let (_, csr) = new_key_and_csr().unwrap();
    let of = |role| read(&root.issue(csr.as_bytes(), subject(role), NOW, DAY).unwrap().certificate_pem);
    let (name, names, ca) = of(NodeRole::Worker);
    assert_eq!((&*name, ca), ("CN=node1, OU=swarm-worker, O=swarm1", false));
    assert_eq!(names, ["swarm-worker", "node1"]);
    let (name, names, ca) = of(NodeRole::Manager);
    assert_eq!((&*name, ca), ("CN=node1, OU=swarm-manager, O=swarm1", false));
    assert_eq!(names, ["swarm-manager", "node1", "swarm-ca"]);
}

#[test]
fn a_request_that_asks_for_more_gets_the_same() {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut greedy = CertificateParams::new(vec!["swarm-manager".to_owned(), "example.org".to_owned()]).unwrap();
    greedy.distinguished_name.push(DnType::CommonName, "another-node");
    greedy.distinguished_name.push(DnType::OrganizationalUnitName, DnValue::Utf8String("swarm-manager".into()));
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let csr = greedy.serialize_request(&key).unwrap().pem().unwrap();

    let root = RootCa::generate(NOW, "swarm1").unwrap();
    let issued = root.issue(csr.as_bytes(), subject(NodeRole::Worker), NOW, DAY).unwrap();
    let (name, names, ca) = read(&issued.certificate_pem);
    assert_eq!((&*name, ca), ("CN=node1, OU=swarm-worker, O=swarm1", false));
    assert_eq!(names, ["swarm-worker", "node1"]);

    // And what the node signs with its key is worth nothing.
    let forged = Signer::from_ca_cert_pem(std::str::from_utf8(&issued.certificate_pem).unwrap(), key).unwrap();
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let forged = params(NOW, NOW + DAY).unwrap().signed_by(&other, &forged).unwrap();
    assert!(!trusted(forged.pem().as_bytes(), &root, NOW));
}

#[test]
fn no_certificate_outlives_the_root() {
    let root = RootCa::generate(NOW, "swarm1").unwrap();
    let (_, csr) = new_key_and_csr().unwrap();
    let issued = root.issue(csr.as_bytes(), subject(NodeRole::Worker), NOW, ROOT_LIFETIME * 2).unwrap();
    assert_eq!(issued.expires_at, (NOW + ROOT_LIFETIME).as_nanos());
}

#[test]
fn a_root_read_again_issues_for_the_same_trust() {
    let root = RootCa::generate(NOW, "swarm1").unwrap();
    let again = RootCa::from_pem(root.certificate_pem(), root.key_pem().clone()).unwrap();
    let (_, csr) = new_key_and_csr().unwrap();
    let issued = again.issue(csr.as_bytes(), subject(NodeRole::Worker), NOW, DAY).unwrap();
    assert!(trusted(&issued.certificate_pem, &root, NOW));
    assert_eq!(again.expires_at, root.expires_at);
}

#[test]
fn what_is_no_root_is_refused() {
    let root = RootCa::generate(NOW, "swarm1").unwrap();
    let other = RootCa::generate(NOW, "swarm1").unwrap();
    let (key, csr) = new_key_and_csr().unwrap();
    let node = root.issue(csr.as_bytes(), subject(NodeRole::Manager), NOW, DAY).unwrap().certificate_pem;
    let error =
        |certificate: &[u8], key: &Secret<String>| RootCa::from_pem(certificate, key.clone()).unwrap_err().to_string();
    assert_eq!(error(b"junk", root.key_pem()), "root CA is invalid: it is not PEM");
    assert_eq!(
        error(root.certificate_pem(), other.key_pem()),
        "root CA is invalid: its key belongs to another certificate"
    );
    assert_eq!(error(&node, &key), "root CA is invalid: its certificate is not an authority's");
    assert!(error(root.certificate_pem(), &Secret::new("junk".into())).starts_with("root CA is invalid: "));
}

#[test]
fn debug_shows_no_key() {
    let root = RootCa::generate(NOW, "swarm1").unwrap();
    assert!(!format!("{root:?}").contains("KEY"));
}
