//! Jobs under the unmodified `docker` CLI: run to completion, run again, and by schedule through the loss of a leader.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use skep_tests::{Cluster, until};

/// Creates a service and waits for what the CLI waits for.
fn create(cluster: &Cluster, args: &[&str], command: &str) -> Result<String> {
    cluster.docker("n1", &[&["service", "create"], args, &["skep/demo:1", "sh", "-c", command]].concat())?.success()
}

/// Name, mode and counts as `service ls` shows them.
fn listed(cluster: &Cluster, node: &str, name: &str) -> Result<String> {
    let format = "{{.Name}}: {{.Mode}} {{.Replicas}}";
    let list = cluster.docker(node, &["service", "ls", "--format", format])?.success()?;
    let line = list.lines().find(|line| line.starts_with(&format!("{name}:"))).context("the service is not listed")?;
    Ok(line.to_owned())
}

fn wait_listed(cluster: &Cluster, name: &str, expected: &str) -> Result<()> {
    let mut last = String::new();
    until(&format!("{name} to be listed as {expected}"), || {
        last = listed(cluster, "n1", name)?;
        ensure!(last == expected, "it is listed as {last}, not as {expected}");
        Ok(Some(()))
    })
}

/// Desired and present state of each task.
fn states(cluster: &Cluster, name: &str) -> Result<Vec<String>> {
    let tasks = cluster.tasks("n1", name)?;
    let mut states: Vec<_> =
        tasks.iter().map(|task| format!("{} {} {}", task.slot, task.desired, task.state)).collect();
    states.sort();
    Ok(states)
}

#[test]
fn jobs_run_to_completion_and_again() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    let shown = create(
        &cluster,
        &["--name", "count", "--mode", "replicated-job", "--replicas", "5", "--max-concurrent", "2"],
        "sleep 0.3",
    )?;
    ensure!(shown.contains("job complete"), "the CLI did not see the end: {shown}");
    wait_listed(&cluster, "count", "count: replicated job 0/2 (5/5 completed)")?;
    let done: Vec<String> = (0..5).map(|slot| format!("{slot} complete complete")).collect();
    ensure!(states(&cluster, "count")? == done, "{:?}", states(&cluster, "count")?);

    // A change begins the next run; what completed before is history.
    cluster.docker("n1", &["service", "update", "--force", "count"])?.success()?;
    wait_listed(&cluster, "count", "count: replicated job 0/2 (5/5 completed)")?;
    ensure!(states(&cluster, "count")?.len() == 10, "{:?}", states(&cluster, "count")?);

    create(&cluster, &["--name", "everywhere", "--mode", "global-job"], "true")?;
    wait_listed(&cluster, "everywhere", "everywhere: global job 0/0 (3/3 completed)")?;

    // Tried once, and no more.
    let once = ["--detach", "--name", "once", "--mode", "replicated-job", "--restart-condition", "none"];
    create(&cluster, &once, "exit 3")?;
    until("the task to be given up", || {
        let states = states(&cluster, "once")?;
        ensure!(states == ["0 shutdown failed"], "{states:?}");
        Ok(Some(()))
    })?;
    let twice = [
        "--detach",
        "--name",
        "twice",
        "--mode",
        "replicated-job",
        "--restart-delay",
        "0s",
        "--restart-max-attempts",
        "1",
    ];
    create(&cluster, &twice, "exit 3")?;
    until("the second task to be given up", || {
        let states = states(&cluster, "twice")?;
        ensure!(states == ["0 shutdown failed", "0 shutdown failed"], "{states:?}");
        Ok(Some(()))
    })?;
    cluster.down()
}

#[test]
fn bad_jobs_are_refused_in_a_sentence() -> Result<()> {
    let cluster = Cluster::up(1, 0)?;
    let refused = |args: &[&str]| -> Result<String> {
        cluster
            .docker("n1", &[&["service", "create", "--detach", "--name", "job"], args, &["skep/demo:1"]].concat())?
            .refusal()
    };
    for (args, expected) in [
        (&["--label", "skep.schedule=@daily"][..], "is for replicated jobs and global jobs only"),
        (
            &["--mode", "global-job", "--label", "skep.schedule=61 * * * *"],
            "label skep.schedule=\"61 * * * *\" is not five",
        ),
        (&["--mode", "global-job", "--label", "skep.shedule=@daily"], "label skep.shedule=\"@daily\" names no setting"),
        (
            &["--mode", "global-job", "--label", "skep.concurrency=forbid"],
            "means nothing without a label skep.schedule",
        ),
    ] {
        let error = refused(args)?;
        ensure!(error.contains(expected), "{args:?}: {error}");
    }
    cluster
        .docker("n1", &["service", "create", "--detach", "--name", "web", "skep/demo:1", "sleep", "1000"])?
        .success()?;
    let error = cluster.skep("n1", &["service", "run", "web"])?.refusal()?;
    ensure!(error.contains("only a replicated job or a global job can be run"), "{error}");
    let list = cluster.docker("n1", &["service", "ls", "--format", "{{.Name}}"])?.success()?;
    ensure!(list == "web", "something that was refused exists: {list}");
    cluster.down()
}

/// The outcomes of a job's runs, by the moment of the schedule they belong to.
fn runs(cluster: &Cluster, node: &str, name: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let table = cluster.skep(node, &["service", "runs", name])?.success()?;
    let mut runs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let [_, scheduled, .., outcome] = cells.as_slice() else { bail!("not a run: {line}") };
        runs.entry((*scheduled).to_owned()).or_default().push((*outcome).to_owned());
    }
    Ok(runs)
}

#[test]
fn a_schedule_goes_on_through_the_loss_of_its_leader() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    let labels = ["skep.schedule=@every 2s", "skep.history.complete=100", "skep.history.failed=100"];
    let labels: Vec<&str> = labels.iter().flat_map(|label| ["--label", label]).collect();
    create(&cluster, &[&["--detach", "--name", "tick", "--mode", "replicated-job"], &labels[..]].concat(), "true")?;
    let complete = |node: &str| -> Result<usize> {
        Ok(runs(&cluster, node, "tick")?.values().flatten().filter(|outcome| *outcome == "Complete").count())
    };
    until("three runs", || Ok((complete("n1")? >= 3).then_some(())))?;

    let leader = cluster.wait_for_leader("n1")?;
    let asked = if leader == "n1" { "n2" } else { "n1" };
    let before = runs(&cluster, asked, "tick")?;
    cluster.script(&["kill", &leader])?.success()?;
    until("three more runs", || Ok((complete(asked)? >= before.len() + 3).then_some(())))?;
    cluster.script(&["start", &leader])?.success()?;

    // Somebody asks for one in between.
    cluster.skep(asked, &["service", "run", "tick"])?.success()?;
    let after = runs(&cluster, asked, "tick")?;
    for (tick, outcomes) in &after {
        ensure!(outcomes.len() == 1, "the tick {tick:?} has {} runs", outcomes.len());
    }
    for tick in before.keys() {
        ensure!(after.contains_key(tick), "the run of {tick} was forgotten");
    }
    ensure!(after.contains_key("on request"), "the run that was asked for is not there: {after:?}");
    cluster.docker(asked, &["service", "rm", "tick"])?.success()?;
    cluster.down()
}
