//! The agents' processes, as the parent has them: one for every few thousand agents, for a process may have only so many files
//! open, and an agent has three.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use futures::future::{join_all, try_join_all};

use crate::{agents::PATIENCE, subprocess::Subprocess, usage::Usage};

/// Agents of a process.
const TOGETHER: u32 = 5_000;

/// How long an agent may take to join, and all to stop.
const JOINING: Duration = Duration::from_millis(100);
const STOPPING: Duration = Duration::from_secs(30);

/// All agents.
#[derive(Default)]
pub(crate) struct AgentProcesses {
    processes: Vec<Subprocess>,
    /// The node id of one of them.
    first_id: String,
}

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
    /// Starts the processes, and returns once every agent has a session.
    pub(crate) async fn run(self) -> Result<AgentProcesses> {
        let (count, groups) = (self.count, self.count.div_ceil(TOGETHER));
        let firsts = (0..groups).map(|group| group * TOGETHER);
        let started = firsts.map(|first| self.start(first, (count - first).min(TOGETHER), groups));
        let mut processes = started.collect::<Result<Vec<Subprocess>>>()?;
        let patience = PATIENCE + JOINING * count;
        let joined = processes.iter_mut().map(|process| process.answer(patience));
        let joined = try_join_all(joined).await.context("not all agents have joined")?;
        let first_id = joined.first().and_then(|line| line.strip_prefix("joined ")).map(str::to_owned);
        Ok(AgentProcesses { processes, first_id: first_id.context("there is no agent")? })
    }

    fn start(&self, first: u32, count: u32, groups: u32) -> Result<Subprocess> {
        let at_once = self.at_once.div_ceil(groups as usize);
        let (dir, numbers) = (self.dir.to_string_lossy(), [first, count].map(|number| number.to_string()));
        let fixed = ["agents", &dir, self.token, &numbers[0], &numbers[1], &at_once.to_string()].map(str::to_owned);
        Subprocess::start(fixed.into_iter().chain(self.managers.iter().cloned()))
    }
}

impl AgentProcesses {
    /// The node id of one of the agents.
    pub(crate) fn first_id(&self) -> &str {
        &self.first_id
    }

    /// Returns once every agent has a session with a manager that is not the one at `lost` (host:port).
    pub(crate) async fn have_left(&mut self, lost: &str) -> Result<()> {
        let question = format!("left {lost}");
        let left = self.processes.iter_mut().map(async |process| {
            process.say(&question).await?;
            process.answer(PATIENCE * 2).await
        });
        for answer in try_join_all(left).await? {
            if answer != "left" {
                bail!("{answer}");
            }
        }
        Ok(())
    }

    /// What all of them have used.
    pub(crate) fn usage(&self) -> Result<Usage> {
        let mut all = Usage::default();
        for process in &self.processes {
            let usage = process.usage()?;
            all = Usage { cpu: all.cpu + usage.cpu, rss: all.rss + usage.rss };
        }
        Ok(all)
    }

    /// Stops all agents, and ends their processes.
    pub(crate) async fn stop(self) {
        for ended in join_all(self.processes.into_iter().map(|process| process.end(STOPPING))).await {
            if let Err(error) = ended {
                eprintln!("skep-scale: agents could not be stopped: {error:#}");
            }
        }
    }
}
