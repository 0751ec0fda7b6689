//! The service commands against a daemon that answers as a real engine did.

use serde_json::{Value, json};

use crate::{
    client::testing::FakeDaemon,
    commands::testing::{prints, run},
};

fn service(mode: &Value) -> Value {
    json!({
        "ID": "ppzaagvtnepn98l4qa4yrdewg", "Version": {"Index": 15},
        "Spec": {
            "Name": "web", "Labels": {"old": "1"},
            "TaskTemplate": {
                "ContainerSpec": {"Image": "skep/demo:1", "Args": ["sleep", "9"], "Env": ["A=1", "B=2"], "CapabilityDrop": ["CAP_CHOWN"], "Hosts": ["1.2.3.4 a"]},
                "Placement": {"Constraints": ["node.role==manager"], "MaxReplicas": 5}, "Networks": [{"Target": "host"}], "ForceUpdate": 2,
            },
            "Mode": mode, "UpdateConfig": {"Parallelism": 3, "Monitor": 1, "FailureAction": "continue", "Order": "stop-first"},
        },
        "ServiceStatus": {"RunningTasks": 2, "DesiredTasks": 3},
    })
}

fn replicated() -> Value {
    service(&json!({"Replicated": {"Replicas": 3}}))
}

const UPDATE: &str = "POST /v1.46/services/ppzaagvtnepn98l4qa4yrdewg/update?version=15";

fn daemon() -> FakeDaemon {
    FakeDaemon::new()
        .on("GET /v1.46/services/web", replicated())
        .on("GET /v1.46/services/everywhere", service(&json!({"Global": {}})))
        .refusing("GET /v1.46/services/nosuch", 404, "service nosuch not found")
}

#[tokio::test]
async fn services_are_listed_as_docker_lists_them() {
    let mut global = service(&json!({"Global": {}}));
    global["Spec"]["Name"] = json!("api");
    global["Spec"]["TaskTemplate"]["Placement"] = json!({});
    let daemon = FakeDaemon::new().on("GET /v1.46/services?status=true", json!([replicated(), global]));
    let expected = "\
ID             NAME      MODE         REPLICAS               IMAGE         PORTS
ppzaagvtnepn   api       global       2/3                    skep/demo:1   
ppzaagvtnepn   web       replicated   2/3 (max 5 per node)   skep/demo:1   
";
    assert_eq!(prints(&daemon, &["service", "ls"]).await, expected);
    assert_eq!(prints(&daemon, &["service", "ls", "-q"]).await, "ppzaagvtnepn\nppzaagvtnepn\n");
}

#[tokio::test]
async fn lists_and_objects_come_in_the_form_that_is_asked_for() {
    let daemon = FakeDaemon::new()
        .on("GET /v1.46/services?status=true", json!([replicated()]))
        .on("GET /v1.46/services/web?insertDefaults=true", replicated());
    let prints = async |line: &[&str]| prints(&daemon, line).await;
    assert_eq!(prints(&["service", "ls", "--format", "{{.Name}}: {{.Replicas}}"]).await, "web: 2/3 (max 5 per node)\n");
    let table = prints(&["service", "ls", "--format", r"table {{.Name}}\t{{.Mode}}"]).await;
    assert_eq!(table, "NAME      MODE\nweb       replicated\n");
    let inspected = prints(&["service", "inspect", "--format", "{{.Spec.Name}} {{json .Spec.Mode}}", "web"]).await;
    assert_eq!(inspected, "web {\"Replicated\":{\"Replicas\":3}}\n");
}

#[tokio::test]
async fn jobs_are_listed_with_what_is_done() {
    let job = |name: &str, mode: Value, counts: Value| {
        let mut job = service(&mode);
        job["Spec"]["Name"] = json!(name);
        job["Spec"]["TaskTemplate"]["Placement"] = json!({});
        job["ServiceStatus"] = counts;
        job
    };
    let jobs = json!([
        job(
            "count",
            json!({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 3}}),
            json!({"DesiredTasks": 2, "CompletedTasks": 3})
        ),
        job("once", json!({"GlobalJob": {}}), json!({"RunningTasks": 1, "DesiredTasks": 1, "CompletedTasks": 2})),
    ]);
    let daemon = FakeDaemon::new().on("GET /v1.46/services?status=true", jobs);
    let printed = prints(&daemon, &["service", "ls", "--format", "{{.Name}} | {{.Mode}} | {{.Replicas}}"]).await;
    assert_eq!(printed, "count | replicated job | 0/2 (3/3 completed)\nonce | global job | 1/1 (2/3 completed)\n");
}

#[tokio::test]
async fn a_job_is_asked_for_as_docker_asks() {
    let create = async |line: &str| {
        let daemon = FakeDaemon::new().on("POST /v1.46/services/create", json!({"ID": "s1"}));
        let words =
            ["service", "create", "-d", "--no-resolve-image"].into_iter().chain(line.split(' ')).chain(["busybox"]);
        let result = run(&daemon, &words.collect::<Vec<_>>()).await.1;
        result.map(|()| daemon.sent("POST /v1.46/services/create"))
    };
    let asked = [
        ("--mode replicated-job", json!({"ReplicatedJob": {}})),
        ("--mode replicated-job --replicas 5", json!({"ReplicatedJob": {"MaxConcurrent": 5, "TotalCompletions": 5}})),
        (
            "--mode replicated-job --max-concurrent 2 --replicas 5",
            json!({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 5}}),
        ),
        ("--mode global-job", json!({"GlobalJob": {}})),
    ];
    for (line, mode) in asked {
        assert_eq!(create(line).await.unwrap()["Mode"], mode, "{line}");
    }
    let generic = create("--generic-resource gpu=2 --generic-resource ssd=1 --generic-resource gpu=3").await.unwrap();
    let count = |kind: &str, value: i64| json!({"DiscreteResourceSpec": {"Kind": kind, "Value": value}});
    let held = &generic["TaskTemplate"]["Resources"]["Reservations"]["GenericResources"];
    assert_eq!(*held, json!([count("ssd", 1), count("gpu", 3)]));
    for (line, says) in [
        ("--mode global --replicas 2", "replicas can only be used with replicated or replicated-job mode"),
        ("--mode global-job --replicas 2", "replicas can only be used with replicated or replicated-job mode"),
        (
            "--mode global --replicas-max-per-node 2",
            "replicas-max-per-node can only be used with replicated or replicated-job mode",
        ),
        ("--max-concurrent 2", "max-concurrent can only be used with replicated-job mode"),
        (
            "--mode replicated-job --update-order start-first",
            "update and rollback configuration is not supported for jobs",
        ),
        ("--mode global-job --rollback-delay 1s", "update and rollback configuration is not supported for jobs"),
    ] {
        assert_eq!(create(line).await.unwrap_err(), says, "{line}");
    }
}

/// Every flag ends up where Docker's CLI puts it.
#[tokio::test]
async fn create_sends_what_was_said() {
    let daemon = FakeDaemon::new().on("POST /v1.46/services/create", json!({"ID": "s1", "Warnings": ["careful"]}));
    let line = "service create -d --no-resolve-image --name full --label l=1 --container-label c=2 --env A=1 --constraint node.role==manager \
        --placement-pref spread=node.labels.zone --network host --group g --host a:1.2.3.4 --cap-add net_admin --cap-drop ALL \
        --sysctl a.b=1 --ulimit nofile=1:2 --entrypoint /bin/x --hostname h --workdir /tmp --user 1:1 --tty --read-only --init \
        --stop-signal SIGINT --stop-grace-period 3s --limit-cpu 0.5 --limit-memory 64m --limit-pids 10 --reserve-cpu 0.1 \
        --restart-condition on-failure --restart-delay 1s --restart-max-attempts 3 --restart-window 10s --log-driver json-file \
        --log-opt max-size=1m --mode global --update-parallelism 2 --update-delay 1s --update-failure-action rollback \
        --update-order start-first --rollback-failure-action pause --endpoint-mode dnsrr busybox:1.35 a -b";
    let words: Vec<&str> = line.split_whitespace().collect();
    let (captured, result) = run(&daemon, &words).await;
    assert_eq!((captured.out().as_str(), captured.err().as_str(), result), ("s1\n", "careful\n", Ok(())));
    let expected = json!({
        "Name": "full", "Labels": {"l": "1"},
        "TaskTemplate": {
            "ContainerSpec": {
                "Image": "busybox:1.35", "Labels": {"c": "2"}, "Command": ["/bin/x"], "Args": ["a", "-b"], "Hostname": "h", "Env": ["A=1"],
                "Dir": "/tmp", "User": "1:1", "Groups": ["g"], "Init": true, "StopSignal": "SIGINT", "TTY": true, "ReadOnly": true,
                "StopGracePeriod": 3_000_000_000_i64, "Hosts": ["1.2.3.4 a"], "Sysctls": {"a.b": "1"},
                "CapabilityAdd": ["CAP_NET_ADMIN"], "CapabilityDrop": ["ALL"], "Ulimits": [{"Name": "nofile", "Hard": 2, "Soft": 1}],
            },
            "Resources": {"Limits": {"NanoCPUs": 500_000_000, "MemoryBytes": 67_108_864, "Pids": 10}, "Reservations": {"NanoCPUs": 100_000_000}},
            "RestartPolicy": {"Condition": "on-failure", "Delay": 1_000_000_000, "MaxAttempts": 3, "Window": 10_000_000_000_i64},
            "Placement": {"Constraints": ["node.role==manager"], "Preferences": [{"Spread": {"SpreadDescriptor": "node.labels.zone"}}]},
            "Networks": [{"Target": "host"}], "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m"}}, "ForceUpdate": 0,
        },
        "Mode": {"Global": {}},
        "UpdateConfig": {"Parallelism": 2, "Delay": 1_000_000_000, "FailureAction": "rollback", "Monitor": 5_000_000_000_i64, "MaxFailureRatio": 0, "Order": "start-first"},
        "RollbackConfig": {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000_i64, "MaxFailureRatio": 0, "Order": "stop-first"},
        "EndpointSpec": {"Mode": "dnsrr"},
    });
    assert_eq!(daemon.sent("POST /v1.46/services/create"), expected);
}

#[tokio::test]
async fn nothing_said_is_one_replica_and_no_more() {
    let daemon = FakeDaemon::new().on("POST /v1.46/services/create", json!({"ID": "s1"}));
    assert_eq!(prints(&daemon, &["service", "create", "--detach", "--no-resolve-image", "busybox"]).await, "s1\n");
    let expected = json!({
        "Labels": {}, "TaskTemplate": {"ContainerSpec": {"Image": "busybox"}, "ForceUpdate": 0},
        "Mode": {"Replicated": {"Replicas": 1}}, "EndpointSpec": {"Mode": "vip"},
    });
    assert_eq!(daemon.sent("POST /v1.46/services/create"), expected);
    let (_, result) = run(&daemon, &["service", "create", "--mode", "global", "--replicas", "2", "busybox"]).await;
    assert_eq!(result, Err("replicas can only be used with replicated or replicated-job mode".into()));
    let (_, result) = run(&daemon, &["service", "create", "--host", "a:nowhere", "busybox"]).await;
    assert!(result.is_err_and(|error| error.starts_with("invalid IP address in add-host: \"nowhere\"")));
}

#[tokio::test]
async fn a_schedule_makes_a_job_and_its_labels() {
    let daemon = FakeDaemon::new().on("POST /v1.46/services/create", json!({"ID": "s1"}));
    let words = [
        "service",
        "create",
        "--schedule",
        "*/5 * * * *",
        "--timezone",
        "Europe/Berlin",
        "--concurrency",
        "forbid",
        "--starting-deadline",
        "2m",
        "--replicas",
        "3",
        "--max-concurrent",
        "2",
        "--label",
        "a=b",
        "--no-resolve-image",
        "busybox",
    ];
    assert_eq!(prints(&daemon, &words).await, "s1\n", "nobody waits for the first tick");
    let sent = daemon.sent("POST /v1.46/services/create");
    let labels = json!({
        "a": "b", "skep.schedule": "*/5 * * * *", "skep.timezone": "Europe/Berlin", "skep.concurrency": "forbid",
        "skep.starting-deadline": "2m",
    });
    assert_eq!(sent["Labels"], labels);
    assert_eq!(sent["Mode"], json!({"ReplicatedJob": {"MaxConcurrent": 2, "TotalCompletions": 3}}));
    let daemon = FakeDaemon::new().on("POST /v1.46/services/create", json!({"ID": "s1"}));
    prints(
        &daemon,
        &["service", "create", "--schedule", "@daily", "--mode", "global-job", "--no-resolve-image", "busybox"],
    )
    .await;
    assert_eq!(daemon.sent("POST /v1.46/services/create")["Mode"], json!({"GlobalJob": {}}));
    let (_, result) = run(&daemon, &["service", "create", "--max-concurrent", "2", "busybox"]).await;
    assert_eq!(result, Err("max-concurrent can only be used with replicated-job mode".into()));
}

#[tokio::test]
async fn a_run_is_begun_and_listed() {
    let daemon = FakeDaemon::new()
        .on("POST /v1.46/services/job/run", json!({"ID": "s1"}))
        .on("GET /v1.46/services/job/runs", json!([]))
        .refusing("POST /v1.46/services/web/run", 400, "only a replicated job or a global job can be run");
    assert_eq!(prints(&daemon, &["service", "run", "job"]).await, "job\n");
    assert_eq!(prints(&daemon, &["service", "runs", "job"]).await.lines().count(), 1);
    let (_, result) = run(&daemon, &["service", "run", "web"]).await;
    assert!(result.is_err_and(|error| error.ends_with("only a replicated job or a global job can be run")));
}

#[tokio::test]
async fn update_changes_what_was_said_and_leaves_the_rest() {
    let daemon = daemon().on(UPDATE, json!({"Warnings": null}));
    let line = "service update -d --label-rm old --label-add new=2 --env-rm A --env-add B=3 --env-add C=4 --constraint-rm node.role==manager \
        --constraint-add node.hostname==n1 --network-rm host --host-rm a:1.2.3.4 --host-add b:::1 --cap-add CHOWN --cap-drop KILL \
        --image skep/demo:2 --no-resolve-image --args sleep --force --update-order start-first --replicas 7 web";
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(prints(&daemon, &words).await, "web\n");
    let expected = json!({
        "Name": "web", "Labels": {"new": "2"},
        "TaskTemplate": {
            "ContainerSpec": {"Image": "skep/demo:2", "Args": ["sleep"], "Env": ["B=3", "C=4"], "CapabilityDrop": ["CAP_KILL"], "Hosts": ["::1 b"]},
            "Placement": {"Constraints": ["node.hostname==n1"], "MaxReplicas": 5}, "ForceUpdate": 3,
        },
        "Mode": {"Replicated": {"Replicas": 7}},
        "UpdateConfig": {"Parallelism": 3, "Monitor": 1, "FailureAction": "continue", "Order": "start-first"},
    });
    assert_eq!(daemon.sent(UPDATE), expected);
}

/// As Docker's client does it.
#[tokio::test]
async fn an_image_is_recorded_with_its_digest_where_the_node_has_it() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let known = json!({"Descriptor": {"digest": digest}, "Platforms": [{"architecture": "amd64", "os": "linux"}]});
    let daemon = || {
        daemon()
            .on(UPDATE, json!({"Warnings": null}))
            .on("POST /v1.46/services/create", json!({"ID": "s"}))
            .on("GET /v1.46/distribution/skep%2Fdemo%3A2/json", known.clone())
            .refusing("GET /v1.46/distribution/other%3Alatest/json", 404, "No such image: other:latest")
    };
    for (line, request, image, complains) in [
        ("service update -d --image skep/demo:2 web", UPDATE, format!("skep/demo:2@{digest}"), false),
        (
            "service create -d docker.io/skep/demo:2",
            "POST /v1.46/services/create",
            format!("skep/demo:2@{digest}"),
            false,
        ),
        ("service update -d --image other web", UPDATE, "other".to_owned(), true),
        ("service update -d --image skep/demo:2 --no-resolve-image web", UPDATE, "skep/demo:2".to_owned(), false),
        ("service create -d --no-resolve-image x", "POST /v1.46/services/create", "x".to_owned(), false),
        ("service update -d --image x@sha256:1 web", UPDATE, "x@sha256:1".to_owned(), false),
    ] {
        let daemon = daemon();
        let (captured, result) = run(&daemon, &line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(result, Ok(()), "{line}");
        let sent = daemon.sent(request);
        assert_eq!(sent["TaskTemplate"]["ContainerSpec"]["Image"], json!(image), "{line}");
        let platforms = &sent["TaskTemplate"]["Placement"]["Platforms"];
        let expected =
            if image.contains("demo:2@") { json!([{"Architecture": "amd64", "OS": "linux"}]) } else { json!(null) };
        assert_eq!(*platforms, expected, "{line}");
        assert_eq!(
            captured.err().contains("its digest could not be recorded"),
            complains,
            "{line}: {}",
            captured.err()
        );
    }
}

/// They are those of the image before.
#[tokio::test]
async fn another_image_has_not_the_platforms_of_the_one_before() {
    for image in ["other", "other@sha256:1"] {
        let mut pinned = replicated();
        pinned["Spec"]["TaskTemplate"]["Placement"]["Platforms"] = json!([{"Architecture": "amd64", "OS": "linux"}]);
        let daemon = FakeDaemon::new().on("GET /v1.46/services/web", pinned).on(UPDATE, json!({"Warnings": null}));
        let (_, result) = run(&daemon, &["service", "update", "-d", "--image", image, "web"]).await;
        assert_eq!(result, Ok(()));
        assert_eq!(daemon.sent(UPDATE)["TaskTemplate"]["Placement"].get("Platforms"), None);
    }
}

/// A daemon that is newer than this client has fields without a word here.
#[tokio::test]
async fn what_this_client_does_not_know_is_sent_back() {
    let mut newer = replicated();
    newer["Spec"]["Colour"] = json!({"Hue": 7});
    newer["Spec"]["TaskTemplate"]["ContainerSpec"]["Mounts"] = json!([{"Target": "/data"}]);
    newer["Spec"]["TaskTemplate"]["Networks"] = json!([{"Target": "host", "Aliases": ["a"]}]);
    newer["Spec"]["TaskTemplate"]["Placement"]["Zone"] = json!("b");
    newer["Spec"]["Mode"]["Replicated"]["Spare"] = json!(1);
    for (line, place, value) in [
        ("service update -d --env-add A=2 --constraint-add a==b --force --network-add n2 web", None, json!(null)),
        ("service update -d --replicas 4 web", Some("/Mode/Replicated/Replicas"), json!(4)),
        ("service update -d --image skep/demo:2 web", Some("/TaskTemplate/ContainerSpec/Image"), json!("skep/demo:2")),
        ("service scale -d web=5", Some("/Mode/Replicated/Replicas"), json!(5)),
    ] {
        let daemon =
            FakeDaemon::new().on("GET /v1.46/services/web", newer.clone()).on(UPDATE, json!({"Warnings": null}));
        let (_, result) = run(&daemon, &line.split(' ').collect::<Vec<_>>()).await;
        assert_eq!(result, Ok(()), "{line}");
        let mut expected = newer["Spec"].clone();
        if let Some(place) = place {
            *expected.pointer_mut(place).unwrap() = value;
        } else {
            let task = &mut expected["TaskTemplate"];
            task["ContainerSpec"]["Env"] = json!(["A=2", "B=2"]);
            task["Placement"]["Constraints"] = json!(["node.role==manager", "a==b"]);
            task["ForceUpdate"] = json!(3);
            task["Networks"].as_array_mut().unwrap().push(json!({"Target": "n2"}));
        }
        assert_eq!(daemon.sent(UPDATE), expected, "{line}");
    }
}

#[tokio::test]
async fn an_update_that_says_nothing_changes_nothing() {
    let daemon = daemon().on(UPDATE, json!({"Warnings": null}));
    assert_eq!(prints(&daemon, &["service", "update", "-d", "web"]).await, "web\n");
    assert_eq!(daemon.sent(UPDATE), replicated()["Spec"]);
}

#[tokio::test]
async fn rollback_says_nothing_else() {
    let daemon = daemon().on(&format!("{UPDATE}&rollback=previous"), json!({}));
    assert_eq!(prints(&daemon, &["service", "rollback", "-d", "web"]).await, "web\n");
    let daemon = self::daemon().on(&format!("{UPDATE}&rollback=previous"), json!({}));
    assert_eq!(prints(&daemon, &["service", "update", "--rollback", "-d", "web"]).await, "web\n");
    let (_, result) = run(&daemon, &["service", "update", "--rollback", "--replicas", "1", "web"]).await;
    assert_eq!(result, Err("other flags may not be combined with --rollback".into()));
    let to = &format!("{}&to=3", UPDATE.replace("/update?", "/rollback?"));
    let daemon = self::daemon().on(to, json!({"Warnings": ["the service is at revision 3 already"]}));
    let (captured, result) = run(&daemon, &["service", "rollback", "--to", "3", "-d", "web"]).await;
    assert_eq!((result, captured.out().as_str()), (Ok(()), "web\n"));
    assert_eq!(captured.err(), "the service is at revision 3 already\n");
}

#[tokio::test]
async fn scaling_goes_on_after_a_refusal() {
    let daemon = daemon().on(UPDATE, json!({"Warnings": null}));
    let (captured, result) = run(&daemon, &["service", "scale", "-d", "nosuch=1", "everywhere=2", "web=5"]).await;
    assert_eq!(captured.out(), "web scaled to 5\n");
    let expected = "nosuch: Error response from daemon: service nosuch not found\n\
                    everywhere: scale can only be used with replicated or replicated-job mode";
    assert_eq!(result, Err(expected.into()));
    assert_eq!(daemon.sent(UPDATE)["Mode"]["Replicated"]["Replicas"], 5);
}

/// From the first look to "converged"; the service's monitor is a nanosecond.
#[tokio::test]
async fn scaling_waits_until_the_service_has_converged() {
    let tasks = "GET /v1.46/tasks?filters=%7B%22_up-to-date%22%3A%7B%22true%22%3Atrue%7D%2C%22service%22%3A%7B%22ppzaagvtnepn98l4qa4yrdewg%22%3Atrue%7D%7D";
    let task = |slot: u64, state: &str| json!({"ID": "t", "Slot": slot, "NodeID": "n1", "DesiredState": "running", "Status": {"State": state}});
    let daemon = daemon()
        .on(UPDATE, json!({"Warnings": null}))
        .on("GET /v1.46/nodes", json!([{"ID": "n1", "Status": {"State": "ready"}}]))
        .on(tasks, json!([task(1, "running"), task(2, "starting"), task(3, "new")]))
        .on(tasks, json!([task(1, "running"), task(2, "running"), task(3, "running")]));
    let expected = "\
web scaled to 3
overall progress: 0 out of 3 tasks
1/3:  
2/3:  
3/3:  
overall progress: 1 out of 3 tasks
overall progress: 3 out of 3 tasks
verify: Waiting 1 seconds to verify that tasks are stable...
verify: Service web converged
";
    assert_eq!(prints(&daemon, &["service", "scale", "web=3"]).await, expected);
}

#[tokio::test]
async fn a_service_that_goes_away_ends_the_wait() {
    let daemon = FakeDaemon::new().on("POST /v1.46/services/create", json!({"ID": "s1"})).refusing(
        "GET /v1.46/services/s1",
        404,
        "service s1 not found",
    );
    let (captured, result) = run(&daemon, &["service", "create", "-q", "busybox"]).await;
    assert_eq!(captured.out(), "s1\n");
    assert_eq!(result, Err("Error response from daemon: service s1 not found".into()));
}

#[tokio::test]
async fn what_is_found_is_shown_and_the_rest_named() {
    let daemon = daemon()
        .on_bytes("GET /v1.46/services/web?insertDefaults=true", r#"{"ID":"s1"}"#)
        .refusing("GET /v1.46/services/nosuch?insertDefaults=true", 404, "service nosuch not found")
        .on(
            "GET /v1.46/tasks?filters=%7B%22service%22%3A%7B%22ppzaagvtnepn98l4qa4yrdewg%22%3Atrue%7D%7D",
            json!([{"ID": "t1", "ServiceID": "s1"}]),
        );
    let (captured, result) = run(&daemon, &["service", "inspect", "nosuch", "web"]).await;
    assert_eq!(captured.out(), "[\n    {\n        \"ID\": \"s1\"\n    }\n]\n");
    assert_eq!(result, Err("Error: no such service: nosuch".into()));
    let (captured, result) = run(&daemon, &["service", "ps", "-q", "--no-resolve", "nosuch", "web"]).await;
    assert_eq!(captured.out(), "t1\n");
    assert_eq!(result, Err("no such service: nosuch".into()));
}

#[tokio::test]
async fn removal_goes_on_after_a_refusal() {
    let daemon = FakeDaemon::new()
        .refusing("DELETE /v1.46/services/nosuch", 404, "service nosuch not found")
        .on_bytes("DELETE /v1.46/services/web", "");
    let (captured, result) = run(&daemon, &["service", "rm", "nosuch", "web"]).await;
    assert_eq!(captured.out(), "web\n");
    assert_eq!(result, Err("Error response from daemon: service nosuch not found".into()));
}
