//! Filters: whether a node can take a task, and Docker's words for a filter failure.

use std::collections::BTreeMap;

use skep_proto::v1::{Node, Placement, PortConfig, PublishMode, Task};

use crate::constraint::same_architecture;

/// Why a node cannot take a task, in the order in which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FilterFailure {
    Unavailable,
    Resources,
    Plugin,
    FeatureLevel,
    Constraints,
    Platform,
    /// See [`host_ports`]: no service has any yet.
    HostPort,
    MaxReplicas,
}

impl FilterFailure {
    /// Whether it follows from the requirements alone, wherever the service has other tasks.
    pub(super) fn is_of_ask(self) -> bool {
        !matches!(self, Self::HostPort | Self::MaxReplicas)
    }

    /// The reason as Docker gives it.
    pub(super) fn explain(self, nodes: usize) -> String {
        let on_nodes = if nodes == 1 { "on 1 node".to_owned() } else { format!("on {nodes} nodes") };
        match self {
            Self::Unavailable if nodes == 1 => "1 node not available for new tasks".into(),
            Self::Unavailable => format!("{nodes} nodes not available for new tasks"),
            Self::Resources => format!("insufficient resources {on_nodes}"),
            Self::Plugin => format!("missing plugin {on_nodes}"),
            Self::FeatureLevel => format!("release of skep too old for the task {on_nodes}"),
            Self::Constraints => format!("scheduling constraints not satisfied {on_nodes}"),
            Self::Platform => format!("unsupported platform {on_nodes}"),
            Self::HostPort => format!("host-mode port already in use {on_nodes}"),
            Self::MaxReplicas => "max replicas per node limit exceed".into(),
        }
    }
}

/// The sentence on a task that has to wait, from what kept it off each node: most nodes first.
pub(super) fn no_suitable_node(failures: impl IntoIterator<Item = FilterFailure>) -> String {
    let mut counts: BTreeMap<FilterFailure, usize> = BTreeMap::new();
    for failure in failures {
        *counts.entry(failure).or_default() += 1;
    }
    let mut failures: Vec<_> = counts.into_iter().collect();
    failures.sort_by_key(|(failure, nodes)| (std::cmp::Reverse(*nodes), *failure));
    if failures.is_empty() {
        return "no suitable node".into();
    }
    let reasons: Vec<String> = failures.into_iter().map(|(failure, nodes)| failure.explain(nodes)).collect();
    format!("no suitable node ({})", reasons.join("; "))
}

/// A port of a node itself: its protocol and its number.
pub(super) type HostPort = (i32, u32);

/// The ports of its node that a task takes, whatever its service publishes by now. None yet: until there are networks
/// [`validate_spec`](crate::validate_spec) refuses every service that publishes a port.
pub(super) fn host_ports(task: &Task) -> impl Iterator<Item = HostPort> {
    let spec = task.endpoint.as_ref().and_then(|endpoint| endpoint.spec.as_ref());
    let ports = spec.map_or(&[][..], |spec| &spec.ports);
    let on_host = |port: &&PortConfig| port.mode() == PublishMode::Host && port.published != 0;
    ports.iter().filter(on_host).map(|port| (port.protocol, port.published))
}

/// Whether a node is of one of the platforms a placement names; an empty field of one stands for any.
pub(crate) fn platform_fits(node: &Node, placement: Option<&Placement>) -> bool {
    let wanted = placement.map_or(&[][..], |placement| &placement.platforms);
    if wanted.is_empty() {
        return true;
    }
    let Some(actual) = node.description.as_ref().and_then(|description| description.platform.as_ref()) else {
        return false;
    };
    wanted.iter().any(|wanted| {
        (wanted.os.is_empty() || wanted.os.eq_ignore_ascii_case(&actual.os))
            && (wanted.architecture.is_empty() || same_architecture(&wanted.architecture, &actual.architecture))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_come_most_nodes_first() {
        let text =
            no_suitable_node([FilterFailure::Constraints, FilterFailure::Unavailable, FilterFailure::Constraints]);
        assert_eq!(
            text,
            "no suitable node (scheduling constraints not satisfied on 2 nodes; 1 node not available for new tasks)"
        );
        let text = no_suitable_node([FilterFailure::MaxReplicas, FilterFailure::Resources]);
        assert_eq!(text, "no suitable node (insufficient resources on 1 node; max replicas per node limit exceed)");
        assert_eq!(no_suitable_node([]), "no suitable node");
    }

    #[test]
    fn only_ports_that_are_published_on_the_host_are_taken_there() {
        use skep_proto::v1::{Endpoint, EndpointSpec};
        let port = |mode: PublishMode, published| PortConfig { mode: mode.into(), published, ..PortConfig::default() };
        let ports = vec![port(PublishMode::Host, 80), port(PublishMode::Host, 0), port(PublishMode::Ingress, 81)];
        let endpoint = Endpoint { spec: Some(EndpointSpec { ports, ..EndpointSpec::default() }.into()) };
        let task = Task { endpoint: Some(endpoint), ..Task::default() };
        assert_eq!(host_ports(&task).map(|(_, port)| port).collect::<Vec<_>>(), [80]);
    }

    #[test]
    fn platforms_are_alternatives_with_wildcards_and_aliases() {
        use skep_proto::v1::{NodeDescription, Platform};
        let platform = |architecture: &str, os: &str| Platform { architecture: architecture.into(), os: os.into() };
        let description = NodeDescription { platform: Some(platform("x86_64", "linux")), ..NodeDescription::default() };
        let node = Node { description: Some(description), ..Node::default() };
        let fits = |platforms: &[Platform]| {
            platform_fits(&node, Some(&Placement { platforms: platforms.to_vec(), ..Placement::default() }))
        };
        assert!(fits(&[]) && fits(&[platform("amd64", "linux")]) && fits(&[platform("", "Linux")]));
        assert!(fits(&[platform("arm64", "linux"), platform("amd64", "")]));
        assert!(!fits(&[platform("arm64", "linux")]) && !fits(&[platform("amd64", "windows")]));
        let silent = Node::default();
        assert!(!platform_fits(
            &silent,
            Some(&Placement { platforms: vec![platform("", "")], ..Placement::default() })
        ));
    }
}
