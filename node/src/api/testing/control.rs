//! A control service over maps: services get their tasks at once, and every task runs.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::{Stream, StreamExt as _};
use skep_proto::v1::{
    Availability, Cluster, CreateServiceRequest, ExplainReply, ExplainRequest, GetClusterRequest, GetObjectRequest,
    JobRun, JournalEntry, ListNodesReply, ListNodesRequest, ListRevisionsReply, ListServicesReply, ListServicesRequest,
    ListTasksReply, ListTasksRequest, ManagerStatus, Meta, Node, NodeDescription, NodeRole, NodeSpec, NodeState,
    NodeStatus, NodeVerdict, Object, Reachability, RebalanceServiceReply, RebalanceServiceRequest, RemoveNodeReply,
    RemoveNodeRequest, RemoveServiceReply, RollBackServiceRequest, Service, ServiceSpec, ServiceWithStatus, Task,
    TaskState, TaskStatus, UpdateClusterRequest, UpdateNodeRequest, UpdateServiceRequest, WatchMessage, WatchRequest,
    WhatIfReply, WhatIfRequest, control_server::Control, explain_request, list_revisions_reply, object,
    rebalance_service_reply, service_spec::Mode, watch_message::Action, what_if_reply, what_if_request,
};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

use super::{NODE, TIME};

/// The swarm's objects.
pub(in super::super) struct State {
    pub(in super::super) cluster: Cluster,
    pub(in super::super) nodes: BTreeMap<String, Node>,
    pub(in super::super) services: BTreeMap<String, Service>,
    pub(in super::super) tasks: BTreeMap<String, Task>,
    version: u64,
    changes: broadcast::Sender<WatchMessage>,
}

impl State {
    pub(in super::super) fn new(cluster: Cluster, description: NodeDescription) -> Self {
        let node = Node {
            id: NODE.into(),
            meta: Some(Meta { version: 1, created_at: TIME, updated_at: TIME }),
            spec: Some(NodeSpec {
                desired_role: NodeRole::Manager.into(),
                availability: Availability::Active.into(),
                ..NodeSpec::default()
            }),
            description: Some(description),
            status: Some(NodeStatus {
                state: NodeState::Ready.into(),
                addr: "10.0.0.1".into(),
                ..NodeStatus::default()
            }),
            role: NodeRole::Manager.into(),
            manager: Some(ManagerStatus {
                raft_id: 1,
                addr: "10.0.0.1:2377".into(),
                leader: true,
                reachability: Reachability::Reachable.into(),
            }),
            certificate: None,
        };
        Self {
            cluster,
            nodes: [(NODE.to_owned(), node)].into(),
            services: BTreeMap::new(),
            tasks: BTreeMap::new(),
            version: 1,
            changes: broadcast::Sender::new(64),
        }
    }

    fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn find_service(&self, key: &str) -> Result<Service, Status> {
        let name =
            |service: &Service| service.spec.as_ref().and_then(|s| s.annotations.as_ref()).map(|a| a.name.clone());
        find(&self.services, key, "service", |service| name(service).as_deref() == Some(key))
    }

    fn find_node(&self, key: &str) -> Result<Node, Status> {
        find(&self.nodes, key, "node", |node| node.description.as_ref().is_some_and(|d| d.hostname == key))
    }

    /// Makes the tasks of a service what its spec says.
    fn converge(&mut self, service: &Service) {
        let spec = service.spec.clone().unwrap_or_default();
        let wanted = match spec.mode {
            Some(Mode::Replicated(replicated)) => replicated.replicas,
            _ => 1,
        };
        self.tasks.retain(|_, task| task.service_id != service.id || task.slot <= wanted);
        for slot in 1..=wanted {
            let id = format!("task{slot}{}", &service.id[service.id.len() - 20..]);
            let version = self.version;
            self.tasks.entry(id.clone()).or_insert_with(|| Task {
                id,
                meta: Some(Meta { version, created_at: TIME, updated_at: TIME }),
                service_id: service.id.clone(),
                slot,
                node_id: NODE.into(),
                spec: spec.task.clone(),
                revision: service.revision,
                service: spec.annotations.clone(),
                status: Some(TaskStatus {
                    state: TaskState::Running.into(),
                    timestamp: TIME,
                    message: "started".into(),
                    ..TaskStatus::default()
                }),
                desired_state: TaskState::Running.into(),
                ..Task::default()
            });
        }
    }

    fn tell(&self, action: Action, service: Service, old: Option<Service>) {
        let object = |service: Service| Object { object: Some(object::Object::Service(service.into())) };
        let message = WatchMessage {
            action: action.into(),
            object: Some(object(service)),
            old: old.map(object),
            version: self.version,
        };
        let _ = self.changes.send(message);
    }
}

/// Pages of one object each: whoever wants a whole list has to turn them.
fn page<T>(found: impl Iterator<Item = T>, after: Option<&str>, id: impl Fn(&T) -> &str) -> (Vec<T>, bool) {
    let Some(after) = after else { return (found.collect(), false) };
    let mut following = found.filter(|object| id(object) > after);
    let page = following.next().into_iter().collect();
    let more = following.next().is_some();
    (page, more)
}

fn find<T: Clone>(
    objects: &BTreeMap<String, T>,
    key: &str,
    kind: &str,
    named: impl Fn(&T) -> bool,
) -> Result<T, Status> {
    if let Some(found) = objects.get(key).or_else(|| objects.values().find(|object| named(object))) {
        return Ok(found.clone());
    }
    let fitting: Vec<_> = objects.iter().filter(|(id, _)| id.starts_with(key)).collect();
    match fitting.as_slice() {
        [(_, found)] => Ok((*found).clone()),
        [] => Err(Status::not_found(format!("{kind} {key} not found"))),
        several => {
            let text = format!("{kind} {key} is ambiguous ({} matches found)", several.len());
            Err(Status::invalid_argument(text))
        }
    }
}

fn name(spec: Option<&ServiceSpec>) -> String {
    spec.and_then(|spec| spec.annotations.as_ref()).map(|annotations| annotations.name.clone()).unwrap_or_default()
}

fn in_sequence(meta: Option<Meta>, version: u64) -> Result<(), Status> {
    if meta.unwrap_or_default().version == version { Ok(()) } else { Err(Status::unknown("update out of sequence")) }
}

fn prefixed(prefixes: &[String], text: &str) -> bool {
    prefixes.is_empty() || prefixes.iter().any(|prefix| text.starts_with(prefix))
}

/// [`State`], shared.
#[derive(Clone)]
pub(in super::super) struct SharedState(Arc<Mutex<State>>);

impl SharedState {
    pub(in super::super) fn new(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    pub(in super::super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Control for SharedState {
    async fn get_cluster(&self, _: Request<GetClusterRequest>) -> Answer<Cluster> {
        Ok(Response::new(self.lock().cluster.clone()))
    }

    async fn update_cluster(&self, request: Request<UpdateClusterRequest>) -> Answer<Cluster> {
        let request = request.into_inner();
        let mut state = self.lock();
        in_sequence(state.cluster.meta, request.version)?;
        let version = state.next();
        let cluster = &mut state.cluster;
        cluster.spec = request.spec;
        cluster.meta = Some(Meta { version, created_at: TIME, updated_at: TIME });
        if let Some(tokens) = &mut cluster.join_tokens {
            if request.rotate_worker_token {
                tokens.worker.push('2');
            }
            if request.rotate_manager_token {
                tokens.manager.push('2');
            }
        }
        Ok(Response::new(cluster.clone()))
    }

    async fn get_node(&self, request: Request<GetObjectRequest>) -> Answer<Node> {
        self.lock().find_node(&request.into_inner().key).map(Response::new)
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Answer<ListNodesReply> {
        let wanted = request.into_inner();
        let state = self.lock();
        let fits = |node: &&Node| {
            // Nobody here has labels.
            wanted.labels.is_empty()
                && wanted.node_labels.is_empty()
                && prefixed(&wanted.name_prefixes, node.description.as_ref().map_or("", |known| &known.hostname))
                && prefixed(&wanted.id_prefixes, &node.id)
                && (wanted.roles.is_empty() || wanted.roles.contains(&node.role))
        };
        let found = state.nodes.values().filter(fits).cloned();
        let (nodes, more) = page(found, wanted.after.as_deref(), |node| &node.id);
        Ok(Response::new(ListNodesReply { nodes, more }))
    }

    async fn update_node(&self, request: Request<UpdateNodeRequest>) -> Answer<Node> {
        let request = request.into_inner();
        let mut state = self.lock();
        let mut node = state.find_node(&request.key)?;
        in_sequence(node.meta, request.version)?;
        node.meta = Some(Meta { version: state.next(), created_at: TIME, updated_at: TIME });
        node.spec = request.spec;
        state.nodes.insert(node.id.clone(), node.clone());
        Ok(Response::new(node))
    }

    async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Answer<RemoveNodeReply> {
        let node = self.lock().find_node(&request.into_inner().key)?;
        Err(Status::failed_precondition(format!(
            "node {} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before \
             removal",
            node.id
        )))
    }

    async fn create_service(&self, request: Request<CreateServiceRequest>) -> Answer<Service> {
        let spec = request.into_inner().spec;
        let name = name(spec.as_ref());
        let mut state = self.lock();
        if state.find_service(&name).is_ok() {
            let text = format!("name conflicts with an existing object: service {name} already exists");
            return Err(Status::already_exists(text));
        }
        let version = state.next();
        let service = Service {
            id: format!(
                "serv{:0>21}",
                format!("{}{version}", name.chars().filter(char::is_ascii_alphanumeric).collect::<String>())
            ),
            meta: Some(Meta { version, created_at: TIME, updated_at: TIME }),
            spec,
            revision: version,
            ..Service::default()
        };
        state.services.insert(service.id.clone(), service.clone());
        state.converge(&service);
        state.tell(Action::Create, service.clone(), None);
        Ok(Response::new(service))
    }

    async fn get_service(&self, request: Request<GetObjectRequest>) -> Answer<Service> {
        self.lock().find_service(&request.into_inner().key).map(Response::new)
    }

    async fn list_services(&self, request: Request<ListServicesRequest>) -> Answer<ListServicesReply> {
        let wanted = request.into_inner();
        let state = self.lock();
        let services = state.services.values().filter(|service| {
            prefixed(&wanted.id_prefixes, &service.id) && prefixed(&wanted.name_prefixes, &name(service.spec.as_ref()))
        });
        let counted = |service: &Service| {
            let tasks = state.tasks.values().filter(|task| task.service_id == service.id).count();
            let tasks = u64::try_from(tasks).unwrap();
            ServiceWithStatus {
                service: Some(service.clone()),
                running_tasks: tasks,
                desired_tasks: tasks,
                completed_tasks: 0,
            }
        };
        let (services, more) = page(services, wanted.after.as_deref(), |service| &service.id);
        Ok(Response::new(ListServicesReply { services: services.into_iter().map(counted).collect(), more }))
    }

    async fn update_service(&self, request: Request<UpdateServiceRequest>) -> Answer<Service> {
        let request = request.into_inner();
        let mut state = self.lock();
        let old = state.find_service(&request.key)?;
        in_sequence(old.meta, request.version)?;
        let spec = if request.rollback { old.previous_spec.clone() } else { request.spec };
        let Some(spec) = spec else {
            return Err(Status::failed_precondition(format!("service {} does not have a previous spec", old.id)));
        };
        let version = state.next();
        let service = Service {
            meta: Some(Meta { version, created_at: TIME, updated_at: TIME }),
            previous_spec: old.spec.clone(),
            spec: Some(spec),
            ..old.clone()
        };
        state.services.insert(service.id.clone(), service.clone());
        state.converge(&service);
        state.tell(Action::Update, service.clone(), Some(old));
        Ok(Response::new(service))
    }

    async fn remove_service(&self, request: Request<GetObjectRequest>) -> Answer<RemoveServiceReply> {
        let mut state = self.lock();
        let service = state.find_service(&request.into_inner().key)?;
        state.services.remove(&service.id);
        state.tasks.retain(|_, task| task.service_id != service.id);
        state.tell(Action::Remove, service, None);
        Ok(Response::new(RemoveServiceReply {}))
    }

    async fn roll_back_service(&self, request: Request<RollBackServiceRequest>) -> Answer<Service> {
        let RollBackServiceRequest { key, version, to } = request.into_inner();
        let mut state = self.lock();
        let mut service = state.find_service(&key)?;
        in_sequence(service.meta, version)?;
        if service.revision != to {
            service.meta = Some(Meta { version: state.next(), created_at: TIME, updated_at: TIME });
            service.revision = to;
            state.services.insert(service.id.clone(), service.clone());
        }
        Ok(Response::new(service))
    }

    async fn list_revisions(&self, request: Request<GetObjectRequest>) -> Answer<ListRevisionsReply> {
        let service = self.lock().find_service(&request.into_inner().key)?;
        let revision = |number, created_at| list_revisions_reply::Revision {
            number,
            created_at,
            image: "demo:1".into(),
            running_tasks: number,
        };
        let revisions = vec![revision(2, TIME), revision(1, 0)];
        Ok(Response::new(ListRevisionsReply { revisions, current: service.revision, previous: Some(1) }))
    }

    async fn rebalance_service(&self, request: Request<RebalanceServiceRequest>) -> Answer<RebalanceServiceReply> {
        let RebalanceServiceRequest { key, dry_run } = request.into_inner();
        let mut state = self.lock();
        let mut service = state.find_service(&key)?;
        if !dry_run {
            service.rebalance_requested_at = TIME;
            state.services.insert(service.id.clone(), service);
        }
        let to_node = if dry_run { "asked" } else { "moved" };
        let one = rebalance_service_reply::Move { slot: 2, to_node: to_node.into(), ..Default::default() };
        Ok(Response::new(RebalanceServiceReply { moves: vec![one] }))
    }

    async fn run_job(&self, request: Request<GetObjectRequest>) -> Answer<Service> {
        let mut state = self.lock();
        let mut service = state.find_service(&request.into_inner().key)?;
        if !matches!(service.spec.as_ref().and_then(|spec| spec.mode.as_ref()), Some(Mode::ReplicatedJob(_))) {
            return Err(Status::failed_precondition("service web cannot be run now"));
        }
        let job = service.job.get_or_insert_default();
        job.iteration += 1;
        job.runs.push(JobRun { iteration: job.iteration, started_at: TIME, ..JobRun::default() });
        state.services.insert(service.id.clone(), service.clone());
        Ok(Response::new(service))
    }

    async fn get_task(&self, request: Request<GetObjectRequest>) -> Answer<Task> {
        find(&self.lock().tasks, &request.into_inner().key, "task", |_| false).map(Response::new)
    }

    async fn list_tasks(&self, request: Request<ListTasksRequest>) -> Answer<ListTasksReply> {
        let wanted = request.into_inner();
        let state = self.lock();
        let services = wanted.services.iter().map(|key| state.find_service(key)).collect::<Result<Vec<_>, _>>()?;
        let nodes = wanted.nodes.iter().map(|key| state.find_node(key)).collect::<Result<Vec<_>, _>>()?;
        let fits = |task: &&Task| {
            (wanted.services.is_empty() || services.iter().any(|service| service.id == task.service_id))
                && (wanted.nodes.is_empty() || nodes.iter().any(|node| node.id == task.node_id))
                && (wanted.desired_states.is_empty() || wanted.desired_states.contains(&task.desired_state))
        };
        let found = state.tasks.values().filter(fits).cloned();
        let (tasks, more) = page(found, wanted.after.as_deref(), |task| &task.id);
        Ok(Response::new(ListTasksReply { tasks, more }))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Answer<ExplainReply> {
        let state = self.lock();
        let request = request.into_inner();
        let text = match request.what {
            Some(explain_request::What::Service(key)) => name(state.find_service(&key)?.spec.as_ref()),
            Some(explain_request::What::Task(key)) => find(&state.tasks, &key, "task", |_| false)?.id,
            Some(explain_request::What::Node(key)) => state.find_node(&key)?.id,
            Some(explain_request::What::Swarm(_)) => format!("since {}, {} at most", request.since, request.limit),
            None => return Err(Status::invalid_argument("nothing is named")),
        };
        let node =
            NodeVerdict { node_id: NODE.into(), hostname: "dk1".into(), fits: true, tasks: 2, ..Default::default() };
        let entry = JournalEntry { at: TIME, version: 3, by: "user via dk1".into(), slot: 1, ..Default::default() };
        Ok(Response::new(ExplainReply { text, nodes: vec![node], history: vec![entry] }))
    }

    async fn what_if(&self, request: Request<WhatIfRequest>) -> Answer<WhatIfReply> {
        let Some(what_if_request::What::Drain(key)) = request.into_inner().what else {
            return Err(Status::invalid_argument("only draining can be imagined here"));
        };
        let from_node = self.lock().find_node(&key)?.id;
        let effect = what_if_reply::Effect { service: "web".into(), slot: 1, from_node, ..Default::default() };
        Ok(Response::new(WhatIfReply { effects: vec![effect], summary: "one task".into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchMessage, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Answer<Self::WatchStream> {
        let changes = BroadcastStream::new(self.lock().changes.subscribe());
        let changes = changes.map(|change| change.map_err(|lag| Status::data_loss(lag.to_string())));
        Ok(Response::new(Box::pin(changes)))
    }
}
