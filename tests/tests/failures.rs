//! Killing things: leaders, daemons, links, task.db. Containers must not notice, and what was acknowledged must stay.

use std::fs;

use anyhow::{Result, ensure};
use skep_tests::{Cluster, Task, until};

const NODES: [&str; 3] = ["n1", "n2", "n3"];

fn service(cluster: &Cluster, name: &str, replicas: &str) -> Result<()> {
    let command = "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.2; done";
    cluster
        .docker(
            "n1",
            &["service", "create", "--name", name, "--replicas", replicas, "skep/demo:1", "sh", "-c", command],
        )?
        .success()?;
    Ok(())
}

/// Another node than `node`.
fn other(node: &str) -> &'static str {
    NODES.into_iter().find(|other| *other != node).unwrap_or("n1")
}

/// Creates services on `node` until one is acknowledged; gives its name.
fn write(cluster: &Cluster, node: &str, name: &str) -> Result<String> {
    let mut attempt = 0;
    until("an acknowledged write", || {
        attempt += 1;
        let name = format!("{name}-{attempt}");
        let answer =
            cluster.docker(node, &["service", "create", "-d", "--name", &name, "--replicas", "0", "skep/demo:1"])?;
        Ok(answer.ok.then_some(name))
    })
}

fn pids(tasks: &[Task]) -> Vec<i64> {
    let mut pids: Vec<i64> = tasks.iter().map(|task| task.pid).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn leaders_die_and_nothing_acknowledged_is_lost() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        let leader = cluster.wait_for_leader("n1")?;
        cluster.script(&["kill", &leader])?.success()?;
        let asked = other(&leader);
        // Written while the others elect: each either is acknowledged, and must be there later, or is not.
        for attempt in 0..4 {
            let name = format!("s{round}-{attempt}");
            if cluster
                .docker(asked, &["service", "create", "-d", "--name", &name, "--replicas", "0", "skep/demo:1"])?
                .ok
            {
                acknowledged.push(name);
            }
        }
        acknowledged.push(write(&cluster, asked, &format!("s{round}-after"))?);
        cluster.script(&["start", &leader])?.success()?;
        cluster.wait_status(asked, &leader, "Ready")?;
    }
    for node in NODES {
        let list = cluster.docker(node, &["service", "ls", "--format", "{{.Name}}"])?.success()?;
        let missing: Vec<_> = acknowledged.iter().filter(|name| !list.lines().any(|line| line == **name)).collect();
        ensure!(missing.is_empty(), "{node} lost {missing:?}");
    }
    cluster.down()
}

#[test]
fn all_managers_killed_at_once_are_the_same_swarm_again() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    service(&cluster, "web", "6")?;
    let before = cluster.wait_running("n1", "web", 6)?;
    let ids = |node| cluster.docker(node, &["node", "ls", "-q"]).and_then(skep_tests::Outcome::success);
    let members = ids("n1")?;

    cluster.script(&["kill", "n1", "n2", "n3"])?.success()?;
    cluster.script(&["start", "n1", "n2", "n3"])?.success()?;
    for node in NODES {
        until("all Ready again", || {
            let list = cluster.docker(node, &["node", "ls", "--format", "{{.Status}}"])?.success()?;
            Ok((list.lines().filter(|line| *line == "Ready").count() == 3).then_some(()))
        })?;
    }
    ensure!(ids("n2")? == members, "the swarm has other nodes now");
    let after = cluster.wait_running("n2", "web", 6)?;
    ensure!(pids(&before) == pids(&after), "containers were restarted: {before:?} {after:?}");
    cluster.down()
}

#[test]
fn a_killed_daemon_leaves_its_containers_alone_and_learns_how_they_ended() -> Result<()> {
    let cluster = Cluster::up(1, 1)?;
    service(&cluster, "web", "2")?;
    // Ends with a code of its own when it is told to, by a file only the test can make.
    cluster
        .docker(
            "n1",
            &[
                "service",
                "create",
                "--name",
                "once",
                "--restart-condition",
                "none",
                "--constraint",
                "node.hostname==n2",
                "skep/demo:1",
                "sh",
                "-c",
                "trap 'exit 7' USR1; while true; do sleep 0.05; done",
            ],
        )?
        .success()?;
    let before = cluster.wait_running("n1", "web", 2)?;
    let once = cluster.wait_running("n1", "once", 1)?.remove(0);

    cluster.script(&["kill", "n2"])?.success()?;
    std::process::Command::new("kill").args(["-USR1", &once.pid.to_string()]).status()?;
    until(
        "the container's end",
        || Ok((!std::path::Path::new(&format!("/proc/{}", once.pid)).exists()).then_some(())),
    )?;
    cluster.script(&["start", "n2"])?.success()?;

    let ended = until("the exit that happened meanwhile", || {
        let task = cluster.tasks("n1", "once")?.into_iter().find(|task| task.id == once.id);
        Ok(task.filter(|task| task.state == "failed"))
    })?;
    ensure!(ended.exit_code == 7, "{ended:?}");
    cluster.wait_status("n1", "n2", "Ready")?;
    let after = cluster.wait_running("n1", "web", 2)?;
    ensure!(pids(&before) == pids(&after), "containers were restarted");

    // The log has no gap: every number once, in order, per task.
    for task in &after {
        let text = until("lines from after the restart", || {
            let logs = cluster.docker("n1", &["service", "logs", "--raw", &task.id])?.success()?;
            Ok((logs.lines().count() > 5).then_some(logs))
        })?;
        for (wanted, line) in text.lines().enumerate() {
            ensure!(line.trim() == format!("line {wanted}"), "line {wanted} is {line:?}");
        }
    }
    cluster.down()
}

#[test]
fn a_ruined_task_db_is_rebuilt() -> Result<()> {
    let cluster = Cluster::up(1, 1)?;
    service(&cluster, "web", "4")?;
    let before = cluster.wait_running("n1", "web", 4)?;

    cluster.script(&["kill", "n2"])?.success()?;
    let db = cluster.path("n2", "data/worker/task.db");
    let mut ruined = 0;
    let mut dirs = vec![db.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let length = usize::try_from(fs::metadata(&path)?.len())?.max(64);
                let noise: Vec<u8> = (0..length).map(|i| (i * 7919 % 251) as u8).collect();
                fs::write(&path, noise)?;
                ruined += 1;
            }
        }
    }
    ensure!(ruined > 0, "there was no file to ruin in {}", db.display());
    cluster.script(&["start", "n2"])?.success()?;

    cluster.wait_status("n1", "n2", "Ready")?;
    let after = cluster.wait_running("n1", "web", 4)?;
    ensure!(pids(&before) == pids(&after), "containers were restarted");
    cluster.down()
}

#[test]
fn a_node_that_is_cut_off_is_replaced_and_gives_up_its_surplus() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    service(&cluster, "web", "6")?;
    cluster.wait_running("n1", "web", 6)?;
    let leader = cluster.wait_for_leader("n1")?;
    let cut = other(&leader);
    let cut_id = cluster.docker("n1", &["node", "inspect", cut, "--format", "{{.ID}}"])?.success()?;

    cluster.script(&["partition", cut, "rest"])?.success()?;
    cluster.wait_status(&leader, cut, "Down")?;
    until("six tasks on the others", || {
        let live: Vec<Task> = cluster.tasks(&leader, "web")?.into_iter().filter(Task::is_running).collect();
        Ok((live.iter().filter(|task| task.node != cut_id).count() == 6).then_some(()))
    })?;
    let refused = cluster.docker(cut, &["service", "create", "-d", "--name", "minority", "skep/demo:1"])?;
    ensure!(!refused.ok, "a node without a quorum took a write");

    cluster.script(&["heal"])?.success()?;
    cluster.wait_status(&leader, cut, "Ready")?;
    cluster.wait_running(&leader, "web", 6)?;
    until("no surplus container on the node that came back", || {
        let own: usize = cluster.docker(cut, &["ps", "-q"])?.success()?.lines().count();
        let wanted =
            cluster.tasks(&leader, "web")?.iter().filter(|task| task.is_running() && task.node == cut_id).count();
        Ok((own == wanted).then_some(()))
    })?;
    cluster.down()
}

/// Frozen, not dead: its connections stay open, and it believes for a moment that it still leads when it thaws.
#[test]
fn a_manager_that_comes_back_under_another_address_is_one_of_the_quorum() -> Result<()> {
    let cluster = Cluster::bare(&NODES)?;
    cluster.skep("n1", &["swarm", "init"])?.success()?;
    let token = cluster.skep("n1", &["swarm", "join-token", "-q", "manager"])?.success()?;
    for node in ["n2", "n3"] {
        cluster.skep(node, &["swarm", "join", "--token", token.trim(), "10.78.0.1:2377"])?.success()?;
    }
    cluster.script(&["kill", "n3"])?.success()?;
    for (change, address) in [("del", "10.78.0.3/24"), ("add", "10.78.0.103/24")] {
        cluster.script(&["exec", "n3", "ip", "addr", change, address, "dev", "eth0"])?.success()?;
    }
    cluster.script(&["start", "n3"])?.success()?;
    until("n3 is reached under its new address", || {
        let format = "{{.Status.Addr}} {{.ManagerStatus.Addr}} {{.ManagerStatus.Reachability}} {{.Status.State}}";
        let node = cluster.docker("n1", &["node", "inspect", "n3", "--format", format])?.success()?;
        Ok((node.trim() == "10.78.0.103 10.78.0.103:2377 reachable ready").then_some(()))
    })?;
    // Without n3's vote there is no quorum any more.
    cluster.script(&["kill", "n2"])?.success()?;
    write(&cluster, "n1", "voted")?;
    cluster.down()
}

#[test]
fn a_leader_that_freezes_is_replaced_and_follows_when_it_thaws() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    service(&cluster, "web", "3")?;
    let before = cluster.wait_running("n1", "web", 3)?;
    let frozen = cluster.wait_for_leader("n1")?;
    let asked = other(&frozen);

    cluster.script(&["pause", &frozen])?.success()?;
    let written = write(&cluster, asked, "meanwhile")?;
    let next_leader = cluster.wait_for_leader(asked)?;
    ensure!(next_leader != frozen, "nobody took over from the frozen leader");
    cluster.script(&["resume", &frozen])?.success()?;

    cluster.wait_status(asked, &frozen, "Ready")?;
    until("what was written meanwhile, through the one that was frozen", || {
        Ok(cluster.docker(&frozen, &["service", "inspect", &written])?.ok.then_some(()))
    })?;
    ensure!(cluster.leader(&frozen)? == cluster.leader(asked)?, "two managers name different leaders");
    let after = cluster.wait_running(asked, "web", 3)?;
    ensure!(pids(&before) == pids(&after), "containers were restarted: {before:?} {after:?}");
    cluster.down()
}

#[test]
fn a_leader_that_is_cut_off_takes_no_writes_and_comes_back_as_a_follower() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    service(&cluster, "web", "6")?;
    cluster.wait_running("n1", "web", 6)?;
    let cut = cluster.wait_for_leader("n1")?;
    let asked = other(&cut);

    cluster.script(&["partition", &cut, "rest"])?.success()?;
    let written = write(&cluster, asked, "majority")?;
    let refused = cluster.docker(&cut, &["service", "create", "-d", "--name", "minority", "skep/demo:1"])?;
    ensure!(!refused.ok, "a leader without a quorum took a write");
    cluster.wait_status(asked, &cut, "Down")?;
    cluster.wait_running(asked, "web", 6)?;

    cluster.script(&["heal"])?.success()?;
    cluster.wait_status(asked, &cut, "Ready")?;
    until("the majority's write on the one that was cut off", || {
        Ok(cluster.docker(&cut, &["service", "inspect", &written])?.ok.then_some(()))
    })?;
    let minority = cluster.docker(&cut, &["service", "inspect", "minority"])?;
    ensure!(!minority.ok, "a write that was refused is there");
    ensure!(cluster.leader(&cut)? == cluster.leader(asked)?, "two managers name different leaders");
    cluster.wait_running(asked, "web", 6)?;
    cluster.down()
}
