//! The whole run, small: every figure is there and is what it can be.

use std::{collections::BTreeMap, process::Command};

#[test]
fn a_small_run_gives_every_figure_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_skep-scale"))
        .args(["--agents", "5", "--tasks", "50", "--services", "2", "--limit", "120"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let figures: BTreeMap<&str, (f64, &str)> = text
        .lines()
        .map(|line| match line.split('\t').collect::<Vec<_>>()[..] {
            [name, value, unit] => (name, (value.parse().unwrap(), unit)),
            _ => panic!("{line:?} is no figure"),
        })
        .collect();

    // Counts, and what can be neither nothing nor beyond all measure.
    let expected: &[(&str, &str, f64, f64)] = &[
        ("agents", "agents", 5.0, 5.0),
        ("tasks", "tasks", 50.0, 50.0),
        ("services", "services", 2.0, 2.0),
        ("spec", "B", 100.0, 10_000.0),
        ("heartbeat", "ms", 750.0, 750.0),
        ("joins", "joins/s", 0.1, 10_000.0),
        ("services_accepted", "s", 0.0, 60.0),
        ("tasks_running", "tasks/s", 0.5, 100_000.0),
        ("task_cpu.leader", "s/1000 tasks", 0.0, 1_000.0),
        ("task_cpu.follower", "s/1000 tasks", 0.0, 1_000.0),
        ("task_cpu.agents", "s/1000 tasks", 0.0, 1_000.0),
        ("task_log", "B/task", 50.0, 100_000.0),
        // So few tasks are lost in what else comes and goes.
        ("task_memory.leader", "B/task", -1e7, 1e7),
        ("task_memory.follower", "B/task", -1e7, 1e7),
        ("memory.leader", "MiB", 1.0, 1_000.0),
        ("memory.agent", "MiB", 0.1, 1_000.0),
        ("drain.tasks", "tasks", 1.0, 50.0),
        ("drain", "s", 0.0, 60.0),
        ("failover.write", "s", 0.0, 60.0),
        ("failover.attached", "s", 0.0, 60.0),
        ("failover.all_running", "s", 0.0, 120.0),
    ];
    for (name, unit, least, most) in expected {
        let name = format!("scale.{name}");
        let (value, has) = figures.get(name.as_str()).unwrap_or_else(|| panic!("{name} is missing in:\n{text}"));
        assert_eq!(has, unit, "{name}");
        assert!((*least..=*most).contains(value), "{name} is {value}");
    }
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "a directory was left");
}
