//! Nodes.

use skep_proto::v1::{self as proto, Annotations, Availability, DrainPace, NodeRole};

use super::{Invalid, spec::available_to_docker, words::Word as _};
use crate::{
    time::Time,
    types::{
        EngineDescription, ManagerStatus, Node, NodeDescription, NodeSpec, NodeStatus, Platform, Plugin, TlsInfo,
        Version,
    },
};

/// A node as a client sees it; its trust is the swarm's.
pub fn node_to_docker(node: &proto::Node, trust: &TlsInfo) -> Node {
    let meta = node.meta.unwrap_or_default();
    let status = node.status.clone().unwrap_or_default();
    let description = node.description.clone().unwrap_or_default();
    let platform = description.platform.unwrap_or_default();
    Node {
        id: node.id.clone(),
        version: Version { index: meta.version },
        created_at: Time(meta.created_at),
        updated_at: Time(meta.updated_at),
        spec: spec_to_docker(&node.spec.clone().unwrap_or_default()),
        description: NodeDescription {
            hostname: description.hostname,
            platform: Platform { architecture: platform.architecture, os: platform.os },
            resources: available_to_docker(&description.resources.unwrap_or_default()),
            engine: EngineDescription {
                engine_version: description.engine_version,
                labels: description.engine_labels,
                plugins: description.plugins.into_iter().map(|p| Plugin { r#type: p.r#type, name: p.name }).collect(),
            },
            tls_info: trust.clone(),
        },
        status: NodeStatus {
            state: status.state().word().to_owned(),
            message: status.message.clone(),
            addr: status.addr,
        },
        manager_status: node.manager.as_ref().map(|manager| ManagerStatus {
            leader: manager.leader,
            reachability: manager.reachability().word().to_owned(),
            addr: manager.addr.clone(),
        }),
    }
}

fn spec_to_docker(spec: &proto::NodeSpec) -> NodeSpec {
    let annotations = spec.annotations.clone().unwrap_or_default();
    NodeSpec {
        name: annotations.name,
        labels: annotations.labels,
        role: spec.desired_role().word().to_owned(),
        availability: spec.availability().word().to_owned(),
        drain_pace: match spec.drain_pace() {
            DrainPace::AtOnce => String::new(),
            pace @ DrainPace::Gradual => pace.word().to_owned(),
        },
    }
}

/// A node's spec as a client sends it.
///
/// # Errors
/// [`Invalid`] for words that are none.
pub fn node_spec_from_docker(spec: NodeSpec) -> Result<proto::NodeSpec, Invalid> {
    let role = NodeRole::from_word(&spec.role).ok_or_else(|| Invalid(format!("invalid Role: {:?}", spec.role)))?;
    let availability = availability(&spec.availability)?;
    let drain_pace = match spec.drain_pace.as_str() {
        "" => DrainPace::AtOnce,
        word => DrainPace::from_word(word).ok_or_else(|| Invalid(format!("invalid DrainPace: {word:?}")))?,
    };
    Ok(proto::NodeSpec {
        annotations: Some(Annotations { name: spec.name, labels: spec.labels }),
        desired_role: role.into(),
        availability: availability.into(),
        drain_pace: drain_pace.into(),
    })
}

fn availability(word: &str) -> Result<Availability, Invalid> {
    Availability::from_word(word).ok_or_else(|| Invalid(format!("invalid Availability: {word:?}")))
}
