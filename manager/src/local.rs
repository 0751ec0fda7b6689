//! This manager's own services, called without a socket: as this node, and under the same deadlines as from outside.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use skep_common::{authz::rpc_of, net::server::Caller};
use skep_proto::v1::{control_client::ControlClient, control_server::ControlServer};
use tonic::{Status, body::Body};
use tower::Service;

use crate::{control::ControlService, forward::OnLeader};

/// One service of this manager as this node calls it.
#[derive(Clone)]
pub(crate) struct LocalService<S> {
    inner: OnLeader<S>,
    caller: Caller,
}

/// The control service of this manager, called without a socket.
#[derive(Clone)]
pub struct LocalControl(LocalService<ControlServer<ControlService>>);

/// A client of the control service of this manager; on a follower its calls go on to the leader.
pub type LocalControlClient = ControlClient<LocalControl>;

impl<S> LocalService<S> {
    pub(crate) fn new(inner: OnLeader<S>, caller: Caller) -> Self {
        Self { inner, caller }
    }
}

impl LocalControl {
    pub(crate) fn new(service: LocalService<ControlServer<ControlService>>) -> Self {
        Self(service)
    }
}

impl<S> Service<http::Request<Body>> for LocalService<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        let deadline = rpc_of(request.uri().path()).and_then(|rpc| rpc.deadline);
        request.extensions_mut().insert(self.caller.clone());
        let reply = self.inner.call(request);
        Box::pin(async move {
            let Some(deadline) = deadline else { return reply.await };
            tokio::time::timeout(deadline, reply).await.unwrap_or_else(|_| {
                let status = Status::deadline_exceeded("the call took too long: whether it took effect is not known");
                Ok(status.into_http())
            })
        })
    }
}

impl Service<http::Request<Body>> for LocalControl {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.0.call(request)
    }
}
