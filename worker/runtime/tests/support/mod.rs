//! A runtime in a directory of its own, images made of the host's busybox, and what tests ask of containers.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests use it")]

pub mod archive;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures::StreamExt as _;
use skep_proto::v1::{ContainerSpec, LogOptions, LogStream, NetworkMode};
use skep_runtime::{ContainerSpecification, Containers, Exit, Runtime as _, RuntimeConfig};

/// The image every test has.
pub const IMAGE: &str = "skep/test:1";

/// A runtime and all it leaves behind; everything goes with the value.
pub struct World {
    root: tempfile::TempDir,
    cgroup_parent: String,
    pub containers: Containers,
}

impl World {
    /// A runtime with the busybox image loaded.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// One that is configured otherwise.
    pub async fn with(change: impl FnOnce(&mut RuntimeConfig)) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "these tests make namespaces, mounts and cgroups: run them as root"
        );
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let root = tempfile::Builder::new().prefix("skep-runtime-").tempdir().unwrap();
        let cgroup_parent = format!("/skep-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let containers = open(root.path(), &cgroup_parent, change).await;
        let world = Self { root, cgroup_parent, containers };
        world.load(archive::busybox()).await;
        world
    }

    pub async fn load(&self, archive: Vec<u8>) -> Vec<skep_runtime::LoadedImage> {
        self.containers.load_archive(Box::pin(archive.as_slice())).await.unwrap()
    }

    /// The daemon goes and another comes.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The daemon goes and another comes that is configured otherwise.
    pub async fn restart_with(self, change: impl FnOnce(&mut RuntimeConfig)) -> Self {
        let Self { ref root, ref cgroup_parent, .. } = self;
        let containers = open(root.path(), cgroup_parent, change).await;
        let mut world = self;
        world.containers = containers;
        world
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn bundle(&self, id: &str) -> PathBuf {
        self.root().join("data/containers").join(id)
    }

    pub fn cgroup_parent(&self) -> &str {
        &self.cgroup_parent
    }

    /// The directories of a container's cgroup that exist.
    pub fn cgroups(&self, id: &str) -> Vec<PathBuf> {
        cgroup_dirs(&format!("{}/{id}", self.cgroup_parent))
    }

    pub async fn start(&self, container: &ContainerSpecification) -> u32 {
        self.containers.prepare(container).await.unwrap();
        self.containers.start(&container.id).await.unwrap()
    }

    /// Runs a container to its end.
    pub async fn run(&self, container: &ContainerSpecification) -> Exit {
        self.start(container).await;
        self.containers.wait(&container.id).await.unwrap()
    }

    /// Runs a shell script in a container to its end; what it printed, and how it ended.
    pub async fn script(&self, id: &str, script: &str) -> (String, Exit) {
        self.output(&shell(id, script)).await
    }

    /// Runs a container to its end; what it printed, and how it ended.
    pub async fn output(&self, container: &ContainerSpecification) -> (String, Exit) {
        let exit = self.run(container).await;
        (self.log(&container.id, LogOptions::default()).await, exit)
    }

    /// A container's log, the lines of standard error marked.
    pub async fn log(&self, id: &str, options: LogOptions) -> String {
        let records: Vec<_> = self.containers.logs(id, options).await.unwrap().collect().await;
        let line = |record: skep_proto::v1::LogRecord| {
            let mark = if record.stream() == LogStream::Stderr { "E:" } else { "" };
            format!("{mark}{}", String::from_utf8(record.data).unwrap())
        };
        records.into_iter().map(|record| line(record.unwrap())).collect()
    }

    /// Waits until a container's log holds a text.
    pub async fn until_logged(&self, id: &str, text: &str) {
        let wait = async {
            let options = LogOptions { follow: true, ..LogOptions::default() };
            let mut lines = self.containers.logs(id, options).await.unwrap();
            while let Some(line) = lines.next().await {
                if String::from_utf8_lossy(&line.unwrap().data).contains(text) {
                    return;
                }
            }
            panic!("{id} ended without saying {text:?}");
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("no {text:?} from {id}"));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let containers = fs::read_dir(self.root().join("data/containers")).unwrap();
        for id in containers.filter_map(|entry| entry.unwrap().file_name().into_string().ok()) {
            let cgroup = skep_shim::cgroup::Cgroup::of(&format!("{}/{id}", self.cgroup_parent)).unwrap();
            cgroup.destroy(Duration::from_secs(10)).unwrap();
            let shim = self.root().join("exec/shims").join(&id);
            while skep_shim::lock::is_held(&shim).unwrap() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let all = skep_shim::cgroup::Cgroup::of(&self.cgroup_parent).unwrap();
        all.destroy(Duration::from_secs(10)).unwrap();
    }
}

async fn open(root: &Path, cgroup_parent: &str, change: impl FnOnce(&mut RuntimeConfig)) -> Containers {
    let mut config = RuntimeConfig::new(root.join("data"), root.join("exec"));
    config.shim_program = env!("CARGO_BIN_EXE_skep-test-daemon").into();
    config.cgroup_parent = cgroup_parent.to_owned();
    change(&mut config);
    Containers::open(config).await.unwrap()
}

/// A container that runs a shell script.
pub fn shell(id: &str, script: &str) -> ContainerSpecification {
    command(id, &["sh", "-c", script])
}

/// A container that runs a command.
pub fn command(id: &str, args: &[&str]) -> ContainerSpecification {
    ContainerSpecification {
        id: id.to_owned(),
        name: format!("test.{id}"),
        labels: [("com.docker.swarm.task.id".to_owned(), id.to_owned())].into(),
        container: ContainerSpec {
            image: IMAGE.to_owned(),
            command: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..ContainerSpec::default()
        },
        resources: Default::default(),
        network: NetworkMode::Isolated,
        log_driver: Default::default(),
    }
}

/// The directories of a cgroup, in every hierarchy, that exist.
pub fn cgroup_dirs(path: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .map(|line| Path::new(line.split(' ').nth(4).unwrap()).join(path.trim_start_matches('/')))
        .filter(|dir| dir.exists())
        .collect()
}

/// Whether cgroups have all of these controllers here.
pub fn has_controllers(names: &[&str]) -> bool {
    let unified = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").ok();
    names.iter().all(|name| match &unified {
        Some(controllers) => controllers.split_whitespace().any(|known| known == *name),
        None => Path::new("/sys/fs/cgroup").join(name).exists(),
    })
}

/// Whether a process is alive.
pub fn alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

/// Waits until a process is gone: its lock and its children go a moment before it does.
pub async fn until_dead(pid: u32) {
    let gone = async {
        while alive(pid) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap_or_else(|_| panic!("process {pid} lives on"));
}

/// The parent of a process.
pub fn parent(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

/// Kills a process as the kernel would.
pub fn kill9(pid: u32) {
    signal(pid, rustix::process::Signal::KILL);
}

/// Sends a signal.
pub fn signal(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Every file below a directory, with its size.
pub fn files(dir: &Path) -> BTreeSet<(String, u64)> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        found.insert((entry.path().display().to_string(), if meta.is_dir() { 0 } else { meta.len() }));
        if meta.is_dir() {
            found.extend(files(&entry.path()));
        }
    }
    found
}
