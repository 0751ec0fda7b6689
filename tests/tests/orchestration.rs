//! The same script against skep and against the real Docker Engine prints the same: see `tests/parity/README.md`.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, bail, ensure};
use skep_tests::Cluster;

#[test]
fn updates_jobs_and_waiting_look_as_in_docker() -> Result<()> {
    let cluster = Cluster::up(3, 0)?;
    let parity = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity");
    let recorded = fs::read_to_string(parity.join("orchestration.txt"))?;
    let output = Command::new(parity.join("orchestration.sh"))
        .arg(format!("unix://{}", cluster.path("n2", "skep.sock").display()))
        .env("DOCKER_CONFIG", "/nonexistent")
        .output()?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "the script failed: {}", String::from_utf8_lossy(&output.stderr));

    let (ours, theirs) = (parts(&shown), parts(&recorded));
    let titles = |parts: &[(&str, Vec<&str>)]| parts.iter().map(|(title, _)| (*title).to_owned()).collect::<Vec<_>>();
    ensure!(titles(&ours) == titles(&theirs), "other parts than recorded: {:?}", titles(&ours));
    let mut differences = Vec::new();
    for ((title, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        differences.extend(difference(ours, theirs).map(|text| format!("== {title}\n{text}")));
    }
    if !differences.is_empty() {
        bail!("{} of {} parts are not as recorded:\n{}", differences.len(), theirs.len(), differences.join("\n"));
    }
    cluster.down()
}

/// The parts of an output: each its title and its steps, a command with what it printed.
fn parts(output: &str) -> Vec<(&str, Vec<&str>)> {
    let part = |text| {
        let (title, steps): (&str, &str) = str::split_once(text, '\n').unwrap_or((text, ""));
        (title, steps.split("\n$ ").skip(1).map(str::trim_end).collect())
    };
    output.split("\n== ").skip(1).map(part).collect()
}

/// The steps that differ, as it is and as it was recorded.
fn difference(ours: &[&str], theirs: &[&str]) -> Option<String> {
    if ours.len() != theirs.len() {
        return Some(format!("{} steps instead of {}", ours.len(), theirs.len()));
    }
    let differ = ours.iter().zip(theirs).filter(|(ours, theirs)| ours != theirs);
    let text: Vec<String> = differ.map(|(ours, theirs)| format!("$ {ours}\n-- recorded: $ {theirs}\n")).collect();
    (!text.is_empty()).then(|| text.join("\n"))
}
