//! Passing calls on to the leader: a layer around a whole gRPC service, so no method knows whether it was forwarded.
//!
//! Owns nothing. Invariants: a call is passed on at most once (a manager that no longer leads refuses it rather than
//! passing it on again); the caller's identity and address go with it; a call is repeated only when it certainly did
//! nothing or only reads; one whose fate is not known is answered as unknown, never as failed.

use std::{
    convert::Infallible,
    error::Error,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, Limited};
use skep_common::{
    authz::rpc_of,
    limits::MAX_REQUEST_BYTES,
    net::{
        backoff::Backoff,
        dial::{Dialer, Expect},
        forward::on_behalf_of,
        server::Caller,
    },
};
use skep_raft::{Leader, Leadership, RaftNode};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tonic::{ConnectError, Request, Status, body::Body, metadata::MetadataMap, server::NamedService};
use tower::{Service, ServiceExt as _};
use tracing::debug;

use crate::{
    answer::{self, NO_LEADER},
    strangers::Strangers,
};

/// How long a call waits for a leader: longer than an election takes, shorter than the call's own deadline, so that
/// the caller hears why.
const ELECTION_WAIT: Duration = Duration::from_secs(5);

/// Where the leader is.
#[derive(Clone)]
pub(crate) struct LeaderRoute {
    raft: RaftNode,
    leadership: watch::Receiver<Leadership>,
    dialer: Dialer,
    strangers: Strangers,
}

/// Who answers a call.
enum Answerer {
    This,
    Other(Leader),
}

impl LeaderRoute {
    /// The route from this member to the leader.
    pub(crate) fn new(raft: &RaftNode, dialer: Dialer, strangers: Strangers) -> Self {
        Self { raft: raft.clone(), leadership: raft.leadership(), dialer, strangers }
    }

    /// Who leads now.
    fn known(&self) -> Option<Answerer> {
        let now = self.leadership.borrow();
        match &now.leader {
            _ if now.is_self => Some(Answerer::This),
            // A member that was just elected is the leader before it leads: it has yet to apply what came before its term.
            Some(leader) if leader.raft_id != self.raft.raft_id() => Some(Answerer::Other(leader.clone())),
            _ => None,
        }
    }

    /// Why a call that has certainly changed nothing cannot be answered: the leader is only out of reach from here as long as
    /// it is heard of.
    fn unanswered(&self) -> Status {
        let silence = self.raft.leader_silence();
        if silence < ELECTION_WAIT / 2 {
            return Status::unavailable("the leader could not be reached");
        }
        Status::unavailable(self.strangers.trouble(silence).unwrap_or_else(|| NO_LEADER.to_owned()))
    }

    /// The leader; waits while there is none.
    async fn answerer(&mut self, give_up: Instant) -> Result<Answerer, Status> {
        loop {
            self.leadership.mark_unchanged();
            if let Some(answerer) = self.known() {
                return Ok(answerer);
            }
            match timeout_at(give_up, self.leadership.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Status::unavailable("this manager is shutting down")),
                Err(_) => return Err(self.unanswered()),
            }
        }
    }
}

/// A service of unary requests that is answered by the leader, wherever the call came in.
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

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The service is asked when it is known that it answers.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let inner = self.inner.clone();
        if self.anywhere.contains(&request.uri().path()) {
            return Box::pin(inner.oneshot(request));
        }
        let route = self.route.clone();
        Box::pin(async move { Ok(answer(inner, route, request).await.unwrap_or_else(Status::into_http)) })
    }
}

/// What an attempt at a call came to.
enum Attempt {
    Answered(http::Response<Body>),
    /// Nothing was done: the manager asked does not lead.
    Unled(http::Response<Body>),
    /// Nothing was done: the leader was not reached.
    Unreached,
    /// The call was sent and no answer came.
    Lost(Status),
}

/// Has the present leader answer.
async fn answer<S>(
    inner: S,
    mut route: LeaderRoute,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Status>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible> + Clone,
{
    let call = keep(request).await?;
    let give_up = Instant::now() + ELECTION_WAIT;
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(200));
    loop {
        let attempt = match route.answerer(give_up).await? {
            Answerer::This => match inner.clone().oneshot(copy(&call)).await {
                Ok(response) => judge(response),
            },
            Answerer::Other(leader) => pass_on(&route, &leader, copy(&call)).await?,
        };
        let late = Instant::now() >= give_up;
        match attempt {
            Attempt::Answered(response) => return Ok(response),
            Attempt::Unled(response) if late => return Ok(response),
            Attempt::Lost(status) if !only_reads(&call) => return Err(status),
            Attempt::Unreached | Attempt::Lost(_) if late => return Err(route.unanswered()),
            Attempt::Unled(_) | Attempt::Unreached | Attempt::Lost(_) => backoff.wait().await,
        }
    }
}

/// Sends a call to the leader.
async fn pass_on(route: &LeaderRoute, leader: &Leader, request: http::Request<Body>) -> Result<Attempt, Status> {
    let (mut parts, body) = request.into_parts();
    let caller = parts.extensions.get::<Caller>().ok_or_else(|| Status::internal("the call has no caller"))?;
    if caller.forwarded {
        return Ok(Attempt::Answered(answer::not_leading().into_http()));
    }
    debug!(path = parts.uri.path(), leader = leader.node_id, "passing a call on to the leader");
    let metadata = MetadataMap::from_headers(std::mem::take(&mut parts.headers));
    let claimed = on_behalf_of(caller, Request::from_parts(metadata, http::Extensions::new(), ()))?;
    parts.headers = claimed.into_parts().0.into_headers();
    // What is known of the caller here means nothing to the client that sends the call on.
    parts.extensions = http::Extensions::new();

    let channel = route.dialer.channel(&leader.addr, Expect::Node(leader.node_id.clone()));
    match channel.oneshot(http::Request::from_parts(parts, body)).await {
        Ok(response) => Ok(judge(response)),
        Err(error) => {
            debug!(error = &error as &dyn Error, leader = leader.node_id, "a call to the leader got lost");
            let text = "the leader could not be reached; whether the request took effect is not known";
            Ok(match never_sent(&error) {
                true => Attempt::Unreached,
                false => Attempt::Lost(Status::unavailable(text)),
            })
        }
    }
}

fn judge(response: http::Response<Body>) -> Attempt {
    match answer::says_not_leading(response.headers()) {
        true => Attempt::Unled(response),
        false => Attempt::Answered(response),
    }
}

/// Whether a call failed because there was no connection to send it over.
fn never_sent(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Whether a call changes nothing, so that making it twice does no harm.
fn only_reads<T>(call: &http::Request<T>) -> bool {
    rpc_of(call.uri().path()).is_some_and(|rpc| rpc.only_reads)
}

/// Takes a request in whole, so that it can be made again. The server has bounded it, by who is calling; calls from
/// within this process come without a server, and are bounded here.
async fn keep(request: http::Request<Body>) -> Result<http::Request<Bytes>, Status> {
    let (parts, body) = request.into_parts();
    let body =
        Limited::new(body, MAX_REQUEST_BYTES).collect().await.map_err(|error| match error.downcast::<Status>() {
            Ok(status) => *status,
            Err(error) => Status::invalid_argument(format!("the request cannot be read: {error}")),
        })?;
    Ok(http::Request::from_parts(parts, body.to_bytes()))
}

fn copy(call: &http::Request<Bytes>) -> http::Request<Body> {
    call.clone().map(|bytes| Body::new(Full::new(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_known_to_have_carried_nothing() {
        #[derive(Debug, thiserror::Error)]
        #[error("transport error")]
        struct Transport(#[source] ConnectError);
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(never_sent(&Transport(ConnectError(Box::new(refused)))));
        assert!(!never_sent(&std::io::Error::from(std::io::ErrorKind::BrokenPipe)));
    }

    #[tokio::test]
    async fn a_request_too_large_to_keep_is_refused() {
        let request = |size| http::Request::new(Body::new(Full::new(Bytes::from(vec![0; size]))));
        assert_eq!(keep(request(10)).await.unwrap().body().len(), 10);
        assert_eq!(keep(request(MAX_REQUEST_BYTES + 1)).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}
