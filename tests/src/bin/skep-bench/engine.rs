//! The two engines: how a three-manager swarm of each comes up, dies and returns.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// A running three-manager swarm, nodes numbered from 1.
pub(crate) trait Engine {
    /// First part of every figure's name.
    fn name(&self) -> &'static str;
    /// The node's API socket.
    fn socket(&self, node: usize) -> PathBuf;
    /// The image that every node has.
    fn image(&self) -> &'static str;
    /// Kills the node's daemon with SIGKILL.
    fn kill(&self, node: usize) -> Result<()>;
    /// Starts it again.
    fn start(&self, node: usize) -> Result<()>;
    /// Pids of the node's daemon processes (Docker has two).
    fn daemons(&self, node: usize) -> Vec<u32>;
    /// Pids of all per-container processes of the swarm.
    fn shims(&self) -> Vec<u32>;
    /// Stops everything.
    fn down(&self);
}

/// Runs a script to its end.
fn script(path: &Path, args: &[&str], dir: &Path) -> Result<()> {
    let status = Command::new(path)
        .args(args)
        .env("SKEP_CLUSTER_DIR", dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .with_context(|| format!("cannot run {}", path.display()))?;
    ensure!(status.success(), "{} {} failed", path.display(), args.join(" "));
    Ok(())
}

fn pid_file(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Pids whose command line starts with a program ending in `program` and contains `part`.
fn pids(program: &str, part: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(line) = fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.split(' ').next().is_some_and(|name| name.ends_with(program)) && line.contains(part) {
            found.push(pid);
        }
    }
    found
}

/// skep, by `scripts/cluster`.
pub(crate) struct Skep {
    scripts: PathBuf,
    dir: TempDir,
}

impl Skep {
    pub(crate) fn up(scripts: &Path) -> Result<Self> {
        let engine = Self { scripts: scripts.to_owned(), dir: tempfile::Builder::new().prefix("skb").tempdir()? };
        engine.cluster(&["up", "--managers", "3"])?;
        Ok(engine)
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("c")
    }

    fn cluster(&self, args: &[&str]) -> Result<()> {
        script(&self.scripts.join("cluster"), args, &self.home())
    }
}

impl Engine for Skep {
    fn name(&self) -> &'static str {
        "skep"
    }
    fn socket(&self, node: usize) -> PathBuf {
        self.home().join(format!("n{node}/skep.sock"))
    }
    fn image(&self) -> &'static str {
        "skep/demo:1"
    }
    fn kill(&self, node: usize) -> Result<()> {
        self.cluster(&["kill", &format!("n{node}")])
    }
    fn start(&self, node: usize) -> Result<()> {
        self.cluster(&["start", &format!("n{node}")])
    }
    fn daemons(&self, node: usize) -> Vec<u32> {
        pid_file(&self.home().join(format!("n{node}/daemon.pid"))).into_iter().collect()
    }
    fn shims(&self) -> Vec<u32> {
        pids("skep", " shim ").into_iter().filter(|pid| belongs(*pid, &self.home())).collect()
    }
    fn down(&self) {
        if let Err(error) = self.cluster(&["down"]) {
            eprintln!("{error:#}");
        }
    }
}

fn belongs(pid: u32, dir: &Path) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*dir.to_string_lossy()))
}

/// A real Docker Swarm, by `scripts/peer-docker`.
pub(crate) struct Docker {
    scripts: PathBuf,
    dir: TempDir,
}

impl Docker {
    pub(crate) fn up(scripts: &Path) -> Result<Self> {
        let engine = Self { scripts: scripts.to_owned(), dir: tempfile::Builder::new().prefix("dkb").tempdir()? };
        engine.peer(&["up", "3"])?;
        Ok(engine)
    }

    fn peer(&self, args: &[&str]) -> Result<()> {
        script(&self.scripts.join("peer-docker"), args, self.dir.path())
    }
}

impl Engine for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }
    fn socket(&self, node: usize) -> PathBuf {
        self.dir.path().join(format!("n{node}/sock"))
    }
    fn image(&self) -> &'static str {
        "skep/demo:1"
    }
    fn kill(&self, node: usize) -> Result<()> {
        self.peer(&["kill", &node.to_string()])
    }
    fn start(&self, node: usize) -> Result<()> {
        self.peer(&["start", &node.to_string()])
    }
    fn daemons(&self, node: usize) -> Vec<u32> {
        let dir = self.dir.path().join(format!("n{node}/"));
        let mut all = pids("dockerd", &dir.to_string_lossy());
        all.extend(pids("containerd", &dir.to_string_lossy()));
        all
    }
    fn shims(&self) -> Vec<u32> {
        pids("containerd-shim-runc-v2", &self.dir.path().to_string_lossy())
    }
    fn down(&self) {
        if let Err(error) = self.peer(&["down"]) {
            eprintln!("{error:#}");
        }
    }
}
