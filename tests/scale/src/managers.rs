//! The managers' processes, as the parent has them: started, asked, killed.

use std::{ffi::OsStr, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::{manager::Report, subprocess::Subprocess, usage::Usage};

/// How long a manager may take to become a member, or to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// A profile that is being made. Dropping it asks perf to finish its file.
pub(crate) struct Profile(Child);

impl Drop for Profile {
    fn drop(&mut self) {
        if let Some(pid) = self.0.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
            // It may have failed, and said so.
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

/// A running manager. Dropping it kills its process.
pub(crate) struct ManagerProcess {
    pub(crate) addr: String,
    process: Subprocess,
}

impl ManagerProcess {
    /// Starts a manager in `dir`: the first of a new swarm, or one that joins the manager at `join` with the identity that is
    /// there. Returns once it is a member.
    pub(crate) async fn start(dir: &Path, join: Option<&str>) -> Result<Self> {
        let join = join.map(|remote| ["--join".as_ref(), OsStr::new(remote)]);
        let arguments = ["manager".as_ref(), dir.as_os_str()].into_iter().chain(join.into_iter().flatten());
        let mut process = Subprocess::start(arguments)?;
        let line = process.answer(PATIENCE).await?;
        match line.strip_prefix("ready ") {
            Some(addr) => Ok(Self { addr: addr.to_owned(), process }),
            None => bail!("a manager says {line:?}"),
        }
    }

    /// How it stands now.
    pub(crate) async fn report(&mut self) -> Result<Report> {
        self.process.say("report").await?;
        self.process.answer(PATIENCE).await?.parse()
    }

    /// What its process has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        self.process.usage()
    }

    /// Samples where its process spends its time, into a file, until the profile is dropped.
    pub(crate) fn profile(&self, file: &Path) -> Result<Profile> {
        let mut command = Command::new("perf");
        // The release build has no frame pointers and no debugging information, but it can be unwound.
        command.args(["record", "--quiet", "--freq", "49", "--call-graph", "dwarf,8192", "--output"]);
        command.arg(file).args(["--pid", &self.process.pid.to_string()]).stdin(Stdio::null());
        Ok(Profile(command.spawn().context("perf cannot be started: install linux-perf, or run without --profile")?))
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }
}
