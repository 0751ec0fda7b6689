//! Start, stop and removal of one container.

use std::{
    fs::{DirBuilder, OpenOptions},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use skep_shim::{
    cgroup::Cgroup,
    lock,
    protocol::{Reply, Request, StartReport},
};
use tokio::{
    io::{AsyncReadExt as _, BufReader},
    process::{Child, Command},
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::{
    Inner,
    entry::{ContainerEntry, Phase, exit_of},
    finished,
    prepare::STARTED,
    record::Record,
    shim_client::ShimClient,
    storage, watch,
};
use crate::{RuntimeError, Signal, file_tree::remove_tree};

/// How long a shim may take to start its container; after that its fate is the watcher's.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// The longest start report that is read.
const MAX_REPORT: u64 = 64 * 1024;
/// How long the processes of a container whose shim was killed may take to die.
const DEATH_PATIENCE: Duration = Duration::from_secs(20);
/// How long the cgroup of an ended container may take to empty.
const CGROUP_PATIENCE: Duration = Duration::from_secs(10);
/// How long the shim of an ended container may take to clean up and go.
const GOODBYE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(5);

impl Inner {
    /// See [`crate::Runtime::start`]. The caller holds the container's stripe.
    pub(super) async fn start(self: &Arc<Self>, id: &str) -> Result<u32, RuntimeError> {
        let entry = self.entry(id)?;
        if entry.phase() != Phase::Created {
            return Err(RuntimeError::AlreadyStarted(id.to_owned()));
        }
        let turn = self.starts.acquire().await;
        let (inner, marked) = (Arc::clone(self), id.to_owned());
        let marked = spawn_blocking(move || {
            inner.mark_started(&marked).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => RuntimeError::AlreadyStarted(marked),
                _ => storage("cannot start the container", &error),
            })
        });
        finished(marked.await)?;
        entry.set(Phase::Starting);
        let spawned = self.spawn_shim(id);
        let (shim, report) = match spawned {
            Ok(mut shim) => {
                let report = timeout(START_PATIENCE, read_report(&mut shim)).await;
                (Some(shim), report.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())))
            }
            Err(error) => (None, Err(error)),
        };
        drop(turn);

        let result = match report {
            Ok(StartReport::Started(running)) => {
                debug!(container = id, task = entry.record.task(), pid = running.pid, "started");
                entry.set(Phase::Running(running));
                Ok(running.pid)
            }
            Ok(StartReport::Failed(record)) => {
                let reason = record.error.clone().unwrap_or_default();
                entry.set(Phase::Exited(exit_of(record)));
                Err(RuntimeError::StartFailed(reason))
            }
            Err(error) => {
                warn!(container = id, task = entry.record.task(), %error, "a shim did not report its start");
                Err(RuntimeError::StartFailed(format!("the container's shim failed: {error}")))
            }
        };
        watch::spawn(self, &entry, shim);
        result
    }

    /// Writes down that there will be no other start, and makes room for the shim.
    fn mark_started(&self, id: &str) -> io::Result<()> {
        OpenOptions::new().write(true).create_new(true).open(self.paths.bundle(id).join(STARTED))?;
        let dir = self.paths.shim(id);
        remove_tree(&dir)?;
        DirBuilder::new().mode(0o700).create(dir)
    }

    fn spawn_shim(&self, id: &str) -> io::Result<Child> {
        Command::new(self.shim_program.path())
            .arg0("skep")
            .args(&self.config.shim_args)
            .arg("--bundle")
            .arg(self.paths.bundle(id))
            .arg("--dir")
            .arg(self.paths.shim(id))
            .current_dir("/")
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(false)
            .spawn()
    }

    /// See [`crate::Runtime::stop`].
    pub(super) async fn stop(&self, id: &str, signal: Option<Signal>, grace: Duration) -> Result<(), RuntimeError> {
        let entry = self.entry(id)?;
        let patience = self.config.shim_patience;
        let phase = timeout(patience, entry.until(|phase| *phase != Phase::Starting)).await;
        if matches!(phase, Ok(Phase::Created | Phase::Exited(_) | Phase::Removed)) {
            return Ok(());
        }
        let signal = signal.map_or(entry.record.stop_signal, Signal::number);
        match self.ask_to_stop(id, signal, grace).await {
            Ok(()) => {
                if timeout(grace.saturating_add(patience), entry.until(Phase::is_over)).await.is_ok() {
                    return Ok(());
                }
                warn!(container = id, task = entry.record.task(), "a shim does not end its container, killing both");
            }
            // A shim that is gone is the watcher's; one that is there and does not answer, or does not understand, can
            // only be killed.
            Err(error) => {
                warn!(container = id, task = entry.record.task(), %error, "a shim cannot be asked, killing it and its container");
            }
        }
        let dir = self.paths.shim(id);
        let killed = spawn_blocking(move || {
            lock::kill_holder(&dir).map_err(|error| storage("cannot kill the container's shim", &error))
        });
        finished(killed.await)?;
        // The watcher finds a dead shim and ends what it kept.
        match timeout(DEATH_PATIENCE, entry.until(Phase::is_over)).await {
            Ok(_) => Ok(()),
            Err(_) => {
                let error = io::Error::new(io::ErrorKind::TimedOut, "its processes do not die");
                Err(storage("cannot stop the container", &error))
            }
        }
    }

    async fn ask_to_stop(&self, id: &str, signal: i32, grace: Duration) -> io::Result<()> {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let mut shim = ShimClient::connect(&self.paths.shim(id), self.config.shim_patience).await?;
        match shim.ask(Request::Stop { signal, grace_ms }).await? {
            Reply::Refused(reason) => Err(io::Error::other(reason)),
            _ => Ok(()),
        }
    }

    /// See [`crate::Runtime::remove`]. The caller holds the container's stripe.
    pub(super) async fn remove(self: &Arc<Self>, id: &str) -> Result<(), RuntimeError> {
        let Ok(entry) = self.entry(id) else { return Ok(()) };
        self.stop(id, Some(Signal::KILL), Duration::ZERO).await?;
        self.until_shim_gone(id).await?;
        let (inner, id) = (Arc::clone(self), id.to_owned());
        let removed = spawn_blocking(move || {
            inner.delete(&id, &entry).map_err(|error| storage("cannot remove the container", &error))
        });
        finished(removed.await)
    }

    async fn until_shim_gone(&self, id: &str) -> Result<(), RuntimeError> {
        let gone = async {
            let held = |dir: PathBuf| async move { spawn_blocking(move || lock::is_held(&dir)).await? };
            while held(self.paths.shim(id)).await? {
                sleep(PAUSE).await;
            }
            Ok(())
        };
        let waited: Result<io::Result<()>, _> = timeout(GOODBYE, gone).await;
        waited
            .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "its shim does not go away")))
            .map_err(|error| storage("cannot remove the container", &error))
    }

    fn delete(&self, id: &str, entry: &ContainerEntry) -> io::Result<()> {
        let bundle = self.paths.bundle(id);
        // Its shim may have given up on it.
        Cgroup::of(&entry.record.cgroup)?.destroy(CGROUP_PATIENCE)?;
        Record::delete(&bundle)?;
        self.entries().remove(id);
        entry.set(Phase::Removed);
        for dir in [bundle, self.paths.shim(id)] {
            remove_tree(&dir)?;
        }
        Ok(())
    }
}

/// Reads the shim's first line: it closes the stream after it.
async fn read_report(shim: &mut Child) -> io::Result<StartReport> {
    let stdout = shim.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let mut report = Vec::new();
    BufReader::new(stdout).take(MAX_REPORT).read_to_end(&mut report).await?;
    if report.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ended without a word"));
    }
    Ok(serde_json::from_slice(&report)?)
}
