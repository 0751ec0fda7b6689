//! `skep service run` and `skep service runs`.

use anyhow::Result;
use skep_dockerapi::{time::Time, types::JobRun};

use super::super::Context;
use crate::output::{
    Table,
    text::capitalized,
    units::{ago, now},
};

/// Begins a run of a job.
pub(super) async fn begin(context: &mut Context, key: &str) -> Result<()> {
    context.client.service_run(key).await?;
    Ok(context.printer.line(key)?)
}

/// Shows the runs of a scheduled job, the newest first.
pub(super) async fn list(context: &mut Context, key: &str) -> Result<()> {
    let runs = context.client.service_runs(key).await?;
    Ok(context.printer.text(table(&runs, now()).to_string())?)
}

fn table(runs: &[JobRun], now: Time) -> Table {
    let mut table = Table::new(&["RUN", "SCHEDULED", "STARTED", "FINISHED", "OUTCOME"]);
    for run in runs.iter().rev() {
        let scheduled =
            if run.scheduled_at == Time::default() { "on request".to_owned() } else { run.scheduled_at.to_string() };
        let finished =
            if run.finished_at == Time::default() { String::new() } else { ago(run.finished_at, now).to_lowercase() };
        table.row([
            // The API counts from 0, as Docker does; people, and what is said of runs elsewhere, from 1.
            run.iteration.saturating_add(1).to_string(),
            scheduled,
            ago(run.started_at, now).to_lowercase(),
            finished,
            capitalized(&run.outcome),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_run_is_on_top() {
        let second = |seconds: i64| Time(seconds * 1_000_000_000);
        let runs = [
            JobRun {
                iteration: 6,
                scheduled_at: second(60),
                started_at: second(61),
                finished_at: second(65),
                outcome: "failed".into(),
            },
            JobRun { iteration: 7, started_at: second(90), outcome: "running".into(), ..JobRun::default() },
        ];
        let expected = "\
RUN       SCHEDULED              STARTED          FINISHED         OUTCOME
8         on request             10 seconds ago                    Running
7         1970-01-01T00:01:00Z   39 seconds ago   35 seconds ago   Failed
";
        assert_eq!(table(&runs, second(100)).to_string(), expected);
    }
}
