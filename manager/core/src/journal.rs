//! Journal (audit log): describes changes of the state in words for people.
//!
//! Decides nothing. Invariants: a text follows from the change alone (the state only supplies names); no value that may be a
//! secret gets into it (an environment has "changed", never how); its length is bounded.

mod node;
mod service;
mod task;

use skep_proto::v1::{Cluster, JournalEntry};
use skep_store::{AnyObject, Change, View, WatchEvent};

use crate::names;

/// Longest text of an entry, in bytes.
pub const MAX_TEXT: usize = 512;

/// The entries for an event, in the order its changes happened. `view` is at least as new.
pub fn entries(view: &View, event: &WatchEvent) -> Vec<JournalEntry> {
    let entry = |(about, text)| JournalEntry {
        at: event.at.as_nanos(),
        version: event.version,
        by: event.by.as_ref().to_owned(),
        ..entry(about, text)
    };
    event.changes.iter().flat_map(|change| told(view, change)).map(entry).collect()
}

/// An entry for the present state of an object whose last change this journal missed; `None` where that says nothing.
pub fn current_state(view: &View, object: &AnyObject) -> Option<JournalEntry> {
    let text = match object {
        AnyObject::Task(task) => task::current_state(view, task),
        AnyObject::Service(service) => service::current_state(service),
        AnyObject::Node(node) => node::current_state(node),
        AnyObject::Cluster(_) | AnyObject::Revision(_) => return None,
    };
    let at = object.meta().map_or(0, |meta| meta.updated_at);
    Some(JournalEntry { at, version: object.version(), ..entry(About::of(object), text) })
}

/// Which objects an entry is about.
#[derive(Debug, Clone, Default)]
struct About {
    service_id: String,
    task_id: String,
    node_id: String,
    slot: u64,
}

impl About {
    fn of(object: &AnyObject) -> Self {
        match object {
            AnyObject::Task(task) => Self {
                service_id: task.service_id.clone(),
                task_id: task.id.clone(),
                node_id: task.node_id.clone(),
                slot: task.slot,
            },
            AnyObject::Service(service) => Self { service_id: service.id.clone(), ..Self::default() },
            AnyObject::Node(node) => Self { node_id: node.id.clone(), ..Self::default() },
            AnyObject::Revision(revision) => Self { service_id: revision.service_id.clone(), ..Self::default() },
            AnyObject::Cluster(_) => Self::default(),
        }
    }
}

fn entry(about: About, mut text: String) -> JournalEntry {
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    let About { service_id, task_id, node_id, slot } = about;
    JournalEntry { service_id, task_id, node_id, slot, text, ..JournalEntry::default() }
}

fn told(view: &View, change: &Change) -> Vec<(About, String)> {
    let texts = match change {
        Change::Create(new) => created(view, new),
        Change::Update { old, new } => changed(view, old, new),
        Change::Remove(old) => removed(old),
    };
    let about = About::of(change.object());
    texts.into_iter().map(|text| (about.clone(), text)).collect()
}

fn created(view: &View, new: &AnyObject) -> Vec<String> {
    match new {
        AnyObject::Task(task) => vec![task::made(view, task)],
        AnyObject::Service(service) => vec![service::created(service)],
        AnyObject::Node(node) => vec![node::joined(node)],
        AnyObject::Cluster(_) => vec!["the swarm was made".to_owned()],
        // The change of its service names it.
        AnyObject::Revision(_) => Vec::new(),
    }
}

fn changed(view: &View, old: &AnyObject, new: &AnyObject) -> Vec<String> {
    use AnyObject::{Cluster, Node, Revision, Service, Task};
    match (old, new) {
        (Task(old), Task(new)) => task::changed(view, old, new),
        (Service(old), Service(new)) => service::changed(old, new),
        (Node(old), Node(new)) => node::changed(old, new),
        (Cluster(old), Cluster(new)) => cluster_changed(old, new),
        // A revision never changes, and nothing becomes an object of another kind.
        (Task(_) | Service(_) | Node(_) | Cluster(_) | Revision(_), _) => Vec::new(),
    }
}

fn removed(old: &AnyObject) -> Vec<String> {
    match old {
        // The name cannot be looked up any more.
        AnyObject::Service(service) => vec![format!("removed ({})", names::service(service))],
        AnyObject::Node(node) => vec![format!("removed from the swarm ({})", names::node(node))],
        // The reaper tidies up; the cluster is never removed.
        AnyObject::Task(_) | AnyObject::Revision(_) | AnyObject::Cluster(_) => Vec::new(),
    }
}

fn cluster_changed(old: &Cluster, new: &Cluster) -> Vec<String> {
    let mut texts = Vec::new();
    let (before, after) = (old.spec.clone().unwrap_or_default(), new.spec.clone().unwrap_or_default());
    let changed = [
        ("name and labels", before.annotations != after.annotations),
        ("task history limit", before.task_history_limit != after.task_history_limit),
        ("heartbeat period", before.heartbeat_period != after.heartbeat_period),
        ("life of certificates", before.node_cert_expiry != after.node_cert_expiry),
        ("snapshot interval", before.snapshot_interval != after.snapshot_interval),
        (
            "log entries for slow followers",
            before.log_entries_for_slow_followers != after.log_entries_for_slow_followers,
        ),
        ("log driver", before.task_log_driver != after.task_log_driver),
    ];
    let changed: Vec<&str> = changed.iter().filter(|(_, changed)| *changed).map(|(name, _)| *name).collect();
    if !changed.is_empty() {
        texts.push(format!("the swarm's settings changed: {}", changed.join(", ")));
    }
    let (old, new) = (old.join_tokens.clone().unwrap_or_default(), new.join_tokens.clone().unwrap_or_default());
    for (role, changed) in [("worker", old.worker != new.worker), ("manager", old.manager != new.manager)] {
        if changed {
            texts.push(format!("the {role} join token was replaced"));
        }
    }
    texts
}

/// How labels changed, each in a few words.
fn labels(
    old: &std::collections::BTreeMap<String, String>,
    new: &std::collections::BTreeMap<String, String>,
) -> Vec<String> {
    let set = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    let set = set.map(|(key, value)| format!("label {key}={value} set"));
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| format!("label {key} removed"));
    set.chain(gone).collect()
}

#[cfg(test)]
mod tests;
