//! Log lines of services and tasks, gathered from the nodes that hold them.
//!
//! Each reader has a gathering of its own, which ends when the reader drops its stream. Invariants: what is buffered for a
//! slow reader is bounded; a node that cannot be reached costs one message and delays nothing; each line names its task.

mod gather;
mod tail;

use std::{pin::Pin, sync::Arc};

use futures::Stream;
use skep_common::{net::dial::Dialer, pages};
use skep_proto::v1::{GetObjectRequest, ListTasksRequest, LogOptions, LogRecord, Task};
use skep_store::{Selector, Store};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use self::{gather::Gather, tail::Tailer};
use crate::local::LocalControlClient;

/// Lines that wait for their reader.
const QUEUE: usize = 256;

/// Whose log lines. Ids, not names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogSelector {
    /// Every task of the service; with follow also those it gets later.
    Service(String),
    /// One task.
    Task(String),
}

/// One record and the task that wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskLog {
    /// The node the task runs on.
    pub node_id: String,
    /// The task's service.
    pub service_id: String,
    /// The task.
    pub task_id: String,
    /// The line; its attrs carry `com.docker.swarm.{node,service,task}.id`.
    pub record: LogRecord,
}

/// Log lines as they come. An `Err` ends the stream.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<TaskLog, Status>> + Send>>;

/// Gathers log lines for readers on this node.
pub(crate) struct LogBroker {
    store: Arc<Store>,
    control: LocalControlClient,
    dialer: Dialer,
    stop: CancellationToken,
}

impl LogBroker {
    pub(crate) fn new(store: Arc<Store>, control: LocalControlClient, dialer: Dialer, stop: CancellationToken) -> Self {
        Self { store, control, dialer, stop }
    }

    /// Begins to gather.
    pub(crate) async fn open(&self, selector: LogSelector, options: LogOptions) -> Result<LogStream, Status> {
        if !options.stdout && !options.stderr {
            return Err(Status::invalid_argument("you must choose at least one stream"));
        }
        // The watch comes first: a task that is made while the others are listed is not missed.
        let changes = match &selector {
            LogSelector::Service(id) => self.store.watch(Selector::TasksOfService(id.clone())),
            LogSelector::Task(_) => self.store.watch(Selector::Kinds(Vec::new())),
        };
        let tasks = self.resolve(&selector).await?;
        let (lines, reader) = mpsc::channel(QUEUE);
        let tailer = Tailer { store: self.store.clone(), dialer: self.dialer.clone(), options, lines };
        let follow = match selector {
            LogSelector::Service(id) if options.follow => Some(id),
            LogSelector::Service(_) | LogSelector::Task(_) => None,
        };
        let gather = Gather::new(self.store.clone(), tailer, follow);
        let stop = self.stop.clone();
        tokio::spawn(async move { stop.run_until_cancelled_owned(gather.run(tasks, changes)).await });
        Ok(Box::pin(ReceiverStream::new(reader)))
    }

    /// The tasks there are, as the leader has them.
    async fn resolve(&self, selector: &LogSelector) -> Result<Vec<Task>, Status> {
        let mut control = self.control.clone();
        match selector {
            LogSelector::Task(id) => {
                let task = control.get_task(Request::new(GetObjectRequest { key: id.clone() })).await?;
                Ok(vec![task.into_inner()])
            }
            LogSelector::Service(id) => {
                control.get_service(Request::new(GetObjectRequest { key: id.clone() })).await?;
                let wanted = ListTasksRequest { services: vec![id.clone()], ..ListTasksRequest::default() };
                pages::all(|after| {
                    let (mut control, wanted) =
                        (control.clone(), ListTasksRequest { after: Some(after), ..wanted.clone() });
                    async move { Ok::<_, Status>(control.list_tasks(Request::new(wanted)).await?.into_inner()) }
                })
                .await
            }
        }
    }
}
