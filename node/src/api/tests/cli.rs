//! The unmodified `docker` CLI, where there is one, against the fakes: its usual output.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{process::Command, time::timeout};

use super::{
    super::testing::{Bench, NODE, SwarmRole},
    server::Served,
};

/// Runs a command; success, and what it printed.
async fn docker(cli: &str, socket: &Path, args: &[&str]) -> (bool, String) {
    let config = socket.with_file_name("config");
    let mut command = Command::new(cli);
    command.arg("--config").arg(config).arg("-H").arg(format!("unix://{}", socket.display())).args(args);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output =
        timeout(Duration::from_secs(60), output).await.unwrap_or_else(|_| panic!("{cli} {args:?} hangs")).unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.success(), text)
}

/// Every CLI installed here: versions differ in what they ask for.
fn installed() -> Vec<&'static str> {
    let found: Vec<_> =
        ["/usr/local/bin/docker", "/usr/bin/docker"].into_iter().filter(|cli| Path::new(cli).exists()).collect();
    if found.is_empty() {
        eprintln!("skipped: no docker CLI is installed");
    }
    found
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_the_docker_cli() {
    for cli in installed() {
        let bench = Bench::new(SwarmRole::Outside);
        let served = Served::new(&bench);
        let socket = served.socket();
        let run = async |args: &[&str]| {
            let (ok, text) = docker(cli, &socket, args).await;
            assert!(ok, "{cli} {args:?}: {text}");
            text
        };
        let fails = async |args: &[&str]| {
            let (ok, text) = docker(cli, &socket, args).await;
            assert!(!ok, "{cli} {args:?}: {text}");
            text
        };

        assert!(fails(&["node", "ls"]).await.contains("This node is not a swarm manager. Use \"docker swarm init\""));
        let init = run(&["swarm", "init", "--advertise-addr", "10.0.0.1"]).await;
        assert!(init.contains(&format!("Swarm initialized: current node ({NODE}) is now a manager.")), "{init}");
        assert!(init.contains("docker swarm join --token SWMTKN-1-w 10.0.0.1:2377"), "{init}");
        assert!(fails(&["swarm", "init"]).await.contains("This node is already part of a swarm."));

        assert!(run(&["version"]).await.contains("1.24"));
        let info = run(&["info"]).await;
        assert!(info.contains("Swarm: active") && info.contains("Is Manager: true"), "{info}");
        let nodes = run(&["node", "ls"]).await;
        assert!(
            nodes.lines().nth(1).unwrap().starts_with(&format!("{NODE} *   dk1        Ready     Active")),
            "{nodes}"
        );
        let pretty = run(&["node", "inspect", "--pretty", "self"]).await;
        assert!(pretty.contains("Raft Status:\t\tReachable") && pretty.contains("CPUs:\t\t\t2"), "{pretty}");
        assert_eq!(run(&["node", "update", "--availability", "drain", "dk1"]).await.trim(), "dk1");
        run(&["node", "update", "--availability", "active", "--label-add", "a=b", "dk1"]).await;

        std::fs::write(served.dir.path().join("image.tar"), "busybox:1.35\n").unwrap();
        let archive = served.dir.path().join("image.tar");
        assert!(run(&["image", "load", "-i", archive.to_str().unwrap()]).await.contains("Loaded image: busybox:1.35"));
        assert!(words(&run(&["image", "ls"]).await).starts_with(&["REPOSITORY", "TAG"]));

        let create = [
            "service",
            "create",
            "--name",
            "web",
            "--replicas",
            "3",
            "--network",
            "host",
            "--env",
            "A=1",
            "--constraint",
            "node.role==manager",
            "--limit-memory",
            "64m",
            "--restart-condition",
            "on-failure",
            "--update-monitor",
            "100ms",
            "busybox:1.35",
            "sleep",
            "1000",
        ];
        let created = run(&create).await;
        assert!(
            created.contains("overall progress: 3 out of 3 tasks") && created.contains("verify: Service"),
            "{created}"
        );
        assert!(!created.contains("could not be accessed"), "{created}");
        assert!(fails(&create).await.contains("service web already exists"));
        let refused = fails(&["service", "create", "--name", "p", "--mount", "type=tmpfs,dst=/t", "busybox"]).await;
        assert!(refused.contains("not supported yet: TaskTemplate.ContainerSpec.Mounts"), "{refused}");

        let list = run(&["service", "ls"]).await;
        assert_eq!(words(list.lines().nth(1).unwrap())[1..], ["web", "replicated", "3/3", "busybox:1.35"]);
        let tasks = run(&["service", "ps", "web"]).await;
        assert!(tasks.contains("web.1") && tasks.contains("Running") && tasks.contains("dk1"), "{tasks}");
        let pretty = run(&["service", "inspect", "--pretty", "web"]).await;
        assert!(
            pretty.contains("Replicas:\t3") && pretty.contains("Networks: host") && pretty.contains("Memory:\t64MiB"),
            "{pretty}"
        );
        let scaled = run(&["service", "scale", "web=2"]).await;
        assert!(
            scaled.contains("web scaled to 2") && scaled.contains("overall progress: 2 out of 2 tasks"),
            "{scaled}"
        );
        run(&["service", "update", "-d", "--replicas", "1", "--label-add", "x=y", "web"]).await;
        run(&["service", "rollback", "-d", "web"]).await;
        assert!(run(&["service", "ls"]).await.contains("2/2"));

        let logs = run(&["service", "logs", "-t", "--tail", "5", "web"]).await;
        assert!(
            logs.contains("2024-05-06T07:08:09.123456789Z web.1.") && logs.contains("@dk1    | stdout of 1"),
            "{logs}"
        );
        assert!(logs.contains("| stderr of 2"), "{logs}");
        assert!(run(&["node", "ps", "self"]).await.contains("web.2"));
        assert!(words(&run(&["ps", "-a"]).await).starts_with(&["CONTAINER", "ID"]));

        let token = run(&["swarm", "join-token", "worker"]).await;
        assert!(token.contains("docker swarm join --token SWMTKN-1-w 10.0.0.1:2377"), "{token}");
        assert_eq!(run(&["swarm", "join-token", "-q", "--rotate", "manager"]).await.trim(), "SWMTKN-1-m2");
        assert_eq!(run(&["swarm", "update", "--task-history-limit", "2"]).await.trim(), "Swarm updated.");
        assert_eq!(run(&["service", "rm", "web"]).await.trim(), "web");
        assert!(fails(&["service", "inspect", "web"]).await.contains("no such service: web"));
        let events = run(&["events", "--since", "1", "--until", "1", "--filter", "type=service"]).await;
        assert_eq!(events, "");

        assert!(fails(&["swarm", "leave"]).await.contains("Use `--force` to ignore this message."));
        assert_eq!(run(&["swarm", "leave", "--force"]).await.trim(), "Node left the swarm.");
        let joined = run(&["swarm", "join", "--token", "SWMTKN-1-w", "10.0.0.2:2377"]).await;
        assert_eq!(joined.trim(), "This node joined a swarm as a worker.");
        assert!(
            fails(&["service", "ls"]).await.contains("Worker nodes can't be used to view or modify cluster state.")
        );
        served.stop().await;
    }
}
