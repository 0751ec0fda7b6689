//! What the tests of this module share: a certificate authority and a table of roles.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use skep_proto::v1::NodeRole;
use x509_parser::time::ASN1Time;

use super::{
    identity::{Identity, IdentityHandle, role_unit},
    server::{RoleAnswer, RoleSource},
};
use crate::{
    clock::{Clock as _, SystemClock},
    secret::Secret,
};

/// Issues whatever it is asked for.
pub(crate) struct TestCa {
    cluster_id: String,
    issuer: Arc<CertifiedIssuer<'static, KeyPair>>,
}

impl TestCa {
    pub(crate) fn new(cluster_id: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { cluster_id: cluster_id.to_owned(), issuer: Arc::new(issuer) }
    }

    /// The same root, issuing for another swarm.
    pub(crate) fn sibling(&self, cluster_id: &str) -> Self {
        Self { cluster_id: cluster_id.to_owned(), issuer: self.issuer.clone() }
    }

    pub(crate) fn root_pem(&self) -> Vec<u8> {
        self.issuer.pem().into_bytes()
    }

    pub(crate) fn identity(&self, node_id: &str, role: NodeRole) -> Identity {
        self.identity_until(node_id, role, 3600)
    }

    pub(crate) fn handle(&self, node_id: &str, role: NodeRole) -> IdentityHandle {
        IdentityHandle::new(self.identity(node_id, role))
    }

    /// An identity that ends `seconds` from now.
    pub(crate) fn identity_until(&self, node_id: &str, role: NodeRole, seconds: i64) -> Identity {
        let key = KeyPair::generate().unwrap();
        let subject = [
            (DnType::CommonName, node_id),
            (DnType::OrganizationName, &self.cluster_id),
            (DnType::OrganizationalUnitName, role_unit(role)),
        ];
        let chain = params(&subject, seconds).signed_by(&key, &self.issuer).unwrap().pem();
        Identity::from_pem(chain.as_bytes(), Secret::new(key.serialize_pem()), &self.root_pem()).unwrap()
    }

    pub(crate) fn certificate_with_subject(&self, subject: &[(DnType, &str)]) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        params(subject, 3600).signed_by(&key, &self.issuer).unwrap().der().to_vec()
    }
}

fn params(subject: &[(DnType, &str)], seconds: i64) -> CertificateParams {
    let now = SystemClock::new().now();
    let date = |secs| ASN1Time::from_timestamp(secs).unwrap().to_datetime();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params.not_before = date((now - Duration::from_secs(7200)).as_secs());
    params.not_after = date(now.as_secs() + seconds);
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

/// Roles as a store would tell them; nodes never mentioned were removed.
#[derive(Clone, Default)]
pub(crate) struct Roles(Arc<Mutex<HashMap<String, RoleAnswer>>>, Arc<Mutex<HashSet<String>>>, Arc<AtomicUsize>);

impl Roles {
    pub(crate) fn set(&self, node_id: &str, answer: RoleAnswer) {
        self.0.lock().unwrap().insert(node_id.to_owned(), answer);
    }

    pub(crate) fn set_member(&self, node_id: &str, is_member: bool) {
        let mut members = self.1.lock().unwrap();
        let _ = if is_member { members.insert(node_id.to_owned()) } else { members.remove(node_id) };
    }

    /// How often somebody was taken for a member of other managers.
    pub(crate) fn strangers(&self) -> usize {
        self.2.load(Ordering::Relaxed)
    }
}

impl RoleSource for Roles {
    fn role_of(&self, node_id: &str) -> RoleAnswer {
        self.0.lock().unwrap().get(node_id).copied().unwrap_or(RoleAnswer::Removed)
    }

    fn is_member(&self, node_id: &str) -> bool {
        self.1.lock().unwrap().contains(node_id)
    }

    fn refused_member(&self) {
        self.2.fetch_add(1, Ordering::Relaxed);
    }
}
