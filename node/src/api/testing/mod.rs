//! An in-memory swarm behind the API: one node, a control service with the manager's manners, a scripted runtime.

mod control;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use axum::body::Body;
use futures::stream;
use http::{Method, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;
use serde_json::Value;
use skep_common::clock::SystemClock;
use skep_dockerapi::convert::initial_cluster_spec;
use skep_proto::v1::{
    Cluster, JoinTokens, LogOptions, LogRecord, LogStream as Side, Meta, NodeDescription, PeerManager, Platform,
    Resources, RootCa, control_server::ControlServer,
};
use skep_runtime::mock::MockRuntime;
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub(super) use self::control::{SharedState, State};
use super::{
    backend::{
        self, ApiState, Control, HostFacts, InitOptions, JoinOptions, LocalNodeState, LocalStatus, LogSelector,
        LogStream, Manager, Swarm, SwarmError, TaskLog,
    },
    router::{answer, router},
    state::Api,
};

/// When everything in the swarm was made.
pub(super) const TIME: i64 = 1_714_979_289_123_456_789;

/// Id of the only node.
pub(super) const NODE: &str = "node1aaaaaaaaaaaaaaaaaaaa";

/// What the node is to be at first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SwarmRole {
    Outside,
    Worker,
    /// A manager that is not up yet.
    Starting,
    Manager,
}

/// The fake swarm. Clones are the same.
#[derive(Clone)]
pub(super) struct FakeSwarm {
    role: Arc<Mutex<SwarmRole>>,
    pub(super) state: SharedState,
    /// Whether the log of a task ends in an error.
    pub(super) break_logs: Arc<AtomicBool>,
    /// What is wrong with the manager.
    pub(super) troubles: Arc<Mutex<Vec<String>>>,
    pub(super) joined: Arc<Mutex<Option<JoinOptions>>>,
    pub(super) started: Arc<Mutex<Option<InitOptions>>>,
}

impl FakeSwarm {
    fn role(&self) -> SwarmRole {
        *self.role.lock().unwrap()
    }
}

#[async_trait]
impl Swarm for FakeSwarm {
    fn status(&self) -> LocalStatus {
        match self.role() {
            SwarmRole::Outside => LocalStatus::default(),
            role => LocalStatus {
                state: LocalNodeState::Active,
                node_id: NODE.into(),
                node_addr: "10.0.0.1".into(),
                error: String::new(),
                is_manager: role != SwarmRole::Worker,
                remote_managers: vec![PeerManager { node_id: NODE.into(), addr: "10.0.0.1:2377".into(), leader: true }],
            },
        }
    }

    fn manager(&self) -> Option<Arc<dyn Manager>> {
        (self.role() == SwarmRole::Manager).then(|| Arc::new(self.clone()) as Arc<dyn Manager>)
    }

    async fn init(&self, options: InitOptions) -> Result<String, SwarmError> {
        if self.role() != SwarmRole::Outside {
            return Err(SwarmError::AlreadyInSwarm);
        }
        *self.role.lock().unwrap() = SwarmRole::Manager;
        *self.started.lock().unwrap() = Some(options);
        Ok(NODE.into())
    }

    async fn join(&self, options: JoinOptions) -> Result<(), SwarmError> {
        if self.role() != SwarmRole::Outside {
            return Err(SwarmError::AlreadyInSwarm);
        }
        if options.remote_addrs[0].starts_with("10.255.") {
            return Err(SwarmError::JoinTimeout(String::new()));
        }
        if !options.token.starts_with("SWMTKN-1-") {
            return Err(SwarmError::Invalid("invalid join token".into()));
        }
        *self.role.lock().unwrap() = SwarmRole::Worker;
        *self.joined.lock().unwrap() = Some(options);
        Ok(())
    }

    async fn leave(&self, force: bool) -> Result<(), SwarmError> {
        match self.role() {
            SwarmRole::Outside => return Err(SwarmError::NotInSwarm),
            SwarmRole::Manager if !force => {
                let text = "You are attempting to leave the swarm on a node that is participating as a manager. \
                    Removing the last manager erases all current state of the swarm. Use `--force` to ignore this \
                    message. ";
                return Err(SwarmError::LeaveNeedsForce(text.into()));
            }
            SwarmRole::Worker | SwarmRole::Starting | SwarmRole::Manager => {}
        }
        *self.role.lock().unwrap() = SwarmRole::Outside;
        Ok(())
    }
}

#[async_trait]
impl Manager for FakeSwarm {
    fn control(&self) -> Control {
        backend::control(ControlServer::new(self.state.clone()))
    }

    fn troubles(&self) -> Vec<String> {
        self.troubles.lock().unwrap().clone()
    }

    async fn logs(&self, selector: LogSelector, options: LogOptions) -> Result<LogStream, Status> {
        let tasks = self.state.lock().tasks.clone();
        let mine = tasks.into_values().filter(|task| match &selector {
            LogSelector::Service(id) => task.service_id == *id,
            LogSelector::Task(id) => task.id == *id,
        });
        let mut records = Vec::new();
        for task in mine {
            let attrs = [("node", &task.node_id), ("service", &task.service_id), ("task", &task.id)];
            let attrs = attrs.map(|(kind, id)| (format!("com.docker.swarm.{kind}.id"), id.clone())).into();
            for (wanted, side) in [(options.stdout, Side::Stdout), (options.stderr, Side::Stderr)] {
                if wanted {
                    records.push(Ok(TaskLog {
                        node_id: task.node_id.clone(),
                        service_id: task.service_id.clone(),
                        task_id: task.id.clone(),
                        record: LogRecord {
                            stream: side.into(),
                            timestamp: TIME,
                            data: format!("{side:?} of {}\n", task.slot).to_lowercase().into_bytes(),
                            attrs: std::collections::BTreeMap::clone(&attrs),
                        },
                    }));
                }
            }
        }
        if self.break_logs.load(Ordering::Relaxed) {
            records.push(Err(Status::unavailable("the node is gone")));
        }
        Ok(Box::pin(stream::iter(records)))
    }
}

/// The API over the fakes.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) swarm: FakeSwarm,
    pub(super) runtime: MockRuntime,
    pub(super) api: Api,
}

impl Bench {
    pub(super) fn new(role: SwarmRole) -> Self {
        let description = NodeDescription {
            hostname: "dk1".into(),
            platform: Some(Platform { architecture: "x86_64".into(), os: "linux".into() }),
            resources: Some(Resources { nano_cpus: 2_000_000_000, memory_bytes: 1 << 30, ..Default::default() }),
            engine_version: "0.1.0".into(),
            ..NodeDescription::default()
        };
        let cluster = Cluster {
            id: "cluster1aaaaaaaaaaaaaaaaa".into(),
            meta: Some(Meta { version: 1, created_at: TIME, updated_at: TIME }),
            spec: Some(initial_cluster_spec()),
            root_ca: Some(RootCa { certificate_pem: b"pem".to_vec(), key_pem: b"a canary".to_vec() }),
            join_tokens: Some(JoinTokens { worker: "SWMTKN-1-w".into(), manager: "SWMTKN-1-m".into() }),
            feature_level: 0,
        };
        let swarm = FakeSwarm {
            role: Arc::new(Mutex::new(role)),
            state: SharedState::new(State::new(cluster, description.clone())),
            break_logs: Arc::default(),
            troubles: Arc::default(),
            joined: Arc::default(),
            started: Arc::default(),
        };
        let runtime = MockRuntime::new(Arc::new(SystemClock::new()));
        let host = HostFacts { engine_id: "engine1".into(), description, data_root: "/var/lib/skep".into() };
        let state =
            ApiState { cluster: Arc::new(swarm.clone()), runtime: Arc::new(runtime.clone()), host: Arc::new(host) };
        Self { swarm, runtime, api: Api::new(state, CancellationToken::new()) }
    }

    /// One exchange: status and body, which is JSON unless it is none.
    pub(super) async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> (u16, Value) {
        let response = self.exchange(method, path, body).await;
        let status = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    pub(super) async fn exchange(&self, method: Method, path: &str, body: impl Into<Body>) -> http::Response<Body> {
        let request = Request::builder().method(method).uri(path).header(CONTENT_TYPE, "application/json");
        answer(router(self.api.clone()), request.body(body.into()).unwrap()).await
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask(Method::GET, path, Body::empty()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.ask(Method::POST, path, body.to_string()).await
    }

    /// Creates a service and gives its id.
    pub(super) async fn service(&self, name: &str, replicas: u64) -> String {
        let spec = serde_json::json!({
            "Name": name,
            "TaskTemplate": { "ContainerSpec": { "Image": "busybox:1.35" } },
            "Mode": { "Replicated": { "Replicas": replicas } },
        });
        let (status, created) = self.post("/services/create", &spec).await;
        assert_eq!(status, StatusCode::CREATED.as_u16(), "{created}");
        created["ID"].as_str().unwrap().to_owned()
    }
}
