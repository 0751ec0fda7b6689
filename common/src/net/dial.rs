//! The dialer: gRPC channels to other nodes that connect when first used, reconnect by themselves, and read the identity at
//! every handshake.
//!
//! Channels are cached by address and expected peer, so that all calls of a node to another share one connection. Unused ones
//! are dropped after a while.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{
    AlertDescription, CertificateError, ClientConfig,
    pki_types::{ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::Instant,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use tower::Service;

pub use super::tls::Expect;
use super::{
    identity::{IdentityError, IdentityHandle, date, parse_roots},
    tls::{Named, anonymous_client_config, client_config, unverified_client_config},
};
use crate::clock::Timestamp;
use crate::limits::{CONNECT_TIMEOUT, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT, MAX_HEADER_BYTES};

/// A channel unused for this time is dropped from the cache; callers that still hold it keep it open.
const IDLE: Duration = Duration::from_secs(300);

/// What a node holds to be the swarm's managers.
pub trait KnownManagers: Send + Sync {
    /// Whether the node that answers at `addr` (host:port) may be a manager: by its id or, as long as nobody has named the
    /// managers to this node, by the address alone.
    fn may_be(&self, node_id: &str, addr: &str) -> bool;
}

/// Why a call failed. tonic says "transport error" and keeps the reason to itself: the innermost one is what helps.
pub fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

/// A node's way to call others. Clones share their channels.
#[derive(Clone)]
pub struct Dialer {
    identity: IdentityHandle,
    managers: Option<Arc<dyn KnownManagers>>,
    channels: Arc<Mutex<HashMap<(String, Expect), Known>>>,
}

struct Known {
    channel: Channel,
    asked: Instant,
}

impl Dialer {
    /// A dialer that shows the handle's identity of the moment.
    pub fn new(identity: IdentityHandle) -> Self {
        Self { identity, managers: None, channels: Arc::default() }
    }

    /// The same, which takes only those for managers that `managers` names: a certificate says what its node was when it was
    /// issued.
    pub fn trusting(self, managers: Arc<dyn KnownManagers>) -> Self {
        Self { managers: Some(managers), ..self }
    }

    /// The channel to `addr` (`host:port`), where `expect` must answer. Never fails by itself: a bad address, an absent
    /// or an unexpected node show as the error of a call, and the next call tries again.
    pub fn channel(&self, addr: &str, expect: Expect) -> Channel {
        let now = Instant::now();
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = channels.get_mut(&(addr.to_owned(), expect.clone())) {
            known.asked = now;
            return known.channel.clone();
        }
        channels.retain(|_, known| now.duration_since(known.asked) < IDLE);
        let identity = self.identity.clone();
        let wanted = expect.clone();
        let named = self.managers.clone().map(|managers| Named { managers, addr: addr.to_owned() });
        let channel = lazy_channel(addr, move || client_config(&identity.current(), wanted.clone(), named.clone()));
        channels.insert((addr.to_owned(), expect), Known { channel: channel.clone(), asked: now });
        channel
    }

    /// A channel without an identity to any server at `addr`. Only for fetching the root bundle, which proves itself
    /// by its digest.
    pub fn anonymous_unverified(addr: &str) -> Channel {
        lazy_channel(addr, unverified_client_config)
    }

    /// A channel without an identity to a manager at `addr` whose certificate is signed by `roots_pem`. For joining.
    pub fn anonymous(addr: &str, roots_pem: &[u8]) -> Result<Channel, IdentityError> {
        let roots = Arc::new(parse_roots(roots_pem)?);
        Ok(lazy_channel(addr, move || anonymous_client_config(roots.clone())))
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialer").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// What a peer may send of one answer before it is read.
const STREAM_WINDOW: u32 = 256 << 10;

/// Answers that can wait for their readers at a time, as many as a server allows. The connection has room for all of
/// them: a client that does not read the logs it has asked for delays no other call.
const STREAMS: u32 = 1_000;

pub(crate) fn lazy_channel(
    addr: &str,
    config: impl Fn() -> Result<ClientConfig, rustls::Error> + Send + Sync + 'static,
) -> Channel {
    // The address is the connector's business; HTTP/2 wants an authority, and it is the same for every node.
    Endpoint::from_static("http://skep")
        .connect_timeout(CONNECT_TIMEOUT)
        // Pings are sent only while calls are open.
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(false)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * STREAMS)
        .connect_with_connector_lazy(Connector { addr: addr.into(), config: Arc::new(config) })
}

/// A TLS connection whose errors say in a sentence that the other side takes no certificate of this node: with TLS 1.3 that is
/// heard only when this side holds the handshake to be over.
#[derive(Debug)]
struct Explained {
    addr: Arc<str>,
    stream: TlsStream<TcpStream>,
}

impl Explained {
    fn stream(self: Pin<&mut Self>) -> Pin<&mut TlsStream<TcpStream>> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl AsyncRead for Explained {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = self.as_mut().stream().poll_read(cx, to);
        read.map_err(|error| named(&self.addr, error))
    }
}

impl AsyncWrite for Explained {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.stream().poll_write(cx, from)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream().poll_write_vectored(cx, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_shutdown(cx)
    }
}

/// Opens one TLS connection to a fixed address.
struct Connector {
    addr: Arc<str>,
    config: Arc<dyn Fn() -> Result<ClientConfig, rustls::Error> + Send + Sync>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Explained>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (addr, config) = (self.addr.clone(), self.config.clone());
        Box::pin(async move {
            let stream = TcpStream::connect(&*addr).await.map_err(|error| named(&addr, error))?;
            stream.set_nodelay(true)?;
            let config = config().map_err(io::Error::other)?;
            // Not sent (SNI is off) and not checked: the verifier checks node id and role.
            let name = ServerName::try_from("skep").map_err(io::Error::other)?;
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
            let stream = stream.map_err(|error| named(&addr, error))?;
            Ok(TokioIo::new(Explained { addr, stream }))
        })
    }
}

/// tonic shows a failed connection as "transport error"; the address makes its cause worth reading.
fn named(addr: &str, error: io::Error) -> io::Error {
    match error.get_ref().and_then(|error| error.downcast_ref()).and_then(refusal) {
        Some(text) => io::Error::new(error.kind(), format!("{addr}: {text}")),
        None => io::Error::new(error.kind(), format!("{addr}: {error}")),
    }
}

/// Why a certificate was refused, in a sentence, where TLS has only a word or two numbers for it.
fn refusal(error: &rustls::Error) -> Option<String> {
    let error = match error {
        rustls::Error::InvalidCertificate(error) => error,
        // Also of one that has not begun.
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            return Some("it refuses this node's certificate, which is not valid by the clock there".to_owned());
        }
        rustls::Error::AlertReceived(
            AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate,
        ) => return Some("it refuses this node's certificate, which is not of its swarm".to_owned()),
        _ => return None,
    };
    let at = |time: UnixTime| date(Timestamp::from_secs(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)));
    let (validity, now) = match error {
        CertificateError::NotValidYetContext { time, not_before } => (format!("from {} on", at(*not_before)), time),
        CertificateError::ExpiredContext { time, not_after } => (format!("until {}", at(*not_after)), time),
        CertificateError::ApplicationVerificationFailure => {
            return Some("who answers there is not one of the managers that this node knows".to_owned());
        }
        _ => return None,
    };
    Some(format!("the clock of this node says {}, and the certificate there is valid {validity}", at(*now)))
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{GetClusterRequest, NodeRole, control_client::ControlClient};

    use super::*;
    use crate::net::{identity::Identity, testing::TestCa, tls::server_config};

    /// What a node hears that calls a server with this certificate.
    async fn called(ca: &TestCa, server: Identity) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let config = Arc::new(server_config(&server).unwrap());
        let serving = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = tokio_rustls::TlsAcceptor::from(config).accept(stream).await;
        });
        let caller = client_config(&ca.identity("caller", NodeRole::Worker), Expect::Manager, None).unwrap();
        let mut connector = Connector { addr: addr.into(), config: Arc::new(move || Ok(caller.clone())) };
        let error = connector.call(Uri::from_static("http://skep")).await.unwrap_err();
        serving.await.unwrap();
        error.to_string()
    }

    #[tokio::test]
    async fn a_node_whose_certificate_is_refused_hears_so_in_a_sentence() {
        let ca = TestCa::new("swarm");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let config = Arc::new(server_config(&ca.identity("manager", NodeRole::Manager)).unwrap());
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let _ = tokio_rustls::TlsAcceptor::from(config.clone()).accept(stream).await;
            }
        });
        let other = TestCa::new("swarm").identity("caller", NodeRole::Worker);
        // Of another root, and takes the server for one of its swarm.
        let other = Identity::from_pem(other.chain_pem(), other.key_pem().clone(), &ca.root_pem()).unwrap();
        for (caller, why) in [
            (ca.identity_until("caller", NodeRole::Worker, -60), "which is not valid by the clock there"),
            (other, "which is not of its swarm"),
        ] {
            let channel = Dialer::new(IdentityHandle::new(caller)).channel(&addr, Expect::Manager);
            let refused = ControlClient::new(channel).get_cluster(GetClusterRequest::default()).await.unwrap_err();
            assert_eq!(describe(&refused), format!("{addr}: it refuses this node's certificate, {why}"));
        }
        serving.abort();
    }

    #[tokio::test]
    async fn a_refused_certificate_is_refused_in_a_sentence() {
        let ca = TestCa::new("swarm");
        let late = called(&ca, ca.identity_until("manager", NodeRole::Manager, -60)).await;
        assert!(late.contains(": the clock of this node says 2") && late.contains(" is valid until 2"), "{late}");
        let other = called(&ca, ca.identity("worker", NodeRole::Worker)).await;
        assert!(other.ends_with("not one of the managers that this node knows"), "{other}");
        let at = |secs| UnixTime::since_unix_epoch(Duration::from_secs(secs));
        let early = CertificateError::NotValidYetContext { time: at(0), not_before: at(86_400 + 120) };
        assert_eq!(
            refusal(&rustls::Error::InvalidCertificate(early)).unwrap(),
            "the clock of this node says 1970-01-01 00:00 UTC, and the certificate there is valid from 1970-01-02 00:02 UTC on"
        );
    }
}
