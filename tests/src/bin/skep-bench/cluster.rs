//! The figures: what a user waits for, and what the engine weighs.

use std::{
    collections::BTreeSet,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use skep_tests::request;

use crate::{engine::Engine, memory, stats::percentile, writers::Writers};

/// How often the leader is frozen for half a second.
const STALLS: u32 = 10;

const NODES: [usize; 3] = [1, 2, 3];

/// Prints every figure. `failovers` leaders are killed.
pub(crate) fn run(engine: &dyn Engine, failovers: usize, print: &mut dyn FnMut(&str, f64, &str)) -> Result<()> {
    let swarm = Swarm::new(engine);
    swarm.all_ready()?;
    print("daemon_rss_idle", memory::rss(&engine.daemons(1)), "MiB");

    let mut creates = Vec::new();
    for round in 0..7 {
        let name = format!("create{round}");
        let started = Instant::now();
        swarm.create(&name, 3)?;
        swarm.wait_running(1, &name, 3)?;
        creates.push(started.elapsed().as_secs_f64() * 1000.0);
        request(&engine.socket(1), "DELETE", &format!("/services/{name}"), None)?;
        swarm.wait_containers(0)?;
    }
    print("create_3.p50", percentile(&creates, 50.0), "ms");
    print("create_3.max", percentile(&creates, 100.0), "ms");

    swarm.create("big", 3)?;
    swarm.wait_running(1, "big", 3)?;
    let started = Instant::now();
    swarm.scale("big", 100)?;
    swarm.wait_running(1, "big", 100)?;
    print("scale_3_100", started.elapsed().as_secs_f64(), "s");
    print("daemon_rss_100_tasks", memory::rss(&engine.daemons(1)), "MiB");
    print("shim_pss", memory::mean_pss(&engine.shims()), "MiB");
    let started = Instant::now();
    swarm.scale("big", 3)?;
    swarm.wait_containers(3)?;
    print("scale_100_3", started.elapsed().as_secs_f64(), "s");

    let writers = Writers::start(NODES.map(|node| engine.socket(node)).into(), &swarm.spec("", 0));
    let mut gaps = Vec::new();
    for _ in 0..failovers {
        gaps.push(swarm.failover(&writers)?);
    }
    let acknowledged = writers.stop();
    print("failover.p50", percentile(&gaps, 50.0), "ms");
    print("failover.p99", percentile(&gaps, 99.0), "ms");
    print("failover.acknowledged", acknowledged.len() as f64, "writes");
    print("failover.lost", swarm.missing(&acknowledged)? as f64, "writes");

    let mut elections = 0;
    for _ in 0..STALLS {
        elections += u32::from(swarm.stall()?);
    }
    print("stall_500ms.elections", f64::from(elections), &format!("of {STALLS}"));

    swarm.scale("big", 9)?;
    swarm.wait_running(1, "big", 9)?;
    let victim = swarm.leader(1)?;
    let asked = swarm.other(victim);
    let lost = swarm.node_id(victim)?;
    let started = Instant::now();
    engine.kill(victim)?;
    poll("the dead node's tasks elsewhere", || {
        let tasks = swarm.tasks(asked, "big").unwrap_or_default();
        let elsewhere = tasks.iter().filter(|task| is_running(task) && task["NodeID"] != json!(lost)).count();
        Ok((elsewhere >= 9).then_some(()))
    })?;
    print("dead_node_replaced", started.elapsed().as_secs_f64(), "s");
    Ok(())
}

/// Three managers that are asked over their API.
pub(crate) struct Swarm<'a> {
    engine: &'a dyn Engine,
}

impl<'a> Swarm<'a> {
    pub(crate) fn new(engine: &'a dyn Engine) -> Self {
        Self { engine }
    }

    fn ask(&self, node: usize, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        request(&self.engine.socket(node), method, path, body)
    }

    fn other(&self, node: usize) -> usize {
        node % NODES.len() + 1
    }

    /// The node that `asked` calls the leader.
    pub(crate) fn leader(&self, asked: usize) -> Result<usize> {
        poll("a leader", || {
            let Ok(nodes) = self.ask(asked, "GET", "/nodes", None) else {
                return Ok(None);
            };
            let leader =
                nodes.as_array().into_iter().flatten().find(|node| node["ManagerStatus"]["Leader"] == json!(true));
            let Some(leader) = leader else {
                return Ok(None);
            };
            Ok(NODES.into_iter().find(|node| self.node_id(*node).is_ok_and(|id| json!(id) == leader["ID"])))
        })
    }

    fn node_id(&self, node: usize) -> Result<String> {
        let info = self.ask(node, "GET", "/info", None)?;
        Ok(info["Swarm"]["NodeID"].as_str().context("no node id")?.to_owned())
    }

    pub(crate) fn all_ready(&self) -> Result<()> {
        poll("all nodes ready", || {
            let ready = NODES.into_iter().all(|node| {
                self.ask(node, "GET", "/nodes", None).is_ok_and(|nodes| {
                    nodes.as_array().is_some_and(|nodes| {
                        nodes.iter().filter(|node| node["Status"]["State"] == json!("ready")).count() == NODES.len()
                    })
                })
            });
            Ok(ready.then_some(()))
        })
    }

    pub(crate) fn spec(&self, name: &str, replicas: u64) -> Value {
        json!({
            "Name": name,
            "TaskTemplate": { "ContainerSpec": {
                "Image": self.engine.image(),
                "Command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"],
                "StopGracePeriod": 1_000_000_000u64,
            } },
            "Mode": { "Replicated": { "Replicas": replicas } },
        })
    }

    fn create(&self, name: &str, replicas: u64) -> Result<()> {
        self.ask(1, "POST", "/services/create", Some(&self.spec(name, replicas))).map(drop)
    }

    fn scale(&self, name: &str, replicas: u64) -> Result<()> {
        poll("the scaling", || {
            let service = self.ask(1, "GET", &format!("/services/{name}"), None)?;
            let path = format!("/services/{name}/update?version={}", service["Version"]["Index"]);
            let mut spec = service["Spec"].clone();
            spec["Mode"] = json!({ "Replicated": { "Replicas": replicas } });
            Ok(self.ask(1, "POST", &path, Some(&spec)).ok())
        })
        .map(drop)
    }

    fn tasks(&self, asked: usize, name: &str) -> Result<Vec<Value>> {
        let filters = format!("%7B%22service%22%3A%5B%22{name}%22%5D%2C%22desired-state%22%3A%5B%22running%22%5D%7D");
        let tasks = self.ask(asked, "GET", &format!("/tasks?filters={filters}"), None)?;
        Ok(tasks.as_array().cloned().unwrap_or_default())
    }

    fn wait_running(&self, asked: usize, name: &str, count: usize) -> Result<()> {
        poll("running tasks", || {
            let tasks = self.tasks(asked, name).unwrap_or_default();
            Ok((tasks.iter().filter(|task| is_running(task)).count() == count).then_some(()))
        })
    }

    /// Waits until that many containers are left on all nodes together.
    fn wait_containers(&self, count: usize) -> Result<()> {
        poll("containers", || {
            let mut found = 0;
            for node in NODES {
                found += self.ask(node, "GET", "/containers/json", None)?.as_array().map_or(0, Vec::len);
            }
            Ok((found == count).then_some(()))
        })
    }

    /// Kills the leader and gives the milliseconds until a survivor takes a write.
    fn failover(&self, writers: &Writers) -> Result<f64> {
        let leader = self.leader(1)?;
        self.engine.kill(leader)?;
        let killed = Instant::now();
        let gap = writers.first_after(killed)?.duration_since(killed).as_secs_f64() * 1000.0;
        self.engine.start(leader)?;
        self.all_ready()?;
        Ok(gap)
    }

    /// Freezes the leader's processes for half a second; says whether another was elected for that.
    fn stall(&self) -> Result<bool> {
        let leader = self.leader(1)?;
        let pids = self.engine.daemons(leader);
        signal("STOP", &pids)?;
        std::thread::sleep(Duration::from_millis(500));
        signal("CONT", &pids)?;
        self.all_ready()?;
        Ok(self.leader(self.other(leader))? != leader)
    }

    /// How many of the services with these names are not on record on some node.
    fn missing(&self, names: &[String]) -> Result<usize> {
        let mut missing = BTreeSet::new();
        for node in NODES {
            let services = self.ask(node, "GET", "/services", None)?;
            let there: BTreeSet<&str> = services
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|service| service["Spec"]["Name"].as_str())
                .collect();
            missing.extend(names.iter().filter(|name| !there.contains(name.as_str())));
        }
        Ok(missing.len())
    }
}

fn signal(name: &str, pids: &[u32]) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).args(pids.iter().map(u32::to_string)).status()?;
    ensure!(status.success(), "kill -{name} failed");
    Ok(())
}

fn is_running(task: &Value) -> bool {
    task["Status"]["State"] == json!("running")
}

/// Asks every few milliseconds, for two minutes at most.
fn poll<T>(what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        let last = probe();
        if let Ok(Some(value)) = last {
            return Ok(value);
        }
        if started.elapsed() > Duration::from_secs(120) {
            bail!("waited in vain for {what}: {last:?}", last = last.map(|_| ()));
        }
        std::thread::sleep(Duration::from_millis(3));
    }
}
