//! Passing calls on to the leader: a layer around a whole gRPC service, so no method knows whether it was forwarded.
//!
//! Owns nothing. Invariants: a call is passed on at most once (the leader that no longer leads refuses it rather than
//! passing it on again); the caller's identity and address go with it; a call whose fate is not known is answered as
//! unknown, never as failed.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use skep_common::net::{
    dial::{Dialer, Expect},
    forward::on_behalf_of,
    server::Caller,
};
use skep_raft::{Leader, Leadership, RaftNode};
use tokio::{sync::watch, time::timeout};
use tonic::{Request, Status, body::Body, metadata::MetadataMap, server::NamedService, transport::Channel};
use tower::{Service, ServiceExt as _};
use tracing::debug;

use crate::answer::NO_LEADER;

/// How long a call waits for a leader: longer than an election takes, shorter than the call's own deadline, so that
/// the caller hears why.
const ELECTION_WAIT: Duration = Duration::from_secs(5);

/// Where the leader is.
#[derive(Clone)]
pub(crate) struct LeaderRoute {
    raft_id: u64,
    leadership: watch::Receiver<Leadership>,
    dialer: Dialer,
}

/// Who answers a call.
enum Answerer {
    This,
    Other(Leader),
}

impl LeaderRoute {
    /// The way from this member to whoever leads.
    pub(crate) fn new(raft: &RaftNode, dialer: Dialer) -> Self {
        Self { raft_id: raft.raft_id(), leadership: raft.leadership(), dialer }
    }

    /// The leader, waited for while there is none.
    async fn answerer(&mut self) -> Result<Answerer, Status> {
        let own = self.raft_id;
        // A member that was just elected is the leader before it leads: it has yet to apply what came before its term.
        let settled = self
            .leadership
            .wait_for(|now| now.is_self || now.leader.as_ref().is_some_and(|leader| leader.raft_id != own));
        let now = timeout(ELECTION_WAIT, settled).await.map_err(|_| Status::unavailable(NO_LEADER))?;
        let now = now.map_err(|_| Status::unavailable("this manager is shutting down"))?;
        match &now.leader {
            Some(leader) if !now.is_self => Ok(Answerer::Other(leader.clone())),
            _ => Ok(Answerer::This),
        }
    }

    fn channel(&self, leader: &Leader) -> Channel {
        self.dialer.channel(&leader.addr, Expect::Node(leader.node_id.clone()))
    }
}

/// A service that is answered by the leader, wherever the call came in.
#[derive(Clone)]
pub(crate) struct OnLeader<S> {
    inner: S,
    route: LeaderRoute,
    /// Paths that every manager answers for itself.
    anywhere: &'static [&'static str],
}

impl<S> OnLeader<S> {
    pub(crate) fn new(inner: S, route: LeaderRoute) -> Self {
        Self { inner, route, anywhere: &[] }
    }

    /// Leaves these paths to whichever manager is asked.
    pub(crate) fn except(mut self, paths: &'static [&'static str]) -> Self {
        self.anywhere = paths;
        self
    }
}

impl<S: NamedService> NamedService for OnLeader<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for OnLeader<S>
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

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        // The clone has not been asked whether it is ready; the one that was goes into the future.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        if self.anywhere.contains(&request.uri().path()) {
            return Box::pin(inner.call(request));
        }
        let mut route = self.route.clone();
        Box::pin(async move {
            let answer = match route.answerer().await {
                Ok(Answerer::This) => return inner.call(request).await,
                Ok(Answerer::Other(leader)) => pass_on(&route, &leader, request).await,
                Err(status) => Err(status),
            };
            Ok(answer.unwrap_or_else(Status::into_http))
        })
    }
}

/// Sends a call to the leader and its answer back, bodies untouched.
async fn pass_on(
    route: &LeaderRoute,
    leader: &Leader,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Status> {
    let (mut parts, body) = request.into_parts();
    let caller = parts.extensions.get::<Caller>().ok_or_else(|| Status::internal("the call has no caller"))?;
    debug!(path = parts.uri.path(), leader = leader.node_id, "passing a call on to the leader");

    let metadata = MetadataMap::from_headers(std::mem::take(&mut parts.headers));
    let claimed = on_behalf_of(caller, Request::from_parts(metadata, http::Extensions::new(), ()))?;
    parts.headers = claimed.into_parts().0.into_headers();
    // What is known of the caller here means nothing to the client that sends the call on.
    parts.extensions = http::Extensions::new();

    let mut channel = route.channel(leader);
    let channel = channel.ready().await.map_err(|error| lost(&error))?;
    channel.call(http::Request::from_parts(parts, body)).await.map_err(|error| lost(&error))
}

fn lost(error: &tonic::transport::Error) -> Status {
    debug!(error = error as &dyn std::error::Error, "a call to the leader got lost");
    Status::unavailable("the leader could not be reached; whether the request took effect is not known")
}
