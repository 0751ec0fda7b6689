//! The first entry of a new swarm: its cluster object and its first node.

use skep_common::{clock::Timestamp, net::identity::IdentityHandle};
use skep_core::{
    defaults,
    validate_spec::{self, InvalidSpec},
};
use skep_proto::v1::{
    Cluster, ClusterSpec, JoinTokens, Node, NodeRole, NodeSpec, NodeState, NodeStatus, RootCa, Transaction,
};
use skep_raft::FIRST_RAFT_ID;
use skep_store::{TxBuilder, View};

use crate::{Bootstrap, control::new_token};

/// The name of the one cluster object, as in Docker.
const NAME: &str = "default";

/// Fills in what must not be unset in a cluster's spec. A task history of none is a choice, not an omission.
pub(crate) fn fill(spec: &mut ClusterSpec) {
    let default = defaults::cluster_spec();
    let annotations = spec.annotations.get_or_insert_default();
    if annotations.name.is_empty() {
        NAME.clone_into(&mut annotations.name);
    }
    for (value, default) in
        [(&mut spec.heartbeat_period, default.heartbeat_period), (&mut spec.node_cert_expiry, default.node_cert_expiry)]
    {
        if *value == 0 {
            *value = default;
        }
    }
    for (value, default) in [
        (&mut spec.snapshot_interval, default.snapshot_interval),
        (&mut spec.log_entries_for_slow_followers, default.log_entries_for_slow_followers),
    ] {
        if *value == 0 {
            *value = default;
        }
    }
}

/// The transaction that makes the swarm, at this feature level.
pub(crate) fn transaction(
    first: Bootstrap,
    identity: &IdentityHandle,
    addr: &str,
    feature_level: u32,
    now: Timestamp,
) -> Result<Transaction, InvalidSpec> {
    let identity = identity.current();
    let Bootstrap { mut spec, root_ca, certificate, availability, description } = first;
    fill(&mut spec);
    validate_spec::cluster(&spec)?;
    let root_pem = root_ca.certificate_pem();
    let manager = i32::from(NodeRole::Manager);
    let cluster = Cluster {
        id: identity.cluster_id().to_owned(),
        spec: Some(spec),
        root_ca: Some(RootCa {
            certificate_pem: root_pem.to_vec(),
            key_pem: root_ca.key_pem().expose().as_bytes().to_vec(),
        }),
        join_tokens: Some(JoinTokens { worker: new_token(root_pem), manager: new_token(root_pem) }),
        feature_level,
        ..Cluster::default()
    };
    let node = Node {
        id: identity.node_id().to_owned(),
        spec: Some(NodeSpec { desired_role: manager, availability: availability.into(), ..NodeSpec::default() }),
        description: Some(description),
        status: Some(NodeStatus { state: NodeState::Unknown.into(), since: now.as_nanos(), ..NodeStatus::default() }),
        role: manager,
        manager: Some(skep_proto::v1::ManagerStatus {
            raft_id: FIRST_RAFT_ID,
            addr: addr.to_owned(),
            ..Default::default()
        }),
        certificate: Some(certificate),
        ..Node::default()
    };
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, now);
    tx.create(cluster).create(node);
    Ok(Transaction { by: "swarm init".to_owned(), ..tx.build() })
}
