//! Placement preferences: labels over whose values the tasks of a service are spread, outermost first.

use std::sync::Arc;

use skep_proto::v1::Node;

/// A label to spread over.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Label {
    Node(String),
    Engine(String),
}

impl Label {
    fn parse(descriptor: &str) -> Option<Self> {
        let key = |prefix: &str| {
            let (start, key) = descriptor.split_at_checked(prefix.len())?;
            (start.eq_ignore_ascii_case(prefix) && !key.is_empty()).then(|| key.to_owned())
        };
        key("node.labels.").map(Self::Node).or_else(|| key("engine.labels.").map(Self::Engine))
    }

    /// A node without the label has the empty value, like all others without it.
    fn value<'a>(&self, node: &'a Node) -> &'a str {
        let value = match self {
            Self::Node(key) => {
                let annotations = node.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
                annotations.and_then(|annotations| annotations.labels.get(key))
            }
            Self::Engine(key) => node.description.as_ref().and_then(|description| description.engine_labels.get(key)),
        };
        value.map_or("", String::as_str)
    }
}

/// The values a node has for each preference.
pub(super) type Values = Vec<Arc<str>>;

/// The preferences of a task. One that names no label of a node or an engine tells no two nodes apart and is passed
/// over, as in Docker.
#[derive(Debug, Clone, Default)]
pub(super) struct Spread(Vec<Label>);

impl Spread {
    pub(super) fn over(descriptors: &[String]) -> Self {
        Self(descriptors.iter().filter_map(|descriptor| Label::parse(descriptor)).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn values(&self, node: &Node) -> Values {
        self.0.iter().map(|label| label.value(node).into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_spread_over() {
        let labels = |descriptor: &str| Spread::over(&[descriptor.to_owned()]).0.len();
        for good in ["node.labels.zone", "Engine.Labels.disk", "node.labels.a.b"] {
            assert_eq!(labels(good), 1, "{good}");
        }
        for bad in ["", "zone", "com.x", "node.labels.", "node.hostname", "node.labelszone", "é"] {
            assert_eq!(labels(bad), 0, "{bad}");
        }
    }
}
