//! Serving calls on 2377 and 7946: TLS handshake, caps, HTTP/2 limits, authorization.
//!
//! One task per connection does it all in a row: handshake under a deadline, then HTTP/2 until the peer goes, the
//! server stops, its permit is revoked, or what the connection stands on runs out: a certificate's validity,
//! or the little time a stranger has. Dropping that task ends everything it carries.
//!
//! A connection begins among the strangers and gets one of the nodes' permits when it shows a certificate of a node that is
//! part of the swarm. No connection is refused: a new one takes over the oldest permit of the client that has most (see [`super::permits`]), so
//! strangers, however many they are, keep no node out.
//!
//! Invariants: the accept loop ends only by the shutdown token; no connection outlives [`RpcServer::serve`]; no
//! handler sees a request that the table in [`crate::authz`] does not allow.

mod bounded_body;
mod caller;
mod connection;
mod gate;
mod guarded_body;
mod limits;
mod right;
mod roles;

use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tracing::{debug, warn};

pub use self::{
    caller::Caller,
    connection::Connection,
    limits::ServerLimits,
    roles::{RoleAnswer, RoleSource, is_unknown_node, unknown_node},
};
use self::{connection::Connected, gate::Gate};
use super::{
    backoff::Backoff,
    identity::{IdentityHandle, NodeCertificate},
    permits::{Permit, Permits},
    source::source_of,
    tls::ServerTls,
};
use crate::{
    clock::{Clock as _, SystemClock},
    limits::MAX_HEADER_BYTES,
};

/// How long open calls may go on once their connection has to end.
const GRACE: Duration = Duration::from_secs(1);

/// Ping after this silence, so that connections of vanished peers are given back.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// One port of RPC services.
pub struct RpcServer {
    listener: TcpListener,
    shared: Shared,
}

struct Shared {
    tls: ServerTls,
    roles: Arc<dyn RoleSource>,
    routes: Routes,
    limits: ServerLimits,
    strangers: Arc<Permits<IpAddr>>,
    nodes: Arc<Permits<String>>,
}

impl RpcServer {
    /// A server of `routes` on `listener`, which shows the handle's identity of the moment and asks `roles` who a peer is.
    pub fn new(listener: TcpListener, identity: IdentityHandle, roles: Arc<dyn RoleSource>, routes: Routes) -> Self {
        let limits = ServerLimits::default();
        let shared = Shared {
            tls: ServerTls::new(identity),
            roles,
            routes: routes.prepare(),
            limits,
            strangers: Permits::new(limits.stranger_connections),
            nodes: Permits::new(limits.node_connections),
        };
        Self { listener, shared }
    }

    /// Other limits than the default ones.
    pub fn with_limits(mut self, limits: ServerLimits) -> Self {
        self.shared.limits = limits;
        self.shared.strangers = Permits::new(limits.stranger_connections);
        self.shared.nodes = Permits::new(limits.node_connections);
        self
    }

    /// Serves until `shutdown`; then lets open calls end for a moment and returns when every connection is gone.
    pub async fn serve(self, shutdown: CancellationToken) {
        let shared = Arc::new(self.shared);
        let connections = TaskTracker::new();
        // Should this future be dropped instead of told to stop, the connections must still end.
        let stop = shutdown.child_token();
        let _stop_when_dropped = stop.clone().drop_guard();
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, addr)) => {
                    backoff.reset();
                    let permit = shared.strangers.acquire(source_of(addr.ip()));
                    connections.spawn(shared.clone().connection(stream, addr, permit, stop.clone()));
                }
                // A peer that hung up before we got to it, or no file descriptors left: neither ends the server.
                Err(error) => {
                    warn!(%error, "cannot accept a connection; going on");
                    tokio::select! {
                        () = backoff.wait() => {}
                        () = stop.cancelled() => break,
                    }
                }
            }
        }
        connections.close();
        connections.wait().await;
    }
}

impl Shared {
    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        addr: SocketAddr,
        permit: Permit<IpAddr>,
        stop: CancellationToken,
    ) {
        let pushed_out = permit.revoked();
        let handshake = tokio::select! {
            handshake = timeout(self.limits.handshake_timeout, self.handshake(stream)) => handshake,
            () = pushed_out.cancelled() => return debug!(%addr, "a newcomer takes the place of this connection"),
            () = stop.cancelled() => return,
        };
        let (stream, certificate) = match handshake {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return debug!(%addr, %error, "handshake failed"),
            Err(_) => return debug!(%addr, "handshake took too long"),
        };
        let settings = if certificate.is_some() { http2_settings(NODE) } else { http2_settings(STRANGER) };
        let gate = Connected::new(Gate::new(self.routes.clone(), self.roles.clone(), certificate.as_ref(), addr));
        let mut http = pin!(settings.serve_connection(TokioIo::new(stream), gate));
        let mut permit = ConnectionPermit::Stranger(permit);
        let mut lifetime = self.limits.stranger_lifetime;
        loop {
            if let Some(node) = certificate.as_ref().filter(|node| permit.is_strangers() && self.knows(node)) {
                permit = ConnectionPermit::Node(self.nodes.acquire(node.node_id.clone()));
                lifetime = node.not_after.since(SystemClock::new().now());
            }
            let pushed_out = permit.revoked();
            tokio::select! {
                ended = http.as_mut() => {
                    if let Err(error) = ended {
                        debug!(%addr, %error, "connection failed");
                    }
                    return;
                }
                () = pushed_out.cancelled() => return debug!(%addr, "a newcomer takes the place of this connection"),
                () = stop.cancelled() => break,
                () = sleep(lifetime) => {
                    // It may have become a part of the swarm since it came.
                    let is_known = certificate.as_ref().is_some_and(|node| permit.is_strangers() && self.knows(node));
                    if !is_known {
                        break;
                    }
                }
            }
        }
        http.as_mut().graceful_shutdown();
        // Streams that have no end of their own are cut here.
        let _ = timeout(GRACE, http).await;
    }

    /// Whether the peer is a node of the swarm, as far as the state here says.
    fn knows(&self, peer: &NodeCertificate) -> bool {
        matches!(self.roles.role_of(&peer.node_id), RoleAnswer::Is(_)) || self.roles.is_member(&peer.node_id)
    }

    async fn handshake(&self, stream: TcpStream) -> io::Result<(TlsStream, Option<NodeCertificate>)> {
        stream.set_nodelay(true)?;
        let config = self.tls.config().map_err(io::Error::other)?;
        let stream = TlsAcceptor::from(config).accept(stream).await?;
        let certificate = match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
            Some(leaf) => Some(NodeCertificate::from_der(leaf).map_err(io::Error::other)?),
            None => None,
        };
        Ok((stream, certificate))
    }
}

/// The permit a connection has.
enum ConnectionPermit {
    Stranger(Permit<IpAddr>),
    Node(Permit<String>),
}

impl ConnectionPermit {
    fn is_strangers(&self) -> bool {
        matches!(self, Self::Stranger(_))
    }

    fn revoked(&self) -> CancellationToken {
        match self {
            Self::Stranger(permit) => permit.revoked(),
            Self::Node(permit) => permit.revoked(),
        }
    }
}

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// What one connection may keep in flight.
struct Flow {
    streams: u32,
    stream_window: u32,
    connection_window: u32,
    send_buffer: usize,
}

const NODE: Flow = Flow { streams: 1_000, stream_window: 1 << 20, connection_window: 4 << 20, send_buffer: 256 << 10 };

/// A stranger joins, and does nothing else: a few small calls, one after the other.
const STRANGER: Flow = Flow { streams: 8, stream_window: 64 << 10, connection_window: 64 << 10, send_buffer: 64 << 10 };

/// Every limit of HTTP/2 that a peer could lean on, said out loud instead of left to defaults that change.
fn http2_settings(flow: Flow) -> http2::Builder<TokioExecutor> {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .timer(TokioTimer::new())
        .max_concurrent_streams(flow.streams)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .max_header_list_size(MAX_HEADER_BYTES)
        .header_table_size(4 << 10)
        .max_frame_size(16 << 10)
        .initial_stream_window_size(flow.stream_window)
        .initial_connection_window_size(flow.connection_window)
        .max_send_buf_size(flow.send_buffer)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    settings
}

#[cfg(test)]
mod tests;
