//! Events of nodes and services, made from changes of the replicated state.

use std::collections::BTreeMap;

use skep_proto::v1::{Node, ObjectKind, Service, WatchMessage, object, service_spec::Mode, watch_message::Action};

use super::words::Word as _;
use crate::{
    filters::Filters,
    time::Time,
    types::{Actor, Event},
};

/// The filters `/events` takes.
pub const EVENT_FILTERS: &[&str] =
    &["type", "event", "node", "service", "scope", "label", "container", "image", "daemon"];

/// The kinds of object that Docker has events of.
pub fn kinds_with_events() -> impl Iterator<Item = ObjectKind> {
    let kinds = (0..).map_while(|number| ObjectKind::try_from(number).ok());
    kinds.filter(|kind| match kind {
        ObjectKind::Node | ObjectKind::Service => true,
        ObjectKind::Task | ObjectKind::Cluster | ObjectKind::Revision => false,
    })
}

/// The event of a change; `None` for objects Docker has no events of. `now` dates removals, which carry no time.
pub fn event_from_watch(message: &WatchMessage, now: Time) -> Option<Event> {
    let action = message.action();
    let old = message.old.as_ref().and_then(|object| object.object.as_ref());
    let (kind, id, meta, attributes) = match message.object.as_ref()?.object.as_ref()? {
        object::Object::Node(node) => {
            let old = match old {
                Some(object::Object::Node(old)) => Some(&**old),
                _ => None,
            };
            ("node", node.id.clone(), node.meta, node_attributes(node, old))
        }
        object::Object::Service(service) => {
            let old = match old {
                Some(object::Object::Service(old)) => Some(&**old),
                _ => None,
            };
            ("service", service.id.clone(), service.meta, service_attributes(service, old))
        }
        object::Object::Task(_) | object::Object::Cluster(_) | object::Object::Revision(_) => return None,
    };
    let meta = meta.unwrap_or_default();
    let (action, at) = match action {
        Action::Create => ("create", Time(meta.created_at)),
        Action::Update => ("update", Time(meta.updated_at)),
        Action::Remove => ("remove", now),
    };
    Some(Event {
        kind: kind.to_owned(),
        action: action.to_owned(),
        actor: Actor { id, attributes },
        scope: "swarm".to_owned(),
        time: at.unix_seconds(),
        time_nano: at.0,
    })
}

/// Whether an event is asked for.
pub fn event_matches(event: &Event, filters: &Filters) -> bool {
    let any = |name: &str, fits: &dyn Fn(&str) -> bool| !filters.has(name) || filters.values(name).any(fits);
    let this = |kind: &str, value: &str| {
        event.kind == kind
            && (event.actor.id.starts_with(value)
                || event.actor.attributes.get("name").is_some_and(|name| name == value))
    };
    any("type", &|value| value == event.kind)
        && any("event", &|value| value == event.action)
        && any("scope", &|value| value == event.scope)
        && any("node", &|value| this("node", value))
        && any("service", &|value| this("service", value))
        && ["container", "image", "daemon"].iter().all(|kind| !filters.has(kind))
        && filters.labels_match("label", &event.actor.attributes)
}

fn node_attributes(node: &Node, old: Option<&Node>) -> BTreeMap<String, String> {
    let name = match node.spec.as_ref().and_then(|spec| spec.annotations.as_ref()) {
        Some(annotations) if !annotations.name.is_empty() => annotations.name.clone(),
        _ => node.description.as_ref().map(|description| description.hostname.clone()).unwrap_or_default(),
    };
    let mut attributes = Attributes::named(name);
    if let Some(old) = old {
        let availability = |node: &Node| node.spec.as_ref().map(|spec| spec.availability().word());
        attributes.changed("availability", availability(old), availability(node));
        attributes.changed("role", Some(old.role().word()), Some(node.role().word()));
        let state = |node: &Node| node.status.as_ref().map(|status| status.state().word());
        attributes.changed("state", state(old), state(node));
        let message = |node: &Node| node.status.as_ref().map_or(String::new(), |status| status.message.clone());
        attributes.changed("message", Some(&message(old)), Some(&message(node)));
    }
    attributes.0
}

fn service_attributes(service: &Service, old: Option<&Service>) -> BTreeMap<String, String> {
    let spec = service.spec.as_ref();
    let name = spec.and_then(|spec| spec.annotations.as_ref()).map(|annotations| annotations.name.clone());
    let mut attributes = Attributes::named(name.unwrap_or_default());
    if let Some(old) = old {
        attributes.changed("image", image(old), image(service));
        attributes.changed("replicas", replicas(old).as_deref(), replicas(service).as_deref());
    }
    attributes.0
}

fn image(service: &Service) -> Option<&str> {
    Some(service.spec.as_ref()?.task.as_ref()?.container.as_ref()?.image.as_str())
}

fn replicas(service: &Service) -> Option<String> {
    match service.spec.as_ref()?.mode.as_ref()? {
        Mode::Replicated(replicated) => Some(replicated.replicas.to_string()),
        Mode::Global(_) | Mode::ReplicatedJob(_) | Mode::GlobalJob(_) => None,
    }
}

struct Attributes(BTreeMap<String, String>);

impl Attributes {
    fn named(name: String) -> Self {
        Self([("name".to_owned(), name)].into())
    }

    fn changed(&mut self, what: &str, old: Option<&str>, new: Option<&str>) {
        if let (Some(old), Some(new)) = (old, new)
            && old != new
        {
            self.0.insert(format!("{what}.old"), old.to_owned());
            self.0.insert(format!("{what}.new"), new.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use skep_proto::v1::{
        Annotations, Meta, NodeDescription, NodeState, NodeStatus, Object, ReplicatedService, ServiceSpec,
    };

    use super::*;

    fn service(replicas: u64) -> Object {
        let spec = ServiceSpec {
            annotations: Some(Annotations { name: "web".into(), ..Annotations::default() }.into()),
            mode: Some(Mode::Replicated(ReplicatedService { replicas })),
            ..ServiceSpec::default()
        };
        let meta = Meta { version: 3, created_at: 1_000_000_001, updated_at: 2_000_000_002 };
        let service = Service { id: "s1".into(), meta: Some(meta), spec: Some(spec), ..Service::default() };
        Object { object: Some(object::Object::Service(service.into())) }
    }

    fn message(action: Action, object: Object, old: Option<Object>) -> WatchMessage {
        WatchMessage { action: action.into(), object: Some(object), old, version: 3 }
    }

    #[test]
    fn a_scaled_service_says_from_what_to_what() {
        let event = event_from_watch(&message(Action::Update, service(3), Some(service(2))), Time(9)).unwrap();
        let attributes = [("name", "web"), ("replicas.new", "3"), ("replicas.old", "2")];
        assert_eq!(event.actor.attributes, attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into());
        assert_eq!((event.action.as_str(), event.time, event.time_nano), ("update", 2, 2_000_000_002));
    }

    #[test]
    fn creation_and_removal_are_dated() {
        let created = event_from_watch(&message(Action::Create, service(1), None), Time(9)).unwrap();
        assert_eq!((created.action.as_str(), created.time_nano), ("create", 1_000_000_001));
        let removed = event_from_watch(&message(Action::Remove, service(1), None), Time(5_000_000_009)).unwrap();
        assert_eq!((removed.action.as_str(), removed.time, removed.time_nano), ("remove", 5, 5_000_000_009));
    }

    #[test]
    fn a_node_that_goes_down_or_has_a_problem_says_so() {
        let node = |state: NodeState, message: &str| {
            let node = Node {
                id: "n1".into(),
                description: Some(NodeDescription { hostname: "host".into(), ..NodeDescription::default() }),
                status: Some(NodeStatus { state: state.into(), message: message.into(), ..NodeStatus::default() }),
                ..Node::default()
            };
            Object { object: Some(object::Object::Node(node.into())) }
        };
        let change = message(Action::Update, node(NodeState::Down, ""), Some(node(NodeState::Ready, "")));
        let attributes = event_from_watch(&change, Time(0)).unwrap().actor.attributes;
        let expected = [("name", "host"), ("state.new", "down"), ("state.old", "ready")];
        assert_eq!(attributes, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into());

        let ready = |message: &str| node(NodeState::Ready, message);
        let change = message(Action::Update, ready("disk full"), Some(ready("")));
        let attributes = event_from_watch(&change, Time(0)).unwrap().actor.attributes;
        assert_eq!((attributes["message.old"].as_str(), attributes["message.new"].as_str()), ("", "disk full"));
    }

    #[test]
    fn the_kinds_that_are_watched_are_those_that_have_events() {
        use object::Object::{Cluster, Node, Revision, Service, Task};
        let with_events: BTreeSet<ObjectKind> = kinds_with_events().collect();
        for (kind, object) in [
            (ObjectKind::Node, Node(Default::default())),
            (ObjectKind::Service, Service(Default::default())),
            (ObjectKind::Task, Task(Default::default())),
            (ObjectKind::Cluster, Cluster(Default::default())),
            (ObjectKind::Revision, Revision(Default::default())),
        ] {
            let created = message(Action::Create, Object { object: Some(object) }, None);
            assert_eq!(event_from_watch(&created, Time(0)).is_some(), with_events.contains(&kind), "{kind:?}");
        }
    }

    #[test]
    fn filters_choose() {
        let event = event_from_watch(&message(Action::Create, service(1), None), Time(0)).unwrap();
        let matches = |json: &str| event_matches(&event, &Filters::parse(Some(json)).unwrap());
        assert!(matches("{}"));
        assert!(matches(r#"{"type":["service","node"],"event":["create"],"service":["web"]}"#));
        assert!(matches(r#"{"service":["s1"],"scope":["swarm"],"label":["name=web"]}"#));
        for other in [r#"{"type":["node"]}"#, r#"{"event":["update"]}"#, r#"{"service":["api"]}"#, r#"{"node":["s1"]}"#]
        {
            assert!(!matches(other), "{other}");
        }
        assert!(!matches(r#"{"container":["web"]}"#));
    }
}
