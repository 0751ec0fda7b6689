//! The manager as one thing that starts, serves and stops.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use skep_proto::v1::{LogOptions, control_client::ControlClient};
use tokio::sync::watch;
use tonic::{Status, body::Body};
use tower::Service;

use crate::{LogSelector, LogStream, ManagerConfig, ManagerStatus};

/// A running manager. Cheap to clone; all clones are the same manager.
#[derive(Clone)]
pub struct Manager {
    status: watch::Receiver<ManagerStatus>,
}

/// Why a manager could not start, or could not leave.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// The other side refused, or the state could not be opened.
    #[error("{0}")]
    Start(String),
}

/// The control service of this manager, called without a socket.
#[derive(Clone)]
pub struct LocalControl {}

/// A client of the control service of this manager; on a follower its calls go on to the leader.
pub type LocalControlClient = ControlClient<LocalControl>;

impl Service<http::Request<Body>> for LocalControl {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: http::Request<Body>) -> Self::Future {
        unimplemented!()
    }
}

#[expect(clippy::unimplemented, reason = "the API first")]
impl Manager {
    /// Starts serving port 2377. Returns once the state is open and, for a new or a joining manager, once this node is
    /// a member.
    ///
    /// # Errors
    /// When the state cannot be opened, or the swarm refuses this node.
    pub async fn start(_config: ManagerConfig) -> Result<Self, ManagerError> {
        unimplemented!()
    }

    /// A client of the control service with the rights of this node; on a follower its calls go on to the leader.
    pub fn control(&self) -> LocalControlClient {
        unimplemented!()
    }

    /// Log lines of a service or a task, gathered from the nodes.
    ///
    /// # Errors
    /// `NotFound` when there is no such object.
    pub async fn logs(&self, _selector: LogSelector, _options: LogOptions) -> Result<LogStream, Status> {
        unimplemented!()
    }

    /// This manager's place in the swarm, as it changes.
    pub fn status(&self) -> watch::Receiver<ManagerStatus> {
        self.status.clone()
    }

    /// Leaves consensus; afterwards the manager is to be shut down and its directory wiped. With `force` a refusal or
    /// a swarm without quorum does not matter.
    ///
    /// # Errors
    /// When the rest could not form a quorum.
    pub async fn leave(&self, _force: bool) -> Result<(), ManagerError> {
        unimplemented!()
    }

    /// Stops serving and closes the state. Nothing is lost: the same directory can be opened again.
    pub async fn shutdown(self) {
        unimplemented!()
    }
}
