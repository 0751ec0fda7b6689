//! Going back to any revision of a service that is kept, with `skep`, while leaders change, and to the bytes of its image; and
//! `docker service rollback` beside it.

use anyhow::{Result, ensure};
use skep_tests::{Cluster, run, until};

/// The rows of `service revisions`: number, image, how many tasks run it, and what it is.
fn listed(cluster: &Cluster, node: &str) -> Result<Vec<String>> {
    let shown = cluster.skep(node, &["service", "revisions", "web"])?.success()?;
    let mut lines = shown.lines();
    let header = lines.next().unwrap_or_default();
    let [image, running] = ["IMAGE", "RUNNING"].map(|title| header.find(title).unwrap_or_default());
    ensure!(header.starts_with("REVISION") && image > 0 && running > image, "the header is {header}");
    let row = |line: &str| {
        let words = |from: usize| line.get(from..).unwrap_or_default().split_whitespace();
        let number = words(0).next().unwrap_or_default();
        let rest: Vec<&str> = words(running).collect();
        format!("{number} {} {}", words(image).next().unwrap_or_default(), rest.join(" "))
    };
    Ok(lines.map(row).collect())
}

fn wait_listed(cluster: &Cluster, node: &str, expected: &[&str]) -> Result<()> {
    until("the revisions", || {
        let rows = listed(cluster, node)?;
        ensure!(rows == expected, "they are {rows:?}, not {expected:?}");
        Ok(Some(()))
    })
}

#[test]
fn a_service_goes_back_to_a_revision_by_its_number() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    let create = ["service", "create", "--name", "web", "--replicas", "2", "--update-parallelism", "0", "--env", "N=1"];
    let quick = ["--update-monitor", "1ms", "--rollback-parallelism", "0", "--rollback-monitor", "1ms"];
    let program = ["skep/demo:1", "sleep", "1000"];
    cluster.skep("n1", &[&create[..], &quick, &program].concat())?.success()?;
    for number in ["N=2", "N=3"] {
        cluster.docker("n2", &["service", "update", "--env-add", number, "web"])?.success()?;
    }
    cluster.docker("n3", &["service", "scale", "web=3"])?.success()?;
    wait_listed(&cluster, "n1", &["3 skep/demo:1 3 current", "2 skep/demo:1 0", "1 skep/demo:1 0"])?;

    let nowhere = cluster.skep("n1", &["service", "rollback", "--to", "9", "web"])?.refusal()?;
    let kept = "revision 9 of service web is not kept: it can go back to 1, 2 or 3";
    ensure!(nowhere.contains(kept), "the refusal is {nowhere}");

    // A leader that dies takes nothing of it along.
    let leader = cluster.wait_for_leader("n1")?;
    cluster.script(&["kill", &leader])?.success()?;
    let left = if leader == "n1" { "n2" } else { "n1" };
    cluster.wait_for_leader(left)?;
    cluster.script(&["start", &leader])?.success()?;
    cluster.wait_status(left, &leader, "Ready")?;
    cluster.skep(left, &["service", "rollback", "--to", "1", "web"])?.success()?;
    wait_listed(&cluster, left, &["3 skep/demo:1 0 previous", "2 skep/demo:1 0", "1 skep/demo:1 3 current"])?;
    let env = "{{json .Spec.TaskTemplate.ContainerSpec.Env}} {{.Spec.Mode.Replicated.Replicas}}";
    let shown = cluster.docker(left, &["service", "inspect", "--format", env, "web"])?.success()?;
    ensure!(shown.trim() == r#"["N=1"] 3"#, "it is {shown}");

    let again = cluster.skep(left, &["service", "rollback", "--to", "1", "web"])?;
    ensure!(again.stderr.contains("the service is at revision 1 already"), "{again:?}");
    again.success()?;
    let history = cluster.skep(left, &["service", "explain", "web"])?.success()?;
    ensure!(history.contains("rolled back to revision 1: environment"), "the history is {history}");

    // Docker's own goes to what it was before.
    cluster.docker(left, &["service", "rollback", "web"])?.success()?;
    wait_listed(&cluster, left, &["3 skep/demo:1 3 current", "2 skep/demo:1 0", "1 skep/demo:1 0 previous"])?;
    cluster.down()
}

/// An image that is built again and again under one tag, and loaded on every node.
#[test]
fn a_revision_runs_the_bytes_its_tag_stood_for() -> Result<()> {
    let cluster = Cluster::up(1, 1)?;
    let build = |number: usize| -> Result<()> {
        let archive = cluster.path("n1", "rebuilt.tar").display().to_string();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo-image");
        run(script, [archive.as_str(), "skep/app:latest", &format!("build {number}")], &[])?.success()?;
        for node in ["n1", "n2"] {
            cluster.skep(node, &["image", "load", "--quiet", "--input", &archive])?.success()?;
        }
        Ok(())
    };
    // What the tasks that run say of their image, and how many do.
    let runs = |number: usize| {
        until("the build that runs", || {
            let tasks = cluster.wait_running("n1", "web", 2)?;
            let said = tasks.iter().map(|task| cluster.skep("n1", &["service", "logs", &task.id])?.success());
            let said: Vec<String> = said.collect::<Result<_>>()?;
            let says = |text: &String| text.trim().ends_with(&format!("build {number}"));
            ensure!(said.iter().all(says), "build {number} is to run, and they say {said:?}");
            Ok(Some(()))
        })
    };
    build(1)?;
    let create = ["service", "create", "--name", "web", "--replicas", "2", "--update-parallelism", "0"];
    let quick = ["--update-monitor", "1ms", "--rollback-parallelism", "0", "--rollback-monitor", "1ms"];
    let program = ["skep/app", "sh", "-c", "cat /etc/motd; exec sleep 1000"];
    cluster.skep("n1", &[&create[..], &["--stop-grace-period", "0s"], &quick, &program].concat())?.success()?;
    runs(1)?;
    for number in 2..=11 {
        build(number)?;
        // Half of them with Docker's own client. That the name stands for something else is reason enough.
        let update = ["service", "update", "--image", "skep/app", "web"];
        match number % 2 {
            0 => cluster.skep("n1", &update)?.success()?,
            _ => cluster.docker("n1", &update)?.success()?,
        };
    }
    runs(11)?;
    for number in [2, 7, 11] {
        cluster.skep("n1", &["service", "rollback", "--to", &number.to_string(), "web"])?.success()?;
        runs(number)?;
    }
    let gone = cluster.skep("n1", &["service", "rollback", "--to", "1", "web"])?.refusal()?;
    ensure!(gone.contains("revision 1 of service web is not kept"), "the refusal is {gone}");
    cluster.down()
}
