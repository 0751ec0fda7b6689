//! The agents: each a [`Worker`] with an identity, a directory and a connection of its own.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use skep_common::{
    clock::{Clock, SystemClock},
    feature_level::FEATURE_LEVEL,
    net::{dial::Dialer, identity::IdentityHandle, server::ServerLimits},
};
use skep_proto::v1::{Availability, NodeDescription, Platform, Resources};
use skep_worker::{Link, Managers, SessionState, Worker, WorkerConfig};
use tokio::{net::TcpListener, sync::watch, time::timeout};

use crate::{enroll::enroll, runtime::InstantRuntime};

/// How long all agents may take to find a leader.
const PATIENCE: Duration = Duration::from_secs(120);

/// An agent that runs. It stops when it is dropped.
struct Agent {
    id: String,
    worker: Worker,
    session: watch::Receiver<SessionState>,
    /// The agent hears of changes for as long as somebody could make one.
    _description: watch::Sender<NodeDescription>,
    _manager_trouble: watch::Sender<String>,
}

/// All agents.
#[derive(Default)]
pub(crate) struct Agents(Vec<Agent>);

/// How agents join.
pub(crate) struct Joining<'a> {
    pub(crate) count: u32,
    /// So many at a time.
    pub(crate) at_once: usize,
    /// Addresses of the managers; they are asked in turn.
    pub(crate) managers: &'a [String],
    pub(crate) token: &'a str,
    /// Where the agents' directories are made.
    pub(crate) dir: &'a Path,
}

impl Joining<'_> {
    /// Enrolls and starts all agents, and returns once each has a session.
    pub(crate) async fn run(self) -> Result<Agents> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let joining = stream::iter(0..self.count).map(|number| self.join(number, clock.clone()));
        let agents = Agents(joining.buffer_unordered(self.at_once.max(1)).try_collect().await?);
        agents.attached(|_| true).await?;
        Ok(agents)
    }

    async fn join(&self, number: u32, clock: Arc<dyn Clock>) -> Result<Agent> {
        let through = &self.managers[number as usize % self.managers.len()];
        let identity = enroll(through, self.token, Availability::Active).await?;
        let id = identity.node_id().to_owned();
        let dir = self.dir.join(number.to_string());
        let managers = Managers::open(dir.join("managers.json"), self.managers.to_vec());
        std::fs::create_dir(&dir).context("cannot make an agent's directory")?;
        let identity = IdentityHandle::new(identity);
        let (description, told) = watch::channel(describe(number));
        let (manager_trouble, trouble) = watch::channel(String::new());
        let worker = Worker::start(WorkerConfig {
            node_id: id.clone(),
            data_dir: dir,
            dialer: Dialer::new(identity.clone()).trusting(Arc::new(managers.clone())),
            identity,
            clock: clock.clone(),
            runtime: Arc::new(InstantRuntime::new(clock)),
            managers,
            description: told,
            manager_trouble: trouble,
            listen: TcpListener::bind("127.0.0.1:0").await?,
            limits: ServerLimits::default(),
        });
        let worker = worker.await;
        let session = worker.session();
        Ok(Agent { id, worker, session, _description: description, _manager_trouble: manager_trouble })
    }
}

impl Agents {
    /// The node id of one of them.
    pub(crate) fn first_id(&self) -> Option<&str> {
        self.0.first().map(|agent| agent.id.as_str())
    }

    /// Returns once every agent has a session with a manager (host:port) that `is_meant`.
    pub(crate) async fn attached(&self, is_meant: impl Fn(&str) -> bool) -> Result<()> {
        let is_there = |state: &SessionState| matches!(&state.link, Link::Connected { manager } if is_meant(manager));
        let all = async {
            for agent in &self.0 {
                agent.session.clone().wait_for(is_there).await.context("an agent has ended")?;
            }
            Ok(())
        };
        match timeout(PATIENCE, all).await {
            Ok(result) => result,
            Err(_) => {
                let missing = self.0.iter().filter(|agent| !is_there(&agent.session.borrow())).count();
                bail!("{missing} agents have found no leader after {} s", PATIENCE.as_secs())
            }
        }
    }

    /// Stops all, and closes their files.
    pub(crate) async fn stop(self) {
        join_all(self.0.into_iter().map(|agent| agent.worker.shutdown())).await;
    }
}

/// A machine with room for whatever a run asks for.
fn describe(number: u32) -> NodeDescription {
    NodeDescription {
        hostname: format!("agent-{number}"),
        platform: Some(Platform { architecture: "x86_64".into(), os: "linux".into() }),
        resources: Some(Resources { nano_cpus: 64_000_000_000, memory_bytes: 256 << 30, generic: Vec::new() }),
        feature_level: FEATURE_LEVEL,
        ..NodeDescription::default()
    }
}
