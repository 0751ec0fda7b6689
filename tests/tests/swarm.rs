//! Making a swarm and driving it with the real docker CLI: what a new user does first.

use anyhow::{Result, ensure};
use skep_tests::{Cluster, until};

#[test]
fn three_managers_run_a_service() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;

    let list = cluster.docker("n2", &["node", "ls", "--format", "{{.ManagerStatus}}"])?.success()?;
    let count = |status: &str| list.lines().filter(|line| *line == status).count();
    ensure!((count("Leader"), count("Reachable")) == (1, 2), "{list}");

    let out = cluster
        .docker(
            "n2",
            &[
                "service",
                "create",
                "--name",
                "web",
                "--replicas",
                "3",
                "skep/demo:1",
                "sh",
                "-c",
                "echo up; sleep 1000",
            ],
        )?
        .success()?;
    ensure!(out.contains("overall progress: 3 out of 3 tasks"), "{out}");
    ensure!(out.contains("verify: Service converged") || out.contains("converged"), "{out}");

    let tasks = cluster.wait_running("n3", "web", 3)?;
    let nodes: std::collections::BTreeSet<_> = tasks.iter().map(|task| &task.node).collect();
    ensure!(nodes.len() == 3, "three replicas share {} nodes", nodes.len());

    let listed =
        cluster.docker("n1", &["service", "ls", "--format", "{{.Name}} {{.Mode}} {{.Replicas}} {{.Image}}"])?;
    ensure!(listed.success()?.starts_with("web replicated 3/3 skep/demo:1"));

    until("three lines of log", || {
        let logs = cluster.docker("n3", &["service", "logs", "web"])?.success()?;
        Ok((logs.lines().filter(|line| line.ends_with("| up")).count() == 3).then_some(()))
    })?;

    let scaled = cluster.docker("n3", &["service", "scale", "web=5"])?.success()?;
    ensure!(scaled.contains("overall progress: 5 out of 5 tasks"), "{scaled}");
    cluster.docker("n1", &["service", "scale", "web=1"])?.success()?;
    cluster.wait_running("n1", "web", 1)?;

    cluster.docker("n1", &["service", "rm", "web"])?.success()?;
    until("no container", || {
        let mut left = String::new();
        for node in ["n1", "n2", "n3"] {
            left += &cluster.docker(node, &["ps", "-aq"])?.success()?;
        }
        Ok(left.is_empty().then_some(()))
    })?;
    cluster.down()
}

#[test]
fn joining_follows_what_init_prints() -> Result<()> {
    let cluster = Cluster::bare(&["n1", "n2", "n3"])?;

    let refused = cluster.docker("n1", &["node", "ls"])?.refusal()?;
    ensure!(
        refused.contains("This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\""),
        "{refused}"
    );

    let printed = cluster.docker("n1", &["swarm", "init", "--advertise-addr", "10.78.0.1"])?.success()?;
    let join = printed
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with("docker swarm join --token SWMTKN-1-"))
        .ok_or_else(|| anyhow::anyhow!("no join command in: {printed}"))?;
    ensure!(join.ends_with(" 10.78.0.1:2377"), "{join}");

    // As printed, word for word.
    let words: Vec<&str> = join.split(' ').skip(1).collect();
    let joined = cluster.docker("n2", &words)?.success()?;
    ensure!(joined == "This node joined a swarm as a worker.", "{joined}");
    cluster.wait_status("n1", "n2", "Ready")?;

    let refused = cluster.docker("n2", &["node", "ls"])?.refusal()?;
    ensure!(
        refused.contains("This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager."),
        "{refused}"
    );
    let again = cluster.docker("n2", &words)?.refusal()?;
    ensure!(again.contains("This node is already part of a swarm"), "{again}");

    // A secret that is wrong is refused with one text; the state stays as it was.
    let wrong: String = {
        let token = words[3];
        let (head, secret) = token.rsplit_once('-').unwrap_or_default();
        format!("{head}-{}", secret.chars().rev().collect::<String>())
    };
    let refused = cluster.docker("n3", &["swarm", "join", "--token", &wrong, "10.78.0.1:2377"])?.refusal()?;
    ensure!(refused.contains("join token"), "{refused}");
    let info = cluster.docker("n3", &["info", "--format", "{{.Swarm.LocalNodeState}}"])?.success()?;
    ensure!(info == "inactive", "{info}");

    // A manager that cannot be reached: the text, and the attempt that goes on.
    let late = cluster.docker("n3", &["swarm", "join", "--token", words[3], "10.78.0.77:2377"])?.refusal()?;
    ensure!(
        late.contains(
            "Timeout was reached before node joined. The attempt to join the swarm will continue in the background."
        ),
        "{late}"
    );
    let info = cluster.docker("n3", &["info", "--format", "{{.Swarm.LocalNodeState}}"])?.success()?;
    ensure!(info == "pending", "{info}");

    let refused = cluster.docker("n1", &["node", "demote", "n1"])?.refusal()?;
    ensure!(refused.contains("attempting to demote the last manager of the swarm"), "{refused}");
    cluster.down()
}

#[test]
fn roles_and_availability_change_while_tasks_run() -> Result<()> {
    let cluster = Cluster::up(1, 2)?;
    cluster
        .docker("n1", &["service", "create", "--name", "web", "--replicas", "4", "skep/demo:1", "sleep", "1000"])?
        .success()?;
    cluster.wait_running("n1", "web", 4)?;

    let id = cluster.docker("n1", &["node", "inspect", "n3", "--format", "{{.ID}}"])?.success()?;
    cluster.docker("n1", &["node", "update", "--availability", "drain", "n3"])?.success()?;
    until("n3 empty, four tasks elsewhere", || {
        let live = cluster.tasks("n1", "web")?.into_iter().filter(skep_tests::Task::is_running).collect::<Vec<_>>();
        Ok((live.len() == 4 && live.iter().all(|task| task.node != id)).then_some(()))
    })?;
    cluster.docker("n1", &["node", "update", "--availability", "active", "n3"])?.success()?;
    cluster.docker("n1", &["service", "scale", "web=6"])?.success()?;
    let tasks = cluster.wait_running("n1", "web", 6)?;
    ensure!(tasks.iter().any(|task| task.node == id), "an active node gets nothing");

    let promoted = cluster.docker("n1", &["node", "promote", "n2", "n3"])?.success()?;
    ensure!(promoted.contains("Node n2 promoted to a manager in the swarm."), "{promoted}");
    // Each is asked: to the others one is a manager before it answers as such.
    for promoted in ["n2", "n3"] {
        until(&format!("{promoted} manages"), || {
            let list = cluster.docker(promoted, &["node", "ls", "--format", "{{.ManagerStatus}}"])?.success()?;
            Ok((list.lines().filter(|line| *line == "Reachable").count() == 2).then_some(()))
        })?;
    }

    // The leader demoted: another leads, and the demoted one is a worker.
    cluster.docker("n2", &["node", "demote", "n1"])?.success()?;
    until("n1 is a worker", || {
        let answer = cluster.docker("n1", &["node", "ls"])?;
        Ok((!answer.ok && answer.stderr.contains("Worker nodes can't be used")).then_some(()))
    })?;
    cluster.wait_for_leader("n2")?;
    let after = cluster.wait_running("n2", "web", 6)?;
    let same = after.iter().filter(|task| tasks.iter().any(|before| before.pid == task.pid)).count();
    ensure!(same == 6, "{} of 6 containers were restarted by a change of roles", 6 - same);
    cluster.down()
}
