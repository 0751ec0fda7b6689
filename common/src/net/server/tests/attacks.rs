//! What somebody without a place in the swarm can do to those who have one: nothing.

use std::{net::Ipv4Addr, time::Duration};

use http_body_util::StreamBody;
use rustls::pki_types::ServerName;
use tokio::{io::AsyncWriteExt as _, net::TcpSocket};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::body::Body;
use tower::ServiceExt as _;

use super::*;
use crate::{
    limits::{MAX_STRANGERS_REQUEST_BYTES, STRANGERS_REQUEST_DEADLINE},
    net::tls::unverified_client_config,
};

const STRANGERS: usize = 8;
const OPEN: &str = "/skep.v1.Ca/GetRootCa";
const MANAGERS: &str = "/skep.v1.Control/GetCluster";

fn few() -> ServerLimits {
    ServerLimits { stranger_connections: STRANGERS, ..ServerLimits::default() }
}

struct Target {
    ca: TestCa,
    server: TestServer,
}

impl Target {
    async fn start(limits: ServerLimits) -> Self {
        let ca = TestCa::new("swarm");
        let server = TestServer::start_with(ca.handle("server", NodeRole::Manager), limits).await;
        server.roles.set("m", RoleAnswer::Is(NodeRole::Manager));
        Self { ca, server }
    }

    /// A connection from one of the many addresses of this machine.
    async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.server.addr.parse().unwrap()).await.unwrap()
    }

    /// A connection over which TLS was made, and nothing more.
    async fn idle(&self, from: Ipv4Addr) -> TlsStream<TcpStream> {
        let connector = TlsConnector::from(Arc::new(unverified_client_config().unwrap()));
        connector.connect(ServerName::try_from("skep").unwrap(), self.connect(from).await).await.unwrap()
    }

    fn node(&self, node_id: &str) -> Channel {
        dialer(&self.ca, node_id, NodeRole::Manager).channel(&self.server.addr, Expect::Manager)
    }

    fn joiner(&self) -> Channel {
        Dialer::anonymous(&self.server.addr, &self.ca.root_pem()).unwrap()
    }

    /// Both a node of the swarm and a new one get what they came for, over connections made now.
    async fn serves_newcomers(&self) {
        assert_eq!(code(call(self.node("m"), MANAGERS).await), Code::Ok);
        assert_eq!(code(call(self.joiner(), OPEN).await), Code::Ok);
    }
}

fn from(address: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 1, address)
}

#[tokio::test]
async fn idle_connections_keep_nobody_out() {
    let target = Target::start(few()).await;
    let node = target.node("m");
    assert_eq!(code(call(node.clone(), MANAGERS).await), Code::Ok);
    let mut watch = endless(node, "/skep.v1.Control/Watch").await;

    let mut idle = Vec::new();
    for n in 0..4 * STRANGERS {
        // Four addresses with all they can hold, as many times over as there are places.
        idle.push(target.idle(from((n % 4) as u8 + 1)).await);
        if n % STRANGERS == 0 {
            target.serves_newcomers().await;
        }
    }
    target.serves_newcomers().await;
    assert!(futures::poll!(std::pin::pin!(watch.message())).is_pending(), "nor does anybody lose a connection");
    let mut first = idle.swap_remove(0);
    closed(&mut first).await;
    // Those that came last are still there: it is not that everybody was shown out.
    let mut last = idle.pop().unwrap();
    let mut byte = [0];
    let pushed_out = tokio::time::timeout(Duration::from_millis(100), async {
        while last.read(&mut byte).await.is_ok_and(|read| read > 0) {}
    });
    assert!(pushed_out.await.is_err());
    target.server.stop().await;
}

#[tokio::test]
async fn a_crowd_of_addresses_keeps_nobody_out() {
    let target = Target::start(few()).await;
    let mut idle = Vec::new();
    for address in 1..=100 {
        idle.push(target.idle(from(address)).await);
    }
    target.serves_newcomers().await;
    closed(idle.swap_remove(0)).await;
    target.server.stop().await;
}

#[tokio::test]
async fn half_a_handshake_keeps_nobody_out_and_does_not_last() {
    let limits = ServerLimits { handshake_timeout: Duration::from_millis(500), ..few() };
    let target = Target::start(limits).await;
    let mut halves = Vec::new();
    for n in 0..4 * STRANGERS {
        let mut stream = target.connect(from((n % 4) as u8 + 1)).await;
        // The head of a handshake record that announces more than will ever come.
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc]).await.unwrap();
        halves.push(stream);
    }
    target.serves_newcomers().await;
    for stream in halves {
        closed(stream).await;
    }
    target.server.stop().await;
}

#[tokio::test]
async fn a_stranger_goes_after_a_while_whatever_it_does() {
    let target = Target::start(ServerLimits { stranger_lifetime: Duration::from_millis(300), ..few() }).await;
    let idle = target.idle(from(1)).await;
    let mut stream = endless(target.joiner(), OPEN).await;
    // A certificate of a node that was removed makes no friend of a stranger.
    let removed = target.node("removed");
    assert!(is_unknown_node(&call(removed, MANAGERS).await.unwrap_err()));
    closed(idle).await;
    assert!(stream.message().await.is_err());
    target.server.stop().await;
}

#[tokio::test]
async fn who_becomes_a_node_keeps_its_connection() {
    let target = Target::start(ServerLimits { stranger_lifetime: Duration::from_millis(300), ..few() }).await;
    target.server.roles.set("new", RoleAnswer::Removed);
    let channel = target.node("new");
    assert!(is_unknown_node(&call(channel.clone(), MANAGERS).await.unwrap_err()));
    target.server.roles.set("new", RoleAnswer::Is(NodeRole::Manager));
    let mut watch = endless(channel, "/skep.v1.Control/Watch").await;
    // Far longer than a stranger may stay.
    assert!(tokio::time::timeout(Duration::from_secs(2), watch.message()).await.is_err());
    target.server.stop().await;
}

/// Calls `path` with the frames of `body`, to a handler that reads them all.
async fn send<B>(channel: Channel, path: &str, body: B) -> Code
where
    B: hyper::body::Body<Data = Bytes, Error = Status> + Send + 'static,
{
    let request = http::Request::post(path).header(CONTENT_TYPE, "application/grpc").header(READING, "yes");
    let response = channel.oneshot(request.body(Body::new(body)).unwrap()).await.unwrap();
    Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code())
}

fn bytes(count: usize) -> impl hyper::body::Body<Data = Bytes, Error = Status> + Send + 'static {
    let frames = (0..count.div_ceil(1024)).map(|_| Ok(Frame::data(Bytes::from_static(&[0; 1024]))));
    StreamBody::new(stream::iter(frames))
}

#[tokio::test]
async fn large_and_slow_bodies_of_strangers_are_not_waited_for() {
    let target = Target::start(few()).await;
    assert_eq!(send(target.joiner(), OPEN, bytes(MAX_STRANGERS_REQUEST_BYTES)).await, Code::Ok);
    assert_eq!(send(target.joiner(), OPEN, bytes(MAX_STRANGERS_REQUEST_BYTES + 1024)).await, Code::ResourceExhausted);
    assert_eq!(send(target.node("m"), MANAGERS, bytes(1 << 20)).await, Code::Ok, "a node may say more");

    let begun = stream::iter([Ok(Frame::data(Bytes::from_static(&[0; 10])))]);
    let stalled = StreamBody::new(begun.chain(stream::pending()));
    let begin = tokio::time::Instant::now();
    assert_eq!(send(target.joiner(), OPEN, stalled).await, Code::DeadlineExceeded);
    assert!(begin.elapsed() >= STRANGERS_REQUEST_DEADLINE);
    target.server.stop().await;
}

#[tokio::test]
async fn a_flood_of_calls_reaches_the_handlers_a_few_at_a_time() {
    const AT_ONCE: usize = STRANGER.streams as usize;
    let target = Target::start(few()).await;
    let flood = target.joiner();
    // The first call hears how many there may be at once. A client that goes over it loses its connection.
    assert_eq!(code(call(flood.clone(), OPEN).await), Code::Ok);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 * AT_ONCE {
        let channel = flood.clone();
        calls.spawn(async move {
            let mut request = Request::new(());
            request.metadata_mut().insert(HANGING, "yes".parse().unwrap());
            code(call_with(channel, OPEN, request).await)
        });
    }
    while target.server.reached() < 1 + AT_ONCE {
        tokio::task::yield_now().await;
    }
    target.serves_newcomers().await;
    assert_eq!(target.server.reached(), 1 + AT_ONCE + 2, "what is over the bound waits with who sent it");
    calls.shutdown().await;
    target.server.stop().await;
}
