//! Waits until a service is as its spec says, and shows it: polls the service, its current tasks and the nodes.
//!
//! The wait also ends when the update it watches has stopped; that is an error. A job is done when it is done: nothing
//! is verified.

mod course;
mod job;
mod tally;

use std::{
    collections::HashSet,
    pin::pin,
    time::{Duration, Instant},
};

use anyhow::Result;
use skep_common::{clock::nanos, limits};
use skep_dockerapi::{
    filters::Filters,
    types::{Service, Task},
};

use self::{
    course::Course,
    job::JobTally,
    tally::{Line, Seen, Tally},
};
use super::super::Context;
use crate::{
    args::WaitArgs,
    client::{Client, ClientError},
    output::{PrintError, Printer, Progress},
};

/// Between two looks.
const PERIOD: Duration = Duration::from_millis(200);

/// A swarm may be without a leader for a moment: looks may fail for so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// The line about the wait after convergence.
const VERIFY: &str = "verify";

/// The line about an update that is undone.
const ROLLBACK: &str = "rollback";

/// Waits, unless the user does not want to.
pub(super) async fn unless_detached(context: &mut Context, key: &str, wait: WaitArgs) -> Result<()> {
    if wait.detach {
        return Ok(());
    }
    let mut display = Display { printer: &mut context.printer, progress: Progress::default(), quiet: wait.quiet };
    watch(&context.client, &mut display, key).await
}

/// What is to be seen at one look.
struct Look {
    service: Service,
    /// Tasks of the service's current version.
    tasks: Vec<Task>,
    /// Nodes that are not down.
    active: HashSet<String>,
}

async fn look(client: &Client, key: &str) -> Result<Look, ClientError> {
    let service = client.service(key).await?;
    let mut filters = Filters::default();
    filters.add("service", service.id.as_str()).add("_up-to-date", "true");
    let tasks = client.tasks(&filters).await?;
    let nodes = client.nodes(&Filters::default()).await?;
    let active = nodes.into_iter().filter(|node| node.status.state != "down").map(|node| node.id).collect();
    Ok(Look { service, tasks, active })
}

async fn watch(client: &Client, display: &mut Display<'_>, key: &str) -> Result<()> {
    let mut interrupted = pin!(tokio::signal::ctrl_c());
    let (mut tally, mut job) = (Tally::default(), JobTally::default());
    let mut course = Course::default();
    let mut converged_since: Option<Instant> = None;
    let mut failing_since: Option<Instant> = None;
    loop {
        match look(client, key).await {
            Ok(look) => {
                failing_since = None;
                let monitor = monitor(&look.service);
                if let Some(begun) = course.follow(look.service.update_status.as_ref(), converged_since.is_some())? {
                    display.say(ROLLBACK, &begun)?;
                }
                if course.is_over() {
                    return Ok(());
                }
                let is_job = look.service.job_status.is_some();
                let Seen { lines, converged } = if is_job {
                    job.observe(&look.service, &look.tasks, &look.active)
                } else {
                    tally.observe(&look.service, &look.tasks, &look.active, course.is_rollback())
                };
                display.show(lines)?;
                if is_job && converged {
                    return Ok(display.remark("job complete")?);
                }
                match (converged, converged_since) {
                    (true, Some(since)) if since.elapsed() >= monitor => {
                        display.say(VERIFY, &format!("Service {key} converged"))?;
                        return course.end().map_or(Ok(()), |end| Ok(display.say(ROLLBACK, end)?));
                    }
                    (true, since) => {
                        let since = *converged_since.insert(since.unwrap_or_else(Instant::now));
                        let left = monitor.saturating_sub(since.elapsed()).as_secs() + 1;
                        display.say(VERIFY, &format!("Waiting {left} seconds to verify that tasks are stable..."))?;
                    }
                    (false, Some(_)) => {
                        converged_since = None;
                        display.say(VERIFY, "Detected task failure")?;
                    }
                    (false, None) => {}
                }
            }
            Err(error) if error.is_not_found() => return Err(error.into()),
            Err(error) => {
                if failing_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                    return Err(error.into());
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            _ = &mut interrupted => {
                if converged_since.is_none() {
                    display.remark("Operation continuing in background.")?;
                    display.remark(&format!("Use `skep service ps {key}` to check progress."))?;
                }
                return Ok(());
            }
        }
    }
}

/// How long tasks must stay up before they count as stable.
fn monitor(service: &Service) -> Duration {
    let monitor = service.spec.update_config.as_ref().map_or(0, |config| config.monitor);
    let monitor = if monitor > 0 { monitor } else { nanos(limits::UPDATE_MONITOR) };
    Duration::from_nanos(monitor.unsigned_abs())
}

/// Where progress is shown, if it is.
struct Display<'a> {
    printer: &'a mut Printer,
    progress: Progress,
    quiet: bool,
}

impl Display<'_> {
    fn show(&mut self, lines: Vec<Line>) -> Result<(), PrintError> {
        for Line { name, text, share } in lines {
            match share {
                _ if self.quiet => {}
                Some(share) => self.progress.step(self.printer, &name, &text, share)?,
                None => self.progress.say(self.printer, &name, &text)?,
            }
        }
        Ok(())
    }

    fn say(&mut self, name: &str, text: &str) -> Result<(), PrintError> {
        if self.quiet { Ok(()) } else { self.progress.say(self.printer, name, text) }
    }

    fn remark(&mut self, text: &str) -> Result<(), PrintError> {
        if self.quiet { Ok(()) } else { self.progress.remark(self.printer, text) }
    }
}
