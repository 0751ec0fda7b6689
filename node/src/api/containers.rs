//! `/containers`: what runs, or ran, on this node.

use std::{collections::BTreeSet, time::Instant};

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use skep_common::clock::{Clock as _, SystemClock, Timestamp};
use skep_dockerapi::{
    filters::Filters,
    human,
    time::Time,
    types::{Container, ContainerState as Shown, ContainerSummary},
};
use skep_runtime::{ContainerState, Exit, RuntimeError, Status};

use super::{
    container_size::{self, Sizes},
    error::ApiError,
    inspect,
    request::Params,
    state::Api,
};

const FILTERS: [&str; 15] = [
    "id",
    "name",
    "label",
    "status",
    "exited",
    "ancestor",
    "is-task",
    "before",
    "since",
    "network",
    "volume",
    "publish",
    "expose",
    "health",
    "isolation",
];
/// What may be asked of a health; the first is that of a container that is asked for none.
const HEALTHS: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];
const STATES: [&str; 3] = ["created", "running", "exited"];

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/containers/json", get(list)).route("/containers/{id}/json", get(show))
}

/// `GET /containers/json`: the newest first; without `all` or a filter on the state, those that run.
async fn list(State(api): State<Api>, params: Params) -> Result<Json<Vec<ContainerSummary>>, ApiError> {
    let filters = params.filters(&FILTERS)?;
    let states = filters.parsed("status", |state| STATES.contains(&state).then(|| state.to_owned()))?;
    let codes = filters.parsed_or("exited", |code| code.parse::<i32>().ok(), |code| invalid_number("Atoi", code))?;
    let tasks = filters.flag("is-task")?;
    let health = |health: &str| HEALTHS.contains(&health).then(|| health.to_owned());
    let healths =
        filters.parsed_or("health", health, |health| format!("unrecognised filter value for health: {health}"))?;
    for ports in ["publish", "expose"] {
        filters.parsed_or(ports, is_port, |port| {
            format!("error while looking up for {ports} {port}: {}", invalid_number("ParseUint", port))
        })?;
    }
    // No container has a volume, a port or a health yet.
    let never = ["volume", "publish", "expose"].iter().any(|filter| filters.has(filter))
        || !(healths.is_empty() || healths.iter().any(|health| health == HEALTHS[0]));
    let (mut before, mut since) = (None, None);
    for (filter, bound) in [("before", &mut before), ("since", &mut since)] {
        if let Some(key) = filters.values(filter).next() {
            *bound = Some(find(&api, key).await?.created);
        }
    }
    let limit = match params.text("limit") {
        "" => None,
        text => Some(text.parse::<i64>().map_err(|_| ApiError::bad(format!("invalid limit {text:?}")))?),
    };
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let all = params.flag("all") || limit.is_some() || !states.is_empty() || !codes.is_empty();

    let ancestors = ancestors(&api, &filters).await?;

    let mut containers = api.backend.runtime.list().await?;
    containers.retain(|container| {
        let any = |filter: &str, fits: &dyn Fn(&str) -> bool| !filters.has(filter) || filters.values(filter).any(fits);
        !never
            && (all || matches!(container.status, Status::Running { .. }))
            && before.is_none_or(|before| container.created < before)
            && since.is_none_or(|since| container.created > since)
            && any("network", &|network| inspect::network(&container.details) == network)
            && any("isolation", &|isolation| isolation == "default")
            && (states.is_empty() || states.iter().any(|asked| asked == state(&container.status)))
            && (codes.is_empty() || matches!(&container.status, Status::Exited(exit) if codes.contains(&exit.code)))
            && any("id", &|id| container.id.starts_with(id))
            && any("name", &|name| container.name.contains(name.trim_start_matches('/')))
            && ancestors.as_ref().is_none_or(|images| images.contains(&container.image_id))
            && filters.labels_match("label", &container.labels)
            && tasks.is_none_or(|tasks| tasks == container.task_id().is_some())
    });
    containers.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
    containers.truncate(limit.unwrap_or(usize::MAX));
    let now = SystemClock::new().now();
    let mut shown = Vec::with_capacity(containers.len());
    let end = Instant::now() + container_size::PATIENCE;
    for container in containers {
        let sizes = if params.flag("size") { Some(container_size::of(&api, &container, end).await?) } else { None };
        shown.push(summary(container, sizes, now));
    }
    Ok(Json(shown))
}

/// `GET /containers/{id}/json`.
async fn show(State(api): State<Api>, Path(key): Path<String>, params: Params) -> Result<Json<Container>, ApiError> {
    let container = find(&api, &key).await?;
    let end = Instant::now() + container_size::PATIENCE;
    let sizes = if params.flag("size") { Some(container_size::of(&api, &container, end).await?) } else { None };
    Ok(Json(Container {
        state: shown(&container.status),
        size_rw: sizes.map(|sizes| sizes.written),
        size_root_fs: sizes.map(|sizes| sizes.all),
        ..inspect::container(container)
    }))
}

/// The container a user means: by id, else name, else an id prefix that fits it alone.
pub(super) async fn find(api: &Api, key: &str) -> Result<ContainerState, ApiError> {
    let containers = api.backend.runtime.list().await?;
    let name = key.strip_prefix('/').unwrap_or(key);
    let exact = containers.iter().find(|container| container.id == key);
    if let Some(found) = exact.or_else(|| containers.iter().find(|container| container.name == name)) {
        return Ok(found.clone());
    }
    let mut fitting = containers.into_iter().filter(|container| !key.is_empty() && container.id.starts_with(key));
    match (fitting.next(), fitting.next()) {
        (Some(found), None) => Ok(found),
        (Some(_), Some(_)) => Err(ApiError::bad(format!("multiple IDs found with provided prefix: {key}"))),
        (None, _) => Err(ApiError::not_found(format!("No such container: {key}"))),
    }
}

/// Go's sentence for a number that is none.
fn invalid_number(function: &str, text: &str) -> String {
    format!("strconv.{function}: parsing {text:?}: invalid syntax")
}

/// `80`, `80-90`, `80/tcp`.
fn is_port(text: &str) -> Option<()> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let range = first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?;
    (!range.is_empty() && matches!(protocol, "tcp" | "udp" | "sctp")).then_some(())
}

/// The images a filter means; `None` when it is not given. One that is not there has no containers.
async fn ancestors(api: &Api, filters: &Filters) -> Result<Option<BTreeSet<String>>, ApiError> {
    if !filters.has("ancestor") {
        return Ok(None);
    }
    let mut images = BTreeSet::new();
    for name in filters.values("ancestor") {
        match api.backend.runtime.image(name).await {
            Ok(image) => images.extend([image.id]),
            Err(RuntimeError::NoSuchImage(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(images))
}

/// The command in one line: what holds a space is in quotes, as in Docker.
fn command_line(command: &[String]) -> String {
    let mut words = command.iter().map(String::as_str);
    let mut line = words.next().unwrap_or_default().to_owned();
    for word in words {
        line += " ";
        line += &if word.contains(' ') { format!("'{word}'") } else { word.to_owned() };
    }
    line
}

fn summary(container: ContainerState, sizes: Option<Sizes>, now: Timestamp) -> ContainerSummary {
    let (host_config, network_settings) = inspect::networks(&container.details);
    ContainerSummary {
        names: vec![format!("/{}", container.name)],
        command: command_line(&container.command),
        created: container.created.as_secs(),
        ports: Vec::new(),
        state: state(&container.status).to_owned(),
        status: status(&container.status, now),
        host_config,
        network_settings,
        mounts: Vec::new(),
        id: container.id,
        image: container.image,
        image_id: container.image_id,
        size_rw: sizes.map_or(0, |sizes| sizes.written),
        size_root_fs: sizes.map_or(0, |sizes| sizes.all),
        labels: container.labels,
    }
}

fn state(status: &Status) -> &'static str {
    match status {
        Status::Created => "created",
        Status::Running { .. } => "running",
        Status::Exited(_) => "exited",
    }
}

fn status(status: &Status, now: Timestamp) -> String {
    let since = |moment: Timestamp| human::duration(now.since(moment));
    match status {
        Status::Created => "Created".to_owned(),
        Status::Running { started, .. } => format!("Up {}", since(*started)),
        Status::Exited(Exit { code, at, .. }) => format!("Exited ({code}) {} ago", since(*at)),
    }
}

fn shown(status: &Status) -> Shown {
    let shown = Shown { status: state(status).to_owned(), ..Shown::default() };
    match status {
        Status::Created => shown,
        Status::Running { pid, started } => {
            Shown { running: true, pid: *pid, started_at: Time::from(*started), ..shown }
        }
        Status::Exited(exit) => Shown {
            oom_killed: exit.oom,
            exit_code: exit.code,
            error: exit.error.clone().unwrap_or_default(),
            finished_at: Time::from(exit.at),
            ..shown
        },
    }
}
