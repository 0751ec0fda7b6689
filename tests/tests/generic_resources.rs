//! Generic resources from the daemon's configuration to the container's environment, with the stock CLI.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use skep_tests::{Cluster, Task, until};

/// Waits until the program of a service's one task runs, and checks where, and what it is told that it was given.
fn is_given(cluster: &Cluster, service: &str, node: &str, expected: &[&str]) -> Result<Task> {
    let task = cluster.wait_running("n1", service, 1)?.remove(0);
    ensure!(task.node == node && task.pid > 0, "{task:?} is not on {node}");
    until(&format!("{expected:?} in the environment of {service}"), || {
        // A process has its own environment from when it executes the program.
        let environment = fs::read(format!("/proc/{}/environ", task.pid))?;
        let variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        let mut given: Vec<_> = variables.filter(|variable| variable.starts_with("DOCKER_RESOURCE_")).collect();
        given.sort_unstable();
        ensure!(given == expected, "it was given {given:?}");
        Ok(Some(()))
    })?;
    Ok(task)
}

/// Writes what a node has into its configuration and starts its daemon with that.
fn equip(cluster: &Cluster, node: &str, resources: &[&str]) -> Result<()> {
    fs::write(cluster.path(node, "daemon.json"), json!({"node-generic-resources": resources}).to_string())?;
    cluster.script(&["kill", node])?.success()?;
    cluster.script(&["start", node])?.success()?;
    Ok(())
}

fn create(cluster: &Cluster, name: &str, wants: &[&str]) -> Result<()> {
    let mut args = vec!["service", "create", "-d", "--name", name];
    args.extend(wants.iter().flat_map(|want| ["--generic-resource", *want]));
    args.extend(["skep/demo:1", "sleep", "1000"]);
    cluster.docker("n1", &args)?.success()?;
    Ok(())
}

#[test]
fn tasks_go_where_their_resources_are_and_are_told_which_are_theirs() -> Result<()> {
    let cluster = Cluster::up(1, 2)?;
    equip(&cluster, "n2", &["gpu=UUID1", "gpu=UUID2", "gpu=UUID3"])?;
    equip(&cluster, "n3", &["ssd=5", "gpu=1"])?;
    let has = |node: &str| -> Result<Value> {
        let format = "{{json .Description.Resources.GenericResources}}";
        let json = cluster.docker("n1", &["node", "inspect", node, "--format", format])?.success()?;
        serde_json::from_str(&json).context("no JSON")
    };
    let gpu = |name: &str| json!({"NamedResourceSpec": {"Kind": "gpu", "Value": name}});
    until("what n2 has", || Ok((has("n2")? == json!([gpu("UUID1"), gpu("UUID2"), gpu("UUID3")])).then_some(())))?;
    let count = |kind: &str, count: u64| json!({"DiscreteResourceSpec": {"Kind": kind, "Value": count}});
    until("what n3 has", || Ok((has("n3")? == json!([count("gpu", 1), count("ssd", 5)])).then_some(())))?;
    let id = |node: &str| cluster.docker("n1", &["node", "inspect", node, "--format", "{{.ID}}"])?.success();
    let (n2, n3) = (id("n2")?, id("n3")?);

    create(&cluster, "train", &["gpu=2"])?;
    let train = is_given(&cluster, "train", &n2, &["DOCKER_RESOURCE_GPU=UUID1,UUID2"])?;
    let inspected = cluster.docker("n1", &["inspect", "--type", "task", &train.id])?.success()?;
    let inspected: Value = serde_json::from_str(&inspected)?;
    ensure!(inspected[0]["GenericResources"] == json!([gpu("UUID1"), gpu("UUID2")]), "{inspected}");

    create(&cluster, "store", &["ssd=2", "gpu=1"])?;
    is_given(&cluster, "store", &n3, &["DOCKER_RESOURCE_GPU=1", "DOCKER_RESOURCE_SSD=2"])?;

    // One is left on n2 and none on n3.
    create(&cluster, "more", &["gpu=2"])?;
    let waits = "no suitable node (insufficient resources on 3 nodes)";
    until("the reason it waits", || {
        let tasks = cluster.tasks("n1", "more")?;
        Ok(tasks.first().filter(|task| task.state == "pending" && task.error == waits).map(|_| ()))
    })?;
    cluster.docker("n1", &["service", "rm", "train"])?.success()?;
    is_given(&cluster, "more", &n2, &["DOCKER_RESOURCE_GPU=UUID1,UUID2"])?;

    let args = ["service", "create", "-d", "--name", "named", "--generic-resource", "gpu=UUID3", "skep/demo:1"];
    let refused = cluster.docker("n1", &args)?.refusal()?;
    ensure!(refused.contains("invalid generic-resource request `gpu=UUID3`"), "{refused}");
    cluster.down()
}
