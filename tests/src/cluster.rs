//! One swarm of real daemons for one test.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Outcome, Task,
    command::{run, until},
    leftovers::Traces,
};

/// A swarm made by `scripts/cluster`; nodes are `n1`, `n2`, …, the first `managers` of them managers.
pub struct Cluster {
    dir: TempDir,
}

impl Cluster {
    /// Daemons that are in no swarm yet.
    pub fn bare(nodes: &[&str]) -> Result<Self> {
        let cluster = Self::empty()?;
        let mut args = vec!["add"];
        args.extend(nodes);
        cluster.script(&args)?.success()?;
        Ok(cluster)
    }

    /// A formed swarm, every node Ready and with the demo image.
    pub fn up(managers: u32, workers: u32) -> Result<Self> {
        let cluster = Self::empty()?;
        let (managers, workers) = (managers.to_string(), workers.to_string());
        cluster.script(&["up", "--managers", &managers, "--workers", &workers])?.success()?;
        Ok(cluster)
    }

    fn empty() -> Result<Self> {
        // Short: a Unix socket's path has at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("skt").tempdir()?;
        Ok(Self { dir })
    }

    /// `scripts/cluster ARGS`.
    pub fn script(&self, args: &[&str]) -> Result<Outcome> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/cluster");
        let dir = self.home();
        run(&script.to_string_lossy(), args, &[("SKEP_CLUSTER_DIR", &dir.to_string_lossy())])
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("c")
    }

    /// `nK/NAME` of a node.
    pub fn path(&self, node: &str, name: &str) -> PathBuf {
        self.home().join(node).join(name)
    }

    /// The unmodified `docker` CLI on a node's socket.
    pub fn docker(&self, node: &str, args: &[&str]) -> Result<Outcome> {
        let host = format!("unix://{}", self.path(node, "skep.sock").display());
        let all = ["-H", &host].into_iter().chain(args.iter().copied());
        run("docker", all, &[("DOCKER_CONFIG", "/nonexistent")])
    }

    /// `skep` on a node's socket.
    pub fn skep(&self, node: &str, args: &[&str]) -> Result<Outcome> {
        let all = ["exec", node, "skep"].into_iter().chain(args.iter().copied());
        self.script(&all.collect::<Vec<_>>())
    }

    /// The node ids and names that `node ls` on `node` calls Leader.
    pub fn leader(&self, node: &str) -> Result<Option<String>> {
        let list = self.docker(node, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"])?.success()?;
        Ok(list.lines().find_map(|line| line.strip_suffix(" Leader")).map(str::to_owned))
    }

    /// Waits until `node` knows a leader and gives its name.
    pub fn wait_for_leader(&self, node: &str) -> Result<String> {
        until("a leader", || self.leader(node))
    }

    /// The tasks of a service, newest state, as the API gives them.
    pub fn tasks(&self, node: &str, service: &str) -> Result<Vec<Task>> {
        let ids = self.docker(node, &["service", "ps", "-q", "--no-trunc", service])?.success()?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut args = vec!["inspect", "--type", "task"];
        args.extend(ids.lines());
        let json = self.docker(node, &args)?.success()?;
        let values: Vec<Value> = serde_json::from_str(&json).context("tasks are no JSON")?;
        values.iter().map(Task::parse).collect()
    }

    /// Waits until exactly `count` tasks of the service are running and wanted, and gives them ordered by slot.
    pub fn wait_running(&self, node: &str, service: &str, count: usize) -> Result<Vec<Task>> {
        until(&format!("{count} running tasks of {service}"), || {
            let tasks = self.tasks(node, service)?;
            let mut live: Vec<Task> = tasks.into_iter().filter(Task::is_running).collect();
            live.sort_by_key(|task| task.slot);
            Ok((live.len() == count).then_some(live))
        })
    }

    /// Waits until the node `name` has `status` in `node ls`.
    pub fn wait_status(&self, asked: &str, name: &str, status: &str) -> Result<()> {
        until(&format!("{name} {status}"), || {
            let list = self.docker(asked, &["node", "ls", "--format", "{{.Hostname}} {{.Status}}"])?.success()?;
            Ok(list.lines().any(|line| line == format!("{name} {status}")).then_some(()))
        })
    }

    /// What the daemon of a node wrote.
    pub fn log(&self, node: &str) -> Result<String> {
        Ok(fs::read_to_string(self.path(node, "daemon.log"))?)
    }

    /// Takes the swarm down and checks that it left nothing. Dropping does the same but cannot fail the test.
    pub fn down(self) -> Result<()> {
        let traces = Traces::of(&self.home());
        self.script(&["down"])?.success()?;
        let left = traces.found();
        ensure!(left.is_empty(), "left behind: {left:#?}");
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() || self.home().exists() {
            for node in fs::read_dir(self.home()).into_iter().flatten().flatten() {
                let name = node.file_name().to_string_lossy().into_owned();
                if let Ok(log) = self.log(&name) {
                    let tail: Vec<&str> = log.lines().rev().take(25).collect();
                    eprintln!("--- {name}");
                    tail.iter().rev().for_each(|line| eprintln!("{line}"));
                }
            }
        }
        let _best_effort = self.script(&["down"]);
    }
}
