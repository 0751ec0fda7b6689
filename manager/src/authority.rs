//! Issuing certificates from the replicated state, which holds the root CA and its key.
//!
//! Invariant: the role in a certificate is the node's role in the state, or that of the join token.

use std::time::Duration;

use skep_ca::{CaError, RootCa, Subject, public_key_of};
use skep_common::{
    clock::{self, Timestamp},
    limits::CERTIFICATE_LIFETIME,
    net::identity::{Identity, IdentityError, NodeCertificate, csr_for, date},
    secret::Secret,
};
use skep_proto::v1::{Certificate, Cluster, NodeRole};
use skep_store::View;

/// Life of a certificate that a manager issues for itself: enough to find the others and ask for a proper one.
const OWN_LIFETIME: Duration = Duration::from_secs(3600);

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthorityError {
    /// The state has no cluster yet.
    #[error("the swarm is just being made")]
    NoCluster,
    /// The state does not have the node as a manager.
    #[error("its state does not have this node as a manager")]
    NoManager,
    /// This manager's own certificate is not valid: nobody would accept what it issues.
    #[error(
        "the clock of the manager that leads says {0}, and the swarm's own certificates are valid from {1} on: set its clock right"
    )]
    Behind(String, String),
    /// The root cannot be used, or the key that is to be certified.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The node's own key, or the certificate for it, cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// A certificate for a node's `key` (SubjectPublicKeyInfo, DER), for as long as the cluster's spec says, issued by the manager
/// `issuer`.
pub(crate) fn certify(
    view: &View,
    issuer: &str,
    node_id: &str,
    role: NodeRole,
    key: &[u8],
    now: Timestamp,
) -> Result<Certificate, AuthorityError> {
    let cluster = cluster(view)?;
    let lifetime = match cluster.spec.as_ref().map(|spec| clock::duration(spec.node_cert_expiry)) {
        Some(lifetime) if !lifetime.is_zero() => lifetime,
        _ => CERTIFICATE_LIFETIME,
    };
    let root = root(cluster)?;
    // What it issued would be over before the root has begun, or took the place of an own certificate that has not. The latter
    // says that this clock is behind, or that it was ahead when that one was issued: so it counts against nobody else.
    let own = view.node(issuer).filter(|own| own.id == node_id);
    let begun = [Some(root.not_before()), own.and_then(|own| not_before(own.certificate.as_ref()?))];
    if let Some(begun) = begun.into_iter().flatten().max().filter(|begun| now + lifetime <= *begun) {
        return Err(AuthorityError::Behind(date(now), date(begun)));
    }
    let subject = Subject { node_id, cluster_id: &cluster.id, role };
    Ok(root.certify(key.to_vec(), subject, now, lifetime)?)
}

/// A manager's certificate for the key it has, from its own state alone.
pub(crate) fn issue_own(
    view: &View,
    node_id: &str,
    current: &Identity,
    now: Timestamp,
) -> Result<Identity, AuthorityError> {
    let cluster = may_issue_own(view, node_id)?;
    let key = public_key_of(csr_for(current.key_pem())?.as_bytes())?;
    let subject = Subject { node_id, cluster_id: &cluster.id, role: NodeRole::Manager };
    let certificate = root(cluster)?.certify(key, subject, now, OWN_LIFETIME)?;
    Ok(Identity::from_pem(&certificate.certificate_pem, current.key_pem().clone(), current.roots_pem())?)
}

/// The cluster, if it is one whose state has this node as a manager.
pub(crate) fn may_issue_own<'a>(view: &'a View, node_id: &str) -> Result<&'a Cluster, AuthorityError> {
    view.node(node_id).filter(|node| node.role() == NodeRole::Manager).ok_or(AuthorityError::NoManager)?;
    cluster(view)
}

fn cluster(view: &View) -> Result<&Cluster, AuthorityError> {
    view.cluster().map(AsRef::as_ref).ok_or(AuthorityError::NoCluster)
}

/// Whether the certificate is valid at `now`.
pub(crate) fn is_valid(certificate: &Certificate, now: Timestamp) -> bool {
    not_before(certificate).is_some_and(|begin| begin <= now) && now.as_nanos() < certificate.expires_at
}

fn not_before(certificate: &Certificate) -> Option<Timestamp> {
    NodeCertificate::from_pem(&certificate.certificate_pem).ok().map(|certificate| certificate.not_before)
}

fn root(cluster: &Cluster) -> Result<RootCa, AuthorityError> {
    let root = cluster.root_ca.clone().unwrap_or_default();
    let key_pem = String::from_utf8(root.key_pem).map_err(|_| CaError::Root("its key is not PEM".to_owned()))?;
    Ok(RootCa::from_pem(&root.certificate_pem, Secret::new(key_pem))?)
}

#[cfg(test)]
mod tests {
    use skep_common::net::identity::new_key_and_csr;
    use skep_proto::v1::Node;
    use skep_store::TxBuilder;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);
    const MADE: Timestamp = Timestamp::from_secs(1_800_000_000);

    /// A swarm of one manager, whose certificate is from `renewed`.
    fn swarm(renewed: Timestamp) -> (View, Vec<u8>) {
        let ca = RootCa::generate(MADE, "swarm").unwrap();
        let key = public_key_of(new_key_and_csr().unwrap().1.as_bytes()).unwrap();
        let subject = Subject { node_id: "m", cluster_id: "swarm", role: NodeRole::Manager };
        let certificate = ca.certify(key.clone(), subject, renewed, CERTIFICATE_LIFETIME).unwrap();
        let root_ca = skep_proto::v1::RootCa {
            certificate_pem: ca.certificate_pem().to_vec(),
            key_pem: ca.key_pem().expose().as_bytes().to_vec(),
        };
        let (empty, manager) = (View::default(), i32::from(NodeRole::Manager));
        let mut tx = TxBuilder::new(&empty, MADE);
        tx.create(Cluster { id: "swarm".into(), root_ca: Some(root_ca), ..Cluster::default() });
        tx.create(Node { id: "m".into(), role: manager, certificate: Some(certificate), ..Node::default() });
        (empty.apply(1, &tx.build()).unwrap().0, key)
    }

    #[test]
    fn a_manager_whose_clock_is_far_behind_issues_nothing_that_is_over_already() {
        let renewed = MADE + DAY * 300;
        let (view, key) = swarm(renewed);
        let issue = |now| certify(&view, "m", "w", NodeRole::Worker, &key, now);
        for now in [renewed, renewed + DAY * 500, renewed - DAY * 80] {
            let issued = issue(now).unwrap();
            assert!(is_valid(&issued, now) && !is_valid(&issued, now - DAY) && !is_valid(&issued, now + DAY * 91));
        }
        let own = |now| certify(&view, "m", "m", NodeRole::Manager, &key, now);
        let before = MADE - DAY * 100;
        for (now, refused) in
            [(renewed - DAY * 100, own(renewed - DAY * 100)), (before, own(before)), (before, issue(before))]
        {
            let refused = refused.unwrap_err().to_string();
            assert!(refused.contains("set its clock right") && refused.contains(&date(now)), "{refused}");
        }
        // Or its clock was ahead when its own was issued, and is right again: nobody else has to wait until that begins.
        assert!(is_valid(&issue(renewed - DAY * 100).unwrap(), renewed - DAY * 100));
    }

    #[test]
    fn only_a_state_that_has_the_swarm_and_the_node_as_a_manager_is_enough_to_issue_from() {
        let (view, _) = swarm(MADE);
        assert!(may_issue_own(&view, "m").is_ok());
        assert!(matches!(may_issue_own(&view, "w"), Err(AuthorityError::NoManager)));
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, MADE);
        tx.create(Node { id: "m".into(), role: NodeRole::Manager.into(), ..Node::default() });
        let (alone, _) = empty.apply(1, &tx.build()).unwrap();
        assert!(matches!(may_issue_own(&alone, "m"), Err(AuthorityError::NoCluster)));
    }
}
