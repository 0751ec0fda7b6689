//! The conversations of one session. Each goes on until it fails, and ends with why.

use std::{future::Future, time::Duration};

use skep_common::{
    clock::duration,
    limits::{HEARTBEAT_PERIOD, MIN_HEARTBEAT_PERIOD, MISSED_HEARTBEATS, RPC_DEADLINE},
    net::backoff::Backoff,
};
use skep_proto::v1::{AssignmentsRequest, HeartbeatRequest, UpdateTaskStatusRequest};
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tonic::{Code, Response, Status};
use tracing::{info, warn};

use super::Client;
use crate::{agent::AgentHandle, node_message::NodeMessage, reporter::Reporter};

/// Waits before the assignments are asked for again after a gap.
const FIRST_GAP: Duration = Duration::from_millis(10);
const LAST_GAP: Duration = Duration::from_secs(1);

/// The heartbeats, on a task that ends when this is dropped.
pub(super) struct Heartbeats(JoinHandle<Status>);

impl Heartbeats {
    /// Ends when the heart cannot beat any more.
    pub(super) async fn failed(&mut self) -> Status {
        match (&mut self.0).await {
            Ok(status) => status,
            Err(error) => Status::internal(error.to_string()),
        }
    }
}

impl Drop for Heartbeats {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins to say that this node is alive, every `period` (nanoseconds; 0 = the default) or as the replies say.
pub(super) fn heartbeats(client: Client, session_id: String, period: i64, message: NodeMessage) -> Heartbeats {
    Heartbeats(tokio::spawn(beat(client, session_id, period, message)))
}

async fn beat(mut client: Client, session_id: String, period: i64, message: NodeMessage) -> Status {
    let mut period = valid_period(period);
    let mut news = message.changed();
    let mut missed = 0;
    loop {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The session's opening, or the last beat, was one; the first tick is immediate.
        ticks.tick().await;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                // A problem is worth a beat of its own.
                Ok(()) = news.changed() => {}
            }
            let request = HeartbeatRequest { session_id: session_id.clone(), message: message.get() };
            match within(period, client.heartbeat(request)).await {
                Ok(reply) => {
                    missed = 0;
                    let wanted = valid_period(reply.into_inner().period);
                    if wanted != period {
                        period = wanted;
                        break;
                    }
                }
                Err(status) if status.code() == Code::DeadlineExceeded && missed + 1 < MISSED_HEARTBEATS => missed += 1,
                Err(status) => return status,
            }
        }
    }
}

fn valid_period(nanos: i64) -> Duration {
    if nanos <= 0 { HEARTBEAT_PERIOD } else { duration(nanos).max(MIN_HEARTBEAT_PERIOD) }
}

/// Hands the assignments over to the agent as they come. After a gap the agent says anew what it has.
pub(super) async fn assignments(mut client: Client, session_id: String, agent: AgentHandle) -> Status {
    let mut backoff = Backoff::new(FIRST_GAP, LAST_GAP);
    loop {
        let have = match agent.begin_stream().await {
            Ok(have) => have,
            Err(gone) => return Status::cancelled(gone.to_string()),
        };
        let request = AssignmentsRequest { session_id: session_id.clone(), have };
        let mut stream = match within(RPC_DEADLINE, client.assignments(request)).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return status,
        };
        loop {
            let message = match stream.message().await {
                Ok(Some(message)) => message,
                Ok(None) => return Status::aborted("the manager ended the assignments"),
                Err(status) => return status,
            };
            match agent.assign(message).await {
                Ok(Ok(())) => {}
                Ok(Err(gap)) => {
                    info!(%gap, "asking for the assignments again");
                    break;
                }
                Err(gone) => return Status::cancelled(gone.to_string()),
            }
        }
        backoff.wait().await;
    }
}

/// Tells the statuses as they come.
pub(super) async fn reports(mut client: Client, session_id: String, reporter: Reporter) -> Status {
    let mut batches = reporter.batches();
    loop {
        let updates = batches.next().await;
        let request = UpdateTaskStatusRequest { session_id: session_id.clone(), updates: updates.clone() };
        match within(RPC_DEADLINE, client.update_task_status(request)).await {
            Ok(_) => {}
            // Telling the same again would be refused again.
            Err(status) if status.code() == Code::InvalidArgument => {
                warn!(%status, "the manager does not accept these reports; dropping them");
            }
            Err(status) => return status,
        }
        reporter.told(&updates);
    }
}

async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, Status> {
    timeout(deadline, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("the manager does not answer")))
}
