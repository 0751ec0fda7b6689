//! The run: managers, agents, tasks, and what each step took.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use futures::future::try_join_all;
use skep_common::net::backoff::Backoff;
use skep_proto::{Message as _, v1::Availability};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::{
    agent_processes::{AgentProcesses, Joining},
    enroll::enroll,
    manager::IDENTITY,
    managers::ManagerProcess,
    options::Options,
    spec,
    swarm::Swarm,
    usage::Usage,
};

const MANAGERS: usize = 3;

/// In memory, where the machine has that: a task.db on the disk of the managers' logs would be in their way.
const IN_MEMORY: &str = "/dev/shm";

/// The state is asked how far it is again after this long.
const OFTEN: Duration = Duration::from_millis(20);

/// How long one write may take while there may be no leader, before another is tried.
const WRITE: Duration = Duration::from_secs(1);

/// How long nothing may get any further.
const STUCK: Duration = Duration::from_secs(120);

/// A manager is at rest when its memory is the same after so long, to this part of it.
const REST: Duration = Duration::from_millis(500);
const STILL: f64 = 0.002;

const MIB: f64 = (1 << 20) as f64;

/// A swarm that is measured.
pub(crate) struct Run {
    options: Options,
    dir: TempDir,
    agents_dir: TempDir,
    managers: Vec<ManagerProcess>,
    agents: AgentProcesses,
}

impl Run {
    pub(crate) fn new(options: Options) -> Result<Self> {
        let make = |parent: &Path| {
            let made = tempfile::Builder::new().prefix("skep-scale-").tempdir_in(parent);
            made.with_context(|| format!("cannot make a directory in {}", parent.display()))
        };
        let in_memory = Path::new(IN_MEMORY);
        let temporary = std::env::temp_dir();
        let dir = make(options.dir.as_deref().unwrap_or(&temporary))?;
        let agents_dir = make(if in_memory.is_dir() { in_memory } else { &temporary })?;
        Ok(Self { options, dir, agents_dir, managers: Vec::new(), agents: AgentProcesses::default() })
    }

    /// Prints every figure.
    pub(crate) async fn measure(&mut self) -> Result<()> {
        let swarm = self.start_managers().await?;
        print("agents", f64::from(self.options.agents), "agents");
        print("tasks", self.options.tasks as f64, "tasks");
        print("services", self.options.replicas().len() as f64, "services");
        print("spec", spec::service("s0", 1).encoded_len() as f64, "B");
        print("heartbeat", self.options.heartbeat().as_secs_f64() * 1000.0, "ms");
        self.join(&swarm).await?;
        self.run_tasks(&swarm).await?;
        self.drain(&swarm).await?;
        self.fail_over(&swarm).await
    }

    /// Ends every process and removes every directory.
    pub(crate) async fn clean_up(self) {
        let Self { dir, agents_dir, mut managers, agents, .. } = self;
        for manager in &mut managers {
            if let Err(error) = manager.kill().await {
                eprintln!("skep-scale: a manager could not be killed: {error:#}");
            }
        }
        agents.stop().await;
        for dir in [dir, agents_dir] {
            remove(dir).await;
        }
    }

    async fn start_managers(&mut self) -> Result<Swarm> {
        let first = self.manager_dir(0)?;
        self.managers.push(ManagerProcess::start(&first, None).await?);
        let addr = self.managers[0].addr.clone();
        let swarm = Swarm::open(&first.join(IDENTITY))?;
        swarm.set_heartbeat(&addr, self.options.heartbeat()).await?;
        let token = swarm.cluster(&addr).await?.join_tokens.unwrap_or_default().manager;
        for number in 1..MANAGERS {
            let dir = self.manager_dir(number)?;
            enroll(&addr, &token, Availability::Drain).await?.save(&dir.join(IDENTITY))?;
            self.managers.push(ManagerProcess::start(&dir, Some(&addr)).await?);
        }
        Ok(swarm)
    }

    fn manager_dir(&self, number: usize) -> Result<PathBuf> {
        let dir = self.dir.path().join(format!("m{number}"));
        std::fs::create_dir(&dir).context("cannot make a manager's directory")?;
        Ok(dir)
    }

    /// Which manager leads.
    async fn leader(&mut self) -> Result<usize> {
        let started = Instant::now();
        while started.elapsed() < STUCK {
            for (number, manager) in self.managers.iter_mut().enumerate() {
                if manager.report().await?.is_leader {
                    return Ok(number);
                }
            }
            sleep(OFTEN).await;
        }
        bail!("no manager leads")
    }

    async fn join(&mut self, swarm: &Swarm) -> Result<()> {
        let managers: Vec<String> = self.managers.iter().map(|manager| manager.addr.clone()).collect();
        let leader = self.leader().await?;
        let token = swarm.cluster(&managers[leader]).await?.join_tokens.unwrap_or_default().worker;
        let before = self.usage(leader)?;
        let started = Instant::now();
        let joining = Joining {
            count: self.options.agents,
            at_once: self.options.joining,
            managers: &managers,
            token: &token,
            dir: self.agents_dir.path(),
        };
        self.agents = joining.run().await?;
        let took = started.elapsed().as_secs_f64();
        let count = f64::from(self.options.agents);
        print("joins", count / took, "joins/s");
        self.usage(leader)?.since(&before).print("join", count / 1000.0, "s/1000 joins");
        Ok(())
    }

    async fn run_tasks(&mut self, swarm: &Swarm) -> Result<()> {
        let leader = self.leader().await?;
        let addr = self.managers[leader].addr.clone();
        let replicas = self.options.replicas();
        let before = self.at_rest(leader).await?;
        let logged = self.managers[leader].report().await?.log_bytes;
        let started = Instant::now();
        let creates = replicas.iter().enumerate().map(|(number, replicas)| {
            let (swarm, addr) = (swarm.clone(), addr.clone());
            async move { swarm.create(&addr, &spec::name(number), *replicas).await }
        });
        let profile = self.options.profile.as_deref().map(|file| self.managers[leader].profile(file)).transpose()?;
        try_join_all(creates).await.context("a service was refused")?;
        let accepted = started.elapsed().as_secs_f64();
        self.wait_running(swarm, &addr).await?;
        drop(profile);
        let took = started.elapsed().as_secs_f64();
        if self.leader().await? != leader {
            eprintln!(
                "skep-scale: the lead moved while the tasks came to run; the leader below is the one it moved from"
            );
        }
        let tasks = self.options.tasks as f64;
        print("services_accepted", accepted, "s");
        print("tasks_running", tasks / took, "tasks/s");
        let used = self.usage(leader)?.since(&before);
        used.print("task", tasks / 1000.0, "s/1000 tasks");
        print("task_log", (self.managers[leader].report().await?.log_bytes - logged) as f64 / tasks, "B/task");
        let now = self.at_rest(leader).await?;
        let grown = now.since(&before);
        print("task_memory.leader", grown.leader.rss / tasks, "B/task");
        print("task_memory.follower", grown.followers.rss / tasks, "B/task");
        print("memory.leader", now.leader.rss / MIB, "MiB");
        print("memory.agent", now.agents.rss / MIB / f64::from(self.options.agents), "MiB");
        Ok(())
    }

    /// Drains one node: until none of its tasks run there and as many run in all as before.
    async fn drain(&mut self, swarm: &Swarm) -> Result<()> {
        let leader = self.leader().await?;
        let addr = &self.managers[leader].addr;
        let node = self.agents.first_id();
        print("drain.tasks", swarm.running_on(addr, node).await? as f64, "tasks");
        let started = Instant::now();
        swarm.drain(addr, node).await.context("the node cannot be drained")?;
        while swarm.running_on(addr, node).await? > 0 {
            if started.elapsed() > STUCK {
                bail!("tasks still run on a drained node after {} s", STUCK.as_secs());
            }
            sleep(OFTEN).await;
        }
        self.wait_running(swarm, addr).await?;
        print("drain", started.elapsed().as_secs_f64(), "s");
        Ok(())
    }

    /// Kills the leader's process: until a write is accepted again, and until every agent has a session with another manager.
    async fn fail_over(&mut self, swarm: &Swarm) -> Result<()> {
        let leader = self.leader().await?;
        let mut lost = self.managers.swap_remove(leader);
        let killed = Instant::now();
        lost.kill().await?;
        let write = async {
            let writers = self.managers.iter().map(|manager| Box::pin(write(swarm, &manager.addr)));
            let writers = futures::future::select_all(writers);
            timeout(STUCK, writers).await.context("no write is accepted any more")?;
            Ok(killed.elapsed())
        };
        let attached = async {
            self.agents.have_left(&lost.addr).await?;
            Ok::<_, anyhow::Error>(killed.elapsed())
        };
        let (write, attached) = tokio::try_join!(write, attached)?;
        print("failover.write", write.as_secs_f64(), "s");
        print("failover.attached", attached.as_secs_f64(), "s");
        let leader = self.leader().await?;
        self.wait_running(swarm, &self.managers[leader].addr).await.context("after the failover")?;
        print("failover.all_running", killed.elapsed().as_secs_f64(), "s");
        Ok(())
    }

    /// Waits until all tasks run, as the state has it.
    async fn wait_running(&self, swarm: &Swarm, addr: &str) -> Result<()> {
        let (mut most, mut moved) = (0, Instant::now());
        loop {
            let answer = swarm.running(addr).await;
            match &answer {
                Ok(running) if *running == self.options.tasks => return Ok(()),
                Ok(running) if *running > most => (most, moved) = (*running, Instant::now()),
                // A leader that has just come, or is about to go, cannot say.
                Ok(_) | Err(_) => {}
            }
            if moved.elapsed() > STUCK {
                answer.context("nobody says how many tasks run")?;
                let missing = swarm.what_is_missing(addr, &self.options.replicas()).await;
                let missing = missing.unwrap_or_else(|error| format!("{error:#}"));
                bail!("{most} of {} tasks run, and no more for {} s; {missing}", self.options.tasks, STUCK.as_secs());
            }
            sleep(OFTEN).await;
        }
    }

    /// What everybody has used, once the managers' memory neither grows nor shrinks any more; or soon after.
    async fn at_rest(&self, leader: usize) -> Result<Usages> {
        let mut last = self.usage(leader)?;
        for _ in 0..20 {
            sleep(REST).await;
            let now = self.usage(leader)?;
            let is_still = |now: Usage, last: Usage| (now.rss - last.rss).abs() < now.rss * STILL;
            if is_still(now.leader, last.leader) && is_still(now.followers, last.followers) {
                return Ok(now);
            }
            last = now;
        }
        Ok(last)
    }

    fn usage(&self, leader: usize) -> Result<Usages> {
        let mut followers = Usage::default();
        for (number, manager) in self.managers.iter().enumerate() {
            if number != leader {
                let usage = manager.usage()?;
                followers.cpu += usage.cpu / (self.managers.len() - 1) as f64;
                followers.rss += usage.rss / (self.managers.len() - 1) as f64;
            }
        }
        Ok(Usages { leader: self.managers[leader].usage()?, followers, agents: self.agents.usage()? })
    }
}

/// What everybody has used: the leader, a follower in the mean, all agents together.
struct Usages {
    leader: Usage,
    followers: Usage,
    agents: Usage,
}

impl Usages {
    fn since(&self, before: &Self) -> Self {
        Self {
            leader: self.leader.since(before.leader),
            followers: self.followers.since(before.followers),
            agents: self.agents.since(before.agents),
        }
    }

    /// The CPU for so many of something.
    fn print(&self, what: &str, count: f64, unit: &str) {
        print(&format!("{what}_cpu.leader"), self.leader.cpu / count, unit);
        print(&format!("{what}_cpu.follower"), self.followers.cpu / count, unit);
        print(&format!("{what}_cpu.agents"), self.agents.cpu / count, unit);
    }
}

/// Asks the manager at `addr` for a service without tasks, again and again, until it is accepted.
async fn write(swarm: &Swarm, addr: &str) {
    for number in 0_u64.. {
        let name = format!("w{number}-{}", addr.replace([':', '.'], "-"));
        if let Ok(Ok(())) = timeout(WRITE, swarm.create(addr, &name, 0)).await {
            return;
        }
        sleep(OFTEN).await;
    }
}

fn print(name: &str, value: f64, unit: &str) {
    // A reader who is gone wants no more figures; the run still ends in good order.
    let _ = writeln!(io::stdout(), "scale.{name}\t{value:.3}\t{unit}");
}

/// Removes a directory. What is still being closed in it may be written for a moment.
async fn remove(dir: TempDir) {
    let path = dir.keep();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(1));
    for _ in 0..10 {
        if std::fs::remove_dir_all(&path).is_ok() {
            return;
        }
        backoff.wait().await;
    }
    eprintln!("skep-scale: {} could not be removed", path.display());
}
