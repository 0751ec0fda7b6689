//! What happens to tasks, in words.

use skep_common::clock::Timestamp;
use skep_proto::v1::{Task, TaskCause, TaskState};
use skep_store::View;

use crate::{names, task::TaskExt};

pub(super) fn made(view: &View, task: &Task) -> String {
    let why = match task.cause() {
        TaskCause::Unknown => "made".to_owned(),
        TaskCause::Replica => "made: its place was empty".to_owned(),
        TaskCause::Restart => "made: its predecessor ended".to_owned(),
        TaskCause::Update => "made for the update".to_owned(),
        TaskCause::Rollback => "made for the rollback".to_owned(),
        TaskCause::NodeGone => "made: its predecessor's node was removed".to_owned(),
        TaskCause::NodeDown => "made: its predecessor's node is down".to_owned(),
        TaskCause::Drain => "made: its predecessor's node is drained".to_owned(),
        TaskCause::Constraints => "made: its predecessor's node does not satisfy the constraints any more".to_owned(),
        TaskCause::Resources => "made: its predecessor's node has too little left".to_owned(),
        TaskCause::Rebalance => "made to even out the nodes".to_owned(),
        TaskCause::Job => format!("made for run {}", task.job_iteration),
    };
    let replaces = match task.replaces.as_str() {
        "" => String::new(),
        id => format!(", replaces {}", names::short(id)),
    };
    let on = match task.node_id.as_str() {
        "" => String::new(),
        id => format!(", for {}", names::node_by_id(view, id)),
    };
    let delay = not_before(task).since(task.created_at());
    let later =
        if delay.is_zero() { String::new() } else { format!(", starts in {} s at the earliest", delay.as_secs()) };
    format!("{why}{replaces}{on}{later}")
}

fn not_before(task: &Task) -> Timestamp {
    Timestamp(task.restart.as_ref().map_or(0, |restart| restart.not_before))
}

pub(super) fn changed(view: &View, old: &Task, new: &Task) -> Vec<String> {
    let mut texts = Vec::new();
    if old.state() < TaskState::Assigned && new.may_run() {
        texts.push(format!("assigned to {}", names::node_by_id(view, &new.node_id)));
    }
    if waits_for(new).is_some_and(|reason| waits_for(old) != Some(reason)) {
        texts.push(current_state(view, new));
    }
    let arrived = old.state() != new.state() && new.state() == TaskState::Running;
    let ended = !old.is_terminal() && new.is_terminal();
    if arrived || ended {
        texts.push(current_state(view, new));
    }
    if old.desired_state() != new.desired_state() && !new.is_terminal() {
        texts.extend(match new.desired_state() {
            TaskState::Running => Some("may start".to_owned()),
            TaskState::Shutdown => Some("is to stop".to_owned()),
            TaskState::Remove => Some("is to stop for good".to_owned()),
            _ => None,
        });
    }
    texts
}

/// The reason a task has no node.
fn waits_for(task: &Task) -> Option<&str> {
    let status = task.status.as_ref().filter(|status| status.state() <= TaskState::Pending)?;
    Some(status.err.as_str()).filter(|reason| !reason.is_empty())
}

/// How a task stands.
pub(super) fn current_state(view: &View, task: &Task) -> String {
    let node = names::node_by_id(view, &task.node_id);
    match task.state() {
        TaskState::New | TaskState::Pending => match waits_for(task) {
            Some(reason) => format!("waits: {reason}"),
            None => "waits for a node".to_owned(),
        },
        TaskState::Running => format!("running on {node}"),
        TaskState::Complete => ended(task, "completed"),
        TaskState::Shutdown => ended(task, "stopped"),
        TaskState::Failed => ended(task, "failed"),
        TaskState::Rejected => ended(task, &format!("rejected by {node}")),
        TaskState::Remove | TaskState::Orphaned => ended(task, "given up for lost"),
        _ => format!("being started on {node}"),
    }
}

fn ended(task: &Task, how: &str) -> String {
    let status = task.status.clone().unwrap_or_default();
    let mut text = how.to_owned();
    if let Some(container) = status.container.filter(|container| container.exit_code != 0 || container.oom_killed) {
        text += &format!(
            " (exit code {}{})",
            container.exit_code,
            if container.oom_killed { ", out of memory" } else { "" }
        );
    }
    if !status.err.is_empty() {
        text += ": ";
        text += &status.err;
    }
    text
}
