//! Log lines of services and tasks, gathered from the nodes that hold them.

use std::pin::Pin;

use futures::Stream;
use skep_proto::v1::LogRecord;

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
pub type LogStream = Pin<Box<dyn Stream<Item = Result<TaskLog, tonic::Status>> + Send>>;
