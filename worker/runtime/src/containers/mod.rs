//! The real runtime: overlayfs, OCI bundles and a shim per container.
//!
//! The state of a container is on disk and in its shim, so that nothing is lost with this process; the table here is restored
//! from there when the runtime is opened, and kept up to date by one watcher per running container.

mod adopt;
mod disk_watch;
mod entry;
mod lifecycle;
mod paths;
mod prepare;
mod record;
mod runtime;
mod shim_client;
mod watch;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use skep_common::disk_space::DiskLevel;
use skep_shim::program::Program;
use tokio::sync::{Semaphore, watch::Sender};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{entry::ContainerEntry, paths::Paths};
use crate::{
    RuntimeConfig, RuntimeError,
    bundle::{Accounts, Filters, Host},
    image::ImageStore,
};

/// Shims being started at once. A start mostly waits for the kernel's cgroup locks, so more than there are processors.
const STARTS: usize = 16;
/// Locks that keep two calls for one container apart.
const STRIPES: usize = 64;

/// The containers and images under one data root.
pub struct Containers {
    inner: Arc<Inner>,
    /// Ends the watchers, and nothing else: containers run on.
    _stop: DropGuard,
}

/// What the calls and the watchers share.
struct Inner {
    config: RuntimeConfig,
    shim_program: Program,
    paths: Paths,
    host: Host,
    filters: Filters,
    images: Arc<ImageStore>,
    /// By image ID; what an image says never changes.
    accounts: Mutex<HashMap<String, Arc<Accounts>>>,
    entries: Mutex<BTreeMap<String, Arc<ContainerEntry>>>,
    stripes: Vec<tokio::sync::Mutex<()>>,
    starts: Semaphore,
    disk: Sender<DiskLevel>,
    stop: CancellationToken,
}

impl Containers {
    /// Opens or makes the directories, clears away what a crash left half made, and takes up the containers that are
    /// there, running or ended meanwhile.
    ///
    /// # Errors
    /// [`RuntimeError::Storage`].
    pub async fn open(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        let stop = CancellationToken::new();
        let token = stop.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let paths = Paths::create(&config)?;
            let shim_program = Program::read_only(&config.shim_program)
                .map_err(|error| storage("cannot make the shims' program read-only", &error))?;
            Ok(Inner {
                shim_program,
                images: Arc::new(ImageStore::open(paths.images())?),
                host: Host::detect(),
                filters: Filters::default(),
                accounts: Mutex::default(),
                entries: Mutex::default(),
                stripes: std::iter::repeat_with(tokio::sync::Mutex::default).take(STRIPES).collect(),
                starts: Semaphore::new(STARTS),
                disk: Sender::new(DiskLevel::Plenty),
                stop: token,
                paths,
                config,
            })
        });
        let inner = Arc::new(finished(opened.await)?);
        adopt::adopt(&inner).await?;
        disk_watch::spawn(&inner);
        Ok(Self { inner, _stop: stop.drop_guard() })
    }
}

impl Inner {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ContainerEntry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn entry(&self, id: &str) -> Result<Arc<ContainerEntry>, RuntimeError> {
        self.entries().get(id).cloned().ok_or_else(|| RuntimeError::NoSuchContainer(id.to_owned()))
    }

    /// The lock of a container's id, whether there is such a container or not.
    fn stripe(&self, id: &str) -> &tokio::sync::Mutex<()> {
        let sum = id.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        &self.stripes[sum % STRIPES]
    }
}

/// The result of a task that ran beside its caller.
fn finished<T>(joined: Result<Result<T, RuntimeError>, tokio::task::JoinError>) -> Result<T, RuntimeError> {
    joined.unwrap_or_else(|error| Err(RuntimeError::Storage(format!("the runtime is going down: {error}"))))
}

/// The disk or the kernel refused.
fn storage(what: &str, error: &std::io::Error) -> RuntimeError {
    RuntimeError::Storage(format!("{what}: {error}"))
}
