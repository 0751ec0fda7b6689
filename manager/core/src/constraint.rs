//! Placement constraints: `key == value` and `key != value` over attributes of a node; all of them must hold.
//!
//! Keys and values compare without regard to case, as in Docker. A key that names nothing is satisfied by no node; a
//! label a node does not have is an empty one.

use std::net::IpAddr;

use skep_proto::v1::{Node, NodeRole, Placement};

/// Why a constraint is refused. Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// Neither `==` nor `!=`.
    #[error("constraint expected one operator from ==, !=")]
    Operator,
    /// Not a key.
    #[error("key '{0}' is invalid")]
    Key(String),
    /// Not a value.
    #[error("value '{0}' is invalid")]
    Value(String),
}

/// One parsed constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    key: Key,
    /// `==`, else `!=`.
    equal: bool,
    value: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    Id,
    Hostname,
    Ip,
    Role,
    Os,
    Arch,
    NodeLabel(String),
    EngineLabel(String),
    /// Well formed, but no attribute: satisfied by no node.
    Unknown,
}

impl Constraint {
    /// Parses `key==value` or `key!=value`, with or without spaces around the operator.
    ///
    /// # Errors
    /// When there is no operator, or a side of it is malformed.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        let (key, equal, value) = if let Some((key, value)) = text.split_once("==") {
            (key.trim(), true, value.trim())
        } else if let Some((key, value)) = text.split_once("!=") {
            (key.trim(), false, value.trim())
        } else {
            return Err(ConstraintError::Operator);
        };
        if !is_key(key) {
            return Err(ConstraintError::Key(key.into()));
        }
        if !is_value(value) {
            return Err(ConstraintError::Value(value.into()));
        }
        Ok(Self { key: Key::parse(key), equal, value: value.into() })
    }

    /// Whether the node satisfies it.
    pub fn matches(&self, node: &Node) -> bool {
        let description = node.description.as_ref();
        let platform = description.and_then(|d| d.platform.as_ref());
        let same = |what: &str| what.eq_ignore_ascii_case(&self.value);
        let matched = match &self.key {
            Key::Id => same(&node.id),
            Key::Hostname => same(description.map_or("", |d| &d.hostname)),
            Key::Ip => address_matches(node.status.as_ref().map_or("", |s| &s.addr), &self.value),
            Key::Role => same(if node.role() == NodeRole::Manager { "manager" } else { "worker" }),
            Key::Os => same(platform.map_or("", |p| &p.os)),
            Key::Arch => same_architecture(platform.map_or("", |p| &p.architecture), &self.value),
            Key::NodeLabel(label) => {
                let labels = node.spec.as_ref().and_then(|s| s.annotations.as_ref()).map(|a| &a.labels);
                same(labels.and_then(|l| l.get(label)).map_or("", String::as_str))
            }
            Key::EngineLabel(label) => {
                same(description.and_then(|d| d.engine_labels.get(label)).map_or("", String::as_str))
            }
            Key::Unknown => return false,
        };
        matched == self.equal
    }
}

impl Key {
    fn parse(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        let label = |prefix: &str| lower.starts_with(prefix).then(|| text[prefix.len()..].to_owned());
        match lower.as_str() {
            "node.id" => Self::Id,
            "node.hostname" => Self::Hostname,
            "node.ip" => Self::Ip,
            "node.role" => Self::Role,
            "node.platform.os" => Self::Os,
            "node.platform.arch" => Self::Arch,
            _ => label("node.labels.")
                .map(Self::NodeLabel)
                .or_else(|| label("engine.labels.").map(Self::EngineLabel))
                .unwrap_or(Self::Unknown),
        }
    }
}

/// The parsed constraints of a placement. One that does not parse is refused when the spec is validated; should it get
/// here all the same, no node satisfies it.
pub fn of_placement(placement: Option<&Placement>) -> Vec<Constraint> {
    let constraints = placement.map_or(&[][..], |p| &p.constraints);
    let impossible = Constraint { key: Key::Unknown, equal: true, value: String::new() };
    constraints.iter().map(|text| Constraint::parse(text).unwrap_or_else(|_| impossible.clone())).collect()
}

/// Whether a node satisfies all constraints of a placement.
pub(crate) fn are_satisfied(node: &Node, placement: Option<&Placement>) -> bool {
    of_placement(placement).iter().all(|constraint| constraint.matches(node))
}

/// Whether two names mean the same architecture: the kernel and Go name some differently.
pub(crate) fn same_architecture(a: &str, b: &str) -> bool {
    fn canonical(name: &str) -> String {
        match name.to_ascii_lowercase().as_str() {
            "x86_64" | "x86-64" => "amd64".into(),
            "aarch64" => "arm64".into(),
            "i386" | "i686" => "386".into(),
            "armv7l" | "armhf" => "arm".into(),
            other => other.into(),
        }
    }
    canonical(a) == canonical(b)
}

/// Letters first, then letters, digits and `-_.`; two characters at least.
fn is_key(text: &str) -> bool {
    let first = |c: u8| c.is_ascii_alphabetic() || c == b'_';
    let rest = |c: u8| c.is_ascii_alphanumeric() || b"-_.".contains(&c);
    matches!(text.as_bytes(), [head, tail @ ..] if first(*head) && !tail.is_empty() && tail.iter().all(|c| rest(*c)))
}

fn is_value(text: &str) -> bool {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || br":-_.*()?+[]\^$|/".contains(&c);
    !text.is_empty() && text.bytes().all(allowed)
}

/// Whether an address is the one named, or in the network named in CIDR notation.
fn address_matches(addr: &str, pattern: &str) -> bool {
    let Ok(addr) = addr.parse::<IpAddr>() else { return false };
    match pattern.split_once('/') {
        None => pattern.parse() == Ok(addr),
        Some((network, bits)) => match (network.parse::<IpAddr>(), bits.parse::<u32>()) {
            (Ok(network), Ok(bits)) => in_network(addr, network, bits),
            _ => false,
        },
    }
}

fn in_network(addr: IpAddr, network: IpAddr, bits: u32) -> bool {
    let (addr, network, width) = match (addr, network) {
        (IpAddr::V4(addr), IpAddr::V4(network)) => (addr.to_bits().into(), network.to_bits().into(), 32),
        (IpAddr::V6(addr), IpAddr::V6(network)) => (addr.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let differing: u128 = addr ^ network;
    bits <= width && differing.checked_shr(width - bits).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Annotations, NodeDescription, NodeSpec, NodeStatus, Platform};

    use super::*;

    fn node() -> Node {
        Node {
            id: "abc123".into(),
            spec: Some(NodeSpec {
                annotations: Some(Annotations {
                    labels: [("zone".to_owned(), "East".to_owned())].into(),
                    ..Annotations::default()
                }),
                ..NodeSpec::default()
            }),
            description: Some(NodeDescription {
                hostname: "n1".into(),
                platform: Some(Platform { architecture: "x86_64".into(), os: "linux".into() }),
                engine_labels: [("disk".to_owned(), "ssd".to_owned())].into(),
                ..NodeDescription::default()
            }),
            status: Some(NodeStatus { addr: "10.1.2.3".into(), ..NodeStatus::default() }),
            role: NodeRole::Manager.into(),
            ..Node::default()
        }
    }

    #[test]
    fn what_a_node_satisfies() {
        let cases = [
            ("node.id==ABC123", true),
            ("node.id != abc123", false),
            ("node.hostname == n1", true),
            ("node.role==manager", true),
            ("node.role==worker", false),
            ("NODE.ROLE != worker", true),
            ("node.platform.os==linux", true),
            ("node.platform.arch==x86_64", true),
            ("node.platform.arch==amd64", true),
            ("node.platform.arch==arm64", false),
            ("node.labels.zone==east", true),
            ("node.labels.zone!=east", false),
            ("node.labels.rack==1", false),
            ("node.labels.rack!=1", true),
            ("engine.labels.disk==ssd", true),
            ("engine.labels.disk!=ssd", false),
            ("node.ip==10.1.2.3", true),
            ("node.ip==10.1.0.0/16", true),
            ("node.ip!=10.1.0.0/16", false),
            ("node.ip==10.2.0.0/16", false),
            ("node.ip==0.0.0.0/0", true),
            ("node.ip==10.1.2.3/33", false),
            ("node.ip==fe80::/10", false),
            ("node.colour==red", false),
            ("node.colour!=red", false),
        ];
        for (text, expected) in cases {
            assert_eq!(Constraint::parse(text).unwrap().matches(&node()), expected, "{text}");
        }
        let mut far = node();
        far.status.as_mut().unwrap().addr = "fd00:1::7".into();
        for (text, expected) in [
            ("node.ip==fd00:1::/32", true),
            ("node.ip==fd00:2::/32", false),
            ("node.ip==fd00:1::7/128", true),
            ("node.ip==fd00:1::7/129", false),
            ("node.ip==10.0.0.0/8", false),
        ] {
            assert_eq!(Constraint::parse(text).unwrap().matches(&far), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_constraint() {
        use ConstraintError::*;
        for (text, error) in [
            ("", Operator),
            ("node.id", Operator),
            ("node.id=abc", Operator),
            ("==x", Key(String::new())),
            ("1node==x", Key("1node".into())),
            ("no de==x", Key("no de".into())),
            ("n==x", Key("n".into())),
            ("node.id==", Value(String::new())),
            ("node.id== é", Value("é".into())),
            ("node.id==a,b", Value("a,b".into())),
        ] {
            assert_eq!(Constraint::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_node_that_never_described_itself_satisfies_only_what_it_is_not() {
        let bare = Node { id: "x".into(), ..Node::default() };
        assert!(Constraint::parse("node.labels.zone!=east").unwrap().matches(&bare));
        assert!(!Constraint::parse("node.hostname==n1").unwrap().matches(&bare));
        assert!(!Constraint::parse("node.ip==0.0.0.0/0").unwrap().matches(&bare));
    }
}
