//! `service inspect --pretty`. Tabs and blanks stand where Docker has them.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
};

use skep_dockerapi::{
    time::Time,
    types::{
        ContainerSpec, Driver, Placement, ResourceRequirements, Service, ServiceMode, TaskSpec, UpdateConfig,
        UpdateStatus,
    },
};

use crate::output::{
    text::pair,
    units::{ago, binary_size, go_duration},
};

/// One service.
pub(crate) fn show(service: &Service, now: Time) -> String {
    let mut shown = "\n".to_owned();
    let out = &mut shown;
    let spec = &service.spec;
    line(out, "ID:\t\t", &service.id);
    line(out, "Name:\t\t", &spec.name);
    if !spec.labels.is_empty() {
        out.push_str("Labels:\n");
        for (key, value) in &spec.labels {
            line(out, " ", pair(key, value));
        }
    }
    mode(out, &spec.mode);
    if let Some(status) = &service.update_status {
        update_status(out, status, now);
    }
    placement(out, spec.task_template.placement.as_ref());
    update(out, "UpdateConfig", "Update order:      ", spec.update_config.as_ref());
    update(out, "RollbackConfig", "Rollback order:    ", spec.rollback_config.as_ref());
    task(out, &spec.task_template);
    let endpoint = spec.endpoint_spec.as_ref().map_or("", |endpoint| &endpoint.mode);
    line(out, "Endpoint Mode:\t", endpoint);
    out.push('\n');
    shown
}

fn mode(out: &mut String, mode: &ServiceMode) {
    match mode {
        ServiceMode { global: Some(_), .. } => out.push_str("Service Mode:\tGlobal\n"),
        ServiceMode { replicated: Some(replicated), .. } => {
            out.push_str("Service Mode:\tReplicated\n");
            if let Some(replicas) = replicated.replicas {
                line(out, " Replicas:\t", replicas);
            }
        }
        _ => out.push_str("Service Mode:\n"),
    }
}

/// Only what was completed says when: a rollback's end has no line in Docker.
fn update_status(out: &mut String, status: &UpdateStatus, now: Time) {
    out.push_str("UpdateStatus:\n");
    line(out, " State:\t\t", &status.state);
    if let Some(started) = status.started_at {
        line(out, " Started:\t", ago(started, now));
    }
    if let (Some(completed), "completed") = (status.completed_at, status.state.as_str()) {
        line(out, " Completed:\t", ago(completed, now));
    }
    line(out, " Message:\t", &status.message);
}

fn placement(out: &mut String, placement: Option<&Placement>) {
    out.push_str("Placement:\n");
    let Some(placement) = placement else { return };
    if !placement.constraints.is_empty() {
        line(out, " Constraints:\t", list(&placement.constraints));
    }
    let spread = placement.preferences.iter().filter_map(|preference| preference.spread.as_ref());
    let preferences: Vec<String> = spread.map(|spread| format!("spread={}", spread.spread_descriptor)).collect();
    if !preferences.is_empty() {
        line(out, " Preferences:   ", list(&preferences));
    }
    if placement.max_replicas > 0 {
        line(out, " Max Replicas Per Node:   ", placement.max_replicas);
    }
}

fn update(out: &mut String, title: &str, order: &str, config: Option<&UpdateConfig>) {
    let Some(config) = config else { return };
    let _ = writeln!(out, "{title}:");
    line(out, " Parallelism:\t", config.parallelism);
    if config.delay > 0 {
        line(out, " Delay:\t\t", go_duration(config.delay));
    }
    line(out, " On failure:\t", &config.failure_action);
    if config.monitor > 0 {
        line(out, " Monitoring Period: ", go_duration(config.monitor));
    }
    line(out, " Max failure ratio: ", config.max_failure_ratio);
    line(out, &format!(" {order}"), &config.order);
}

fn task(out: &mut String, task: &TaskSpec) {
    if let Some(container) = &task.container_spec {
        show_container(out, container);
    }
    if let Some(driver) = &task.log_driver {
        log_driver(out, driver);
    }
    if let Some(requirements) = &task.resources {
        resources(out, requirements);
    }
    if !task.networks.is_empty() {
        let names: Vec<&str> = task.networks.iter().map(|network| network.target.as_str()).collect();
        let _ = writeln!(out, "Networks: {} ", names.join(" "));
    }
}

fn show_container(out: &mut String, container: &ContainerSpec) {
    out.push_str("ContainerSpec:\n");
    line(out, " Image:\t\t", &container.image);
    for (name, words) in [(" Args:\t\t", &container.args), (" Env:\t\t", &container.env)] {
        if !words.is_empty() {
            line(out, name, format_args!("{} ", words.join(" ")));
        }
    }
    if !container.dir.is_empty() {
        line(out, " Dir:\t\t", &container.dir);
    }
    if let Some(init) = container.init {
        line(out, " Init:\t\t", init);
    }
    if !container.user.is_empty() {
        line(out, " User: ", &container.user);
    }
    let capabilities = [(" Add: ", &container.capability_add), (" Drop: ", &container.capability_drop)];
    if capabilities.iter().any(|(_, names)| !names.is_empty()) {
        out.push_str("Capabilities:\n");
        for (name, names) in capabilities.iter().filter(|(_, names)| !names.is_empty()) {
            line(out, name, names.join(", "));
        }
    }
    if !container.sysctls.is_empty() {
        out.push_str("SysCtls:\n");
        for (key, value) in &container.sysctls {
            line(out, " ", if value.is_empty() { key.clone() } else { format!("{key}: {value}") });
        }
    }
    if !container.ulimits.is_empty() {
        out.push_str("Ulimits:\n");
        let limits = container.ulimits.iter().map(|limit| (&limit.name, format!("{}:{}", limit.soft, limit.hard)));
        for (name, limit) in limits.collect::<BTreeMap<_, _>>() {
            let _ = writeln!(out, " {name}: {limit}");
        }
    }
}

fn log_driver(out: &mut String, driver: &Driver) {
    out.push_str("Log Driver:\n");
    if !driver.name.is_empty() {
        line(out, " Name:\t\t", &driver.name);
    }
    if !driver.options.is_empty() {
        out.push_str(" LogOpts:\n");
        for (key, value) in &driver.options {
            line(out, "  ", if value.is_empty() { key.clone() } else { format!("{key}:       {value}") });
        }
    }
    out.push('\n');
}

fn resources(out: &mut String, requirements: &ResourceRequirements) {
    out.push_str("Resources:\n");
    if let Some(held) = requirements.reservations.as_ref().filter(|held| held.nano_cpus > 0 || held.memory_bytes > 0) {
        out.push_str(" Reservations:\n");
        amounts(out, held.nano_cpus, held.memory_bytes);
    }
    if let Some(limits) = &requirements.limits
        && (limits.nano_cpus > 0 || limits.memory_bytes > 0 || limits.pids > 0)
    {
        out.push_str(" Limits:\n");
        amounts(out, limits.nano_cpus, limits.memory_bytes);
        if limits.pids > 0 {
            line(out, "  PIDs:\t\t", limits.pids);
        }
    }
}

fn amounts(out: &mut String, nano_cpus: i64, memory_bytes: i64) {
    if nano_cpus > 0 {
        line(out, "  CPU:\t\t", nano_cpus as f64 / 1e9);
    }
    if memory_bytes > 0 {
        line(out, "  Memory:\t", binary_size(memory_bytes));
    }
}

/// Go's notation of a list.
fn list(items: &[String]) -> String {
    format!("[{}]", items.join(" "))
}

fn line(out: &mut String, name: &str, value: impl Display) {
    let _ = writeln!(out, "{name}{value}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Both as Docker 28.2 prints them.
    #[test]
    fn a_plain_service() {
        let config = json!({"Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000_i64, "MaxFailureRatio": 0, "Order": "stop-first"});
        let service = json!({
            "ID": "ppzaagvtnepn98l4qa4yrdewg",
            "Spec": {
                "Name": "web",
                "TaskTemplate": {
                    "ContainerSpec": {"Image": "skep/demo:1", "Args": ["sh", "-c", "echo hi; sleep 1000"], "Init": false},
                    "Resources": {"Limits": {}, "Reservations": {}}, "Placement": {}, "Networks": [{"Target": "host"}],
                },
                "Mode": {"Replicated": {"Replicas": 2}}, "UpdateConfig": config, "RollbackConfig": config, "EndpointSpec": {"Mode": "vip"},
            },
        });
        let expected = "
ID:\t\tppzaagvtnepn98l4qa4yrdewg
Name:\t\tweb
Service Mode:\tReplicated
 Replicas:\t2
Placement:
UpdateConfig:
 Parallelism:\t1
 On failure:\tpause
 Monitoring Period: 5s
 Max failure ratio: 0
 Update order:      stop-first
RollbackConfig:
 Parallelism:\t1
 On failure:\tpause
 Monitoring Period: 5s
 Max failure ratio: 0
 Rollback order:    stop-first
ContainerSpec:
 Image:\t\tskep/demo:1
 Args:\t\tsh -c echo hi; sleep 1000 
 Init:\t\tfalse
Resources:
Networks: host 
Endpoint Mode:\tvip

";
        assert_eq!(show(&serde_json::from_value(service).unwrap(), Time(0)), expected);
    }

    #[test]
    fn a_service_with_everything() {
        let service = json!({
            "ID": "s1",
            "Spec": {
                "Name": "web", "Labels": {"l": "1"},
                "TaskTemplate": {
                    "ContainerSpec": {
                        "Image": "skep/demo:1", "Env": ["A=1", "B=2"], "Dir": "/tmp", "User": "root", "Init": true,
                        "CapabilityAdd": ["CAP_NET_ADMIN"], "CapabilityDrop": ["CAP_CHOWN", "CAP_KILL"],
                        "Sysctls": {"net.ipv4.ip_forward": "1"}, "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
                    },
                    "Resources": {"Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 67_108_864, "Pids": 7}, "Reservations": {"MemoryBytes": 4_194_304}},
                    "Placement": {"Constraints": ["node.role==manager"], "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.a"}}], "MaxReplicas": 5},
                    "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m"}},
                },
                "Mode": {"Global": {}}, "UpdateConfig": {"Parallelism": 0, "Delay": 60_000_000_000_i64, "FailureAction": "pause", "MaxFailureRatio": 0.1, "Order": "start-first"},
            },
        });
        let expected = "
ID:\t\ts1
Name:\t\tweb
Labels:
 l=1
Service Mode:\tGlobal
Placement:
 Constraints:\t[node.role==manager]
 Preferences:   [spread=node.labels.a]
 Max Replicas Per Node:   5
UpdateConfig:
 Parallelism:\t0
 Delay:\t\t1m0s
 On failure:\tpause
 Max failure ratio: 0.1
 Update order:      start-first
ContainerSpec:
 Image:\t\tskep/demo:1
 Env:\t\tA=1 B=2 
 Dir:\t\t/tmp
 Init:\t\ttrue
 User: root
Capabilities:
 Add: CAP_NET_ADMIN
 Drop: CAP_CHOWN, CAP_KILL
SysCtls:
 net.ipv4.ip_forward: 1
Ulimits:
 nofile: 1:2
Log Driver:
 Name:\t\tjson-file
 LogOpts:
  max-size:       1m

Resources:
 Reservations:
  Memory:\t4MiB
 Limits:
  CPU:\t\t0.5
  Memory:\t64MiB
  PIDs:\t\t7
Endpoint Mode:\t

";
        assert_eq!(show(&serde_json::from_value(service).unwrap(), Time(0)), expected);
    }

    #[test]
    fn how_an_update_went() {
        let shown = |state: &str, completed: Option<i64>| {
            let mut service: Service =
                serde_json::from_value(json!({"ID": "s1", "UpdateStatus": {"State": state, "Message": "m"}})).unwrap();
            let status = service.update_status.as_mut().unwrap();
            status.started_at = Some(Time(10_000_000_000));
            status.completed_at = completed.map(Time);
            let shown = show(&service, Time(70_000_000_000));
            shown.split("Service Mode:\n").nth(1).unwrap().split("Placement:").next().unwrap().to_owned()
        };
        assert_eq!(
            shown("completed", Some(65_000_000_000)),
            "UpdateStatus:\n State:\t\tcompleted\n Started:\tAbout a minute ago\n Completed:\t5 seconds ago\n Message:\tm\n"
        );
        let without = "UpdateStatus:\n State:\t\trollback_completed\n Started:\tAbout a minute ago\n Message:\tm\n";
        assert_eq!(shown("rollback_completed", Some(65_000_000_000)), without);
    }
}
