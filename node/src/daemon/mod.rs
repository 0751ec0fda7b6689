//! The daemon: starts what a node is made of, in order, and stops it in the other order.
//!
//! Owns the lock on the data root. Containers belong to their shims: nothing here stops one.

mod address;
mod certificates;
mod enroll;
mod facts;
mod generic_resources;
mod local_swarm;
mod manager_backend;
mod member;
mod options;
mod record;
mod socket;
mod supervise;
mod troubles;

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use rustix::fs::{FlockOperation, flock};
use skep_common::limits::STOP_LIMIT;
use skep_runtime::{Containers, Runtime, RuntimeConfig};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

pub use self::{
    facts::ENGINE_VERSION,
    generic_resources::{GenericResourceError, parse_generic_resources},
    options::{DaemonError, DaemonOptions, ServerLimits},
};
use self::{local_swarm::LocalSwarm, socket::HostSocket};
use crate::api::{self, backend::ApiState};

/// Runs the daemon until `stop` is cancelled, then lets what is under way finish: in bounded time, whatever state it is in.
///
/// # Errors
/// When it cannot start; see [`DaemonError`].
pub async fn run(options: DaemonOptions, stop: CancellationToken) -> Result<(), DaemonError> {
    end_on_panic();
    let _lock = lock(&options.data_root)?;
    make_dir(&options.exec_root)?;
    let host =
        facts::gather(&options).map_err(|source| DaemonError::Directory { path: options.data_root.clone(), source })?;
    let mut runtime = RuntimeConfig::new(&options.data_root, &options.exec_root);
    runtime.shim_args.extend(options.shim_args.iter().cloned());
    let Some(containers) = stop.run_until_cancelled(Containers::open(runtime)).await else { return Ok(()) };
    let containers = containers.map_err(|error| DaemonError::Runtime(error.to_string()))?;
    let runtime: Arc<dyn Runtime> = Arc::new(containers);
    let swarm = LocalSwarm::open(&options.data_root, Arc::clone(&runtime), host.description.clone(), options.limits)?;

    let state = ApiState { cluster: Arc::new(swarm.clone()), runtime, host: Arc::new(host) };
    let servers = TaskTracker::new();
    let mut sockets = Vec::new();
    for name in &options.hosts {
        sockets.push((name, HostSocket::bind(name).await?));
    }
    for (name, socket) in sockets {
        let (state, stop, name) = (state.clone(), stop.clone(), name.clone());
        servers.spawn(async move {
            info!(host = name, "the Docker Engine API is served");
            api::serve(&socket.listener, state, stop).await;
        });
    }
    servers.close();
    stop.cancelled().await;
    info!("the daemon stops; containers run on");
    swarm.stop();
    servers.wait().await;
    if timeout(STOP_LIMIT, swarm.shutdown()).await.is_err() {
        warn!(
            "not everything could be closed in time; the daemon ends as it is, and the next one goes on from what is on disk"
        );
    }
    Ok(())
}

/// A part that panicked has left its work half done, and others wait for it for ever: better to end and be started again.
/// Only the agent's database is allowed to: what it held is put aside and rebuilt.
fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        if !skep_worker::panic_is_contained() {
            std::process::abort();
        }
    }));
}

/// Makes the data root and takes it for this process.
fn lock(data_root: &Path) -> Result<File, DaemonError> {
    make_dir(data_root)?;
    let path = data_root.join("lock");
    let file = File::create(&path).map_err(|source| DaemonError::Directory { path: path.clone(), source })?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DaemonError::Locked(data_root.to_owned())),
        Err(errno) => Err(DaemonError::Directory { path, source: errno.into() }),
    }
}

fn make_dir(path: &Path) -> Result<(), DaemonError> {
    fs::create_dir_all(path).map_err(|source| DaemonError::Directory { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_root_has_one_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(DaemonError::Locked(_))));
        drop(first);
        lock(dir.path()).unwrap();
    }
}
