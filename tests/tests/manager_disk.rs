//! Managers on a disk that stalls, and on one that something else has filled.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use skep_tests::{Cluster, run, until};

/// Small enough to be filled in no time.
const DISK_BYTES: u64 = 96 << 20;

/// Longer than a leader with a stalled disk goes on leading.
const STALL: Duration = Duration::from_secs(3);

/// The state of a manager on a disk of its own, in a file.
struct OwnDisk {
    mount: PathBuf,
}

impl OwnDisk {
    /// Moves the state of `node` to a new disk. The daemon is started again.
    fn under(cluster: &Cluster, node: &str) -> Result<Self> {
        cluster.script(&["kill", node])?.success()?;
        let mount = cluster.path(node, "data/swarm/manager");
        let (before, image) = (mount.with_extension("before"), cluster.path(node, "disk.img"));
        fs::rename(&mount, &before)?;
        fs::create_dir(&mount)?;
        File::create(&image)?.set_len(DISK_BYTES)?;
        run("mkfs.ext4", ["-q", "-m", "0", &text(&image)], &[])?.success()?;
        run("mount", ["-o", "loop", &text(&image), &text(&mount)], &[])?.success()?;
        run("cp", ["-a", &format!("{}/.", text(&before)), &text(&mount)], &[])?.success()?;
        fs::remove_dir_all(before)?;
        cluster.script(&["start", node])?.success()?;
        cluster.wait_for_leader(node)?;
        Ok(Self { mount })
    }

    /// Lets every write wait for a while.
    fn stall(&self) -> Result<()> {
        run("fsfreeze", ["-f", &text(&self.mount)], &[])?.success()?;
        sleep(STALL);
        run("fsfreeze", ["-u", &text(&self.mount)], &[])?.success()?;
        Ok(())
    }

    /// Takes every byte that the disk gives. The file to remove.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.mount.join("filler");
        let mut file = File::create(&path)?;
        for size in [1 << 20, 4 << 10] {
            let piece = vec![1; size];
            loop {
                match file.write_all(&piece).and_then(|()| file.sync_data()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("filling the disk"),
                }
            }
        }
        Ok(path)
    }
}

impl Drop for OwnDisk {
    fn drop(&mut self) {
        // What is frozen cannot be unmounted; what is not says so.
        let _best_effort = run("fsfreeze", ["-u", &text(&self.mount)], &[]);
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn a_stalling_disk_makes_no_slot_twice_and_a_full_one_takes_no_say_away() -> Result<()> {
    let cluster = Cluster::up(1, 0)?;
    let disk = OwnDisk::under(&cluster, "n1")?;

    // Every task ends at once, so there is always something to write.
    let create = ["service", "create", "-d", "--name", "web", "--replicas", "4", "--restart-delay", "100ms"];
    cluster.docker("n1", &[&create[..], &["skep/demo:1", "sleep", "1"]].concat())?.success()?;
    for round in 0..4 {
        disk.stall()?;
        let tasks = until("the tasks", || Ok(cluster.tasks("n1", "web").ok()))?;
        let mut wanted = BTreeMap::<u64, usize>::new();
        for task in tasks.iter().filter(|task| task.desired == "running") {
            *wanted.entry(task.slot).or_default() += 1;
        }
        ensure!(wanted.values().all(|count| *count == 1) && wanted.len() <= 4, "round {round}: {tasks:#?}");
    }
    ensure!(cluster.log("n1")?.contains("this manager gives up the lead"), "the disk did not stall");

    let filler = disk.fill()?;
    // Megabytes of log: its file has to grow.
    let label = format!("text={}", "x".repeat(100 << 10));
    for number in 0..40 {
        let name = format!("full-{number}");
        let create = ["service", "create", "-d", "--name", &name, "--label", &label, "--replicas", "0", "skep/demo:1"];
        cluster.docker("n1", &create)?.success()?;
    }
    ensure!(cluster.log("n1")?.contains("No space left on device"), "the disk was not full");
    cluster.script(&["kill", "n1"])?.success()?;
    cluster.script(&["start", "n1"])?.success()?;
    until("the service to be removed", || Ok(cluster.docker("n1", &["service", "rm", "web"])?.ok.then_some(())))?;
    until("nothing to run", || {
        let running = cluster.docker("n1", &["ps", "-q"])?.success()?;
        Ok(running.is_empty().then_some(()))
    })?;
    fs::remove_file(filler)?;
    cluster
        .docker("n1", &["service", "create", "-d", "--name", "after", "--replicas", "0", "skep/demo:1"])?
        .success()?;
    drop(disk);
    cluster.down()
}
