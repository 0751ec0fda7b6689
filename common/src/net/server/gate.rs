//! The way of every request: find its line in the table, establish who calls, hand it to the handler with a
//! deadline, and take the reply back when the right to it is lost.

use std::{convert::Infallible, future::Future, net::SocketAddr, pin::Pin, sync::Arc};

use futures::future::OptionFuture;
use http::{HeaderMap, Request, Response};
use hyper::{body::Incoming, service::Service};
use tokio::time::sleep;
use tonic::{Status, body::Body, service::Routes};
use tower::Service as _;
use tracing::debug;

use super::{
    Caller, RoleSource,
    guarded_body::GuardedBody,
    right::{Presented, Right},
};
use crate::{
    authz::{Peer, Rpc, rpc_of},
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
    peer: Option<Presented>,
    remote_addr: SocketAddr,
}

impl Gate {
    pub(super) fn new(
        routes: Routes,
        roles: Arc<dyn RoleSource>,
        certificate: Option<NodeCertificate>,
        remote_addr: SocketAddr,
    ) -> Self {
        Self { routes, roles, peer: certificate.as_ref().map(Presented::from), remote_addr }
    }

    async fn handle(mut self, mut request: Request<Incoming>) -> Result<Response<GuardedBody>, Status> {
        let rpc = rpc_of(request.uri().path()).ok_or_else(|| Status::unimplemented("there is no such call"))?;
        let right = self.right(rpc, self.peer.clone());
        let peer = right.check()?;
        let caller = self.caller(rpc, peer, request.headers_mut())?;
        request.extensions_mut().insert(caller);

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
        let claimed = match claimed {
            Peer::Anonymous => None,
            Peer::Node { node_id, role } => Some(Presented { node_id, role }),
        };
        let original = self.right(rpc, claimed).check()?;
        Ok(Caller { peer, remote_addr: self.remote_addr, original, original_addr: addr, forwarded: true })
    }

    fn right(&self, rpc: &'static Rpc, peer: Option<Presented>) -> Right {
        Right { rpc, roles: self.roles.clone(), peer }
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
            let node = gate.peer.as_ref().map(|peer| peer.node_id.clone());
            Ok(gate.handle(request).await.unwrap_or_else(|status| {
                debug!(%path, %addr, node, code = ?status.code(), reason = status.message(), "call refused");
                status.into_http::<Body>().map(GuardedBody::open)
            }))
        })
    }
}
