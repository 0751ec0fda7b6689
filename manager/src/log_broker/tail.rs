//! One task's lines, from the node it is on.

use std::{sync::Arc, time::Duration};

use skep_common::{
    limits::RPC_DEADLINE,
    net::{
        backoff::Backoff,
        dial::{Dialer, Expect},
    },
};
use skep_proto::v1::{LogOptions, LogRecord, LogStream, Task, TaskLogsRequest, peer_client::PeerClient};
use skep_store::Store;
use tokio::{sync::mpsc, time::timeout};
use tonic::{Code, Request, Status};
use tracing::debug;

use super::TaskLog;

/// Attempts in a row that may come to nothing before a follower gives a task up.
const ATTEMPTS: u32 = 10;

/// Tails tasks for one reader.
#[derive(Clone)]
pub(super) struct Tailer {
    pub(super) store: Arc<Store>,
    pub(super) dialer: Dialer,
    pub(super) options: LogOptions,
    pub(super) lines: mpsc::Sender<Result<TaskLog, Status>>,
}

/// The reader is gone.
struct Unread;

/// How one attempt ended.
enum End {
    /// The node has sent everything.
    Complete,
    /// The connection broke or was never made.
    Lost(Status),
}

impl Tailer {
    /// Sends a task's lines to the reader. A follower whose node drops out takes up again after the last line it got.
    pub(super) async fn tail(mut self, task: Task) {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let mut noted = false;
        let mut failures = 0;
        loop {
            let before = self.options.since;
            match self.attempt(&task).await {
                Err(Unread) | Ok(End::Complete) => return,
                Ok(End::Lost(status)) => {
                    debug!(task = task.id, node = task.node_id, reason = status.message(), "a log was interrupted");
                    failures = if self.options.since == before { failures + 1 } else { 0 };
                    let again = self.options.follow && failures < ATTEMPTS && self.is_on_record(&task);
                    if !noted && self.note(&task, &status).await.is_err() {
                        return;
                    }
                    noted = true;
                    if !again {
                        return;
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    async fn attempt(&mut self, task: &Task) -> Result<End, Unread> {
        let Some(addr) = self.peer_addr(&task.node_id) else {
            return Ok(End::Lost(Status::unavailable("the node is not known")));
        };
        let channel = self.dialer.channel(&addr, Expect::Node(task.node_id.clone()));
        let request = TaskLogsRequest { task_id: task.id.clone(), options: Some(self.options) };
        // The stream lasts as long as it is read; only its beginning has a deadline.
        let mut peer = PeerClient::new(channel);
        let opened = timeout(RPC_DEADLINE, peer.task_logs(Request::new(request))).await;
        let mut records = match opened {
            Ok(Ok(reply)) => reply.into_inner(),
            // A task that never had a container, or whose files are gone with its history, has no lines.
            Ok(Err(status)) if status.code() == Code::NotFound => return Ok(End::Complete),
            Ok(Err(status)) => return Ok(End::Lost(status)),
            Err(_) => return Ok(End::Lost(Status::deadline_exceeded("the node did not answer in time"))),
        };
        loop {
            match records.message().await {
                Ok(Some(record)) => {
                    // What was received need not be asked for again.
                    self.options.since = self.options.since.max(record.timestamp.saturating_add(1));
                    self.options.tail = None;
                    self.send(task, record).await?;
                }
                Ok(None) => return Ok(End::Complete),
                Err(status) => return Ok(End::Lost(status)),
            }
        }
    }

    async fn send(&self, task: &Task, mut record: LogRecord) -> Result<(), Unread> {
        for (key, id) in [
            ("com.docker.swarm.node.id", &task.node_id),
            ("com.docker.swarm.service.id", &task.service_id),
            ("com.docker.swarm.task.id", &task.id),
        ] {
            record.attrs.insert(key.to_owned(), id.clone());
        }
        let line = TaskLog {
            node_id: task.node_id.clone(),
            service_id: task.service_id.clone(),
            task_id: task.id.clone(),
            record,
        };
        self.lines.send(Ok(line)).await.map_err(|_| Unread)
    }

    /// Tells the reader, among the lines, that some are missing.
    async fn note(&self, task: &Task, status: &Status) -> Result<(), Unread> {
        let text = format!(
            "warning: incomplete log stream. some logs could not be retrieved for the following reasons: \
             node {}: {}\n",
            task.node_id,
            status.message()
        );
        let record = LogRecord {
            stream: LogStream::Stderr.into(),
            timestamp: self.options.since,
            data: text.into_bytes(),
            ..LogRecord::default()
        };
        self.send(task, record).await
    }

    fn peer_addr(&self, node_id: &str) -> Option<String> {
        let view = self.store.view();
        let description = view.node(node_id)?.description.as_ref()?;
        (!description.peer_addr.is_empty()).then(|| description.peer_addr.clone())
    }

    fn is_on_record(&self, task: &Task) -> bool {
        self.store.view().task(&task.id).is_some()
    }
}
