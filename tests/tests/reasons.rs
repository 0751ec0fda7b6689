//! Why something waits, who did what, and what would happen: asked from outside, across a leader's death.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::json;
use skep_tests::{Cluster, request, until};

const WAITS: &str = "no suitable node (scheduling constraints not satisfied on 3 nodes)";

#[test]
fn a_service_that_fits_nowhere_is_explained_and_its_history_survives_the_leader() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    cluster
        .docker(
            "n2",
            &["service", "create", "-d", "--name", "far", "--constraint", "node.labels.zone==moon", "skep/demo:1"],
        )?
        .success()?;
    until("the reason in service ps", || {
        let list = cluster
            .docker("n1", &["service", "ps", "--no-trunc", "--format", "{{.CurrentState}} {{.Error}}", "far"])?;
        let list = list.success()?;
        Ok((list.starts_with("Pending") && list.contains(WAITS)).then_some(()))
    })?;

    let explained = |node: &str| cluster.skep(node, &["service", "explain", "far"])?.success();
    let text = until("the reason in the history", || {
        let text = explained("n3")?;
        Ok(text.contains(&format!("waits: {WAITS}")).then_some(text))
    })?;
    ensure!(text.starts_with(&format!("far has 0 of 1 replicas running. 1 task pending: {WAITS}.")), "{text}");
    for node in ["n1", "n2", "n3"] {
        let row = text.lines().find(|line| line.starts_with(&format!("{node} "))).unwrap_or_default();
        ensure!(row.contains(" no ") && row.ends_with("scheduling constraints not satisfied"), "{node}: {text}");
    }
    let created =
        |text: &str| text.lines().filter(|line| line.contains("user via n2") && line.contains("created: ")).count();
    ensure!(created(&text) == 1, "{text}");

    let task = cluster.docker("n1", &["service", "ps", "-q", "--no-trunc", "far"])?.success()?;
    let of_task = cluster.skep("n1", &["task", "explain", &task])?.success()?;
    ensure!(of_task.starts_with(&format!("far.1 is pending: {WAITS}.")), "{of_task}");

    let leader = cluster.wait_for_leader("n1")?;
    cluster.script(&["kill", &leader])?.success()?;
    let other = if leader == "n1" { "n2" } else { "n1" };
    let after = until("an explanation from another leader", || Ok(explained(other).ok()))?;
    ensure!(created(&after) == 1, "the history is gone: {after}");
    cluster.script(&["start", &leader])?.success()?;
    cluster.wait_status(other, &leader, "Ready")?;
    cluster.down()
}

/// Writes until the log is so long that it is cut: who joins then is brought up by a snapshot, not by what happened.
fn fill_log(cluster: &Cluster, node: &str) -> Result<()> {
    cluster.docker(node, &["swarm", "update", "--snapshot-interval", "600"])?.success()?;
    let socket = cluster.path(node, "skep.sock");
    let spec = json!({
        "Name": "filler", "Mode": {"Replicated": {"Replicas": 0}},
        "TaskTemplate": {"ContainerSpec": {"Image": "skep/demo:1"}},
    });
    let snapshots = cluster.path(node, "data/swarm/manager/snapshots");
    loop {
        for _ in 0..100 {
            request(&socket, "POST", "/services/create", Some(&spec))?;
            request(&socket, "DELETE", "/services/filler", None)?;
        }
        if fs::read_dir(&snapshots)?.next().is_some() {
            return Ok(());
        }
    }
}

#[test]
fn managers_that_joined_late_know_what_happened_before() -> Result<()> {
    let cluster = Cluster::up(1, 0)?;
    cluster.docker("n1", &["service", "create", "-d", "--name", "old", "--replicas", "0", "skep/demo:1"])?.success()?;
    for availability in ["drain", "active"] {
        cluster.docker("n1", &["node", "update", "--availability", availability, "n1"])?.success()?;
    }
    let explained = cluster.skep("n1", &["node", "explain", "self"])?.success()?;
    let drained = |text: &str| {
        text.lines()
            .filter(|line| line.contains("user via n1") && line.ends_with("drained: its tasks have to leave"))
            .count()
    };
    ensure!(
        explained.starts_with("n1 is a manager and has been ready for ") && drained(&explained) == 1,
        "{explained}"
    );
    fill_log(&cluster, "n1")?;

    cluster.script(&["add", "n2", "n3"])?.success()?;
    let token = cluster.skep("n1", &["swarm", "join-token", "-q", "manager"])?.success()?;
    for (node, addr) in [("n2", "10.78.0.2"), ("n3", "10.78.0.3")] {
        let join = ["swarm", "join", "--token", &token, "--advertise-addr", addr, "10.78.0.1:2377"];
        cluster.skep(node, &join)?.success()?;
        cluster.wait_status("n1", node, "Ready")?;
        until("the history from before the join", || {
            Ok(cluster.log(node)?.contains("the journal was completed with what other managers had").then_some(()))
        })?;
    }
    cluster.script(&["kill", "n1"])?.success()?;
    let leader = until("a leader that joined late", || Ok(cluster.leader("n2")?.filter(|leader| leader != "n1")))?;

    let created =
        until("an explanation from it", || Ok(cluster.skep(&leader, &["service", "explain", "old"])?.success().ok()))?;
    let by_user = |line: &&str| line.contains("user via n1") && line.contains("created: 0 replicas of skep/demo:1");
    ensure!(created.lines().filter(by_user).count() == 1 && !created.contains("is not known"), "{created}");
    let explained = cluster.skep(&leader, &["node", "explain", "n1"])?.success()?;
    ensure!(drained(&explained) == 1 && !explained.contains("is not known"), "{explained}");
    let history = cluster.skep(&leader, &["swarm", "history", "--limit", "1000"])?.success()?;
    ensure!(history.lines().any(|line| line.contains("node n2") && line.contains("joined the swarm")), "{history}");
    cluster.down()
}

#[test]
fn what_would_move_is_named_and_nothing_moves() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    cluster
        .docker("n1", &["service", "create", "-d", "--name", "web", "--replicas", "3", "skep/demo:1", "sleep", "1000"])?
        .success()?;
    let before = cluster.wait_running("n1", "web", 3)?;

    let drained = cluster.skep("n3", &["what-if", "drain", "n2"])?.success()?;
    let lines: Vec<&str> = drained.lines().collect();
    let [moves, summary] = lines[..] else { anyhow::bail!("{drained}") };
    ensure!(moves.starts_with("web.") && moves.contains(" moves from n2 to n"), "{drained}");
    ensure!(summary == "If n2 were drained, 1 task would move.", "{drained}");
    let lost = cluster.skep("n3", &["what-if", "lose", "n2"])?.success()?;
    ensure!(lost.ends_with("If n2 were lost, 1 task would move."), "{lost}");
    let lost = cluster.skep("n3", &["what-if", "lose", "n2", "n3"])?.success()?;
    ensure!(lost.contains("1 of 3 managers would be left, which is no quorum"), "{lost}");

    let inspected = cluster.docker("n1", &["service", "inspect", "web"])?.success()?;
    let scaled = inspected.replace("\"Replicas\": 3", "\"Replicas\": 5");
    let deployed = cluster.skep("n1", &["what-if", "deploy", "--spec", &scaled])?.success()?;
    ensure!(deployed.ends_with("If web were updated, 2 tasks would start."), "{deployed}");

    let refused = cluster.skep("n1", &["what-if", "drain", "nosuch"])?.refusal()?;
    ensure!(refused == "Error response from daemon: node nosuch not found", "{refused}");
    ensure!(cluster.wait_running("n1", "web", 3)? == before, "something moved");
    let availability = cluster.docker("n1", &["node", "ls", "--format", "{{.Availability}}"])?.success()?;
    ensure!(availability.lines().all(|line| line == "Active"), "{availability}");
    cluster.down()
}
