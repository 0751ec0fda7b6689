//! What this node answers other nodes on 7946: the logs of its tasks, and that it is there.
//!
//! Authorization is the server's: [`ManagerRoles`] tells it which nodes are managers.

use std::{pin::Pin, sync::Arc};

use futures::{Stream, StreamExt as _};
use skep_common::net::server::{RoleAnswer, RoleSource};
use skep_proto::v1::{LogRecord, NodeRole, PingReply, PingRequest, TaskLogsRequest, peer_server::Peer};
use skep_runtime::{Runtime, RuntimeError, container_id_of_task};
use tonic::{Request, Response, Status, async_trait};

use crate::Managers;

/// The service.
pub(crate) struct PeerService {
    node_id: String,
    runtime: Arc<dyn Runtime>,
}

impl PeerService {
    /// The service of this node.
    pub(crate) fn new(node_id: String, runtime: Arc<dyn Runtime>) -> Self {
        Self { node_id, runtime }
    }
}

#[async_trait]
impl Peer for PeerService {
    type TaskLogsStream = Pin<Box<dyn Stream<Item = Result<LogRecord, Status>> + Send>>;

    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingReply>, Status> {
        Ok(Response::new(PingReply { node_id: self.node_id.clone() }))
    }

    async fn task_logs(&self, request: Request<TaskLogsRequest>) -> Result<Response<Self::TaskLogsStream>, Status> {
        let TaskLogsRequest { task_id, options } = request.into_inner();
        let logs = self.runtime.logs(&container_id_of_task(&task_id), options.unwrap_or_default()).await;
        let logs = logs.map_err(|error| status(error, &task_id))?;
        Ok(Response::new(Box::pin(logs.map(move |record| record.map_err(|error| status(error, &task_id))))))
    }
}

fn status(error: RuntimeError, task_id: &str) -> Status {
    match error {
        RuntimeError::NoSuchContainer(_) => Status::not_found(format!("task {task_id} has no container on this node")),
        other => Status::internal(other.to_string()),
    }
}

/// Says of a caller whether it is one of the managers this node knows.
pub(crate) struct ManagerRoles(pub(crate) Managers);

impl RoleSource for ManagerRoles {
    fn role_of(&self, node_id: &str) -> RoleAnswer {
        match self.0.includes(node_id) {
            Some(true) => RoleAnswer::Is(NodeRole::Manager),
            Some(false) => RoleAnswer::Is(NodeRole::Worker),
            None => RoleAnswer::NotKnown,
        }
    }
}
