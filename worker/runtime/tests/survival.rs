//! What containers outlive, and what ends them all the same.

mod support;

use std::{fs, time::Duration};

use rustix::process::Signal as ProcessSignal;
use serde_json::Value;
use skep_runtime::{Runtime as _, RuntimeConfig, Status};
use support::{World, alive, command, parent, shell, signal, until_dead};

#[tokio::test]
async fn another_version_takes_up_fifty_running_containers_and_touches_none() {
    let world = World::with(|config| config.shim_args = vec!["shim-1".into()]).await;
    let ids: Vec<String> = (0..50).map(|n| format!("old{n}")).collect();
    let mut pids = Vec::new();
    for id in &ids {
        pids.push(world.start(&command(id, &["sleep", "1000"])).await);
        let version_1 = |name: &str| {
            let file = world.bundle(id).join(name);
            let mut record: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            record.as_object_mut().unwrap().remove("version").expect("records carry a version");
            fs::write(file, record.to_string()).unwrap();
        };
        version_1("record.json");
        version_1("shim.json");
    }
    let unreadable = &ids[..3];
    for (id, text) in unreadable.iter().zip(["{\"id\":", "", "{\"version\":7,\"command\":\"sleep\"}"]) {
        fs::write(world.bundle(id).join("record.json"), text).unwrap();
    }

    let world = world.restart().await;
    let states = world.containers.list().await.unwrap();
    for (id, pid) in ids.iter().zip(&pids) {
        let state = states.iter().find(|state| state.id == *id).expect("every container is still known");
        assert!(matches!(state.status, Status::Running { pid: found, .. } if found == *pid), "{id}: {state:?}");
        assert!(alive(*pid), "{id}");
    }
    let (text, exit) = world.script("new", "echo beside").await;
    assert_eq!((text.as_str(), exit.code), ("beside\n", 0));

    for id in &ids {
        world.containers.stop(id, None, Duration::from_secs(30)).await.unwrap();
        assert_eq!(world.containers.wait(id).await.unwrap().code, 128 + 15, "{id}: it was asked, not killed");
        world.containers.remove(id).await.unwrap();
    }
}

#[tokio::test]
async fn a_stopped_shim_holds_no_removal_up() {
    let impatient = |config: &mut RuntimeConfig| config.shim_patience = Duration::from_millis(200);
    let world = World::with(impatient).await;
    let pid = world.start(&shell("own", "sleep 1000 & sleep 1000")).await;
    signal(parent(pid), ProcessSignal::STOP);
    world.containers.remove("own").await.unwrap();
    until_dead(pid).await;
    assert!(world.cgroups("own").is_empty());

    let pid = world.start(&shell("adopted", "sleep 1000 & sleep 1000")).await;
    signal(parent(pid), ProcessSignal::STOP);
    let world = world.restart_with(impatient).await;
    world.containers.stop("adopted", None, Duration::ZERO).await.unwrap();
    until_dead(pid).await;
    assert_eq!(world.containers.wait("adopted").await.unwrap().code, 255);
    world.containers.remove("adopted").await.unwrap();
    assert!(world.cgroups("adopted").is_empty());
}

#[tokio::test]
async fn an_exit_is_known_though_the_disk_takes_nothing() {
    let world = World::new().await;
    let pid = world.start(&shell("full", "trap 'exit 6' TERM; echo ready; while :; do sleep 0.05; done")).await;
    world.until_logged("full", "ready").await;
    // Nothing can be written in the bundle under this name.
    fs::create_dir(world.bundle("full").join(".exit.json.tmp")).unwrap();
    signal(pid, ProcessSignal::TERM);
    assert_eq!(world.containers.wait("full").await.unwrap().code, 6);
    assert!(!world.bundle("full").join("exit.json").exists(), "the disk was not full");
    let world = world.restart().await;
    assert_eq!(world.containers.wait("full").await.unwrap().code, 6);
}

#[tokio::test]
async fn a_shim_that_comes_too_late_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (go, came) = (dir.path().join("go"), dir.path().join("came"));
    let late = format!(
        "echo $$ >{came}.new; mv {came}.new {came}; while [ ! -e {go} ]; do sleep 0.02; done; exec {} shim \"$@\"",
        env!("CARGO_BIN_EXE_skep-test-daemon"),
        came = came.display(),
        go = go.display(),
    );
    let world = World::with(|config| {
        config.shim_program = "/bin/sh".into();
        config.shim_args = ["-c", &late, "sh"].map(Into::into).into();
    })
    .await;
    world.containers.prepare(&shell("late", "touch /ran; sleep 1000")).await.unwrap();
    let started = world.containers.start("late");
    let shim = async {
        while !came.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fs::read_to_string(&came).unwrap().trim().parse::<u32>().unwrap()
    };
    // Whoever waits for the start goes with the daemon.
    let shim = tokio::select! { pid = shim => pid, _ = started => panic!("started without its shim") };

    let world = world.restart().await;
    assert_eq!(world.containers.wait("late").await.unwrap().code, 255, "given up for lost");
    fs::write(&go, "").unwrap();
    until_dead(shim).await;
    assert!(!world.bundle("late").join("upper/ran").exists(), "the container has run after its end");
    assert!(world.cgroups("late").is_empty());
    world.containers.remove("late").await.unwrap();
}

#[tokio::test]
async fn what_a_shim_could_not_clear_goes_with_its_container() {
    let world = World::new().await;
    world.run(&shell("left", "exit 0")).await;
    while !world.cgroups("left").is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let cgroup = support::cgroup_dirs(world.cgroup_parent()).remove(0).join("left");
    fs::create_dir(&cgroup).unwrap();
    let mut process = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(cgroup.join("cgroup.procs"), process.id().to_string()).unwrap();
    world.containers.remove("left").await.unwrap();
    assert_eq!(process.wait().unwrap().code(), None, "killed");
    assert!(world.cgroups("left").is_empty());
}
