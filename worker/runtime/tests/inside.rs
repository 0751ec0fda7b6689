//! What a container sees of itself, line by line beside what the real engine's containers see.
//!
//! Where `dockerd` is installed it is asked now; elsewhere its recorded answer in `tests/inside` counts. Every
//! difference must be in the list below with its reason, and every one listed must be there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests use it")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use skep_proto::v1::ContainerSpec;
use support::{World, archive, shell};

const LOOK: &str = include_str!("inside/look.sh");

/// A way to run a container, in our words and in the engine's.
struct View {
    name: &'static str,
    spec: fn() -> ContainerSpec,
    options: &'static [&'static str],
}

const VIEWS: [View; 4] = [
    View { name: "plain", spec: ContainerSpec::default, options: &[] },
    View {
        name: "user",
        spec: || ContainerSpec { user: "1000:2000".into(), groups: vec!["3000".into()], ..ContainerSpec::default() },
        options: &["--user", "1000:2000", "--group-add", "3000"],
    },
    View {
        name: "strict",
        spec: || ContainerSpec {
            read_only: true,
            capability_drop: vec!["ALL".into()],
            oom_score_adj: 100,
            ..ContainerSpec::default()
        },
        options: &["--read-only", "--cap-drop", "ALL", "--oom-score-adj", "100"],
    },
    View {
        name: "admin",
        spec: || ContainerSpec {
            capability_add: vec!["SYS_ADMIN".into(), "NET_ADMIN".into()],
            ..ContainerSpec::default()
        },
        options: &["--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN"],
    },
];

/// Lines only ours have (`+`) or only the engine's have (`-`), the versions of cgroups they show with, and why that is
/// right. A later engine than the recorded one may have come nearer.
const DIFFERENCES: [(&str, &[u32], &str); 10] = [
    ("+ mount /proc/interrupts /null rw,nosuid tmpfs rw,size=65536k,mode=755", &[1, 2], "hidden by later engines too"),
    ("+ read /proc/interrupts empty", &[1, 2], "hidden by later engines too"),
    ("- read /proc/interrupts readable", &[1, 2], "hidden by later engines too"),
    ("+ node c 10 200: not opened", &[1, 2], "tunnels are no device of a container's in later engines either"),
    ("- node c 10 200: opened or absent", &[1, 2], "tunnels are no device of a container's in later engines either"),
    (
        "+ mount /sys / ro,nosuid,nodev,noexec,relatime sysfs rw",
        &[1, 2],
        "the mount is read-only, which is what counts",
    ),
    (
        "- mount /sys / ro,nosuid,nodev,noexec,relatime sysfs ro",
        &[1, 2],
        "the mount is read-only, which is what counts",
    ),
    ("+ mount /sys/fs/cgroup / ro,nosuid,nodev,noexec,relatime tmpfs ro,mode=755", &[1], "nothing is to be made there"),
    ("- mount /sys/fs/cgroup / rw,nosuid,nodev,noexec,relatime tmpfs rw,mode=755", &[1], "nothing is to be made there"),
    ("- made a group in /sys/fs/cgroup", &[1], "a plain directory, and not even that here"),
];

#[tokio::test]
async fn a_container_looks_as_the_engines_does() {
    let world = World::new().await;
    let namespaces = namespaces();
    let mut ours = BTreeSet::new();
    for view in &VIEWS {
        let mut container = shell(&format!("{:0<64}", view.name), LOOK);
        container.container = ContainerSpec {
            image: container.container.image,
            command: container.container.command,
            env: vec![format!("HOST_NS={namespaces}")],
            ..(view.spec)()
        };
        let (text, exit) = world.output(&container).await;
        assert_eq!(exit.code, 0, "{text}");
        ours.extend(text.lines().map(|line| format!("{}: {line}", view.name)));
    }

    let version = if skep_shim::cgroup::is_unified().unwrap() { 2 } else { 1 };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/inside/engine-v{version}.txt"));
    let mut recorded = fs::read_to_string(&path).unwrap_or_default();
    let mut same_engine = true;
    if let Some(engine) = Engine::start(world.cgroup_parent()) {
        let mut now = format!("engine {}\n", engine.version());
        for line in VIEWS.iter().flat_map(|view| engine.look(view, &namespaces)) {
            now.push_str(&line);
            now.push('\n');
        }
        if std::env::var_os("SKEP_RECORD").is_some() {
            fs::write(&path, &now).unwrap();
        }
        same_engine = now.lines().next() == recorded.lines().next();
        recorded = now;
    }
    let engine: BTreeSet<String> = recorded.lines().skip(1).map(str::to_owned).collect();
    assert!(!engine.is_empty(), "nothing to compare with");

    let plain = |line: &String| line.split_once(": ").map(|(_, line)| line.to_owned()).unwrap_or_default();
    let only_ours = ours.difference(&engine).map(|line| format!("+ {}", plain(line)));
    let only_theirs = engine.difference(&ours).map(|line| format!("- {}", plain(line)));
    let found: BTreeSet<String> = only_ours.chain(only_theirs).collect();
    let known: BTreeSet<String> = DIFFERENCES
        .iter()
        .filter(|(_, versions, _)| versions.contains(&version))
        .map(|(line, ..)| (*line).to_owned())
        .collect();
    let unknown: Vec<_> = found.difference(&known).cloned().collect();
    assert!(unknown.is_empty(), "differences without a reason:\n{}", unknown.join("\n"));
    let gone: Vec<_> = known.difference(&found).cloned().collect();
    assert!(gone.is_empty() || !same_engine, "no such difference any more:\n{}", gone.join("\n"));
}

fn namespaces() -> String {
    let kinds = ["pid", "mnt", "uts", "ipc", "net", "cgroup", "user"];
    let read = |kind: &&str| fs::read_link(format!("/proc/self/ns/{kind}")).unwrap().display().to_string();
    kinds.iter().map(read).collect::<Vec<_>>().join(" ")
}

/// A real engine of our own, without a network; gone with the value.
struct Engine {
    process: Child,
    dir: tempfile::TempDir,
    cgroup_parent: String,
}

impl Engine {
    /// `None` where there is none installed.
    fn start(cgroup_parent: &str) -> Option<Self> {
        Command::new("dockerd").arg("--version").stdout(Stdio::null()).status().ok()?;
        let dir = tempfile::Builder::new().prefix("skep-engine-").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let log = fs::File::create(at("log")).unwrap();
        fs::write(at("config"), "{}").unwrap();
        let process = Command::new("unshare")
            .args(["--mount", "--net", "--uts", "dockerd", "--bridge", "none", "--iptables=false"])
            .args(["--ip6tables=false", "--storage-driver", "overlay2"])
            .arg(format!("--host=unix://{}", at("sock").display()))
            .arg(format!("--data-root={}", at("root").display()))
            .arg(format!("--exec-root={}", at("exec").display()))
            .arg(format!("--pidfile={}", at("pid").display()))
            .arg(format!("--config-file={}", at("config").display()))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut engine = Self { process, dir, cgroup_parent: cgroup_parent.to_owned() };
        let until = Instant::now() + Duration::from_secs(60);
        while !engine.docker(&["version"]).output().is_ok_and(|output| output.status.success()) {
            let log = || fs::read_to_string(engine.dir.path().join("log")).unwrap_or_default();
            assert!(engine.process.try_wait().unwrap().is_none(), "dockerd has ended:\n{}", log());
            assert!(Instant::now() < until, "dockerd does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        let image = engine.dir.path().join("image.tar");
        fs::write(&image, archive::busybox()).unwrap();
        let loaded = engine.docker(&["load", "-q", "-i"]).arg(image).output().unwrap();
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        Some(engine)
    }

    fn docker(&self, args: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.arg("-H").arg(format!("unix://{}", self.dir.path().join("sock").display())).args(args);
        command
    }

    fn version(&self) -> String {
        let output = self.docker(&["version", "--format", "{{.Server.Version}}"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn look(&self, view: &View, namespaces: &str) -> Vec<String> {
        let output = self
            .docker(&["run", "--rm", "--network", "none", "--cgroup-parent", &self.cgroup_parent])
            .args(["--env", &format!("HOST_NS={namespaces}")])
            .args(view.options)
            .args([support::IMAGE, "sh", "-c", LOOK])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| format!("{}: {line}", view.name)).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}
