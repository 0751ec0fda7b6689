//! Filters of list calls. Pure.
//!
//! An empty list is no condition, the values of one field are alternatives, fields are ANDed.
//! Labels are the exception, as in Docker: an object must carry every label that is named.

use std::collections::BTreeMap;

use skep_core::update;
use skep_proto::v1::{
    ListNodesRequest, ListServicesRequest, ListTasksRequest, Node, Service, Task, service_spec::Mode,
};
use skep_store::{LookupError, View};

/// Whether a node is asked for.
pub(super) fn node(wanted: &ListNodesRequest, node: &Node) -> bool {
    let hostname = node.description.as_ref().map_or("", |description| description.hostname.as_str());
    let annotations = node.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
    let name = annotations.map_or("", |annotations| annotations.name.as_str());
    let availability = node.spec.as_ref().map(|spec| spec.availability).unwrap_or_default();
    prefix(&wanted.id_prefixes, [node.id.as_str()])
        && prefix(&wanted.name_prefixes, [hostname, name])
        && labels(&wanted.labels, node.description.as_ref().map(|description| &description.engine_labels))
        && labels(&wanted.node_labels, annotations.map(|annotations| &annotations.labels))
        && any(&wanted.roles, |role| *role == node.role)
        && any(&wanted.availabilities, |wanted| *wanted == availability)
}

/// Whether a service is asked for.
pub(super) fn service(wanted: &ListServicesRequest, service: &Service) -> bool {
    let annotations = service.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
    let name = annotations.map_or("", |annotations| annotations.name.as_str());
    prefix(&wanted.id_prefixes, [service.id.as_str()])
        && prefix(&wanted.name_prefixes, [name])
        && labels(&wanted.labels, annotations.map(|annotations| &annotations.labels))
        && any(&wanted.modes, |mode| mode == mode_name(service))
}

/// The word for a service's mode.
fn mode_name(service: &Service) -> &'static str {
    match service.spec.as_ref().and_then(|spec| spec.mode.as_ref()) {
        Some(Mode::Replicated(_)) => "replicated",
        Some(Mode::Global(_)) => "global",
        Some(Mode::ReplicatedJob(_)) => "replicated-job",
        Some(Mode::GlobalJob(_)) => "global-job",
        None => "",
    }
}

/// A list of tasks, its keys of services and nodes resolved once for the whole list.
pub(super) struct Tasks<'a> {
    wanted: &'a ListTasksRequest,
    services: Vec<String>,
    nodes: Vec<String>,
}

impl<'a> Tasks<'a> {
    /// # Errors
    /// A key that names no service or node, or several.
    pub(super) fn new(wanted: &'a ListTasksRequest, view: &View) -> Result<Self, LookupError> {
        let service = |key: &String| view.find_service(key).map(|service| service.id.clone());
        let node = |key: &String| view.find_node(key).map(|node| node.id.clone());
        Ok(Self {
            wanted,
            services: wanted.services.iter().map(service).collect::<Result<_, _>>()?,
            nodes: wanted.nodes.iter().map(node).collect::<Result<_, _>>()?,
        })
    }

    /// The services to look in; `None` for every task there is.
    pub(super) fn services(&self) -> Option<&[String]> {
        (!self.wanted.services.is_empty()).then_some(&self.services)
    }

    /// The nodes to look on; `None` for every task there is.
    pub(super) fn nodes(&self) -> Option<&[String]> {
        (!self.wanted.nodes.is_empty()).then_some(&self.nodes)
    }

    /// Whether a task is asked for.
    pub(super) fn match_task(&self, task: &Task, view: &View) -> bool {
        let wanted = self.wanted;
        prefix(&wanted.id_prefixes, [task.id.as_str()])
            && (wanted.name_prefixes.is_empty() || prefix(&wanted.name_prefixes, [task_name(task).as_str()]))
            && self.services().is_none_or(|ids| ids.contains(&task.service_id))
            && self.nodes().is_none_or(|ids| ids.contains(&task.node_id))
            && labels(&wanted.labels, task.service.as_ref().map(|annotations| &annotations.labels))
            && any(&wanted.desired_states, |state| *state == task.desired_state)
            && (!wanted.up_to_date_only || up_to_date(task, view))
    }
}

/// `service.slot.id`, for a global service `service.node.id`: what a task's container is called.
fn task_name(task: &Task) -> String {
    let service = task.service.as_ref().map_or("", |annotations| annotations.name.as_str());
    match task.slot {
        0 => format!("{service}.{}.{}", task.node_id, task.id),
        slot => format!("{service}.{slot}.{}", task.id),
    }
}

/// Whether a task is what its service asks for now: no update would replace it.
fn up_to_date(task: &Task, view: &View) -> bool {
    view.service(&task.service_id).is_some_and(|service| !update::is_dirty(view, service, task))
}

fn any<T>(wanted: &[T], fits: impl Fn(&T) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(fits)
}

fn prefix<'n>(wanted: &[String], names: impl IntoIterator<Item = &'n str> + Clone) -> bool {
    any(wanted, |prefix| names.clone().into_iter().any(|name| !name.is_empty() && name.starts_with(prefix.as_str())))
}

fn labels(wanted: &[String], carried: Option<&BTreeMap<String, String>>) -> bool {
    wanted.iter().all(|label| {
        let (key, value) = match label.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (label.as_str(), None),
        };
        carried.and_then(|labels| labels.get(key)).is_some_and(|carried| value.is_none_or(|value| value == carried))
    })
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Annotations, Availability, GlobalService, NodeDescription, NodeRole, NodeSpec, ServiceSpec};

    use super::*;

    fn annotations(name: &str, labels: &[(&str, &str)]) -> Annotations {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Annotations { name: name.to_owned(), labels }
    }

    fn some_node() -> Node {
        Node {
            id: "abc123".into(),
            spec: Some(NodeSpec {
                annotations: Some(annotations("front", &[("zone", "east"), ("ssd", "")])),
                availability: Availability::Drain.into(),
                ..Default::default()
            }),
            description: Some(NodeDescription { hostname: "n1".into(), ..Default::default() }),
            role: NodeRole::Manager.into(),
            ..Default::default()
        }
    }

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn nodes_are_found_by_every_field() {
        let found = |wanted: ListNodesRequest| node(&wanted, &some_node());
        assert!(found(ListNodesRequest::default()));
        for (prefixes, expected) in [(vec!["abc"], true), (vec!["x", "ab"], true), (vec!["b"], false)] {
            assert_eq!(found(ListNodesRequest { id_prefixes: strings(&prefixes), ..Default::default() }), expected);
        }
        for (prefixes, expected) in [(vec!["n"], true), (vec!["fro"], true), (vec!["zzz"], false)] {
            assert_eq!(found(ListNodesRequest { name_prefixes: strings(&prefixes), ..Default::default() }), expected);
        }
        for (labels, expected) in [
            (vec!["zone"], true),
            (vec!["zone=east"], true),
            (vec!["zone=west"], false),
            (vec!["ssd="], true),
            (vec!["zone=east", "ssd"], true),
            (vec!["zone=east", "gpu"], false),
        ] {
            assert_eq!(found(ListNodesRequest { node_labels: strings(&labels), ..Default::default() }), expected);
        }
        assert!(!found(ListNodesRequest { labels: strings(&["zone"]), ..Default::default() }), "not an engine label");
        assert!(found(ListNodesRequest { roles: vec![NodeRole::Manager.into()], ..Default::default() }));
        assert!(!found(ListNodesRequest { roles: vec![NodeRole::Worker.into()], ..Default::default() }));
        assert!(!found(ListNodesRequest {
            roles: vec![NodeRole::Manager.into()],
            availabilities: vec![Availability::Active.into()],
            ..Default::default()
        }));
    }

    #[test]
    fn an_unnamed_object_has_no_name_that_any_prefix_fits() {
        let wanted = ListNodesRequest { name_prefixes: strings(&[""]), ..Default::default() };
        assert!(!node(&wanted, &Node { id: "x".into(), ..Default::default() }));
    }

    #[test]
    fn services_are_found_by_mode() {
        let spec = ServiceSpec {
            annotations: Some(annotations("web", &[]).into()),
            mode: Some(Mode::Global(GlobalService {})),
            ..Default::default()
        };
        let global = Service { id: "s".into(), spec: Some(spec), ..Default::default() };
        for (modes, expected) in
            [(vec![], true), (vec!["global"], true), (vec!["replicated"], false), (vec!["replicated", "global"], true)]
        {
            let wanted = ListServicesRequest { modes: strings(&modes), ..Default::default() };
            assert_eq!(service(&wanted, &global), expected, "{modes:?}");
        }
    }
}
