//! The calls commands make, by what they are for.

use futures::{Stream, TryStreamExt as _};
use http::Method;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use skep_dockerapi::{
    decode,
    filters::Filters,
    types::{
        ContainerSummary, Created, DistributionInspect, Forecast, ImageSummary, Info, InitRequest, JobRun, JoinRequest,
        Move, Node, NodeSpec, Revisions, Service, ServiceSpec, Swarm, SwarmSpec, Task, Updated, VersionInfo,
    },
};

use super::{ByteStream, Bytes, Client, ClientError, Draft, Target, empty};

/// Whose log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogSource {
    /// All tasks of the service with this id.
    Service(String),
    /// The task with this id.
    Task(String),
}

/// Which lines of a log, and what stands before each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LogQuery {
    /// Stay, and send what comes.
    pub(crate) follow: bool,
    /// Lines from the end, or `all`.
    pub(crate) tail: String,
    /// A time in query notation; empty = all.
    pub(crate) since: String,
    /// With times.
    pub(crate) timestamps: bool,
    /// With attributes.
    pub(crate) details: bool,
}

impl Client {
    pub(crate) async fn version(&self) -> Result<VersionInfo, ClientError> {
        self.get(Target::new(&["version"])).await
    }

    pub(crate) async fn info(&self) -> Result<Info, ClientError> {
        self.get(Target::new(&["info"])).await
    }

    pub(crate) async fn events(&self, filters: &Filters, since: &str, until: &str) -> Result<ByteStream, ClientError> {
        let mut target = Target::new(&["events"]).filtered(filters);
        for (name, time) in [("since", since), ("until", until)] {
            if !time.is_empty() {
                target = target.with(name, time);
            }
        }
        self.stream(Method::GET, target, None, empty()).await
    }

    // ---- swarm ---------------------------------------------------------------------------------

    pub(crate) async fn swarm(&self) -> Result<Swarm, ClientError> {
        self.get(Target::new(&["swarm"])).await
    }

    /// The new node's id.
    pub(crate) async fn swarm_init(&self, request: &InitRequest) -> Result<String, ClientError> {
        self.post(Target::new(&["swarm", "init"]), request).await
    }

    pub(crate) async fn swarm_join(&self, request: &JoinRequest) -> Result<(), ClientError> {
        let body = serde_json::to_vec(request).map_err(ClientError::Request)?;
        self.tell(Method::POST, Target::new(&["swarm", "join"]), Some(body)).await
    }

    pub(crate) async fn swarm_leave(&self, force: bool) -> Result<(), ClientError> {
        self.tell(Method::POST, Target::new(&["swarm", "leave"]).with_flag("force", force), None).await
    }

    /// The swarm, to be changed.
    pub(crate) async fn swarm_draft(&self) -> Result<Draft<SwarmSpec>, ClientError> {
        Draft::read(&self.call(Method::GET, Target::new(&["swarm"]), None).await?)
    }

    /// `rotate` names tokens to replace: `rotateWorkerToken`, `rotateManagerToken`.
    pub(crate) async fn swarm_update(&self, draft: &Draft<SwarmSpec>, rotate: &[&str]) -> Result<(), ClientError> {
        let target = Target::new(&["swarm", "update"]).with("version", &draft.version.to_string());
        let target = rotate.iter().fold(target, |target, name| target.with_flag(name, true));
        self.tell(Method::POST, target, Some(draft.to_json()?)).await
    }

    // ---- nodes ---------------------------------------------------------------------------------

    pub(crate) async fn nodes(&self, filters: &Filters) -> Result<Vec<Node>, ClientError> {
        self.get(Target::new(&["nodes"]).filtered(filters)).await
    }

    pub(crate) async fn node(&self, key: &str) -> Result<Node, ClientError> {
        self.get(Target::new(&["nodes", key])).await
    }

    /// The node as the daemon wrote it.
    pub(crate) async fn node_json(&self, key: &str) -> Result<Bytes, ClientError> {
        self.call(Method::GET, Target::new(&["nodes", key]), None).await
    }

    /// The node, to be changed.
    pub(crate) async fn node_draft(&self, key: &str) -> Result<Draft<NodeSpec>, ClientError> {
        Draft::read(&self.node_json(key).await?)
    }

    pub(crate) async fn node_update(&self, draft: &Draft<NodeSpec>) -> Result<(), ClientError> {
        let target = Target::new(&["nodes", &draft.id, "update"]).with("version", &draft.version.to_string());
        self.tell(Method::POST, target, Some(draft.to_json()?)).await
    }

    pub(crate) async fn node_remove(&self, key: &str, force: bool) -> Result<(), ClientError> {
        self.tell(Method::DELETE, Target::new(&["nodes", key]).with_flag("force", force), None).await
    }

    // ---- services and tasks --------------------------------------------------------------------

    /// Services with their counts.
    pub(crate) async fn services(&self, filters: &Filters) -> Result<Vec<Service>, ClientError> {
        self.get(Target::new(&["services"]).with("status", "true").filtered(filters)).await
    }

    pub(crate) async fn service(&self, key: &str) -> Result<Service, ClientError> {
        self.get(Target::new(&["services", key])).await
    }

    /// The service with what holds where its spec says nothing.
    pub(crate) async fn service_with_defaults(&self, key: &str) -> Result<Service, ClientError> {
        self.get(Target::new(&["services", key]).with("insertDefaults", "true")).await
    }

    /// The same, as the daemon wrote it.
    pub(crate) async fn service_json(&self, key: &str) -> Result<Bytes, ClientError> {
        self.call(Method::GET, Target::new(&["services", key]).with("insertDefaults", "true"), None).await
    }

    pub(crate) async fn service_create(&self, spec: &ServiceSpec) -> Result<Created, ClientError> {
        self.post(Target::new(&["services", "create"]), spec).await
    }

    /// The service, to be changed.
    pub(crate) async fn service_draft(&self, key: &str) -> Result<Draft<ServiceSpec>, ClientError> {
        Draft::read(&self.call(Method::GET, Target::new(&["services", key]), None).await?)
    }

    /// Replaces the spec the draft was made of; with `rollback` by the one before, and the draft's does not matter.
    pub(crate) async fn service_update(
        &self,
        draft: &Draft<ServiceSpec>,
        rollback: bool,
    ) -> Result<Updated, ClientError> {
        let target = Target::new(&["services", &draft.id, "update"]).with("version", &draft.version.to_string());
        let target = if rollback { target.with("rollback", "previous") } else { target };
        Ok(decode::answer(&self.call(Method::POST, target, Some(draft.to_json()?)).await?)?)
    }

    /// Takes the service the draft was made of back to a revision.
    pub(crate) async fn service_rollback_to(
        &self,
        draft: &Draft<ServiceSpec>,
        number: u64,
    ) -> Result<Updated, ClientError> {
        let target = Target::new(&["services", &draft.id, "rollback"]).with("version", &draft.version.to_string());
        self.post(target.with("to", &number.to_string()), &serde_json::Value::Null).await
    }

    /// The revisions of a service that are kept, newest first.
    pub(crate) async fn service_revisions(&self, key: &str) -> Result<Revisions, ClientError> {
        self.get(Target::new(&["services", key, "revisions"])).await
    }

    /// Has tasks moved to where they would be placed now, or only says which.
    pub(crate) async fn service_rebalance(&self, key: &str, dry_run: bool) -> Result<Vec<Move>, ClientError> {
        let target = Target::new(&["services", key, "rebalance"]).with_flag("dry-run", dry_run);
        self.post(target, &serde_json::Value::Null).await
    }

    /// Begins a run of a job.
    pub(crate) async fn service_run(&self, key: &str) -> Result<(), ClientError> {
        self.tell(Method::POST, Target::new(&["services", key, "run"]), None).await
    }

    /// The runs of a scheduled job, oldest first.
    pub(crate) async fn service_runs(&self, key: &str) -> Result<Vec<JobRun>, ClientError> {
        self.get(Target::new(&["services", key, "runs"])).await
    }

    pub(crate) async fn service_remove(&self, key: &str) -> Result<(), ClientError> {
        self.tell(Method::DELETE, Target::new(&["services", key]), None).await
    }

    pub(crate) async fn tasks(&self, filters: &Filters) -> Result<Vec<Task>, ClientError> {
        self.get(Target::new(&["tasks"]).filtered(filters)).await
    }

    pub(crate) async fn task(&self, key: &str) -> Result<Task, ClientError> {
        self.get(Target::new(&["tasks", key])).await
    }

    /// Why something is as it is, as it came. `since` and `limit` are for its history; empty ones are left out.
    pub(crate) async fn explain(
        &self,
        what: &[&str],
        since: &str,
        limit: &str,
    ) -> Result<serde_json::Value, ClientError> {
        let mut target = Target::new(&[&["skep"], what].concat());
        for (name, value) in [("since", since), ("limit", limit)] {
            if !value.is_empty() {
                target = target.with(name, value);
            }
        }
        self.get(target).await
    }

    /// Which bytes a name stands for.
    pub(crate) async fn distribution(&self, image: &str) -> Result<DistributionInspect, ClientError> {
        self.get(Target::new(&["distribution", image, "json"])).await
    }

    /// What would happen if: one of the fields of [`WhatIf`](skep_dockerapi::types::WhatIf), a spec as it was given.
    pub(crate) async fn what_if(&self, asked: &serde_json::Value) -> Result<Forecast, ClientError> {
        self.post(Target::new(&["skep", "what-if"]), asked).await
    }

    pub(crate) async fn logs(&self, source: &LogSource, query: &LogQuery) -> Result<ByteStream, ClientError> {
        let target = match source {
            LogSource::Service(id) => Target::new(&["services", id, "logs"]),
            LogSource::Task(id) => Target::new(&["tasks", id, "logs"]),
        };
        let target = target
            .with("stdout", "true")
            .with("stderr", "true")
            .with_flag("follow", query.follow)
            .with_flag("timestamps", query.timestamps)
            .with_flag("details", query.details)
            .with("tail", &query.tail);
        let target = if query.since.is_empty() { target } else { target.with("since", &query.since) };
        self.stream(Method::GET, target, None, empty()).await
    }

    // ---- this node -----------------------------------------------------------------------------

    pub(crate) async fn containers(&self, all: bool, filters: &Filters) -> Result<Vec<ContainerSummary>, ClientError> {
        self.get(Target::new(&["containers", "json"]).with_flag("all", all).filtered(filters)).await
    }

    pub(crate) async fn images(&self, all: bool, filters: &Filters) -> Result<Vec<ImageSummary>, ClientError> {
        self.get(Target::new(&["images", "json"]).with_flag("all", all).filtered(filters)).await
    }

    /// Sends an archive and gives the progress of loading it.
    pub(crate) async fn image_load(
        &self,
        archive: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
        quiet: bool,
    ) -> Result<ByteStream, ClientError> {
        let target = Target::new(&["images", "load"]).with_flag("quiet", quiet);
        let body = StreamBody::new(archive.map_ok(Frame::data)).boxed_unsync();
        self.stream(Method::POST, target, Some("application/x-tar"), body).await
    }
}
