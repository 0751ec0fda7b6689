//! What the command takes.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};

use crate::agents::Joining;

/// Real managers and simulated agents over gRPC and mTLS; prints `name<TAB>value<TAB>unit` lines.
#[derive(Debug, Parser)]
#[command(name = "skep-scale", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    /// Agents that join.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..))]
    pub(crate) agents: u32,
    /// Tasks that are to run, over all services together.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) tasks: u64,
    /// Services that have them; one for every thousand tasks if not given.
    #[arg(long)]
    pub(crate) services: Option<u64>,
    /// Agents that are enrolled at a time.
    #[arg(long, default_value_t = 64)]
    pub(crate) joining: usize,
    /// Milliseconds between two heartbeats of an agent. If not given: the default of the swarm, longer for more than 1,000
    /// agents, so that the leader hears no more of them than 1,333 a second.
    #[arg(long)]
    pub(crate) heartbeat: Option<u64>,
    /// Has perf sample the leader while the tasks come to run, into this file (`perf report --children --input FILE`).
    #[arg(long)]
    pub(crate) profile: Option<PathBuf>,
    /// Seconds after which the run is given up.
    #[arg(long, default_value_t = 1_800)]
    pub(crate) limit: u64,
    /// Where the managers' directories are made, on the disk that is to be measured; the directory for temporary files if not
    /// given.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// One manager, until standard input ends. For the command itself.
    #[command(hide = true)]
    Manager {
        /// Holds its identity, unless it makes a new swarm, and its state.
        dir: PathBuf,
        /// A manager (host:port) of the swarm it joins.
        #[arg(long)]
        join: Option<String>,
    },
    /// Some of the agents, until standard input ends. For the command itself.
    #[command(hide = true)]
    Agents(Joining),
}

impl Options {
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(self.limit)
    }

    /// How many tasks each service has; together they are all.
    pub(crate) fn replicas(&self) -> Vec<u64> {
        let services = self.services.unwrap_or_else(|| self.tasks.div_ceil(1_000)).clamp(1, self.tasks);
        (0..services).map(|n| self.tasks * (n + 1) / services - self.tasks * n / services).collect()
    }

    pub(crate) fn heartbeat(&self) -> Duration {
        let at_most = skep_common::limits::HEARTBEAT_PERIOD * self.agents.div_ceil(1_000);
        self.heartbeat.map_or(at_most, Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Options {
        Options::parse_from(std::iter::once(&"skep-scale").chain(words))
    }

    #[test]
    fn the_services_have_all_tasks_together() {
        for (words, count) in [
            (&["--tasks", "100000"][..], 100),
            (&["--tasks", "50"], 1),
            (&["--tasks", "10", "--services", "3"], 3),
            (&["--tasks", "2", "--services", "5"], 2),
        ] {
            let options = options(words);
            let replicas = options.replicas();
            assert_eq!((replicas.len(), replicas.iter().sum()), (count, options.tasks), "{words:?}");
            assert!(replicas.iter().max().unwrap() - replicas.iter().min().unwrap() <= 1, "{replicas:?}");
        }
    }

    #[test]
    fn many_agents_send_no_more_heartbeats_together() {
        assert_eq!(options(&["--agents", "1000"]).heartbeat(), Duration::from_millis(750));
        assert_eq!(options(&["--agents", "10000"]).heartbeat(), Duration::from_millis(7_500));
        assert_eq!(options(&["--heartbeat", "300"]).heartbeat(), Duration::from_millis(300));
    }
}
