//! Types and conversions against what a real Docker Engine sent: see `goldens/README.md`.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::PathBuf};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use skep_dockerapi::{
    convert::{
        cluster_info, cluster_spec_from_docker, initial_cluster_spec, insert_defaults, node_spec_from_docker,
        node_to_docker, service_spec_from_docker, service_spec_to_docker, service_to_docker, task_to_docker, tls_info,
    },
    decode,
    types::{
        ContainerSummary, Created, ErrorBody, Image, ImageSummary, Info, InitRequest, JoinRequest, Network, Node,
        NodeSpec, Progress, Service, ServiceSpec, Swarm, SwarmSpec, Task, Updated, VersionInfo,
    },
};
use skep_proto::v1 as proto;

const TIME: i64 = 1_714_979_289_123_456_789;

/// A service with every setting of its updates, as they go.
const UPDATES: [&str; 7] = [
    "update-none",
    "update-updating",
    "update-completed",
    "update-rollback-started",
    "update-rollback-completed",
    "update-paused",
    "update-rolled-back-by-itself",
];

/// Jobs of each kind.
const JOBS: [&str; 7] = [
    "job-inspect",
    "job-inspect-again",
    "job-defaults",
    "job-only-total",
    "job-only-concurrent",
    "job-all-at-once",
    "job-global",
];

fn read(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn golden(name: &str) -> Value {
    serde_json::from_str(&read(&format!("{name}.json"))).unwrap()
}

fn body(name: &str) -> Value {
    golden(name)["body"].take()
}

/// The recorded engine shows the host network under the swarm's id for it; skep's id is its name.
fn host_network(mut value: Value) -> Value {
    match &mut value {
        Value::Object(entries) => {
            if let Some(target) = entries.get_mut("Target") {
                *target = json!("host");
            }
            for child in entries.values_mut() {
                *child = host_network(child.take());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = host_network(item.take())),
        _ => {}
    }
    value
}

/// Takes out what skep does not send: each name stands for a key at any depth.
fn without(mut value: Value, keys: &[&str]) -> Value {
    match &mut value {
        Value::Object(entries) => {
            entries.retain(|key, _| !keys.contains(&key.as_str()));
            for child in entries.values_mut() {
                *child = without(child.take(), keys);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = without(item.take(), keys)),
        _ => {}
    }
    value
}

fn again<T: DeserializeOwned + Serialize>(value: &Value) -> Value {
    let decoded: T = decode::answer(value.to_string().as_bytes()).unwrap();
    serde_json::to_value(decoded).unwrap()
}

#[track_caller]
fn round_trips<T: DeserializeOwned + Serialize>(name: &str, not_sent: &[&str]) {
    let value = without(body(name), not_sent);
    assert_eq!(again::<T>(&value), value, "{name}");
}

#[test]
fn answers_round_trip() {
    round_trips::<Vec<Node>>("node-list", &[]);
    round_trips::<Node>("node-inspect", &[]);
    round_trips::<Swarm>("swarm-inspect", &[]);
    for name in ["service-list", "service-list-status"] {
        round_trips::<Vec<Service>>(name, &[]);
    }
    for name in
        ["service-inspect", "service-inspect-defaults", "service-inspect-global-defaults", "service-inspect-updated"]
    {
        round_trips::<Service>(name, &[]);
    }
    for name in UPDATES.iter().chain(&JOBS).chain(&["generic-inspect", "preferences-inspect", "job-insert-defaults"]) {
        round_trips::<Service>(name, &[]);
    }
    for name in ["job-status", "job-list-mode"] {
        round_trips::<Vec<Service>>(name, &[]);
    }
    for name in ["job-tasks", "job-tasks-again", "generic-tasks", "generic-pending"] {
        round_trips::<Vec<Task>>(name, &[]);
    }
    round_trips::<Node>("generic-node", &[]);
    for name in ["update-warnings", "update-rollback", "update-registry-auth", "update-job-rollback"] {
        round_trips::<Updated>(name, &[]);
    }
    // The host network is no object of the swarm here.
    round_trips::<Vec<Task>>("task-list", &["NetworksAttachments"]);
    round_trips::<Task>("task-inspect", &["NetworksAttachments"]);
    round_trips::<Created>("service-create", &[]);
    round_trips::<Updated>("service-update-scale", &[]);
    round_trips::<VersionInfo>("outside-version", &[]);
    round_trips::<Network>("network-host", &[]);
    round_trips::<Progress>("image-load-garbage", &[]);
}

/// Lists are `[]` in skep where this engine has `null` for "none".
#[test]
fn image_list_round_trips() {
    let mut images = body("image-list");
    images[0]["RepoDigests"] = json!([]);
    assert_eq!(again::<Vec<ImageSummary>>(&images), images);
}

/// Every key sent is one the engine sends, holding the same kind of value.
#[track_caller]
fn same_shape(ours: &Value, theirs: &Value, path: &str) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (key, value) in ours {
                let there = theirs.get(key).unwrap_or_else(|| panic!("{path}.{key} is not Docker's"));
                same_shape(value, there, &format!("{path}.{key}"));
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            if let (Some(our), Some(their)) = (ours.first(), theirs.first()) {
                same_shape(our, their, &format!("{path}[]"));
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        _ => assert_eq!(std::mem::discriminant(ours), std::mem::discriminant(theirs), "{path}: {ours} {theirs}"),
    }
}

#[test]
fn answers_that_say_less_than_docker_say_it_in_the_same_shape() {
    for name in ["outside-info", "worker-info", "manager-info"] {
        let theirs = body(name);
        let ours = again::<Info>(&theirs);
        same_shape(&ours, &theirs, name);
        assert_eq!(ours["Swarm"], theirs["Swarm"], "{name}");
    }
    let theirs = body("image-inspect");
    same_shape(&again::<Image>(&theirs), &theirs, "image-inspect");
    let theirs = body("container-inspect");
    same_shape(&again::<skep_dockerapi::types::Container>(&theirs), &theirs, "container-inspect");
    let theirs = body("manager-container-list");
    same_shape(&again::<Vec<ContainerSummary>>(&theirs), &theirs, "container-list");
}

#[test]
fn every_error_has_the_one_shape() {
    let mut seen = 0;
    for entry in fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/goldens")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_suffix(".json").filter(|name| !name.starts_with("admission-")) else { continue };
        let golden = golden(name);
        if golden["status"].as_u64().unwrap() >= 400 && golden["body"].is_object() {
            assert_eq!(again::<ErrorBody>(&golden["body"]), golden["body"], "{name}");
            seen += 1;
        }
    }
    assert!(seen > 80, "{seen}");
}

/// A spec as Docker shows it, made proto and shown again.
fn through_proto(spec: &Value) -> Value {
    let spec: ServiceSpec = decode::request(spec.to_string().as_bytes()).unwrap();
    let spec = service_spec_from_docker(spec).unwrap();
    serde_json::to_value(service_spec_to_docker(&spec)).unwrap()
}

#[test]
fn service_specs_survive_the_way_through_proto() {
    for name in ["service-inspect", "service-inspect-updated", "service-inspect-global-defaults"] {
        // An empty DNSConfig is the same as no DNSConfig.
        let spec = without(host_network(body(name)["Spec"].take()), &["DNSConfig"]);
        assert_eq!(through_proto(&spec), spec, "{name}");
    }
    for name in UPDATES.iter().chain(&JOBS).chain(&["generic-inspect", "preferences-inspect"]) {
        let spec = body(name)["Spec"].take();
        assert_eq!(through_proto(&spec), spec, "{name}");
    }
}

#[test]
fn a_job_that_says_little_is_what_docker_makes_of_it() {
    let mode = |job: &Value| through_proto(&json!({"TaskTemplate": {"ContainerSpec": {}}, "Mode": job}))["Mode"].take();
    for (asked, name) in [
        (json!({"ReplicatedJob": {}}), "job-defaults"),
        (json!({"ReplicatedJob": {"TotalCompletions": 5}}), "job-only-total"),
        (json!({"ReplicatedJob": {"MaxConcurrent": 4}}), "job-only-concurrent"),
        (json!({"ReplicatedJob": {"MaxConcurrent": 0, "TotalCompletions": 4}}), "job-all-at-once"),
        (json!({"GlobalJob": {}}), "job-global"),
    ] {
        assert_eq!(mode(&asked), body(name)["Spec"]["Mode"], "{name}");
    }
}

#[test]
fn published_ports_survive_the_way_through_proto() {
    let sent = golden("refused-port-twice")["sent"]["EndpointSpec"].take();
    let ports =
        through_proto(&json!({"TaskTemplate": {"ContainerSpec": {}}, "EndpointSpec": sent}))["EndpointSpec"].take();
    let port =
        |target: u16| json!({"Protocol": "tcp", "TargetPort": target, "PublishedPort": 80, "PublishMode": "ingress"});
    assert_eq!(ports, json!({"Mode": "vip", "Ports": [port(80), port(81)]}));
}

#[test]
fn defaults_are_dockers() {
    let mut spec: ServiceSpec = decode::answer(body("service-inspect")["Spec"].to_string().as_bytes()).unwrap();
    insert_defaults(&mut spec);
    assert_eq!(serde_json::to_value(spec).unwrap(), body("service-inspect-defaults")["Spec"]);

    let full = body("service-inspect-global-defaults")["Spec"].take();
    let create = golden("service-create-global")["sent"].take();
    let spec = service_spec_from_docker(decode::request(create.to_string().as_bytes()).unwrap()).unwrap();
    let mut spec = service_spec_to_docker(&spec);
    insert_defaults(&mut spec);
    assert_eq!(serde_json::to_value(spec).unwrap(), full);
}

/// What the CLI sends for nearly every flag there is comes back as it was sent.
#[test]
fn requests_of_the_cli_are_understood() {
    for name in [
        "service-create-web",
        "service-create-full",
        "service-create-old",
        "service-create-say",
        "service-create-exits",
        "service-update-env",
        "service-update-force",
        "service-update-rollback",
        "service-update-scale",
    ] {
        let sent: Value = serde_json::from_str(&read(&format!("requests/{name}.json"))).unwrap();
        let mut expected = without(host_network(sent.clone()), &["DNSConfig"]);
        expected["TaskTemplate"]["Runtime"] = json!("container");
        expected["TaskTemplate"]["ContainerSpec"]["Isolation"] = json!("default");
        if expected["Mode"]["Replicated"] == json!({}) {
            expected["Mode"]["Replicated"] = json!({ "Replicas": 1 });
        }
        assert_eq!(through_proto(&host_network(sent)), expected, "{name}");
    }
    let init: InitRequest = decode::request(read("requests/swarm-init.json").as_bytes()).unwrap();
    assert_eq!((init.listen_addr.as_str(), init.advertise_addr.as_str()), ("0.0.0.0:2377", "10.77.0.3"));
    assert_eq!(cluster_spec_from_docker(init.spec, &initial_cluster_spec()), Ok(initial_cluster_spec()));
    let join: JoinRequest = decode::request(read("requests/swarm-join.json").as_bytes()).unwrap();
    assert_eq!(join.remote_addrs, ["10.77.0.1:2377"]);
    let update: SwarmSpec = decode::request(read("requests/swarm-update.json").as_bytes()).unwrap();
    let update = cluster_spec_from_docker(update, &initial_cluster_spec()).unwrap();
    assert_eq!((update.task_history_limit, update.heartbeat_period), (7, initial_cluster_spec().heartbeat_period));
    let node: NodeSpec = decode::request(read("requests/node-update.json").as_bytes()).unwrap();
    assert_eq!(node_spec_from_docker(node).unwrap().annotations.unwrap().labels["a"], "b");
}

#[test]
fn what_is_not_done_yet_is_refused_by_name() {
    let asks = [
        (json!({"TaskTemplate": {"ContainerSpec": {"Mounts": [{}]}}}), "TaskTemplate.ContainerSpec.Mounts"),
        (json!({"TaskTemplate": {"ContainerSpec": {"Secrets": [{}]}}}), "TaskTemplate.ContainerSpec.Secrets"),
        (json!({"TaskTemplate": {"ContainerSpec": {"Healthcheck": {"Test": ["x"]}}}}), "ContainerSpec.Healthcheck"),
        (json!({"TaskTemplate": {"ContainerSpec": {"DNSConfig": {"Search": ["x"]}}}}), "DNSConfig.Search"),
        (json!({"TaskTemplate": {"Networks": [{"Target": "host", "Aliases": ["x"]}]}}), "Networks[0].Aliases"),
    ];
    for (spec, field) in asks {
        let refused = match decode::request::<ServiceSpec>(spec.to_string().as_bytes()) {
            Ok(spec) => service_spec_from_docker(spec).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(refused.starts_with("not supported yet: ") && refused.ends_with(field), "{refused}");
    }
}

#[test]
fn wrong_input_is_refused_in_dockers_words() {
    let service = |name: &str| {
        let spec: ServiceSpec = decode::request(golden(name)["sent"].to_string().as_bytes()).unwrap();
        (name.to_owned(), service_spec_from_docker(spec).unwrap_err().0)
    };
    let node = |name: &str| {
        let spec: NodeSpec = decode::request(golden(name)["sent"].to_string().as_bytes()).unwrap();
        (name.to_owned(), node_spec_from_docker(spec).unwrap_err().0)
    };
    let refusals = [
        service("service-create-bad-two-modes"),
        service("service-create-bad-no-container"),
        service("service-create-bad-runtime"),
        service("service-create-bad-restart"),
        service("service-create-bad-failure-action"),
        service("service-create-bad-order"),
        service("service-create-bad-endpoint-mode"),
        service("service-create-bad-network"),
        service("refused-rollback-order"),
        service("refused-three-modes"),
        node("node-update-bad-role"),
        node("node-update-bad-availability"),
    ];
    for (name, text) in refusals {
        assert_eq!(json!(text), body(&name)["message"], "{name}");
    }
}

fn meta(value: &Value) -> Option<proto::Meta> {
    Some(proto::Meta { version: value["Version"]["Index"].as_u64().unwrap(), created_at: TIME, updated_at: TIME })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn a_node_is_shown_as_docker_shows_it() {
    let golden = body("node-inspect");
    let description = &golden["Description"];
    let node = proto::Node {
        id: text(&golden["ID"]),
        meta: meta(&golden),
        spec: Some(proto::NodeSpec {
            desired_role: proto::NodeRole::Manager.into(),
            availability: proto::Availability::Active.into(),
            ..proto::NodeSpec::default()
        }),
        description: Some(proto::NodeDescription {
            hostname: "dk1".into(),
            platform: Some(proto::Platform { architecture: "x86_64".into(), os: "linux".into() }),
            resources: Some(proto::Resources {
                nano_cpus: 2_000_000_000,
                memory_bytes: description["Resources"]["MemoryBytes"].as_i64().unwrap(),
                ..Default::default()
            }),
            engine_version: "20.10.24+dfsg1".into(),
            plugins: description["Engine"]["Plugins"]
                .as_array()
                .unwrap()
                .iter()
                .map(|plugin| proto::Plugin { r#type: text(&plugin["Type"]), name: text(&plugin["Name"]) })
                .collect(),
            ..proto::NodeDescription::default()
        }),
        status: Some(proto::NodeStatus {
            state: proto::NodeState::Ready.into(),
            addr: "10.77.0.1".into(),
            ..proto::NodeStatus::default()
        }),
        role: proto::NodeRole::Manager.into(),
        manager: Some(proto::ManagerStatus {
            raft_id: 1,
            addr: "10.77.0.1:2377".into(),
            leader: true,
            reachability: proto::Reachability::Reachable.into(),
        }),
        certificate: None,
    };
    let trust = tls_info(text(&description["TLSInfo"]["TrustRoot"]).as_bytes());
    assert_eq!(serde_json::to_value(node_to_docker(&node, &trust)).unwrap(), golden);
}

#[test]
fn a_swarm_is_shown_as_docker_shows_it() {
    let golden = body("swarm-inspect");
    let spec = initial_cluster_spec();
    let cluster = proto::Cluster {
        id: text(&golden["ID"]),
        meta: meta(&golden),
        spec: Some(spec),
        root_ca: Some(proto::RootCa {
            certificate_pem: text(&golden["TLSInfo"]["TrustRoot"]).into_bytes(),
            key_pem: b"a canary".to_vec(),
        }),
        join_tokens: Some(proto::JoinTokens {
            worker: text(&golden["JoinTokens"]["Worker"]),
            manager: text(&golden["JoinTokens"]["Manager"]),
        }),
        feature_level: 1,
    };
    let shown = serde_json::to_value(cluster_info(&cluster, true)).unwrap();
    assert!(!shown.to_string().contains("canary"));
    assert_eq!(shown, golden);
    assert_eq!(serde_json::to_value(cluster_info(&cluster, false)).unwrap(), body("manager-info")["Swarm"]["Cluster"]);
}

#[test]
fn a_service_and_its_task_are_shown_as_docker_shows_them() {
    let golden = host_network(body("service-inspect-updated"));
    let spec =
        |value: &Value| service_spec_from_docker(decode::request(value.to_string().as_bytes()).unwrap()).unwrap();
    let service = proto::Service {
        id: text(&golden["ID"]),
        meta: meta(&golden),
        spec: Some(spec(&golden["Spec"])),
        previous_spec: Some(spec(&golden["PreviousSpec"])),
        ..proto::Service::default()
    };
    assert_eq!(serde_json::to_value(service_to_docker(&service)).unwrap(), golden);

    let golden = host_network(without(body("task-list")[0].take(), &["NetworksAttachments"]));
    let container = &golden["Status"]["ContainerStatus"];
    let task = proto::Task {
        id: text(&golden["ID"]),
        meta: meta(&golden),
        service_id: service.id.clone(),
        slot: 3,
        node_id: text(&golden["NodeID"]),
        spec: service.spec.unwrap().task,
        status: Some(proto::TaskStatus {
            state: proto::TaskState::Running.into(),
            timestamp: TIME,
            message: "started".into(),
            container: Some(proto::ContainerStatus {
                container_id: text(&container["ContainerID"]),
                pid: i32::try_from(container["PID"].as_i64().unwrap()).unwrap(),
                ..proto::ContainerStatus::default()
            }),
            ..proto::TaskStatus::default()
        }),
        desired_state: proto::TaskState::Running.into(),
        ..proto::Task::default()
    };
    assert_eq!(serde_json::to_value(task_to_docker(&task)).unwrap(), golden);
}

/// Docker names no pace: what it cannot send is Docker's own way of draining.
#[test]
fn a_node_can_be_told_how_to_drain() {
    let read = |spec: Value| decode::request::<NodeSpec>(spec.to_string().as_bytes()).unwrap();
    let drained = read(json!({"Role": "worker", "Availability": "drain", "drainpace": "Gradual"}));
    let drained = node_spec_from_docker(drained).unwrap();
    assert_eq!(drained.drain_pace(), proto::DrainPace::Gradual);
    let shown = |spec: proto::NodeSpec| {
        let node = proto::Node { spec: Some(spec), ..proto::Node::default() };
        serde_json::to_value(node_to_docker(&node, &tls_info(b"")).spec).unwrap()
    };
    assert_eq!(shown(drained)["DrainPace"], "gradual");
    let plain = node_spec_from_docker(read(json!({"Role": "worker", "Availability": "drain"}))).unwrap();
    assert_eq!(plain.drain_pace(), proto::DrainPace::AtOnce);
    assert_eq!(shown(plain)["DrainPace"], Value::Null);
    let wrong = read(json!({"Role": "worker", "Availability": "drain", "DrainPace": "slowly"}));
    assert_eq!(node_spec_from_docker(wrong).unwrap_err().to_string(), "invalid DrainPace: \"slowly\"");
}

#[test]
fn updates_and_runs_are_shown_as_docker_shows_them() {
    use proto::UpdateState::{Completed, Paused, RollbackCompleted, RollbackStarted, Updating};
    let states = [Updating, Completed, RollbackStarted, RollbackCompleted, Paused, RollbackCompleted];
    for (name, state) in UPDATES[1..].iter().zip(states) {
        let golden = body(name)["UpdateStatus"].take();
        let service = proto::Service {
            update_status: Some(proto::UpdateStatus {
                state: state.into(),
                started_at: TIME,
                completed_at: if golden["CompletedAt"].is_null() { 0 } else { TIME },
                message: text(&golden["Message"]),
            }),
            ..proto::Service::default()
        };
        assert_eq!(serde_json::to_value(service_to_docker(&service).update_status).unwrap(), golden, "{name}");
    }
    for (name, iteration) in [("job-inspect", 1), ("job-inspect-again", 2)] {
        let job = proto::JobStatus { iteration, last_execution: TIME, ..proto::JobStatus::default() };
        let service = proto::Service { job: Some(job), ..proto::Service::default() };
        let shown = serde_json::to_value(service_to_docker(&service)).unwrap();
        assert_eq!((&shown["JobStatus"], &shown["UpdateStatus"]), (&body(name)["JobStatus"], &Value::Null), "{name}");
    }
}

#[test]
fn tasks_of_jobs_and_with_generic_resources_are_shown_as_docker_shows_them() {
    use proto::generic_resource::Value::{Discrete, Named};
    let of = |kind: &str, value| proto::GenericResource { kind: kind.into(), value: Some(value) };
    let task = proto::Task {
        job_iteration: 1,
        generic_resources: vec![
            of("gpu", Named("UUID1".into())),
            of("gpu", Named("UUID2".into())),
            of("ssd", Discrete(3)),
        ],
        ..proto::Task::default()
    };
    let shown = serde_json::to_value(task_to_docker(&task)).unwrap();
    assert_eq!(shown["JobIteration"], body("job-tasks")[0]["JobIteration"]);
    assert_eq!(shown["GenericResources"], body("generic-tasks")[0]["GenericResources"]);
    let again = serde_json::to_value(task_to_docker(&proto::Task { job_iteration: 2, ..task })).unwrap();
    let recorded = body("job-tasks-again");
    assert!(recorded.as_array().unwrap().iter().any(|task| task["JobIteration"] == again["JobIteration"]));
    let service_task = serde_json::to_value(task_to_docker(&proto::Task::default())).unwrap();
    assert_eq!((&service_task["JobIteration"], &service_task["GenericResources"]), (&Value::Null, &Value::Null));
}

#[test]
fn secrets_are_not_in_debug_output() {
    let swarm: Swarm = decode::answer(body("swarm-inspect").to_string().as_bytes()).unwrap();
    assert!(!format!("{swarm:?}").contains("SWMTKN"));
}
