//! Serving calls on 2377 and 7946: TLS handshake, caps, HTTP/2 limits, authorization.
//!
//! One task per connection does it all in a row: handshake under a deadline, then HTTP/2 until the peer goes, the
//! server stops, or what the connection stands on runs out (a certificate's validity; a minute for a peer without
//! one, so that strangers cannot sit on connections). Dropping that task ends everything it carries.
//!
//! Invariants: the accept loop ends only by the shutdown token; no connection outlives [`RpcServer::serve`]; no
//! handler sees a request that the table in [`crate::authz`] does not allow.

mod caller;
mod caps;
mod connection;
mod gate;
mod guarded_body;
mod right;
mod roles;

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

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
    caps::ServerLimits,
    connection::Connection,
    roles::{RoleAnswer, RoleSource, is_unknown_node, unknown_node},
};
use self::{caps::Caps, connection::Connected, gate::Gate};
use super::{
    backoff::Backoff,
    identity::{IdentityHandle, NodeCertificate},
    tls::ServerTls,
};
use crate::{
    clock::{Clock as _, SystemClock},
    limits::MAX_HEADER_BYTES,
};

/// How long a peer without a certificate may keep a connection.
const ANONYMOUS_LIFETIME: Duration = Duration::from_secs(60);

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
    caps: Caps,
    http2: http2::Builder<TokioExecutor>,
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
            caps: Caps::new(limits),
            http2: http2_settings(limits),
        };
        Self { listener, shared }
    }

    /// Other limits than the default ones.
    pub fn with_limits(mut self, limits: ServerLimits) -> Self {
        self.shared.limits = limits;
        self.shared.caps = Caps::new(limits);
        self.shared.http2 = http2_settings(limits);
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
                    if let Some(permit) = shared.caps.admit(addr.ip()) {
                        connections.spawn(shared.clone().connection(stream, addr, permit, stop.clone()));
                    }
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
        mut permit: caps::Permit,
        stop: CancellationToken,
    ) {
        let handshake = tokio::select! {
            handshake = timeout(self.limits.handshake_timeout, self.handshake(stream)) => handshake,
            () = stop.cancelled() => return,
        };
        let (stream, certificate) = match handshake {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return debug!(%addr, %error, "handshake failed"),
            Err(_) => return debug!(%addr, "handshake took too long"),
        };
        let lifetime = match &certificate {
            Some(certificate) => {
                permit.verified();
                certificate.not_after.since(SystemClock::new().now())
            }
            None => ANONYMOUS_LIFETIME,
        };
        let gate = Connected::new(Gate::new(self.routes.clone(), self.roles.clone(), certificate, addr));
        let mut http = pin!(self.http2.serve_connection(TokioIo::new(stream), gate));
        tokio::select! {
            ended = http.as_mut() => {
                if let Err(error) = ended {
                    debug!(%addr, %error, "connection failed");
                }
                return;
            }
            () = sleep(lifetime) => {}
            () = stop.cancelled() => {}
        }
        http.as_mut().graceful_shutdown();
        // Streams that have no end of their own are cut here.
        let _ = timeout(GRACE, http).await;
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

type TlsStream = tokio_rustls::server::TlsStream<TcpStream>;

/// Every limit of HTTP/2 that a peer could lean on, said out loud instead of left to defaults that change.
fn http2_settings(limits: ServerLimits) -> http2::Builder<TokioExecutor> {
    let mut settings = http2::Builder::new(TokioExecutor::new());
    settings
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(64)
        .max_header_list_size(MAX_HEADER_BYTES)
        .header_table_size(4 << 10)
        .max_frame_size(16 << 10)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_send_buf_size(256 << 10)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    settings
}

#[cfg(test)]
mod tests;
