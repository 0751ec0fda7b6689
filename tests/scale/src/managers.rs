//! The managers' processes, as the parent has them: started, asked, killed.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::{manager::Report, usage::Usage};

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
    pid: u32,
    child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl ManagerProcess {
    /// Starts a manager in `dir`: the first of a new swarm, or one that joins the manager at `join` with the identity that is
    /// there. Returns once it is a member.
    pub(crate) async fn start(dir: &Path, join: Option<&str>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("manager").arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        if let Some(remote) = join {
            command.args(["--join", remote]);
        }
        let mut child = command.spawn().context("cannot start a manager")?;
        let pid = child.id().context("the manager ended at once")?;
        let questions = child.stdin.take().context("no way to the manager")?;
        let answers = BufReader::new(child.stdout.take().context("no way from the manager")?).lines();
        let mut manager = Self { addr: String::new(), pid, child, questions, answers };
        let line = manager.answer().await?;
        match line.strip_prefix("ready ") {
            Some(addr) => addr.clone_into(&mut manager.addr),
            None => bail!("a manager says {line:?}"),
        }
        Ok(manager)
    }

    /// How it stands now.
    pub(crate) async fn report(&mut self) -> Result<Report> {
        self.questions.write_all(b"report\n").await.context("a manager is gone")?;
        self.answer().await?.parse()
    }

    /// What its process has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid)
    }

    /// Samples where its process spends its time, into a file, until the profile is dropped.
    pub(crate) fn profile(&self, file: &Path) -> Result<Profile> {
        let mut command = Command::new("perf");
        // The release build has no frame pointers and no debugging information, but it can be unwound.
        command.args(["record", "--quiet", "--freq", "49", "--call-graph", "dwarf,8192", "--output"]);
        command.arg(file).args(["--pid", &self.pid.to_string()]).stdin(Stdio::null());
        Ok(Profile(command.spawn().context("perf cannot be started: install linux-perf, or run without --profile")?))
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    async fn answer(&mut self) -> Result<String> {
        let line = timeout(PATIENCE, self.answers.next_line()).await.context("a manager does not answer")?;
        line?.context("a manager has ended")
    }
}
