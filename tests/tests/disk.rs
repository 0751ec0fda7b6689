//! A disk that containers fill: the node says so, keeps its tasks, and is well again by itself when there is room.

use std::{fs, io::Write as _, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use skep_tests::{Cluster, run, until};

/// Small enough to fill quickly, large enough for the limits to lie megabytes apart.
const DISK: &str = "size=192m";
/// What is left free of it before the container begins.
const HEADROOM: u64 = 24 << 20;

/// One manager whose data root is a disk of its own.
struct Node {
    cluster: Cluster,
}

impl Node {
    fn new() -> Result<Self> {
        let cluster = Cluster::bare(&["n1"])?;
        cluster.script(&["kill", "n1"])?.success()?;
        let data = cluster.path("n1", "data");
        run("mount", ["-t", "tmpfs", "-o", DISK, "skep-test", &data.to_string_lossy()], &[])?.success()?;
        cluster.script(&["start", "n1"])?.success()?;
        cluster.skep("n1", &["swarm", "init", "--advertise-addr", "10.78.0.1"])?.success()?;
        let node = Self { cluster };
        node.load()?.success()?;
        Ok(node)
    }

    fn load(&self) -> Result<skep_tests::Outcome> {
        let image = self.cluster.path("n1", "demo.tar");
        if !image.exists() {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo-image");
            run(script, [&*image.to_string_lossy()], &[])?.success()?;
        }
        self.cluster.skep("n1", &["image", "load", "--input", &image.to_string_lossy()])
    }

    fn docker(&self, args: &[&str]) -> Result<String> {
        self.cluster.docker("n1", args)?.success()
    }

    fn service(&self, name: &str, restart: &str, script: &str) -> Result<()> {
        let args =
            ["service", "create", "-d", "--name", name, "--restart-condition", restart, "--restart-delay", "500ms"];
        self.docker(&[&args[..], &["skep/demo:1", "sh", "-c", script]].concat())?;
        Ok(())
    }

    fn ballast(&self) -> PathBuf {
        self.cluster.path("n1", "data").join("ballast")
    }

    fn free(&self) -> Result<u64> {
        let data = self.cluster.path("n1", "data");
        let text = run("df", ["--output=avail", "--block-size=1", &data.to_string_lossy()], &[])?.success()?;
        text.lines().last().and_then(|line| line.trim().parse().ok()).context("df says nothing")
    }

    /// Fills the disk until so many bytes are left, as somebody else on the machine might.
    fn fill(&self, left: u64) -> Result<()> {
        let mut ballast = fs::OpenOptions::new().append(true).create(true).open(self.ballast())?;
        let piece = vec![0; 1 << 16];
        while self.free()? > left {
            for _ in 0..8 {
                if ballast.write_all(&piece).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Waits until `skep node ls`, `docker node inspect` and `info` all say the same about the disk.
    fn wait_for_word(&self, word: &str) -> Result<()> {
        let status = if word.is_empty() { "Ready".to_owned() } else { format!("Ready ({word})") };
        until(&format!("the node says {word:?}"), || {
            let list = self.cluster.skep("n1", &["node", "ls"])?.success()?;
            let message = self.docker(&["node", "inspect", "self", "--format", "{{.Status.Message}}"])?;
            let warnings = self.docker(&["info", "--format", "{{.Warnings}}"])?;
            let listed = list.lines().any(|line| line.contains(&format!(" {status} ")));
            let warned = if word.is_empty() { !warnings.contains("disk") } else { warnings.contains(word) };
            Ok((listed && message.trim() == word && warned).then_some(()))
        })
    }

    fn error_of(&self, service: &str) -> Result<String> {
        self.docker(&["service", "ps", "--no-trunc", "--format", "{{.Error}}", service])
    }
}

#[test]
fn a_disk_full_of_logs_or_files_is_said_and_got_over() -> Result<()> {
    let node = Node::new()?;
    let cluster = &node.cluster;
    node.service("bystander", "any", "while true; do sleep 1; done")?;
    let bystander = cluster.wait_running("n1", "bystander", 1)?[0].pid;
    node.fill(HEADROOM)?;
    node.wait_for_word("")?;

    // A log without bounds takes what is left, and stops before the last of it.
    node.service(
        "noisy",
        "any",
        "yes skep-skep-skep-skep-skep-skep-skep | head -c 40000000; while true; do echo tick; sleep 0.1; done",
    )?;
    let noisy = cluster.wait_running("n1", "noisy", 1)?[0].pid;
    node.wait_for_word("disk full")?;
    until("the event of a full disk", || {
        let events = node.docker(&["events", "--since", "1h", "--until", "0s", "--filter", "type=node"])?;
        Ok(events.contains("message.new=disk full").then_some(()))
    })?;
    ensure!(node.free()? > 0, "the log took everything");
    ensure!(cluster.wait_running("n1", "noisy", 1)?[0].pid == noisy, "a full disk ended its container");

    // Nothing more is taken in or started, in one sentence.
    let refused = node.load()?;
    ensure!(!refused.ok && refused.stderr.contains("disk nearly full on this node"), "{}", refused.stderr);
    node.service("late", "any", "sleep 1000")?;
    until("the late task's reason", || Ok(node.error_of("late")?.contains("disk full on node").then_some(())))?;

    // Not a byte is left; the daemon dies and comes back, and can still be told to remove what fills the disk.
    node.fill(0)?;
    cluster.script(&["kill", "n1"])?.success()?;
    cluster.script(&["start", "n1"])?.success()?;
    cluster.wait_for_leader("n1")?;
    ensure!(cluster.wait_running("n1", "bystander", 1)?[0].pid == bystander, "a full disk ended a container");
    fs::write(node.ballast(), "")?;
    until("the log says what it lacks", || {
        // In the files: what came after it may be more than anybody wants to read.
        let logs = cluster.path("n1", "data/containers");
        let word = "disk full on node: [0-9]* messages before this one were not written";
        Ok(run("grep", ["-rqs", word, &logs.to_string_lossy()], &[])?.ok.then_some(()))
    })?;
    node.docker(&["service", "rm", "noisy"])?;
    node.wait_for_word("")?;
    cluster.wait_running("n1", "late", 1)?;

    // What a container writes into its file system ends with it, and the others do not notice.
    node.fill(HEADROOM)?;
    node.service("writer", "none", "dd if=/dev/zero of=/fill bs=64k; sleep 1000")?;
    until("the writer's end", || {
        Ok(node.error_of("writer")?.contains("disk full on node: it had written").then_some(()))
    })?;
    node.wait_for_word("")?;
    node.load()?.success()?;
    ensure!(cluster.wait_running("n1", "bystander", 1)?[0].pid == bystander, "a full disk ended a container");
    node.cluster.down()
}

/// What it would say goes to the disk that is full, too.
#[test]
fn a_daemon_whose_own_log_cannot_be_written_goes_on() -> Result<()> {
    let dir = tempfile::Builder::new().prefix("skt").tempdir()?;
    let home = dir.path().to_string_lossy().into_owned();
    let lib = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/lib.sh");
    let script = r#"set -eu; . "$1"; exec "$(skep_bin)" daemon --data-root "$2/data" --exec-root "$2/exec" \
        --host "unix://$2/skep.sock" 2>/dev/full"#;
    let mut daemon = Command::new("bash").args(["-c", script, "daemon", lib, &home]).spawn()?;
    let host = format!("unix://{home}/skep.sock");
    let answers = until("the daemon answers", || {
        let ended = daemon.try_wait()?;
        let asked = run("docker", ["-H", &host, "version"], &[("DOCKER_CONFIG", "/nonexistent")])?;
        Ok(if ended.is_some() { Some(false) } else { asked.ok.then_some(true) })
    });
    run("kill", ["-TERM", &daemon.id().to_string()], &[])?;
    let status = daemon.wait()?;
    ensure!(answers?, "the daemon ended: {status}");
    ensure!(status.success(), "the daemon did not stop as it was told: {status}");
    Ok(())
}
