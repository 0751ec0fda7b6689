//! Rolling updates while leaders die: they go on where they were, and at no moment do they go further than they may.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use skep_tests::{Cluster, request, until};

const NODES: [&str; 3] = ["n1", "n2", "n3"];
const REPLICAS: usize = 30;
const PARALLELISM: usize = 3;
const LEADERS: usize = 5;

/// The service's tasks by slot, as one state of the swarm has them.
type Slots = BTreeMap<u64, Vec<Value>>;

fn slots(socket: &Path) -> Result<Slots> {
    let filters = "%7B%22service%22%3A%5B%22web%22%5D%7D";
    let tasks = request(socket, "GET", &format!("/tasks?filters={filters}"), None)?;
    let mut slots = Slots::new();
    for task in tasks.as_array().into_iter().flatten() {
        slots.entry(task["Slot"].as_u64().unwrap_or_default()).or_default().push(task.clone());
    }
    Ok(slots)
}

fn is_running(task: &Value) -> bool {
    task["Status"]["State"] == json!("running")
}

fn is_wanted(task: &Value) -> bool {
    task["DesiredState"] == json!("running") || task["DesiredState"] == json!("ready")
}

/// What is wrong with a moment of a stop-first update.
fn stop_first(slots: &Slots) -> Option<String> {
    let running = |tasks: &Vec<Value>| tasks.iter().filter(|task| is_running(task)).count();
    let crowded: Vec<_> = slots.iter().filter(|(_, tasks)| running(tasks) > 1).map(|(slot, _)| slot).collect();
    let empty: Vec<_> = slots.iter().filter(|(_, tasks)| running(tasks) == 0).map(|(slot, _)| slot).collect();
    if !crowded.is_empty() {
        return Some(format!("two tasks run at once in slots {crowded:?}"));
    }
    (empty.len() > PARALLELISM).then(|| format!("nothing runs in slots {empty:?}"))
}

/// What is wrong with a moment of a start-first update.
fn start_first(slots: &Slots) -> Option<String> {
    let of = |tasks: &Vec<Value>, is: fn(&Value) -> bool| tasks.iter().filter(|task| is(task)).count();
    let empty: Vec<_> = slots.iter().filter(|(_, tasks)| of(tasks, is_running) == 0).map(|(slot, _)| slot).collect();
    let double: Vec<_> = slots.iter().filter(|(_, tasks)| of(tasks, is_wanted) > 1).map(|(slot, _)| slot).collect();
    if !empty.is_empty() {
        return Some(format!("nothing runs in slots {empty:?}"));
    }
    (double.len() > PARALLELISM).then(|| format!("slots {double:?} are updated at once"))
}

/// Looks at the service through every node in turn, for as long as it lives.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<usize>>,
}

impl Watch {
    fn start(sockets: Vec<PathBuf>, wrong: fn(&Slots) -> Option<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut looks = 0;
            for socket in sockets.iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                // A node that is dead, or has no leader just now, shows nothing.
                let Ok(slots) = slots(socket) else { continue };
                looks += 1;
                ensure!(slots.len() == REPLICAS, "there are {} slots", slots.len());
                if let Some(wrong) = wrong(&slots) {
                    anyhow::bail!("at look {looks}: {wrong}");
                }
            }
            Ok(looks)
        });
        Self { stop, thread }
    }

    /// How often it looked, if all was well.
    fn end(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the watching thread failed")?
    }
}

fn update_state(cluster: &Cluster, node: &str) -> Result<String> {
    let format = "{{if .UpdateStatus}}{{.UpdateStatus.State}}{{end}}";
    cluster.docker(node, &["service", "inspect", "web", "--format", format])?.success()
}

/// Begins an update and kills leaders until it has survived as many as it has to.
fn update(cluster: &Cluster, args: &[&str], wrong: fn(&Slots) -> Option<String>) -> Result<()> {
    let watch = Watch::start(NODES.map(|node| cluster.path(node, "skep.sock")).into(), wrong);
    let all: Vec<&str> = ["service", "update", "-d"].iter().chain(args).copied().chain(["web"]).collect();
    cluster.docker("n1", &all)?.success()?;
    until("the update's beginning", || Ok((update_state(cluster, "n1")? == "updating").then_some(())))?;
    let mut asked = "n1";
    for _ in 0..LEADERS {
        let leader = cluster.wait_for_leader(asked)?;
        cluster.script(&["kill", &leader])?.success()?;
        asked = NODES.into_iter().find(|node| *node != leader).unwrap_or("n1");
        let next = cluster.wait_for_leader(asked)?;
        ensure!(next != leader, "a dead node leads");
        let state = until("the update's state", || Ok(update_state(cluster, asked).ok()))?;
        ensure!(state == "updating", "{leader} died too late: the update is {state:?}");
        cluster.script(&["start", &leader])?.success()?;
        cluster.wait_status(asked, &leader, "Ready")?;
    }
    until("the update's end", || Ok((update_state(cluster, asked)? == "completed").then_some(())))?;
    let looks = watch.end()?;
    ensure!(looks > 100, "it was looked at only {looks} times");
    Ok(())
}

fn versions(cluster: &Cluster) -> Result<Vec<u64>> {
    let slots = slots(&cluster.path("n1", "skep.sock"))?;
    let wanted = slots.values().flatten().filter(|task| is_wanted(task) && is_running(task));
    Ok(wanted.map(|task| task["Spec"]["ForceUpdate"].as_u64().unwrap_or_default()).collect())
}

#[test]
fn an_update_of_thirty_tasks_outlives_five_leaders() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    let parallelism = PARALLELISM.to_string();
    let replicas = REPLICAS.to_string();
    let create = "service create --name web --stop-grace-period 1s --update-delay 700ms --update-monitor 500ms";
    let mut args: Vec<&str> = create.split(' ').collect();
    args.extend(["--replicas", &replicas, "--update-parallelism", &parallelism]);
    args.extend(["skep/demo:1", "sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"]);
    cluster.docker("n1", &args)?.success()?;
    cluster.wait_running("n1", "web", REPLICAS)?;

    update(&cluster, &["--force"], stop_first)?;
    ensure!(versions(&cluster)? == [1; REPLICAS], "not all tasks are of the new spec");

    update(&cluster, &["--force", "--update-order", "start-first"], start_first)?;
    ensure!(versions(&cluster)? == [2; REPLICAS], "not all tasks are of the newest spec");
    cluster.down()
}
