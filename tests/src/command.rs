//! Running a program and waiting for a condition.

use std::{
    ffi::OsStr,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// What a program said and how it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Whether it exited with 0.
    pub ok: bool,
    /// Standard output, without the last newline.
    pub stdout: String,
    /// Standard error, without the last newline.
    pub stderr: String,
}

impl Outcome {
    /// Standard output of a program that must have succeeded.
    pub fn success(self) -> Result<String> {
        if !self.ok {
            bail!("failed: {}\n{}", self.stderr, self.stdout);
        }
        Ok(self.stdout)
    }

    /// Standard error of a program that must have failed.
    pub fn refusal(self) -> Result<String> {
        if self.ok {
            bail!("succeeded, though it must be refused: {}", self.stdout);
        }
        Ok(self.stderr)
    }
}

/// Runs `program` to its end.
pub fn run<S: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = S>, env: &[(&str, &str)]) -> Result<Outcome> {
    let output = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
    Ok(Outcome { ok: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) })
}

/// Asks `probe` until it gives `Some`, at most for a minute; its last error (or `what`) is the failure's text.
pub fn until<T>(what: &str, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    const LIMIT: Duration = Duration::from_secs(60);
    let started = Instant::now();
    loop {
        let last = match probe() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if started.elapsed() > LIMIT {
            return match last {
                Some(error) => Err(error.context(format!("waited for: {what}"))),
                None => bail!("waited in vain for: {what}"),
            };
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
