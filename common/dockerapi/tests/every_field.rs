//! Every field of every type that Docker's API defines for the bodies of requests served here is honoured or refused by
//! name: asked for one by one, it is shown again as it was sent, or the refusal names it.

use serde_json::{Value, json};
use skep_dockerapi::{
    convert::{
        cluster_spec_from_docker, cluster_spec_to_docker, initial_cluster_spec, node_spec_from_docker, node_to_docker,
        service_spec_from_docker, service_spec_to_docker, tls_info,
    },
    decode,
    types::{InitRequest, JoinRequest, NodeSpec, ServiceSpec, SwarmSpec},
};
use skep_proto::v1::Node;

/// Docker's types, from moby's Go structs (`api/types/swarm`, `container`, `mount`, `network`), with what any version
/// had. A field's kind is a value to send, the name of a type, or a list of one.
const TYPES: &[(&str, &[(&str, &str)])] = &[
    (
        "ServiceSpec",
        &[
            ("Name", r#""x""#),
            ("Labels", r#"{"a":"b"}"#),
            ("TaskTemplate", "TaskSpec"),
            ("Mode", "ServiceMode"),
            ("UpdateConfig", "UpdateConfig"),
            ("RollbackConfig", "UpdateConfig"),
            ("Networks", "[NetworkAttachmentConfig]"),
            ("EndpointSpec", "EndpointSpec"),
        ],
    ),
    (
        "TaskSpec",
        &[
            ("ContainerSpec", "ContainerSpec"),
            ("PluginSpec", "PluginSpec"),
            ("NetworkAttachmentSpec", "NetworkAttachmentSpec"),
            ("Resources", "ResourceRequirements"),
            ("RestartPolicy", "RestartPolicy"),
            ("Placement", "Placement"),
            ("Networks", "[NetworkAttachmentConfig]"),
            ("LogDriver", "Driver"),
            ("ForceUpdate", "7"),
            ("Runtime", r#""plugin""#),
        ],
    ),
    (
        "PluginSpec",
        &[
            ("Name", r#""x""#),
            ("Remote", r#""x""#),
            ("Privileges", r#"[{"Name":"x"}]"#),
            ("Disabled", "true"),
            ("Env", r#"["a"]"#),
        ],
    ),
    ("NetworkAttachmentSpec", &[("ContainerID", r#""x""#)]),
    (
        "ContainerSpec",
        &[
            ("Image", r#""b""#),
            ("Labels", r#"{"a":"b"}"#),
            ("Command", r#"["a"]"#),
            ("Args", r#"["a"]"#),
            ("Hostname", r#""x""#),
            ("Env", r#"["A=1"]"#),
            ("Dir", r#""/x""#),
            ("User", r#""x""#),
            ("Groups", r#"["a"]"#),
            ("Privileges", "Privileges"),
            ("Init", "true"),
            ("StopSignal", r#""SIGINT""#),
            ("TTY", "true"),
            ("OpenStdin", "true"),
            ("ReadOnly", "true"),
            ("Mounts", "[Mount]"),
            ("StopGracePeriod", "7"),
            ("Healthcheck", "HealthConfig"),
            ("Hosts", r#"["1.2.3.4 a"]"#),
            ("DNSConfig", "DNSConfig"),
            ("Secrets", "[SecretReference]"),
            ("Configs", "[ConfigReference]"),
            ("Isolation", r#""hyperv""#),
            ("Sysctls", r#"{"a":"b"}"#),
            ("CapabilityAdd", r#"["CAP_CHOWN"]"#),
            ("CapabilityDrop", r#"["CAP_CHOWN"]"#),
            ("Ulimits", r#"[{"Name":"nofile","Hard":2,"Soft":1}]"#),
            ("OomScoreAdj", "7"),
        ],
    ),
    (
        "Privileges",
        &[
            ("CredentialSpec", r#"{"Config":"x","File":"x","Registry":"x"}"#),
            ("SELinuxContext", r#"{"Disable":true,"User":"x","Role":"x","Type":"x","Level":"x"}"#),
            ("Seccomp", r#"{"Mode":"custom","Profile":"eA=="}"#),
            ("AppArmor", r#"{"Mode":"disabled"}"#),
            ("NoNewPrivileges", "true"),
        ],
    ),
    (
        "Mount",
        &[
            ("Type", r#""tmpfs""#),
            ("Source", r#""x""#),
            ("Target", r#""/x""#),
            ("ReadOnly", "true"),
            ("Consistency", r#""cached""#),
            ("BindOptions", r#"{"Propagation":"rslave","NonRecursive":true}"#),
            ("VolumeOptions", r#"{"NoCopy":true,"Labels":{"a":"b"},"DriverConfig":{"Name":"x"},"Subpath":"x"}"#),
            ("ImageOptions", r#"{"Subpath":"x"}"#),
            ("TmpfsOptions", r#"{"SizeBytes":7,"Mode":7}"#),
            ("ClusterOptions", "{}"),
        ],
    ),
    (
        "HealthConfig",
        &[
            ("Test", r#"["CMD","x"]"#),
            ("Interval", "7"),
            ("Timeout", "7"),
            ("StartPeriod", "7"),
            ("StartInterval", "7"),
            ("Retries", "7"),
        ],
    ),
    ("DNSConfig", &[("Nameservers", r#"["a"]"#), ("Search", r#"["a"]"#), ("Options", r#"["a"]"#)]),
    (
        "SecretReference",
        &[("File", r#"{"Name":"x","UID":"1","GID":"1","Mode":7}"#), ("SecretID", r#""x""#), ("SecretName", r#""x""#)],
    ),
    (
        "ConfigReference",
        &[("File", r#"{"Name":"x"}"#), ("Runtime", "{}"), ("ConfigID", r#""x""#), ("ConfigName", r#""x""#)],
    ),
    (
        "ResourceRequirements",
        &[("Limits", "Limit"), ("Reservations", "Resources"), ("SwapBytes", "7"), ("MemorySwappiness", "7")],
    ),
    (
        "Limit",
        &[
            ("NanoCPUs", "7"),
            ("MemoryBytes", "7"),
            ("Pids", "7"),
            ("GenericResources", r#"[{"DiscreteResourceSpec":{"Kind":"x","Value":1}}]"#),
        ],
    ),
    (
        "Resources",
        &[
            ("NanoCPUs", "7"),
            ("MemoryBytes", "7"),
            (
                "GenericResources",
                r#"[{"NamedResourceSpec":{"Kind":"x","Value":"1"}},{"DiscreteResourceSpec":{"Kind":"y","Value":1}}]"#,
            ),
        ],
    ),
    ("RestartPolicy", &[("Condition", r#""none""#), ("Delay", "7"), ("MaxAttempts", "7"), ("Window", "7")]),
    (
        "Placement",
        &[
            ("Constraints", r#"["node.id==x"]"#),
            ("Preferences", r#"[{"Spread":{"SpreadDescriptor":"com.x"}}]"#),
            ("MaxReplicas", "7"),
            ("Platforms", r#"[{"Architecture":"x","OS":"y"}]"#),
        ],
    ),
    ("NetworkAttachmentConfig", &[("Target", r#""host""#), ("Aliases", r#"["a"]"#), ("DriverOpts", r#"{"a":"b"}"#)]),
    ("Driver", &[("Name", r#""x""#), ("Options", r#"{"a":"b"}"#)]),
    (
        "ServiceMode",
        &[
            ("Replicated", r#"{"Replicas":7}"#),
            ("Global", "{}"),
            ("ReplicatedJob", r#"{"MaxConcurrent":2,"TotalCompletions":7}"#),
            ("GlobalJob", "{}"),
        ],
    ),
    (
        "UpdateConfig",
        &[
            ("Parallelism", "7"),
            ("Delay", "7"),
            ("FailureAction", r#""continue""#),
            ("Monitor", "7"),
            ("MaxFailureRatio", "0.5"),
            ("Order", r#""start-first""#),
        ],
    ),
    (
        "EndpointSpec",
        &[
            ("Mode", r#""dnsrr""#),
            ("Ports", r#"[{"Name":"x","Protocol":"udp","TargetPort":7,"PublishedPort":8,"PublishMode":"host"}]"#),
        ],
    ),
    (
        "SwarmSpec",
        &[
            ("Name", r#""x""#),
            ("Labels", r#"{"a":"b"}"#),
            ("Orchestration", r#"{"TaskHistoryRetentionLimit":7}"#),
            ("Raft", "RaftConfig"),
            ("Dispatcher", r#"{"HeartbeatPeriod":2000000000}"#),
            ("CAConfig", "CAConfig"),
            ("TaskDefaults", r#"{"LogDriver":{"Name":"x","Options":{"a":"b"}}}"#),
            ("EncryptionConfig", r#"{"AutoLockManagers":true}"#),
        ],
    ),
    (
        "RaftConfig",
        &[
            ("SnapshotInterval", "7"),
            ("KeepOldSnapshots", "7"),
            ("LogEntriesForSlowFollowers", "7"),
            ("ElectionTick", "7"),
            ("HeartbeatTick", "7"),
        ],
    ),
    (
        "CAConfig",
        &[
            ("NodeCertExpiry", "7200000000000"),
            ("ExternalCAs", r#"[{"Protocol":"cfssl","URL":"x","Options":{},"CACert":"x"}]"#),
            ("SigningCACert", r#""x""#),
            ("SigningCAKey", r#""x""#),
            ("ForceRotate", "7"),
        ],
    ),
    (
        "InitRequest",
        &[
            ("ListenAddr", r#""x""#),
            ("AdvertiseAddr", r#""x""#),
            ("DataPathAddr", r#""x""#),
            ("DataPathPort", "7"),
            ("ForceNewCluster", "true"),
            ("Spec", "SwarmSpec"),
            ("AutoLockManagers", "true"),
            ("Availability", r#""drain""#),
            ("DefaultAddrPool", r#"["10.0.0.0/8"]"#),
            ("SubnetSize", "7"),
        ],
    ),
    (
        "JoinRequest",
        &[
            ("ListenAddr", r#""x""#),
            ("AdvertiseAddr", r#""x""#),
            ("DataPathAddr", r#""x""#),
            ("RemoteAddrs", r#"["a"]"#),
            ("JoinToken", r#""x""#),
            ("Availability", r#""drain""#),
        ],
    ),
    (
        "NodeSpec",
        &[("Name", r#""x""#), ("Labels", r#"{"a":"b"}"#), ("Role", r#""worker""#), ("Availability", r#""drain""#)],
    ),
];

/// Every field below a type: the names that lead to it and the value to send.
fn leaves(name: &str, at: &[&'static str], found: &mut Vec<(Vec<&'static str>, Value)>) {
    let (_, fields) = TYPES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no type {name}"));
    for (field, kind) in *fields {
        let path = [at, &[*field]].concat();
        match (serde_json::from_str(kind), kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']'))) {
            (Ok(value), _) => found.push((path, value)),
            (Err(_), None) => leaves(kind, &path, found),
            (Err(_), Some(kind)) => leaves(kind, &[&path[..], &["0"]].concat(), found),
        }
    }
}

fn set(into: &mut Value, path: &[&str], value: Value) {
    match path {
        [] => *into = value,
        ["0", rest @ ..] => {
            if !into.is_array() {
                *into = json!([{}]);
            }
            set(&mut into[0], rest, value);
        }
        [key, rest @ ..] => {
            if !into.is_object() {
                *into = json!({});
            }
            set(&mut into[*key], rest, value);
        }
    }
}

/// Sends each field of `name` alone in `base`, and has `through` show again what was understood of it.
fn walk(name: &str, base: &Value, through: impl Fn(&[u8]) -> Result<Value, String>) -> (usize, usize) {
    let (mut fields, mut honoured, mut refused) = (Vec::new(), 0, 0);
    leaves(name, &[], &mut fields);
    for (path, value) in fields {
        let mut sent = base.clone();
        if path[0] == "Mode" {
            sent["Mode"] = json!({});
        }
        set(&mut sent, &path, value.clone());
        match through(sent.to_string().as_bytes()) {
            Ok(shown) => {
                let pointer: String = path.iter().map(|key| format!("/{key}")).collect();
                assert_eq!(shown.pointer(&pointer), Some(&value), "{name}{pointer} was dropped: {shown}");
                honoured += 1;
            }
            Err(sentence) => {
                let lower = sentence.to_lowercase();
                let named = path.iter().any(|key| *key != "0" && lower.contains(&key.to_lowercase()));
                assert!(named, "{path:?}: {sentence}");
                refused += 1;
            }
        }
    }
    (honoured, refused)
}

fn text(error: impl ToString) -> String {
    error.to_string()
}

#[test]
fn of_a_service() {
    let base = json!({
        "Name": "a", "TaskTemplate": { "ContainerSpec": { "Image": "a" } }, "Mode": { "Replicated": { "Replicas": 1 } },
    });
    let (honoured, refused) = walk("ServiceSpec", &base, |body| {
        let spec: ServiceSpec = decode::request(body).map_err(text)?;
        let spec = service_spec_from_docker(spec).map_err(text)?;
        Ok(serde_json::to_value(service_spec_to_docker(&spec)).unwrap())
    });
    assert!(honoured > 50 && refused > 35, "{honoured} {refused}");
}

#[test]
fn of_a_swarm_and_a_node() {
    walk("SwarmSpec", &json!({}), |body| {
        let spec: SwarmSpec = decode::request(body).map_err(text)?;
        let spec = cluster_spec_from_docker(spec, &initial_cluster_spec()).map_err(text)?;
        Ok(serde_json::to_value(cluster_spec_to_docker(&spec)).unwrap())
    });
    walk("NodeSpec", &json!({ "Role": "worker", "Availability": "active" }), |body| {
        let spec: NodeSpec = decode::request(body).map_err(text)?;
        let node = Node { spec: Some(node_spec_from_docker(spec).map_err(text)?), ..Node::default() };
        Ok(serde_json::to_value(node_to_docker(&node, &tls_info(b"")).spec).unwrap())
    });
    // What the handlers refuse of these they refuse by value: here the value need only arrive.
    walk("InitRequest", &json!({}), |body| {
        Ok(serde_json::to_value(decode::request::<InitRequest>(body).map_err(text)?).unwrap())
    });
    walk("JoinRequest", &json!({}), |body| {
        Ok(serde_json::to_value(decode::request::<JoinRequest>(body).map_err(text)?).unwrap())
    });
}

/// A widely used client sends back `version` and whatever else it read.
#[test]
fn what_no_version_of_the_api_defines_is_ignored() {
    let sent = json!({
        "version": 5, "Name": "a", "Nonsense": { "a": 1 }, "Mode": { "Replicated": {} },
        "TaskTemplate": { "ContainerSpec": { "Image": "a", "Bogus": [1] } },
    });
    let spec: ServiceSpec = decode::request(sent.to_string().as_bytes()).unwrap();
    assert_eq!(service_spec_from_docker(spec).unwrap().annotations.unwrap().name, "a");
    decode::request::<SwarmSpec>(br#"{"version":5,"Raft":{"Bogus":1}}"#).unwrap();
    decode::request::<NodeSpec>(br#"{"version":5}"#).unwrap();
}
