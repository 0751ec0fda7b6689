//! A runtime without containers, for tests of what stands on one: it does what its script says.
//!
//! Owns its containers in memory. A clone is the same runtime, so a test can "kill" an agent and hand the clone
//! to the next one, as shims outlive the daemon.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use skep_common::{clock::Clock, disk_space::DiskLevel};
use skep_proto::v1::{LogOptions, LogRecord, LogStream as Side};
use tokio::{io::AsyncReadExt as _, sync::watch, time::sleep};

use crate::{
    ArchiveReader, ContainerSpecification, ContainerState, Details, Exit, Image, LoadedImage, LogStream, Runtime,
    RuntimeError, Signal, Status, image::Defaults,
};

/// How containers of an image behave.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// How long preparing takes.
    pub prepare_takes: Duration,
    /// Why preparing fails.
    pub prepare_error: Option<RuntimeError>,
    /// Why starting fails.
    pub start_error: Option<String>,
    /// How long it runs by itself; `None` = until it is stopped.
    pub run_for: Option<Duration>,
    /// The exit code when it ends by itself.
    pub exit_code: i32,
    /// Whether ending by itself is an OOM kill.
    pub oom: bool,
    /// The exit code when it is asked to end; `None` = it does not listen and is killed after the grace (137).
    pub stop_code: Option<i32>,
}

impl Default for Behaviour {
    /// Starts at once, runs for ever, ends with 0 when asked.
    fn default() -> Self {
        Self {
            prepare_takes: Duration::ZERO,
            prepare_error: None,
            start_error: None,
            run_for: None,
            exit_code: 0,
            oom: false,
            stop_code: Some(0),
        }
    }
}

struct MockContainer {
    state: ContainerState,
    behaviour: Behaviour,
    log: Vec<LogRecord>,
}

#[derive(Default)]
struct World {
    default: Behaviour,
    by_image: BTreeMap<String, Behaviour>,
    containers: BTreeMap<String, MockContainer>,
    images: BTreeMap<String, Image>,
    image_config: Vec<u8>,
    starts: BTreeMap<String, u32>,
    next_pid: u32,
}

/// The scripted runtime.
#[derive(Clone)]
pub struct MockRuntime {
    world: Arc<Mutex<World>>,
    changes: watch::Sender<u64>,
    disk: watch::Sender<DiskLevel>,
    clock: Arc<dyn Clock>,
}

impl MockRuntime {
    /// A runtime whose containers all behave as [`Behaviour::default`]; times come from `clock`, waits from tokio.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            world: Arc::default(),
            changes: watch::Sender::new(0),
            disk: watch::Sender::new(DiskLevel::Plenty),
            clock,
        }
    }

    /// Sets how containers behave whose image has no script of its own. Containers made before keep theirs.
    pub fn behave(&self, behaviour: Behaviour) {
        self.world().default = behaviour;
    }

    /// Sets how containers of `image` (as the specification names it) behave.
    pub fn behave_for(&self, image: &str, behaviour: Behaviour) {
        self.world().by_image.insert(image.to_owned(), behaviour);
    }

    /// Sets what [`Runtime::image_config`] gives, for every image.
    pub fn configure_images(&self, config: impl Into<Vec<u8>>) {
        self.world().image_config = config.into();
    }

    /// Ends a running container now; false when it is not running.
    pub fn exit(&self, id: &str, code: i32, oom: bool) -> bool {
        let at = self.clock.now();
        self.end(id, Exit { code, oom, at, error: None })
    }

    /// Sets what the room on the disk means.
    pub fn set_disk(&self, level: DiskLevel) {
        self.disk.send_replace(level);
    }

    /// Appends a line to a container's log.
    pub fn write_log(&self, id: &str, stream: Side, line: &str) {
        let timestamp = self.clock.now().0;
        if let Some(held) = self.world().containers.get_mut(id) {
            let data = format!("{line}\n").into_bytes();
            held.log.push(LogRecord { stream: stream.into(), timestamp, data, attrs: BTreeMap::new() });
        }
        self.changed();
    }

    /// How often each container id was started, removed ones too: a second start is a fault of the caller.
    #[must_use]
    pub fn starts(&self) -> BTreeMap<String, u32> {
        self.world().starts.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    fn end(&self, id: &str, exit: Exit) -> bool {
        let ended = match self.world().containers.get_mut(id) {
            Some(held) if matches!(held.state.status, Status::Running { .. }) => {
                held.state.status = Status::Exited(exit);
                true
            }
            _ => false,
        };
        self.changed();
        ended
    }

    fn status(&self, id: &str) -> Result<Status, RuntimeError> {
        let world = self.world();
        let held = world.containers.get(id).ok_or_else(|| RuntimeError::NoSuchContainer(id.to_owned()))?;
        Ok(held.state.status.clone())
    }
}

#[async_trait]
impl Runtime for MockRuntime {
    async fn prepare(&self, container: &ContainerSpecification) -> Result<(), RuntimeError> {
        let image = &container.container.image;
        let behaviour = {
            let world = self.world();
            world.by_image.get(image).unwrap_or(&world.default).clone()
        };
        sleep(behaviour.prepare_takes).await;
        if let Some(error) = behaviour.prepare_error {
            return Err(error);
        }
        let spec = &container.container;
        let details = Details::new(container, &Defaults::default(), &spec.env, &spec.hostname);
        let state = ContainerState {
            id: container.id.clone(),
            name: container.name.clone(),
            image: image.clone(),
            image_id: self.world().images.get(image).map(|image| image.id.clone()).unwrap_or_default(),
            command: container.container.command.iter().chain(&container.container.args).cloned().collect(),
            labels: container.labels.clone(),
            created: self.clock.now(),
            details: Arc::new(details),
            directory: PathBuf::from("/containers").join(&container.id),
            log: Some(PathBuf::from("/containers").join(&container.id).join("log")),
            layers: Vec::new(),
            status: Status::Created,
        };
        let mut world = self.world();
        match world.containers.get(&container.id) {
            Some(held) if held.state.status != Status::Created => {
                return Err(RuntimeError::AlreadyStarted(container.id.clone()));
            }
            Some(_) => {}
            None => {
                world.containers.insert(container.id.clone(), MockContainer { state, behaviour, log: Vec::new() });
            }
        }
        drop(world);
        self.changed();
        Ok(())
    }

    async fn start(&self, id: &str) -> Result<u32, RuntimeError> {
        let started = self.clock.now();
        let (pid, run_for, exit) = {
            let mut world = self.world();
            world.next_pid += 1;
            let pid = 1000 + world.next_pid;
            *world.starts.entry(id.to_owned()).or_default() += 1;
            let held = world.containers.get_mut(id).ok_or_else(|| RuntimeError::NoSuchContainer(id.to_owned()))?;
            if held.state.status != Status::Created {
                return Err(RuntimeError::AlreadyStarted(id.to_owned()));
            }
            if let Some(reason) = held.behaviour.start_error.clone() {
                let error = Some(reason.clone());
                held.state.status = Status::Exited(Exit { code: 127, oom: false, at: started, error });
                return Err(RuntimeError::StartFailed(reason));
            }
            held.state.status = Status::Running { pid, started };
            (pid, held.behaviour.run_for, (held.behaviour.exit_code, held.behaviour.oom))
        };
        self.changed();
        if let Some(run_for) = run_for {
            let (runtime, id) = (self.clone(), id.to_owned());
            tokio::spawn(async move {
                sleep(run_for).await;
                runtime.exit(&id, exit.0, exit.1);
            });
        }
        Ok(pid)
    }

    async fn wait(&self, id: &str) -> Result<Exit, RuntimeError> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.mark_unchanged();
            match self.status(id)? {
                Status::Exited(exit) => return Ok(exit),
                Status::Created => return Err(RuntimeError::NotStarted(id.to_owned())),
                Status::Running { .. } => {}
            }
            // The sender lives in self.
            let _ = changes.changed().await;
        }
    }

    async fn stop(&self, id: &str, signal: Option<Signal>, grace: Duration) -> Result<(), RuntimeError> {
        if !matches!(self.status(id)?, Status::Running { .. }) {
            return Ok(());
        }
        let listens = self.world().containers.get(id).and_then(|held| held.behaviour.stop_code);
        match listens {
            Some(code) if signal != Some(Signal::KILL) => {
                self.exit(id, code, false);
            }
            _ => {
                let _ = tokio::time::timeout(grace, self.wait(id)).await;
                self.exit(id, 137, false);
            }
        }
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.world().containers.remove(id);
        self.changed();
        Ok(())
    }

    async fn list(&self) -> Result<Vec<ContainerState>, RuntimeError> {
        Ok(self.world().containers.values().map(|held| held.state.clone()).collect())
    }

    async fn logs(&self, id: &str, options: LogOptions) -> Result<LogStream, RuntimeError> {
        self.status(id)?;
        let both = options.stdout == options.stderr;
        let wanted = move |record: &LogRecord| {
            let side = if record.stream() == Side::Stdout { options.stdout } else { options.stderr };
            (both || side)
                && record.timestamp >= options.since
                && (options.until == 0 || record.timestamp <= options.until)
        };
        let world = self.world();
        let (mut lines, seen): (Vec<LogRecord>, usize) = world
            .containers
            .get(id)
            .map(|held| (held.log.iter().filter(|record| wanted(record)).cloned().collect(), held.log.len()))
            .unwrap_or_default();
        drop(world);
        if let Some(tail) = options.tail {
            let skip = lines.len().saturating_sub(usize::try_from(tail).unwrap_or(usize::MAX));
            lines.drain(..skip);
        }
        let past = futures::stream::iter(lines.into_iter().map(Ok));
        if !options.follow {
            return Ok(Box::pin(past));
        }
        let cursor = (self.clone(), self.changes.subscribe(), id.to_owned(), seen);
        let live = futures::stream::unfold(cursor, move |(runtime, mut changes, id, mut seen)| async move {
            loop {
                changes.mark_unchanged();
                let (next, running) = match runtime.world().containers.get(&id) {
                    Some(held) => (held.log.get(seen).cloned(), !matches!(held.state.status, Status::Exited(_))),
                    None => (None, false),
                };
                match next {
                    Some(record) => {
                        seen += 1;
                        if wanted(&record) {
                            return Some((Ok(record), (runtime, changes, id, seen)));
                        }
                    }
                    None if !running => return None,
                    None => {
                        let _ = changes.changed().await;
                    }
                }
            }
        });
        Ok(Box::pin(futures::StreamExt::chain(past, live)))
    }

    /// The archive of a mock is a list of image names, one a line.
    async fn load_archive(&self, mut archive: ArchiveReader<'_>) -> Result<Vec<LoadedImage>, RuntimeError> {
        let mut names = String::new();
        archive.read_to_string(&mut names).await.map_err(|e| RuntimeError::InvalidArchive(e.to_string()))?;
        let created = self.clock.now();
        let mut world = self.world();
        let mut loaded = Vec::new();
        for name in names.lines() {
            let id = format!("sha256:{}", crate::container_id_of_task(name));
            let tags = vec![name.to_owned()];
            loaded.push(LoadedImage { id: id.clone(), tags: tags.clone() });
            let image = Image {
                digest: id.clone(),
                id,
                tags,
                created: Some(created),
                size: 0,
                architecture: "amd64".into(),
                os: "linux".into(),
                labels: BTreeMap::new(),
                layers: vec!["/layers/a".into(), "/layers/b".into()],
            };
            world.images.insert(name.to_owned(), image);
        }
        Ok(loaded)
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        Ok(self.world().images.values().cloned().collect())
    }

    async fn image(&self, reference: &str) -> Result<Image, RuntimeError> {
        let world = self.world();
        world.images.get(reference).cloned().ok_or_else(|| RuntimeError::NoSuchImage(reference.to_owned()))
    }

    fn disk(&self) -> watch::Receiver<DiskLevel> {
        self.disk.subscribe()
    }

    async fn image_config(&self, reference: &str) -> Result<Vec<u8>, RuntimeError> {
        self.image(reference).await?;
        let config = self.world().image_config.clone();
        Ok(if config.is_empty() { b"{}".to_vec() } else { config })
    }
}
