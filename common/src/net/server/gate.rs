//! Authorization middleware: finds the request's line in the table, identifies the caller, calls the handler with a
//! deadline, and cuts the reply off when the authorization is withdrawn.

use std::{convert::Infallible, future::Future, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use futures::future::OptionFuture;
use http::{HeaderMap, Request, Response};
use hyper::{
    body::{Body as HttpBody, Incoming},
    service::Service,
};
use skep_proto::v1::NodeRole;
use tokio::time::sleep;
use tonic::{Status, body::Body, service::Routes};
use tower::{BoxError, Service as _};
use tracing::debug;

use super::{Caller, RoleSource, bounded_body::BoundedBody, guarded_body::GuardedBody, right::Right};
use crate::{
    authz::{Peer, Rpc, rpc_of},
    limits::STRANGERS_REQUEST_DEADLINE,
    net::{
        forward::{self, Claim},
        identity::NodeCertificate,
    },
};

/// The service of one connection.
#[derive(Clone)]
pub(super) struct Gate {
    routes: Routes,
    roles: Arc<dyn RoleSource>,
    peer: Option<String>,
    /// Whether the peer's certificate is a manager's.
    was_manager: bool,
    remote_addr: SocketAddr,
}

impl Gate {
    pub(super) fn new(
        routes: Routes,
        roles: Arc<dyn RoleSource>,
        peer: Option<&NodeCertificate>,
        remote_addr: SocketAddr,
    ) -> Self {
        let was_manager = peer.is_some_and(|certificate| certificate.role == NodeRole::Manager);
        Self { routes, roles, peer: peer.map(|certificate| certificate.node_id.clone()), was_manager, remote_addr }
    }

    async fn handle<B>(mut self, mut request: Request<B>) -> Result<Response<GuardedBody>, Status>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let rpc = rpc_of(request.uri().path()).ok_or_else(|| Status::unimplemented("there is no such call"))?;
        let right = Right { was_manager: self.was_manager, ..self.right(rpc, self.peer.clone()) };
        let peer = right.check()?;
        let is_stranger = peer.node_id().is_none();
        let caller = self.caller(rpc, peer, request.headers_mut())?;
        request.extensions_mut().insert(caller);
        let hurry = is_stranger.then_some(STRANGERS_REQUEST_DEADLINE);
        let request = request.map(|body| BoundedBody::new(body, rpc.max_request, hurry));

        let deadline = OptionFuture::from(rpc.deadline.map(sleep));
        let response = tokio::select! {
            Ok(response) = self.routes.call(request) => response,
            Some(()) = deadline => return Err(Status::deadline_exceeded("the call took too long")),
            status = right.lost() => return Err(status),
        };
        Ok(response.map(|body| GuardedBody::new(body, right)))
    }

    /// The caller of a request from `peer`: itself, or whom it passes the request on for. The latter must be allowed
    /// the call just as if it had come directly.
    fn caller(&self, rpc: &'static Rpc, peer: Peer, headers: &mut HeaderMap) -> Result<Caller, Status> {
        if !peer.is_manager() {
            forward::strip(headers);
            return Ok(Caller::direct(peer, self.remote_addr));
        }
        let Some(Claim { peer: claimed, addr }) = forward::take(headers)? else {
            return Ok(Caller::direct(peer, self.remote_addr));
        };
        let original = self.right(rpc, claimed.node_id().map(str::to_owned)).check()?;
        Ok(Caller { peer, remote_addr: self.remote_addr, original, original_addr: addr, forwarded: true })
    }

    fn right(&self, rpc: &'static Rpc, peer: Option<String>) -> Right {
        Right { rpc, roles: self.roles.clone(), peer, was_manager: false }
    }
}

impl Service<Request<Incoming>> for Gate {
    type Response = Response<GuardedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let gate = self.clone();
        Box::pin(async move {
            let (path, addr) = (request.uri().path().to_owned(), gate.remote_addr);
            let node = gate.peer.clone();
            Ok(gate.handle(request).await.unwrap_or_else(|status| {
                debug!(%path, %addr, node, code = ?status.code(), reason = status.message(), "call refused");
                status.into_http::<Body>().map(GuardedBody::open)
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;
    use tonic::Code;

    use super::*;
    use crate::{
        limits::{RECHECK_PERIOD, RPC_DEADLINE},
        net::testing::Roles,
    };

    const HANGING: &str = "/skep.v1.Raft/Append";
    const UPLOAD: &str = "/skep.v1.Raft/InstallSnapshot";

    /// A gate for the manager "m" before handlers that never answer.
    fn hanging_gate(roles: &Roles) -> Gate {
        let routes = Routes::from(axum::Router::new().fallback(std::future::pending::<()>));
        Gate {
            routes,
            roles: Arc::new(roles.clone()),
            peer: Some("m".into()),
            was_manager: true,
            remote_addr: "192.0.2.1:1".parse().unwrap(),
        }
    }

    async fn refusal(gate: Gate, path: &str) -> Code {
        let request = Request::post(path).body(Body::empty()).unwrap();
        gate.handle(request).await.err().unwrap().code()
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_takes_too_long_is_cut_off() {
        let roles = Roles::default();
        roles.set_member("m", true);
        let started = Instant::now();
        assert_eq!(refusal(hanging_gate(&roles), HANGING).await, Code::DeadlineExceeded);
        assert_eq!(started.elapsed().as_secs(), RPC_DEADLINE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_has_no_deadline_but_ends_with_the_right_to_it() {
        let roles = Roles::default();
        roles.set_member("m", true);
        let upload = tokio::spawn(refusal(hanging_gate(&roles), UPLOAD));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert!(!upload.is_finished());

        roles.set_member("m", false);
        let demoted = Instant::now();
        assert_eq!(upload.await.unwrap(), Code::PermissionDenied);
        assert!(demoted.elapsed() <= RECHECK_PERIOD + Duration::from_millis(1));
    }

    #[tokio::test]
    async fn only_who_was_a_manager_is_taken_for_one_of_other_managers() {
        for (was_manager, strangers) in [(false, 0), (true, 1)] {
            let roles = Roles::default();
            let gate = Gate { was_manager, ..hanging_gate(&roles) };
            assert_eq!(refusal(gate, HANGING).await, Code::PermissionDenied);
            assert_eq!(roles.strangers(), strangers);
        }
    }

    #[tokio::test]
    async fn what_has_no_line_in_the_table_does_not_exist() {
        for path in ["/", "/skep.v1.Raft/append", "/skep.v1.Ca/GetRootCa/", "/grpc.reflection.v1.ServerReflection/Info"]
        {
            assert_eq!(refusal(hanging_gate(&Roles::default()), path).await, Code::Unimplemented);
        }
    }
}
