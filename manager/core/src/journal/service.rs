//! What happens to services, in words.

use skep_proto::v1::{
    ContainerSpec, JobOutcome, JobRun, Service, ServiceSpec, TaskSpec, UpdateState, service_spec::Mode,
};

use super::labels;
use crate::names::count;

pub(super) fn created(service: &Service) -> String {
    let spec = service.spec.clone().unwrap_or_default();
    format!("created: {} of {}", size(&spec), tagged(image(&spec)))
}

/// The present state of a service whose last change was missed.
pub(super) fn current_state(service: &Service) -> String {
    match service.meta {
        Some(meta) if meta.created_at != meta.updated_at => "changed; how and by whom was not seen".to_owned(),
        _ => created(service),
    }
}

pub(super) fn changed(old: &Service, new: &Service) -> Vec<String> {
    let mut texts = Vec::new();
    let (old_spec, new_spec) = (old.spec.clone().unwrap_or_default(), new.spec.clone().unwrap_or_default());
    let parts = parts(&old_spec, &new_spec);
    let is_numbered = new.last_revision != 0 && old.revision != new.revision;
    let to = if is_numbered { format!(" to revision {}", new.revision) } else { String::new() };
    if is_rollback(old, new) {
        texts.push(format!("rolled back{to}: {}", parts.join(", ")));
    } else if let (Some(Mode::Replicated(before)), Some(Mode::Replicated(after)), [_]) =
        (&old_spec.mode, &new_spec.mode, &parts[..])
        && before != after
    {
        texts.push(format!("scaled from {} to {}", before.replicas, after.replicas));
    } else if !parts.is_empty() {
        texts.push(format!("updated{to}: {}", parts.join(", ")));
    }
    texts.extend(update(old, new));
    texts.extend(runs(old, new));
    texts
}

fn is_rollback(old: &Service, new: &Service) -> bool {
    let began = new.update_status.as_ref().is_some_and(|status| status.state() == UpdateState::RollbackStarted);
    // A job has no such status. But it is at another revision, and none was made.
    let went_back = new.last_revision != 0 && new.last_revision == old.last_revision && new.revision != old.revision;
    went_back || began && old.update_status != new.update_status && old.spec != new.spec
}

/// News of a rolling update.
fn update(old: &Service, new: &Service) -> Option<String> {
    let state = |service: &Service| service.update_status.as_ref().map(|status| status.state());
    let (before, after) = (state(old), state(new)?);
    if before == Some(after) {
        return None;
    }
    let what = match after {
        UpdateState::Unknown => return None,
        UpdateState::Updating => "the update began",
        UpdateState::Paused => "the update is paused",
        UpdateState::Completed => "the update is complete",
        UpdateState::RollbackStarted => "the rollback began",
        UpdateState::RollbackPaused => "the rollback is paused",
        UpdateState::RollbackCompleted => "the rollback is complete",
    };
    let message = new.update_status.as_ref().map_or("", |status| status.message.as_str());
    Some(if message.is_empty() { what.to_owned() } else { format!("{what}: {message}") })
}

/// News of a job's runs.
fn runs(old: &Service, new: &Service) -> Vec<String> {
    let of = |service: &Service| service.job.clone().unwrap_or_default();
    let (old, new) = (of(old), of(new));
    let mut texts = Vec::new();
    if new.iteration > old.iteration {
        texts.push(format!("run {} began", new.iteration));
    }
    let known = |run: &JobRun| old.runs.iter().find(|other| other.iteration == run.iteration).map(JobRun::outcome);
    for run in new.runs.iter().filter(|run| known(run).is_none_or(|outcome| outcome != run.outcome())) {
        let how = match run.outcome() {
            JobOutcome::Running => continue,
            JobOutcome::Complete => "is complete",
            JobOutcome::Failed => "failed",
            JobOutcome::Replaced => "was replaced by a newer one",
        };
        texts.push(format!("run {} {how}", run.iteration));
    }
    texts
}

/// How many tasks a spec asks for.
fn size(spec: &ServiceSpec) -> String {
    let tasks = |number: u64, what| count(usize::try_from(number).unwrap_or(usize::MAX), what);
    match &spec.mode {
        Some(Mode::Replicated(mode)) => tasks(mode.replicas, "replica"),
        Some(Mode::Global(_)) => "one task on every node".to_owned(),
        Some(Mode::ReplicatedJob(job)) => format!("a job of {}", tasks(job.total_completions, "completion")),
        Some(Mode::GlobalJob(_)) => "a job on every node".to_owned(),
        None => "nothing".to_owned(),
    }
}

fn image(spec: &ServiceSpec) -> &str {
    let container = spec.task.as_ref().and_then(|task| task.container.as_ref());
    container.map_or("no image", |container| container.image.as_str())
}

/// An image without its digest, where it has a tag as well.
fn tagged(image: &str) -> &str {
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    // A colon before the last slash is a registry's port.
    if name.rsplit('/').next().is_some_and(|last| last.contains(':')) { name } else { image }
}

/// What differs between two specs. Values that may be secret are not shown.
fn parts(old: &ServiceSpec, new: &ServiceSpec) -> Vec<String> {
    let mut parts = Vec::new();
    if old.mode != new.mode {
        parts.push(format!("{} instead of {}", size(new), size(old)));
    }
    let (old_task, new_task) = (old.task.clone().unwrap_or_default(), new.task.clone().unwrap_or_default());
    let (before, after) = (image(old), image(new));
    if tagged(before) != tagged(after) {
        parts.push(format!("image {} instead of {}", tagged(after), tagged(before)));
    } else if before != after {
        parts.push(format!("image {after} instead of {before}"));
    }
    parts.extend(named(&task_parts(&old_task, &new_task)));
    let of = |spec: &ServiceSpec| spec.annotations.clone().unwrap_or_default().into_inner().labels;
    parts.extend(labels(&of(old), &of(new)));
    parts.extend(named(&[
        ("update policy", old.update != new.update),
        ("rollback policy", old.rollback != new.rollback),
        ("endpoint", old.endpoint != new.endpoint),
    ]));
    parts
}

fn task_parts(old: &TaskSpec, new: &TaskSpec) -> [(&'static str, bool); 9] {
    let container = |task: &TaskSpec| task.container.clone().unwrap_or_default();
    let (old_container, new_container) = (container(old), container(new));
    let rest = |container: ContainerSpec| ContainerSpec {
        image: String::new(),
        command: Vec::new(),
        args: Vec::new(),
        env: Vec::new(),
        ..container
    };
    let command = (&old_container.command, &old_container.args) != (&new_container.command, &new_container.args);
    [
        ("command", command),
        ("environment", old_container.env != new_container.env),
        ("container settings", rest(old_container) != rest(new_container)),
        ("resources", old.resources != new.resources),
        ("placement", old.placement != new.placement),
        ("restart policy", old.restart != new.restart),
        ("network", old.network != new.network),
        ("log driver", old.log_driver != new.log_driver),
        ("tasks to be replaced by force", old.force_update != new.force_update),
    ]
}

fn named<'a>(parts: &'a [(&'static str, bool)]) -> impl Iterator<Item = String> + 'a {
    parts.iter().filter(|(_, changed)| *changed).map(|(name, _)| (*name).to_owned())
}
