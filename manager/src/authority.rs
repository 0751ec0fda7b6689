//! Issuing certificates from the replicated state, which holds the root and its key.
//!
//! Owns nothing. Invariant: the role in a certificate is the one that was looked up in the state, or decided by a token.

use std::time::Duration;

use skep_ca::{CaError, RootCa, Subject, public_key_of};
use skep_common::{
    clock::{self, Timestamp},
    limits::CERTIFICATE_LIFETIME,
    net::identity::{Identity, IdentityError, csr_for},
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
    /// The root cannot be used, or the key that is to be certified.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// The node's own key, or what came of it, cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// A certificate for a node's `key` (SubjectPublicKeyInfo, DER), for as long as the cluster's spec says.
pub(crate) fn certify(
    view: &View,
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
    let subject = Subject { node_id, cluster_id: &cluster.id, role };
    Ok(root(cluster)?.certify(key.to_vec(), subject, now, lifetime)?)
}

/// A manager's certificate for the key it has, from its own state alone.
pub(crate) fn issue_own(
    view: &View,
    node_id: &str,
    current: &Identity,
    now: Timestamp,
) -> Result<Identity, AuthorityError> {
    let cluster = cluster(view)?;
    view.node(node_id).filter(|node| node.role() == NodeRole::Manager).ok_or(AuthorityError::NoManager)?;
    let key = public_key_of(csr_for(current.key_pem())?.as_bytes())?;
    let subject = Subject { node_id, cluster_id: &cluster.id, role: NodeRole::Manager };
    let certificate = root(cluster)?.certify(key, subject, now, OWN_LIFETIME)?;
    Ok(Identity::from_pem(&certificate.certificate_pem, current.key_pem().clone(), current.roots_pem())?)
}

fn cluster(view: &View) -> Result<&Cluster, AuthorityError> {
    view.cluster().map(AsRef::as_ref).ok_or(AuthorityError::NoCluster)
}

fn root(cluster: &Cluster) -> Result<RootCa, AuthorityError> {
    let root = cluster.root_ca.clone().unwrap_or_default();
    let key_pem = String::from_utf8(root.key_pem).map_err(|_| CaError::Root("its key is not PEM".to_owned()))?;
    Ok(RootCa::from_pem(&root.certificate_pem, Secret::new(key_pem))?)
}
