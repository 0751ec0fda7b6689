//! Wrong input of each kind: one clear sentence, and nothing changes.

use std::{fs, process::Command};

use anyhow::{Result, ensure};
use serde_json::json;
use skep_tests::{Cluster, request};

#[test]
fn wrong_input_is_refused_and_changes_nothing() -> Result<()> {
    let cluster = Cluster::up(1, 0)?;
    let state = |cluster: &Cluster| -> Result<String> {
        let services = cluster.docker("n1", &["service", "ls", "-q"])?.success()?;
        let images = cluster.docker("n1", &["image", "ls", "-q"])?.success()?;
        let swarm = cluster.docker("n1", &["node", "inspect", "self", "--format", "{{json .Spec}}"])?.success()?;
        Ok(format!("{services}\n{images}\n{swarm}"))
    };
    let before = state(&cluster)?;
    let long = "a".repeat(64);
    let huge = format!("BIG={}", "x".repeat(100_000));
    let many: Vec<String> = (0..15).flat_map(|i| ["--env".to_owned(), format!("V{i}{huge}")]).collect();
    let mut oversized = vec!["service", "create", "-d", "--name", "big"];
    oversized.extend(many.iter().map(String::as_str));
    oversized.push("skep/demo:1");

    let cases: Vec<(Vec<&str>, &str)> = vec![
        (
            vec!["service", "create", "-d", "--name", "../etc", "skep/demo:1"],
            "name must be valid as a DNS name component",
        ),
        (vec!["service", "create", "-d", "--name", &long, "skep/demo:1"], "name must be 63 characters or fewer"),
        (vec!["service", "create", "-d", "--name", "x", ":::"], "is not a valid repository/tag"),
        (
            vec!["service", "create", "-d", "--name", "x", "--constraint", "node.color=~red", "skep/demo:1"],
            "constraint",
        ),
        (vec!["service", "create", "-d", "--name", "x", "--reserve-memory", "1k", "skep/demo:1"], "memory"),
        (oversized, "too large"),
        (vec!["service", "scale", "nothing=3"], "nothing"),
        (vec!["node", "update", "--availability", "drain", "no-such-node"], "not found"),
        (vec!["node", "rm", "n1"], "is a member of the raft cluster. It must be demoted to worker before removal"),
        (vec!["swarm", "update", "--dispatcher-heartbeat", "-5s"], "heartbeat"),
    ];
    let mut wrong = Vec::new();
    for (args, says) in &cases {
        let call = args.iter().take(5).copied().collect::<Vec<_>>().join(" ");
        let answer = cluster.docker("n1", args)?;
        let text = &answer.stderr;
        if answer.ok || !text.to_lowercase().contains(&says.to_lowercase()) || text.contains("panicked") {
            wrong.push(format!("docker {call}: {}{text}", answer.stdout));
        }
    }
    // What the CLI cannot say.
    let bodies = [
        (json!({"Sometimes": {}}), "Unrecognized service mode \"Sometimes\""),
        (json!({"Sometimes": {}, "Global": {}}), "Unrecognized service mode \"Sometimes\""),
        (json!({"Replicated": {"Replicas": 1}, "Global": {}}), "must specify only one service mode"),
    ];
    for (mode, says) in bodies {
        let container = json!({"ContainerSpec": {"Image": "skep/demo:1"}});
        let body = json!({"Name": "x", "Mode": mode, "TaskTemplate": container});
        match request(&cluster.path("n1", "skep.sock"), "POST", "/services/create", Some(&body)) {
            Err(error) if error.to_string().contains(&format!(": 400 {}", json!({"message": says}))) => {}
            answer => wrong.push(format!("{body}: {answer:?}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(state(&cluster)? == before, "a refused call changed something");
    cluster.down()
}

#[test]
fn hostile_archives_are_refused() -> Result<()> {
    let cluster = Cluster::up(1, 0)?;
    let dir = tempfile::tempdir()?;
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let tar = |args: &[&str]| -> Result<()> {
        ensure!(Command::new("tar").args(args).current_dir(dir.path()).status()?.success());
        Ok(())
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/demo-image");
    ensure!(Command::new(script).args([&path("good.tar"), "evil/image:1"]).status()?.success());

    // A blob whose bytes are not what its name says.
    fs::create_dir(dir.path().join("forged"))?;
    tar(&["-xf", "good.tar", "-C", "forged"])?;
    let mut forged = 0;
    for blob in fs::read_dir(dir.path().join("forged/blobs/sha256"))? {
        let blob = blob?.path();
        let mut bytes = fs::read(&blob)?;
        if bytes.len() > 100_000 {
            bytes[5_000] ^= 1;
            fs::write(&blob, bytes)?;
            forged += 1;
        }
    }
    ensure!(forged == 1, "the layer was not there to forge");
    tar(&["-cf", "forged.tar", "-C", "forged", "."])?;
    // A path that leaves the archive.
    fs::write(dir.path().join("escape"), "out")?;
    tar(&["-cf", "escape.tar", "--transform", "s,^escape,../../escape,", "-P", "escape"])?;
    fs::write(dir.path().join("noise.tar"), vec![7u8; 4096])?;

    let before = cluster.docker("n1", &["image", "ls", "--digests"])?.success()?;
    for name in ["forged.tar", "escape.tar", "noise.tar"] {
        let answer = cluster.docker("n1", &["image", "load", "-i", &path(name)])?;
        ensure!(!answer.ok, "{name} was loaded: {}", answer.stdout);
        ensure!(!answer.stderr.is_empty() && answer.stderr.lines().count() == 1, "{name}: {}", answer.stderr);
    }
    ensure!(cluster.docker("n1", &["image", "ls", "--digests"])?.success()? == before);
    ensure!(!cluster.path("n1", "escape").exists() && !cluster.path("n1", "data/escape").exists());
    cluster.down()
}
