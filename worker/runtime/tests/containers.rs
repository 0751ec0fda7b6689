//! Real containers: how they run and how they end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests use it")]

mod support;

use std::{fs, time::Duration};

use serde_json::json;
use skep_proto::v1::{LogOptions, NetworkMode, ResourceRequirements, Resources, Ulimit};
use skep_runtime::{ContainerSpecification, Runtime as _, RuntimeError, Signal, Status};
use support::{
    World, alive,
    archive::{Image, Tar, busybox_layer},
    command, has_controllers, kill9, parent, shell, until_dead,
};

#[tokio::test]
async fn exit_codes_are_those_of_the_command() {
    let world = World::new().await;
    for (id, script, code) in [("ok", "true", 0), ("three", "exit 3", 3), ("killed", "kill -9 $$", 137)] {
        // A first process cannot kill itself: the shell that does is its child.
        let script = if id == "killed" { format!("sh -c '{script}'; exit $?") } else { script.to_owned() };
        let exit = world.run(&shell(id, &script)).await;
        assert_eq!((exit.code, exit.oom, exit.error), (code, false, None), "{id}");
    }
}

#[tokio::test]
async fn a_command_that_cannot_run_is_told_as_in_docker() {
    let world = World::new().await;
    let table = [
        ("missing", "nothing", "exec: \"nothing\": executable file not found in $PATH", 127),
        ("path", "/no/where", "exec: \"/no/where\": no such file or directory", 127),
        ("denied", "/etc/passwd", "exec: \"/etc/passwd\": permission denied", 126),
    ];
    for (id, program, reason, code) in table {
        let container = command(id, &[program]);
        world.containers.prepare(&container).await.unwrap();
        let error = world.containers.start(id).await.unwrap_err();
        assert_eq!(error, RuntimeError::StartFailed(reason.to_owned()));
        let exit = world.containers.wait(id).await.unwrap();
        assert_eq!((exit.code, exit.error.as_deref()), (code, Some(reason)));
        world.containers.remove(id).await.unwrap();
        assert!(world.cgroups(id).is_empty());
    }
}

#[tokio::test]
async fn what_is_odd_about_an_image_works_or_is_told_in_one_sentence() {
    let world = World::new().await;
    let links = Tar::default().symlink("new", "//made/here").symlink("old", "//etc").finish();
    for (n, (config, expected)) in [
        (json!({ "WorkingDir": "/new" }), Ok("/made/here /root")),
        (json!({ "WorkingDir": "//old/" }), Ok("/etc /root")),
        (
            json!({ "WorkingDir": "/etc/passwd" }),
            Err("cannot make the working directory: /etc/passwd is not a directory"),
        ),
        (
            json!({ "WorkingDir": "tmp" }),
            Err("the working directory 'tmp' is invalid, it needs to be an absolute path"),
        ),
        (json!({ "Env": ["=x"] }), Err("invalid environment variable: =x")),
        (json!({ "Env": ["HOME=a=b", "PATH=/bin"] }), Ok("/ a=b")),
        (json!({ "Env": ["HOME=\u{1}é", "PATH=/bin"] }), Ok("/ \u{1}é")),
        (json!({ "Env": ["HOME", "PATH=/bin"] }), Ok("/ /root")),
        (json!({ "Env": ["HOME=a\0b"] }), Err("invalid environment variable: HOME=a\\0b")),
        (json!({ "StopSignal": "SIGFOO" }), Err("Invalid signal: SIGFOO")),
        (json!({ "User": "nobody" }), Err("unable to find user nobody: no matching entries in passwd file")),
    ]
    .into_iter()
    .enumerate()
    {
        let (id, tag) = (format!("odd{n}"), format!("odd:{n}"));
        let mut image = Image::of(vec![busybox_layer(), links.clone()]);
        image.config["config"] = config.clone();
        world.load(image.docker_save(&[&tag]).finish()).await;
        let mut container = shell(&id, "echo $(pwd -P) $HOME");
        container.container.image = tag;
        let started = async {
            world.containers.prepare(&container).await?;
            world.containers.start(&id).await
        };
        match (started.await, expected) {
            (Ok(_), Ok(printed)) => {
                assert_eq!(world.containers.wait(&id).await.unwrap().code, 0, "{config}");
                assert_eq!(world.log(&id, LogOptions::default()).await, format!("{printed}\n"), "{config}");
            }
            (Err(error), Err(sentence)) => assert_eq!(error.to_string(), sentence, "{config}"),
            (started, expected) => panic!("{config}: {started:?}, expected {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_container_is_started_once_ever() {
    let world = World::new().await;
    let container = shell("once", "exit 0");
    let wait = world.containers.wait("once").await;
    assert_eq!(wait, Err(RuntimeError::NoSuchContainer("once".into())));
    world.containers.prepare(&container).await.unwrap();
    world.containers.prepare(&container).await.unwrap();
    assert_eq!(world.containers.wait("once").await, Err(RuntimeError::NotStarted("once".into())));
    world.containers.start("once").await.unwrap();
    let again = RuntimeError::AlreadyStarted("once".into());
    assert_eq!(world.containers.start("once").await, Err(again.clone()));
    world.containers.wait("once").await.unwrap();
    assert_eq!(world.containers.start("once").await, Err(again.clone()));
    assert_eq!(world.containers.prepare(&container).await, Err(again));
}

#[tokio::test]
async fn stop_asks_and_then_kills() {
    let world = World::new().await;
    let polite = shell("polite", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done");
    world.start(&polite).await;
    world.until_logged("polite", "ready").await;
    world.containers.stop("polite", None, Duration::from_secs(30)).await.unwrap();
    assert_eq!(world.containers.wait("polite").await.unwrap().code, 5);

    let deaf = shell("deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done");
    world.start(&deaf).await;
    world.until_logged("deaf", "ready").await;
    world.containers.stop("deaf", None, Duration::from_millis(100)).await.unwrap();
    assert_eq!(world.containers.wait("deaf").await.unwrap().code, 137);

    let mut quit = shell("quit", "trap 'exit 6' QUIT; echo ready; while :; do sleep 0.05; done");
    quit.container.stop_signal = "SIGQUIT".into();
    world.start(&quit).await;
    world.until_logged("quit", "ready").await;
    world.containers.stop("quit", None, Duration::from_secs(30)).await.unwrap();
    assert_eq!(world.containers.wait("quit").await.unwrap().code, 6);
    world.containers.stop("quit", Some(Signal::TERM), Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn output_is_kept_line_by_line() {
    let world = World::new().await;
    let script = "echo one; echo two >&2; echo three; printf four";
    let exit = world.run(&shell("lines", script)).await;
    assert_eq!(exit.code, 0);
    let only = |stdout, stderr| LogOptions { stdout, stderr, ..LogOptions::default() };
    assert_eq!(world.log("lines", only(true, false)).await, "one\nthree\nfour");
    assert_eq!(world.log("lines", only(false, true)).await, "E:two\n");
    let tail = LogOptions { tail: Some(1), stdout: true, ..LogOptions::default() };
    assert_eq!(world.log("lines", tail).await, "four");
    let raw = fs::read_to_string(world.bundle("lines").join("container.log")).unwrap();
    assert!(raw.starts_with("{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\"20"), "{raw}");
}

#[tokio::test]
async fn a_large_log_is_kept_within_its_bounds() {
    let world = World::new().await;
    let mut container = shell("much", "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done");
    let options = [("max-size", "20k"), ("max-file", "3")];
    container.log_driver.options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let (text, exit) = world.output(&container).await;
    assert_eq!(exit.code, 0);
    let numbers: Vec<u32> = text.lines().map(|line| line.strip_prefix("line ").unwrap().parse().unwrap()).collect();
    assert_eq!(numbers.last(), Some(&2999));
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "no line is lost or repeated");
    let files = fs::read_dir(world.bundle("much")).unwrap();
    let logs = files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("container.log"));
    assert_eq!(logs.count(), 3);
}

#[tokio::test]
async fn memory_beyond_the_limit_is_an_oom_kill() {
    let world = World::new().await;
    let mut container = command("greedy", &["tail", "/dev/zero"]);
    let limits = Resources { memory_bytes: 16 << 20, ..Resources::default() };
    container.resources = ResourceRequirements { limits: Some(limits), ..ResourceRequirements::default() };
    if !has_controllers(&["memory"]) {
        return assert_unlimited_is_refused(&world, &container).await;
    }
    let exit = world.run(&container).await;
    assert_eq!((exit.code, exit.oom), (137, true));
}

/// Where the kernel has no controller to hold a limit, the container does not run without.
async fn assert_unlimited_is_refused(world: &World, container: &ContainerSpecification) {
    world.containers.prepare(container).await.unwrap();
    let refused = world.containers.start(&container.id).await.unwrap_err().to_string();
    assert!(refused.contains("cgroup"), "{refused}");
    assert!(matches!(world.containers.list().await.unwrap()[0].status, Status::Exited(_)));
}

#[tokio::test]
async fn limits_are_in_the_cgroup() {
    let world = World::new().await;
    let mut container = shell("limited", "ulimit -n; echo ready; sleep 1000");
    let limits = Resources { nano_cpus: 500_000_000, memory_bytes: 32 << 20, ..Default::default() };
    container.resources = ResourceRequirements { limits: Some(limits), pids_limit: 77, ..Default::default() };
    container.container.ulimits = vec![Ulimit { name: "nofile".into(), soft: 333, hard: 333 }];
    container.container.oom_score_adj = 123;
    if !has_controllers(&["cpu", "memory", "pids"]) {
        return assert_unlimited_is_refused(&world, &container).await;
    }
    let pid = world.start(&container).await;
    world.until_logged("limited", "ready").await;
    assert!(world.log("limited", LogOptions::default()).await.starts_with("333\n"));

    let cgroups = world.cgroups("limited");
    let value = |v1: &str, v2: &str| {
        let read = |file: &str| cgroups.iter().find_map(|dir| fs::read_to_string(dir.join(file)).ok());
        read(v1).or_else(|| read(v2)).unwrap().trim().to_owned()
    };
    assert_eq!(value("memory.limit_in_bytes", "memory.max"), (32 << 20).to_string());
    assert_eq!(value("pids.max", "pids.max"), "77");
    assert!(["50000", "50000 100000"].contains(&value("cpu.cfs_quota_us", "cpu.max").as_str()));
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim(), "123");
    let shim = fs::read_to_string(format!("/proc/{}/oom_score_adj", parent(pid))).unwrap();
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert!(shim.trim() == "-999" || shim == own, "the shim does not keep its container's score {shim}");
}

#[tokio::test]
async fn a_container_is_its_own_world() {
    let world = World::new().await;
    let script = "
        echo pid $$
        echo caps $(grep CapEff /proc/self/status | cut -f2)
        echo seccomp $(grep Seccomp: /proc/self/status | cut -f2)
        echo lo $(cat /sys/class/net/lo/flags) of $(ls /sys/class/net | wc -l)
        echo name $(hostname) $HOSTNAME $(cat /etc/hostname)
        echo image $FROM_IMAGE home $HOME in $(pwd)
        echo mounts $(grep -c skep-runtime /proc/mounts)
        touch /tmp/x && chown 1:1 /tmp/x && echo chown ok
        mount -t tmpfs none /tmp 2>/dev/null || echo mount denied
        unshare -m true 2>/dev/null || echo unshare denied
        mknod /tmp/sda b 8 0 && ! cat /tmp/sda 2>/dev/null && echo device denied
        echo 1 2>/dev/null >/proc/sys/kernel/sysrq || echo proc sys denied
        [ -s /proc/kcore ] || echo kcore hidden
        touch /sys/x 2>/dev/null || echo sys denied
        ping -c1 -W1 127.0.0.1 >/dev/null && echo loopback answers
        kill -9 1; echo still here
        exit 7";
    let (text, exit) = world.script("inside0123456789", script).await;
    assert_eq!(exit.code, 7, "{text}");
    for line in [
        "pid 1",
        "caps 00000000a80425fb",
        "seccomp 2",
        "lo 0x9 of 1",
        "name inside012345 inside012345 inside012345",
        "image yes home /root in /",
        "chown ok",
        "mount denied",
        "unshare denied",
        "device denied",
        "proc sys denied",
        "kcore hidden",
        "sys denied",
        "loopback answers",
        "still here",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is not in:\n{text}");
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(world.root().to_str().unwrap()), "the host sees none of its mounts");
}

#[tokio::test]
async fn the_hosts_network_is_shared_when_asked() {
    let world = World::new().await;
    let mut container = shell("host", "readlink /proc/self/ns/net; hostname");
    container.network = NetworkMode::Host;
    let (text, _) = world.output(&container).await;
    let host = fs::read_link("/proc/self/ns/net").unwrap();
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(text, format!("{}\n{name}", host.display()));
}

#[tokio::test]
async fn who_where_and_with_what_come_from_specification_and_image() {
    let world = World::new().await;
    let mut container = shell(
        "asked",
        "id -u; id -g; id -G; pwd; echo $A $FROM_IMAGE; grep db /etc/hosts; sysctl -n net.ipv4.ip_forward",
    );
    container.container.user = "web".into();
    container.container.dir = "/made/for/me".into();
    container.container.env = vec!["A=b".into(), "FROM_IMAGE".into()];
    container.container.hosts = vec!["10.9.8.7 db".into()];
    container.container.sysctls = [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into();
    let (text, exit) = world.output(&container).await;
    assert_eq!((text.as_str(), exit.code), ("1000\n1001\n1001 4\n/made/for/me\nb\n10.9.8.7\tdb\n1\n", 0));

    container.id = "nobody".into();
    container.container.user = "nobody".into();
    let refused = world.containers.prepare(&container).await.unwrap_err();
    assert_eq!(refused.to_string(), "unable to find user nobody: no matching entries in passwd file");
    assert!(refused.is_permanent());
    assert!(!world.bundle("nobody").exists());
}

#[tokio::test]
async fn a_read_only_root_and_dropped_capabilities_hold() {
    let world = World::new().await;
    let mut container = shell("strict", "touch /x; chown 1 /dev/shm; echo done");
    container.container.read_only = true;
    container.container.capability_drop = vec!["ALL".into()];
    let (text, _) = world.output(&container).await;
    assert!(text.contains("E:touch: /x: Read-only file system"), "{text}");
    assert!(text.contains("E:chown: /dev/shm: Operation not permitted"), "{text}");
    assert!(text.contains("done"));
}

#[tokio::test]
async fn an_init_reaps_and_forwards() {
    let world = World::new().await;
    let script = "echo me $$; (sleep 0.01 &) ; sleep 0.3; grep -l 'State:.Z' /proc/[0-9]*/status | wc -l; trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    let mut container = shell("init", script);
    container.container.init = Some(true);
    world.start(&container).await;
    world.until_logged("init", "ready").await;
    world.containers.stop("init", None, Duration::from_secs(30)).await.unwrap();
    let text = world.log("init", LogOptions { stdout: true, ..LogOptions::default() }).await;
    assert_eq!(text, "me 2\n0\nready\n");
    assert_eq!(world.containers.wait("init").await.unwrap().code, 9);
}

#[tokio::test]
async fn real_time_signals_are_signals_too() {
    let world = World::new().await;
    let mut container = command("dies", &["sleep", "1000"]);
    container.container.init = Some(true);
    world.start(&container).await;
    world.containers.stop("dies", Some("RTMIN+1".parse().unwrap()), Duration::from_secs(30)).await.unwrap();
    assert_eq!(world.containers.wait("dies").await.unwrap().code, 128 + 35);

    let mut container = shell("hears", "trap 'exit 8' 40; echo ready; while :; do sleep 0.05; done");
    container.container.init = Some(true);
    world.start(&container).await;
    world.until_logged("hears", "ready").await;
    world.containers.stop("hears", Some("40".parse().unwrap()), Duration::from_secs(30)).await.unwrap();
    assert_eq!(world.containers.wait("hears").await.unwrap().code, 8);
}

#[tokio::test]
async fn any_user_may_open_its_streams_by_name() {
    let world = World::new().await;
    let script = "id -G; echo out >/dev/stdout; echo err >/dev/stderr";
    let mut container = shell("pipes", script);
    container.container.user = "1000:2000".into();
    container.container.groups = vec!["3000".into()];
    let (text, exit) = world.output(&container).await;
    assert_eq!((text.as_str(), exit.code), ("2000 3000\nout\nE:err\n", 0));

    container.id = "tty".into();
    container.container.tty = true;
    let (text, exit) = world.output(&container).await;
    assert_eq!((text.as_str(), exit.code), ("2000 3000\r\nout\r\nerr\r\n", 0));
}

#[tokio::test]
async fn a_terminal_is_one_inside() {
    let world = World::new().await;
    let mut container = shell("tty", "tty; [ -t 0 ] && [ -t 1 ] && echo terminal $TERM");
    container.container.tty = true;
    let (text, exit) = world.output(&container).await;
    assert_eq!((text.as_str(), exit.code), ("/dev/pts/0\r\nterminal xterm\r\n", 0));
}

#[tokio::test]
async fn a_terminal_nobody_has_open_for_a_while_is_still_one() {
    let world = World::new().await;
    let script = "echo one; exec </dev/null >/dev/null 2>&1; sleep 0.3; echo two >/dev/console";
    let mut container = shell("reopened", script);
    container.container.tty = true;
    let (text, exit) = world.output(&container).await;
    assert_eq!((text.as_str(), exit.code), ("one\r\ntwo\r\n", 0));
}

#[tokio::test]
async fn removal_leaves_nothing() {
    let world = World::new().await;
    let pid = world.start(&shell("gone", "touch /made; sleep 1000")).await;
    assert!(!world.cgroups("gone").is_empty());
    let shim = parent(pid);
    world.containers.remove("gone").await.unwrap();
    until_dead(pid).await;
    until_dead(shim).await;
    assert!(world.cgroups("gone").is_empty());
    assert!(!world.bundle("gone").exists() && !world.root().join("exec/shims/gone").exists());
    assert!(world.containers.list().await.unwrap().is_empty());
    assert_eq!(world.containers.wait("gone").await, Err(RuntimeError::NoSuchContainer("gone".into())));
    world.containers.remove("gone").await.unwrap();
}

#[tokio::test]
async fn a_shim_that_is_killed_takes_its_container_along_and_is_noticed() {
    let world = World::new().await;
    let pid = world.start(&shell("lost", "sleep 1000 & sleep 1000")).await;
    kill9(parent(pid));
    let exit = world.containers.wait("lost").await.unwrap();
    assert_eq!(exit.code, 255);
    assert!(exit.error.unwrap().contains("its shim was killed"));
    until_dead(pid).await;
    assert!(world.cgroups("lost").is_empty());
    world.containers.remove("lost").await.unwrap();
}

#[tokio::test]
async fn another_daemon_takes_up_what_the_last_one_left() {
    let world = World::new().await;
    let running =
        world.start(&shell("stays", "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.05; done")).await;
    world.until_logged("stays", "ready").await;
    world.run(&shell("ended", "exit 3")).await;
    world.containers.prepare(&shell("waiting", "exit 0")).await.unwrap();
    fs::create_dir(world.bundle("half")).unwrap();

    let world = world.restart().await;
    let states = world.containers.list().await.unwrap();
    let status = |id: &str| states.iter().find(|state| state.id == id).map(|state| state.status.clone());
    assert!(matches!(status("stays"), Some(Status::Running { pid, .. }) if pid == running));
    assert!(matches!(status("ended"), Some(Status::Exited(exit)) if exit.code == 3));
    assert_eq!(status("waiting"), Some(Status::Created));
    assert_eq!(status("half"), None);
    assert!(!world.bundle("half").exists());
    assert_eq!(states.iter().find(|state| state.id == "stays").unwrap().task_id(), Some("stays"));

    world.containers.stop("stays", None, Duration::from_secs(30)).await.unwrap();
    assert_eq!(world.containers.wait("stays").await.unwrap().code, 4);
    assert_eq!(world.log("stays", LogOptions::default()).await, "ready\nbye\n");
    world.containers.start("waiting").await.unwrap();
    assert_eq!(world.containers.wait("waiting").await.unwrap().code, 0);
}

#[tokio::test]
async fn a_daemon_killed_with_all_its_cgroup_leaves_its_containers() {
    use std::io::BufRead as _;
    let world = World::new().await;
    let own = format!("{}-daemon", world.cgroup_parent());
    let cgroup = skep_shim::cgroup::Cgroup::of(&own).unwrap();
    // Process managers kill by these two hierarchies.
    let join = format!(
        "for root in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
             [ -e $root/cgroup.procs ] && mkdir $root/{own} && echo $$ >$root/{own}/cgroup.procs
         done; exec \"$@\""
    );
    let mut daemon = std::process::Command::new("sh")
        .args(["-c", &join, "sh", env!("CARGO_BIN_EXE_skep-test-daemon"), "run"])
        .arg(world.root())
        .args([support::IMAGE, "orphan", "sh", "-c", "echo ready; sleep 0.5; echo after; exit 11"])
        .env("CGROUP_PARENT", world.cgroup_parent())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let pid: u32 = line.trim().parse().unwrap();
    assert_eq!(cgroup.processes(), [i32::try_from(daemon.id()).unwrap()], "the shim has moved out");
    kill9(daemon.id());
    daemon.wait().unwrap();
    cgroup.destroy(Duration::from_secs(10)).unwrap();
    assert!(alive(pid));

    let world = world.restart().await;
    assert_eq!(world.containers.wait("orphan").await.unwrap().code, 11);
    assert_eq!(world.log("orphan", LogOptions::default()).await, "ready\nafter\n");
}

#[tokio::test]
async fn many_containers_at_once() {
    let world = World::new().await;
    let containers: Vec<_> = (0..24).map(|n| shell(&format!("many{n}"), &format!("exit {n}"))).collect();
    let exits = futures::future::join_all(containers.iter().map(|container| world.run(container))).await;
    let codes: Vec<i32> = exits.iter().map(|exit| exit.code).collect();
    assert_eq!(codes, (0..24).collect::<Vec<_>>());
    futures::future::join_all(containers.iter().map(|container| world.containers.remove(&container.id))).await;
    assert!(world.containers.list().await.unwrap().is_empty());
}
