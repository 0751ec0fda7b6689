//! Delta encoding of updates: most changes of a task are only its next state, and its spec is far longer than that.
//!
//! Invariant: the delta of two versions of an object, applied to the first, gives the second but for its meta. A change that
//! no delta can express is an update of the whole object.

use std::sync::Arc;

use skep_proto::v1::{
    Node, NodeChange, Object, Task, TaskAssignment, TaskChange, TaskStatus, TaskStatusChange, Transaction,
    action::Action, object,
};

use crate::{IntoObject as _, StoreObject as _, View};

/// The feature level that these actions need.
const LEVEL: u32 = 1;

/// The smallest action that makes an object of `view` what it is here; `now` is the transaction's.
pub(crate) fn update(view: &View, object: Object, now: i64) -> Action {
    let small = if view.feature_level() < LEVEL { None } else { small_update(view, &object, now) };
    small.unwrap_or(Action::Update(object))
}

fn small_update(view: &View, object: &Object, now: i64) -> Option<Action> {
    match object.object.as_ref()? {
        object::Object::Task(new) => {
            let old = view.task(&new.id).filter(|old| old.version() == new.version())?;
            task_change(old, new, now).map(Action::ChangeTask)
        }
        object::Object::Node(new) => {
            let old = view.node(&new.id).filter(|old| old.version() == new.version())?;
            node_change(old, new).map(Action::ChangeNode)
        }
        object::Object::Service(_) | object::Object::Cluster(_) | object::Object::Revision(_) => None,
    }
}

impl View {
    /// Replaces every delta in a transaction by the equivalent update of the whole object. One that would be refused stays a
    /// delta.
    pub fn spell_out(&self, transaction: &mut Transaction) {
        for action in &mut transaction.actions {
            match action.action.take() {
                Some(Action::ChangeTask(change)) => {
                    let read = self.task(&change.id).filter(|task| task.version() == change.version);
                    action.action = Some(match read.cloned() {
                        Some(mut task) => {
                            change_task(Arc::make_mut(&mut task), change, transaction.now);
                            Action::Update(task.into_object())
                        }
                        None => Action::ChangeTask(change),
                    });
                }
                Some(Action::ChangeNode(change)) => {
                    let read = self.node(&change.id).filter(|node| node.version() == change.version);
                    action.action = Some(match read.cloned() {
                        Some(mut node) => {
                            change_node(Arc::make_mut(&mut node), change);
                            Action::Update(node.into_object())
                        }
                        None => Action::ChangeNode(change),
                    });
                }
                other => action.action = other,
            }
        }
    }
}

fn task_change(old: &Task, new: &Task, now: i64) -> Option<TaskChange> {
    // All fields by name: a new one does not compile until it is handled here.
    let Task {
        id,
        meta: _,
        service_id,
        slot,
        node_id,
        spec,
        revision,
        service,
        status,
        desired_state,
        restart,
        job_iteration,
        cause,
        replaces,
        generic_resources,
        endpoint,
        // Nothing is left out of a task of a state.
        spec_of_revision: _,
        service_of_revision: _,
        feature_level,
    } = new;
    let stays = (service_id, slot, revision, job_iteration, cause, replaces)
        == (&old.service_id, &old.slot, &old.revision, &old.job_iteration, &old.cause, &old.replaces)
        && (spec, service, endpoint, feature_level) == (&old.spec, &old.service, &old.endpoint, &old.feature_level);
    if !stays || is_unset(old.status.as_ref(), status.as_ref()) || is_unset(old.restart.as_ref(), restart.as_ref()) {
        return None;
    }
    let status = match status {
        Some(new) if old.status.as_ref() != Some(new) => Some(status_change(old.status.as_ref(), new, now)?),
        _ => None,
    };
    let is_assigned = (node_id, generic_resources) != (&old.node_id, &old.generic_resources);
    Some(TaskChange {
        id: id.clone(),
        version: new.version(),
        status,
        desired_state: other(&old.desired_state, desired_state),
        assignment: is_assigned
            .then(|| TaskAssignment { node_id: node_id.clone(), generic_resources: generic_resources.clone() }),
        restart: restart.clone().filter(|restart| old.restart.as_ref() != Some(restart)),
    })
}

/// Applies a delta to the task it was made from.
pub(crate) fn change_task(task: &mut Task, change: TaskChange, now: i64) {
    let TaskChange { id: _, version: _, status, desired_state, assignment, restart } = change;
    if let Some(change) = status {
        change_status(task.status.get_or_insert_default(), change, now);
    }
    put(&mut task.desired_state, desired_state);
    if let Some(TaskAssignment { node_id, generic_resources }) = assignment {
        task.node_id = node_id;
        task.generic_resources = generic_resources;
    }
    if restart.is_some() {
        task.restart = restart;
    }
}

fn status_change(old: Option<&TaskStatus>, new: &TaskStatus, now: i64) -> Option<TaskStatusChange> {
    let none = TaskStatus::default();
    let old = old.unwrap_or(&none);
    let TaskStatus { state, timestamp, message, err, container, applied_at, running_at } = new;
    if is_unset(old.container.as_ref(), container.as_ref()) {
        return None;
    }
    let time = |old: &i64, new: &i64| other(old, new).map(|time| time.wrapping_sub(now));
    Some(TaskStatusChange {
        state: other(&old.state, state),
        timestamp: time(&old.timestamp, timestamp),
        message: other(&old.message, message),
        err: other(&old.err, err),
        container: container.clone().filter(|container| old.container.as_ref() != Some(container)),
        applied_at: time(&old.applied_at, applied_at),
        running_at: time(&old.running_at, running_at),
    })
}

fn change_status(status: &mut TaskStatus, change: TaskStatusChange, now: i64) {
    let TaskStatusChange { state, timestamp, message, err, container, applied_at, running_at } = change;
    let time = |distance: Option<i64>| distance.map(|distance| distance.wrapping_add(now));
    put(&mut status.state, state);
    put(&mut status.timestamp, time(timestamp));
    put(&mut status.message, message);
    put(&mut status.err, err);
    if container.is_some() {
        status.container = container;
    }
    put(&mut status.applied_at, time(applied_at));
    put(&mut status.running_at, time(running_at));
}

fn node_change(old: &Node, new: &Node) -> Option<NodeChange> {
    let Node { id, meta: _, spec, description, status, role, manager, certificate } = new;
    let stays = (spec, role, manager, certificate) == (&old.spec, &old.role, &old.manager, &old.certificate);
    if !stays
        || is_unset(old.status.as_ref(), status.as_ref())
        || is_unset(old.description.as_ref(), description.as_ref())
    {
        return None;
    }
    Some(NodeChange {
        id: id.clone(),
        version: new.version(),
        status: status.clone().filter(|status| old.status.as_ref() != Some(status)),
        description: description.clone().filter(|description| old.description.as_ref() != Some(description)),
    })
}

/// Applies a delta to the node it was made from.
pub(crate) fn change_node(node: &mut Node, change: NodeChange) {
    let NodeChange { id: _, version: _, status, description } = change;
    if status.is_some() {
        node.status = status;
    }
    if description.is_some() {
        node.description = description;
    }
}

/// Whether a message is removed: no delta expresses that.
fn is_unset<T>(old: Option<&T>, new: Option<&T>) -> bool {
    old.is_some() && new.is_none()
}

fn other<T: PartialEq + Clone>(old: &T, new: &T) -> Option<T> {
    (old != new).then(|| new.clone())
}

fn put<T>(field: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *field = new;
    }
}
