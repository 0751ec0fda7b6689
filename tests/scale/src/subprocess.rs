//! This program again, as a process of its own that is spoken to in lines.

use std::{ffi::OsStr, process::Stdio, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::usage::Usage;

/// A running process. Dropping it kills it.
pub(crate) struct Subprocess {
    pub(crate) pid: u32,
    child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Subprocess {
    /// Starts this program with these arguments.
    pub(crate) fn start(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().context("cannot start a process")?;
        let pid = child.id().context("a process ended at once")?;
        let questions = child.stdin.take().context("no way to a process")?;
        let answers = BufReader::new(child.stdout.take().context("no way from a process")?).lines();
        Ok(Self { pid, child, questions, answers })
    }

    /// Says a line to it.
    pub(crate) async fn say(&mut self, line: &str) -> Result<()> {
        self.questions.write_all(format!("{line}\n").as_bytes()).await.context("a process is gone")
    }

    /// The next line it says.
    pub(crate) async fn answer(&mut self, patience: Duration) -> Result<String> {
        let line = timeout(patience, self.answers.next_line()).await.context("a process does not answer")?;
        line?.context("a process has ended")
    }

    /// What it has used so far.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid)
    }

    /// Kills it with SIGKILL and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Ends its standard input, which tells it to end, and waits until it has; kills it when it does not.
    pub(crate) async fn end(self, patience: Duration) -> Result<()> {
        let Self { mut child, questions, .. } = self;
        drop(questions);
        match timeout(patience, child.wait()).await {
            Ok(ended) => ended.map(drop)?,
            Err(_) => child.kill().await?,
        }
        Ok(())
    }
}
