//! Images that attack whoever runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "only tests use it")]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use skep_proto::v1::ContainerSpec;
use skep_runtime::{Runtime as _, RuntimeError};
use support::{
    World,
    archive::{Image, Tar, busybox_layer},
    command, shell,
};

/// Where the C library looks for its modules.
const LIBRARY_DIRS: [&str; 4] = ["lib", "lib64", "usr/lib", "usr/lib/x86_64-linux-gnu"];
/// What every one of them would be asked for.
const MODULES: [&str; 4] = ["libnss_evil.so.2", "libnss_files.so.2", "libgcc_s.so.1", "libnss_compat.so.2"];
/// Leaves `/marker` with the privileges of whoever loads it.
const MODULE: &str = r#"
#include <fcntl.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
    char text[4096];
    int from = open("/proc/self/status", O_RDONLY), to = open("/marker", O_WRONLY | O_CREAT, 0666);
    long count = from < 0 ? 0 : read(from, text, sizeof text);
    if (count > 0) count = write(to, text, count);
}
"#;
/// Where the C library's loader is.
const LOADERS: [(&str, &str); 2] = [("lib64", "ld-linux-x86-64.so.2"), ("lib", "ld-linux-aarch64.so.1")];
/// Runs in a process of whichever program asks for it, and says why that program's file cannot be overwritten.
const LOADER: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/syscall.h>
static long call(long number, long a, long b, long c, long d) {
    long result;
#ifdef __x86_64__
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
#else
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c, x3 __asm__("x3") = d;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    result = x0;
#endif
    return result;
}
void start(void) {
    long file = call(SYS_openat, AT_FDCWD, (long)"/proc/self/exe", O_WRONLY | O_TRUNC, 0);
    call(SYS_exit_group, file < 0 ? -file : 0, 0, 0, 0);
}
"#;
/// Does what springs the trap.
const VICTIM: &str = r#"
#include <pwd.h>
#include <unistd.h>
int main(int count, char **args) {
    if (count < 2 || chroot(args[1]) || chdir("/")) return 1;
    getpwuid(4242);
    return 0;
}
"#;

fn compile(dir: &Path, source: &str, args: &[&str]) -> PathBuf {
    let (from, to) = (dir.join("source.c"), dir.join("made"));
    fs::write(&from, source).unwrap();
    let made = Command::new("cc").args(args).arg(&from).arg("-o").arg(&to).status().unwrap();
    assert!(made.success(), "cc");
    to
}

/// A layer whose library is asked whenever a program in it asks for a user.
fn trap(module: &[u8]) -> Tar {
    let mut tar = Tar::default().file("etc/nsswitch.conf", b"passwd: evil files\ngroup: evil files\nhosts: evil\n");
    for dir in LIBRARY_DIRS {
        tar = tar.dir(dir, 0o755);
        for name in MODULES {
            tar = tar.file_with_mode(&format!("{dir}/{name}"), module, 0o755);
        }
    }
    tar
}

/// A device that nothing but its container's isolation keeps a program from: disks may be closed to this whole machine.
fn device_open_to_the_host() -> &'static str {
    let dir = tempfile::tempdir().unwrap();
    let node = dir.path().join("node");
    let opens = |device: &&str| {
        let _ = fs::remove_file(&node);
        let made = Command::new("mknod").arg(&node).args(device.split(' ')).status().unwrap();
        made.success() && fs::File::open(&node).is_ok()
    };
    ["c 10 229", "c 10 200", "c 10 237", "c 1 11"].into_iter().find(opens).expect("a device that can be opened")
}

#[tokio::test]
async fn nothing_of_an_image_is_loaded_before_the_container_is_isolated() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let module = fs::read(compile(dir.path(), MODULE, &["-shared", "-fPIC"])).unwrap();
    let layer = trap(&module).finish();

    // The trap springs for who is careless.
    let root = dir.path().join("root");
    tar::Archive::new(layer.as_slice()).unpack(&root).unwrap();
    let victim = compile(dir.path(), VICTIM, &[]);
    assert!(Command::new(victim).arg(&root).status().unwrap().success());
    assert!(root.join("marker").exists(), "the module is no trap");

    let mut image = Image::of(vec![busybox_layer(), layer]);
    image.config["config"]["Env"] = serde_json::json!(["PATH=/bin"]);
    world.load(image.docker_save(&["skep/trap:1"]).finish()).await;
    let container = |id: &str, spec: ContainerSpec| {
        let mut container = shell(id, "echo $HOME");
        container.container =
            ContainerSpec { image: "skep/trap:1".into(), command: container.container.command, ..spec };
        container
    };
    let homeless = ContainerSpec { env: vec!["HOME".into()], ..ContainerSpec::default() };
    let table = [
        ("plain", ContainerSpec::default(), "/root\n"),
        ("homeless", homeless, "/root\n"),
        ("empty", ContainerSpec { env: vec!["HOME=".into()], ..ContainerSpec::default() }, "/root\n"),
        ("unknown", ContainerSpec { user: "4242".into(), ..ContainerSpec::default() }, "/\n"),
        ("known", ContainerSpec { user: "1000".into(), ..ContainerSpec::default() }, "/home\n"),
        ("init", ContainerSpec { init: Some(true), ..ContainerSpec::default() }, "/root\n"),
    ];
    for (id, spec, home) in table {
        let (text, exit) = world.output(&container(id, spec)).await;
        assert_eq!((text.as_str(), exit.code), (home, 0), "{id}");
        let marker = fs::read_to_string(world.bundle(id).join("upper/marker"));
        assert!(marker.is_err(), "{id}: loaded by a process with\n{}", marker.unwrap_or_default());
    }
}

#[tokio::test]
async fn an_image_that_runs_our_program_under_its_own_loader_cannot_write_to_it() {
    let world = World::new().await;
    let dir = tempfile::tempdir().unwrap();
    let args = ["-shared", "-fPIC", "-O1", "-nostdlib", "-fno-stack-protector", "-Wl,-e,start"];
    let loader = fs::read(compile(dir.path(), LOADER, &args)).unwrap();
    let layer = LOADERS.iter().fold(Tar::default(), |tar, (dir, name)| {
        tar.dir(dir, 0o755).file_with_mode(&format!("{dir}/{name}"), &loader, 0o755)
    });
    world.load(Image::of(vec![busybox_layer(), layer.finish()]).docker_save(&["skep/loader:1"]).finish()).await;
    let mut container = command("loader", &["/proc/self/exe"]);
    container.container.image = "skep/loader:1".into();
    // Not ETXTBSY, which ends with the last process that runs the program.
    let read_only = Errno::EROFS as i32;
    assert_eq!(world.output(&container).await.1.code, read_only);
}

#[tokio::test]
async fn an_image_whose_directories_lead_outside_is_refused() {
    let world = World::new().await;
    let outside = tempfile::tempdir().unwrap();
    for name in ["dev", "proc", "sys"] {
        // The image has what the link names too, so that whoever resolves it within the image is content.
        let within = outside.path().strip_prefix("/").unwrap().to_str().unwrap();
        let layer = Tar::default().symlink(name, &format!("/{within}")).dir(within, 0o755).finish();
        let tag = format!("skep/link-{name}:1");
        world.load(Image::of(vec![busybox_layer(), layer]).docker_save(&[&tag]).finish()).await;
        let mut container = shell(name, "true");
        container.container.image = tag;
        world.containers.prepare(&container).await.unwrap();
        let refused = world.containers.start(name).await;
        let reason = format!("cannot build on the container's file system: /{name} of the image is not a directory");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{name} has led outside");
        assert_eq!(refused, Err(RuntimeError::StartFailed(reason)));
    }
}

#[tokio::test]
async fn another_mount_of_the_hosts_cgroups_unlocks_no_device() {
    let elsewhere = tempfile::tempdir().unwrap();
    // Of this thread alone, which is the one that starts shims.
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
    mount("cgroup2", elsewhere.path(), "cgroup2", MountFlags::empty(), c"").unwrap();
    let world = World::new().await;
    let device = device_open_to_the_host();
    let (text, _) = world.script("devices", &format!("mknod /tmp/it {device} && true </tmp/it")).await;
    assert_eq!(text, "E:sh: can't open /tmp/it: Operation not permitted\n", "{device}");
    unmount(elsewhere.path(), UnmountFlags::DETACH).unwrap();
}
