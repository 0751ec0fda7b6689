//! A task's requirements on a node, apart from where its service has other tasks: tasks with equal asks fit on the same
//! nodes.

use skep_proto::v1::{Node, Placement, Task};

use super::{
    filter::{FilterFailure, platform_fits},
    node_info::NodeInfo,
    resources::Wanted,
    spread::Spread,
};
use crate::{
    constraint::{self, Constraint},
    feature_level,
};

/// The requirements as a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    feature_level: u32,
    wanted: Wanted,
    /// Name of the log driver; `None`: any node's own will do.
    log_driver: Option<String>,
    constraints: Vec<String>,
    /// Architecture and operating system.
    platforms: Vec<(String, String)>,
    spread_over: Vec<String>,
}

/// A shape, parsed.
#[derive(Clone)]
pub(super) struct Ask {
    shape: Shape,
    constraints: Vec<Constraint>,
    placement: Option<Placement>,
    spread: Spread,
}

impl Ask {
    pub(super) fn of(task: &Task) -> Self {
        let spec = task.spec.as_ref();
        let placement = spec.and_then(|spec| spec.placement.as_ref());
        let driver = spec.and_then(|spec| spec.log_driver.as_ref()).map(|driver| driver.name.as_str());
        let platforms = placement.iter().flat_map(|placement| &placement.platforms);
        // Only a service has other tasks to be spread away from.
        let spread_over = placement.filter(|_| !task.service_id.is_empty()).map_or(&[][..], |p| &p.spread_over);
        let shape = Shape {
            feature_level: task.feature_level,
            wanted: Wanted::of(task),
            log_driver: driver.filter(|name| !["", "none"].contains(name)).map(str::to_owned),
            constraints: placement.map(|placement| placement.constraints.clone()).unwrap_or_default(),
            platforms: platforms.map(|platform| (platform.architecture.clone(), platform.os.clone())).collect(),
            spread_over: spread_over.to_vec(),
        };
        Self {
            constraints: constraint::of_placement(placement),
            placement: placement.filter(|placement| !placement.platforms.is_empty()).cloned(),
            spread: Spread::over(spread_over),
            shape,
        }
    }

    pub(super) fn shape(&self) -> &Shape {
        &self.shape
    }

    pub(super) fn wanted(&self) -> &Wanted {
        &self.shape.wanted
    }

    pub(super) fn spread(&self) -> &Spread {
        &self.spread
    }

    /// Whether a node can take one more such task.
    pub(super) fn check(&self, NodeInfo { node, is_available, free, .. }: &NodeInfo) -> Result<(), FilterFailure> {
        if !is_available {
            Err(FilterFailure::Unavailable)
        } else if !free.covers(&self.shape.wanted) {
            Err(FilterFailure::Resources)
        } else if self.shape.log_driver.as_deref().is_some_and(|driver| !has_log_driver(node, driver)) {
            Err(FilterFailure::Plugin)
        } else if !feature_level::is_known_to(node, self.shape.feature_level) {
            Err(FilterFailure::FeatureLevel)
        } else if !self.constraints.iter().all(|constraint| constraint.matches(node)) {
            Err(FilterFailure::Constraints)
        } else if !platform_fits(node, self.placement.as_ref()) {
            Err(FilterFailure::Platform)
        } else {
            Ok(())
        }
    }
}

/// Whether a node has a log driver. One that does not say which it has is trusted to have it.
fn has_log_driver(node: &Node, wanted: &str) -> bool {
    let plugins = node.description.as_ref().map_or(&[][..], |description| &description.plugins);
    let mut drivers = plugins.iter().filter(|plugin| plugin.r#type == "Log").map(|plugin| plugin.name.as_str());
    let has = |name: &str| name == wanted || name.strip_prefix(wanted) == Some(":latest");
    drivers.clone().next().is_none() || drivers.any(has)
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{NodeDescription, Plugin};

    use super::*;

    #[test]
    fn a_node_has_the_log_drivers_it_describes() {
        let node = |plugins: &[(&str, &str)]| {
            let plugin = |(kind, name): &(&str, &str)| Plugin { r#type: (*kind).into(), name: (*name).into() };
            let plugins = plugins.iter().map(plugin).collect();
            Node { description: Some(NodeDescription { plugins, ..Default::default() }), ..Node::default() }
        };
        assert!(has_log_driver(&node(&[("Log", "json-file")]), "json-file"));
        assert!(has_log_driver(&node(&[("Log", "acme/log:latest")]), "acme/log"));
        assert!(!has_log_driver(&node(&[("Log", "json-file"), ("Network", "syslog")]), "syslog"));
        assert!(has_log_driver(&node(&[("Network", "host")]), "syslog"), "it says nothing of log drivers");
    }
}
