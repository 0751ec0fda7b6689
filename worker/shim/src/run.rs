//! The life of a shim, from its arguments to its end.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cgroup::{self, Cgroup},
    cgroup_view,
    container::{self, Started},
    detach,
    exit::ExitRecord,
    json_log::JsonLog,
    keeper::{self, Keeper},
    lock::{self, Lock},
    plan::{Network, Plan},
    protocol::StartReport,
    rootfs, timestamp,
};

/// How long what is left of an ended container may take to go away.
const CLEANUP_PATIENCE: Duration = Duration::from_secs(5);
/// How soon this process is killed when memory runs out.
const SCORE: &str = "/proc/self/oom_score_adj";
/// A dead shim takes its container with it. Not everywhere may root lower the score.
const LAST_TO_DIE: &str = "-999";

/// What `skep shim …` is: becomes the container's keeper and never returns. To be called first thing in `main`,
/// while the process has one thread and no open file. `args` are the arguments after `shim`:
/// `--bundle DIR` with the container's `config.json` and `shim.json`, and `--dir DIR`, empty, for the shim's own files.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ! {
    // It was started by the number of a file, and would have that for its name.
    let _ = rustix::thread::set_name(c"skep-shim");
    let code = match Arguments::parse(args) {
        Some(arguments) => run(&arguments),
        None => 2,
    };
    std::process::exit(code)
}

struct Arguments {
    bundle: PathBuf,
    dir: PathBuf,
}

impl Arguments {
    fn parse(args: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let (mut bundle, mut dir) = (None, None);
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            let value = PathBuf::from(args.next()?);
            match name.to_str() {
                Some("--bundle") => bundle = Some(value),
                Some("--dir") => dir = Some(value),
                _ => return None,
            }
        }
        Some(Self { bundle: bundle?, dir: dir? })
    }
}

fn run(arguments: &Arguments) -> i32 {
    let Ok(report) = detach::streams() else { return 1 };
    // Without the lock another shim has this container, without the claim a daemon has given it up for lost: nothing
    // here is ours to touch.
    let Ok(lock) = Lock::take(&arguments.dir) else { return 1 };
    if !lock::claim(&arguments.dir).unwrap_or(false) {
        return 1;
    }
    let plan = match Plan::load(&arguments.bundle) {
        Ok(plan) => plan,
        Err(error) => {
            tell(report, &StartReport::Failed(refused("cannot read the plan", &error)));
            return 1;
        }
    };
    let record = match start(&plan, arguments) {
        Ok((started, keeper)) => {
            tell(report, &StartReport::Started(started));
            keeper.keep()
        }
        Err(record) => {
            // A record that cannot be written leaves the daemon to find a dead shim: a failure all the same.
            let _ = record.keep(&arguments.dir, &arguments.bundle);
            tell(report, &StartReport::Failed(record.clone()));
            record
        }
    };

    // What does not go in time is left to who removes the container: the end must not wait for it.
    if let Ok(cgroup) = Cgroup::of(&plan.cgroup) {
        let _ = cgroup.destroy(CLEANUP_PATIENCE);
    }
    let _ = fs::remove_dir_all(container::state_dir(&arguments.dir));
    drop(lock);
    i32::from(record.error.is_some())
}

fn start(plan: &Plan, arguments: &Arguments) -> Result<(crate::protocol::Running, Keeper), ExitRecord> {
    let parent = PathBuf::from(&plan.cgroup).parent().map(PathBuf::from).unwrap_or_default();
    detach::process(&parent).map_err(|error| refused("cannot detach the container's shim", &error))?;
    if plan.network == Network::Own {
        detach::network(&arguments.dir)
            .map_err(|error| refused("cannot make the container's network namespace", &error))?;
    }
    let root = arguments.bundle.join("rootfs");
    rootfs::mount_overlay(&plan.rootfs, &root)
        .map_err(|error| refused("cannot mount the container's file system", &error))?;
    rootfs::ensure_foundations(&root)
        .map_err(|error| refused("cannot build on the container's file system", &error))?;
    rootfs::ensure_dir(&root, plan.workdir.as_ref())
        .map_err(|error| refused("cannot make the working directory", &error))?;
    let cgroup = cgroup(plan, &arguments.dir).map_err(|error| refused("cannot make the container's cgroup", &error))?;

    let listener = keeper::listen(&arguments.dir).map_err(|error| refused("cannot listen for the daemon", &error))?;
    let own_score = fs::read(SCORE).unwrap_or_default();
    let started: Started = container::start(plan, &cgroup, &arguments.bundle, &arguments.dir)?;
    // The start has given the shim its container's score.
    let _ = fs::write(SCORE, LAST_TO_DIE).or_else(|_| fs::write(SCORE, own_score));
    let running = started.running;
    let log = plan.log.clone().map(JsonLog::open);
    let keeper = Keeper::new(started, log, listener, (arguments.dir.clone(), arguments.bundle.clone()), cgroup)
        .map_err(|error| refused("cannot watch the container", &error))?;
    Ok((running, keeper))
}

/// The container's cgroup and what it will see of it. Version 2 is left to libcontainer: it hands the controllers down
/// only to a cgroup it has made itself.
fn cgroup(plan: &Plan, dir: &Path) -> io::Result<Cgroup> {
    let cgroup = Cgroup::of(&plan.cgroup)?;
    if !cgroup::is_unified()? {
        cgroup.make()?;
        cgroup_view::make(&cgroup, dir)?;
    }
    Ok(cgroup)
}

/// The end of a container that could not be started.
fn refused(what: &str, error: &io::Error) -> ExitRecord {
    ExitRecord::new(128, false, timestamp::now(), Some(format!("{what}: {error}")))
}

/// Nobody may be left to read it; the container runs on.
fn tell(mut report: File, what: &StartReport) {
    if let Ok(mut line) = serde_json::to_vec(what) {
        line.push(b'\n');
        let _ = report.write_all(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directories_are_needed_and_nothing_else_is_taken() {
        let parse = |args: &[&str]| {
            let parsed = Arguments::parse(args.iter().map(OsString::from));
            parsed.map(|arguments| (arguments.bundle, arguments.dir))
        };
        let both = Some((PathBuf::from("/b"), PathBuf::from("/d")));
        assert_eq!(parse(&["--bundle", "/b", "--dir", "/d"]), both);
        assert_eq!(parse(&["--dir", "/d", "--bundle", "/b"]), both);
        for args in [
            &[][..],
            &["--bundle", "/b"],
            &["--dir", "/d"],
            &["--bundle", "/b", "--dir"],
            &["--bundle", "/b", "--dir", "/d", "--more", "/m"],
        ] {
            assert_eq!(parse(args), None, "{args:?}");
        }
    }

    #[test]
    fn a_start_that_failed_says_what_did() {
        let record = refused("cannot read the plan", &io::Error::other("it is torn"));
        assert_eq!((record.code, record.oom), (128, false));
        assert_eq!(record.error.as_deref(), Some("cannot read the plan: it is torn"));
    }
}
