//! Some of the agents, in a process of their own: each a [`Worker`] with an identity, a directory and a connection of its own.
//!
//! Speaks to its parent in lines: says `joined <node id>` once every agent has a session, then answers each line
//! `left <host:port>` with `left` once every agent has a session with another manager, or with why not. It stops the agents and
//! ends when its standard input does.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use futures::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use skep_common::{
    clock::{Clock, SystemClock},
    feature_level::FEATURE_LEVEL,
    net::{dial::Dialer, identity::IdentityHandle, server::ServerLimits},
};
use skep_proto::v1::{Availability, NodeDescription, Platform, Resources};
use skep_worker::{Link, Managers, SessionState, Worker, WorkerConfig};
use tokio::{net::TcpListener, sync::watch, time::timeout};

use crate::{
    enroll::enroll,
    manager::{lines, say},
    runtime::InstantRuntime,
};

/// How long all agents may take to find a leader.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// An agent that runs. It stops when it is dropped.
struct Agent {
    id: String,
    worker: Worker,
    session: watch::Receiver<SessionState>,
    /// The agent hears of changes for as long as somebody could make one.
    _description: watch::Sender<NodeDescription>,
    _manager_trouble: watch::Sender<String>,
}

/// All agents of this process.
struct Agents(Vec<Agent>);

/// How agents join.
#[derive(Debug, Clone, Args)]
pub(crate) struct Joining {
    /// Where the agents' directories are made.
    dir: PathBuf,
    token: String,
    /// The number of the first.
    first: u32,
    /// How many.
    count: u32,
    /// So many at a time.
    at_once: usize,
    /// Addresses of the managers; they are asked in turn.
    managers: Vec<String>,
}

/// Runs agents until standard input ends.
pub(crate) async fn run(joining: Joining) -> Result<()> {
    let mut questions = lines();
    let agents = tokio::select! {
        joined = joining.run() => joined?,
        // Nothing is asked before they have joined.
        _ = questions.recv() => return Ok(()),
    };
    let first = agents.0.first().context("there is no agent")?;
    say(&format!("joined {}", first.id))?;
    while let Some(question) = questions.recv().await {
        let lost = question.strip_prefix("left ").with_context(|| format!("the parent says {question:?}"))?;
        let answer = match agents.attached(|addr| addr != lost).await {
            Ok(()) => "left".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        say(&answer)?;
    }
    agents.stop().await;
    Ok(())
}

impl Joining {
    /// Enrolls and starts all agents, and returns once each has a session.
    async fn run(self) -> Result<Agents> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let numbers = self.first..self.first + self.count;
        let joining = stream::iter(numbers).map(|number| self.join(number, clock.clone()));
        let agents = Agents(joining.buffer_unordered(self.at_once.max(1)).try_collect().await?);
        agents.attached(|_| true).await?;
        Ok(agents)
    }

    async fn join(&self, number: u32, clock: Arc<dyn Clock>) -> Result<Agent> {
        let through = &self.managers[number as usize % self.managers.len()];
        let identity = enroll(through, &self.token, Availability::Active).await?;
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
    /// Returns once every agent has a session with a manager (host:port) that `is_meant`.
    async fn attached(&self, is_meant: impl Fn(&str) -> bool) -> Result<()> {
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
    async fn stop(self) {
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
