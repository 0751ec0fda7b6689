//! Cleanup on a node that is in no swarm (any more): removes containers and records of tasks left from one.
//!
//! Invariant: no agent runs meanwhile, so nothing else manages these containers.

use std::{path::Path, sync::Arc, time::Duration};

use futures::future::join_all;
use skep_common::limits::{LEAVE_GRACE, LEAVE_RELEASE};
use skep_runtime::{Runtime, RuntimeError};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{
    agent::of_task,
    runner::{remove_container, stop_container},
    task_db,
};

/// How long the disk may take to forget the records.
const CLOSING: Duration = Duration::from_secs(1);

/// Stops and removes every container of a task, and the records of tasks in `data_dir`. Takes no longer than
/// [`LEAVE_RELEASE`]; what could not be done by then is said in the log, and done when this is called again.
pub async fn remove_leftovers(runtime: &Arc<dyn Runtime>, data_dir: &Path) {
    match timeout(LEAVE_RELEASE, remove_containers(&**runtime)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "the containers of this node, which is in no swarm, cannot be listed"),
        Err(_) => warn!("not every container of a swarm this node has left could be stopped and removed in time"),
    }
    if timeout(CLOSING, task_db::remove(data_dir)).await.is_err() {
        warn!("the records of tasks of a swarm this node has left could not be removed in time");
    }
}

async fn remove_containers(runtime: &dyn Runtime) -> Result<(), RuntimeError> {
    let containers: Vec<_> = runtime.list().await?.into_iter().filter_map(of_task).map(|(id, _)| id).collect();
    if !containers.is_empty() {
        info!(containers = containers.len(), "removing the containers of a swarm this node has left");
    }
    let removals = containers.iter().map(async |id| {
        stop_container(runtime, id, None, LEAVE_GRACE).await;
        remove_container(runtime, id).await;
    });
    join_all(removals).await;
    Ok(())
}
