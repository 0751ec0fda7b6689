//! Why something waits, who did what, and what would happen: asked from outside, across a leader's death.

use anyhow::{Result, ensure};
use skep_tests::{Cluster, until};

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
    let lost = cluster.skep("n3", &["what-if", "lose", "n2", "n3"])?.success()?;
    ensure!(lost.ends_with("2 tasks would move."), "{lost}");

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
