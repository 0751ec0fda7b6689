//! Waits until no task is left on a node.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use skep_dockerapi::{filters::Filters, types::Task};

use super::super::{Context, names::Names};
use crate::{args::GoDuration, output::Progress};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(200);

/// A swarm may be without a leader for a moment: looks may fail for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// States in which a task is over, whatever is wanted of it.
const OVER: [&str; 6] = ["complete", "shutdown", "failed", "rejected", "remove", "orphaned"];

/// The line about the tasks that are left.
const LEFT: &str = "tasks left";

/// Waits until every task of the node is over, for ever or so long.
///
/// # Errors
/// When the time is over: names the tasks that are left.
pub(super) async fn wait(context: &mut Context, node: &str, timeout: Option<GoDuration>) -> Result<()> {
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let deadline = timeout.map(|timeout| Instant::now() + Duration::from_nanos(timeout.0.unsigned_abs()));
    let mut filters = Filters::default();
    filters.add("node", node);
    let mut progress = Progress::default();
    let mut failing_since: Option<Instant> = None;
    loop {
        match context.client.tasks(&filters).await {
            Ok(tasks) => {
                failing_since = None;
                let left: Vec<Task> = tasks.into_iter().filter(is_left).collect();
                progress.say(&mut context.printer, LEFT, &left.len().to_string())?;
                if left.is_empty() {
                    return Ok(());
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    bail!("not drained in time, these tasks are left: {}", names(context, &left).await?.join(", "));
                }
            }
            Err(error) if failing_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE => {
                return Err(error.into());
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            _ = &mut interrupted => return Ok(progress.remark(&mut context.printer, "The drain goes on in the background.")?),
        }
    }
}

/// Neither over nor free of the node: wanted there, or still running.
fn is_left(task: &Task) -> bool {
    !OVER.contains(&task.status.state.as_str())
}

async fn names(context: &Context, tasks: &[Task]) -> Result<Vec<String>> {
    let mut known = Names::new(&context.client, false);
    let mut names = Vec::with_capacity(tasks.len());
    for task in tasks {
        names.push(known.task(task).await?);
    }
    names.sort();
    Ok(names)
}
