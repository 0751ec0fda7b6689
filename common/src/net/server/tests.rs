//! Real connections over loopback.

mod attacks;
mod authorization;
mod connections;
mod forwarding;
mod streams;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, extract::State, response::IntoResponse};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_TYPE, uri::PathAndQuery};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use skep_proto::v1::NodeRole;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    task::JoinHandle,
};
use tonic::{Code, Request, Response, Status, Streaming, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use super::*;
use crate::{
    authz::RPCS,
    net::{
        dial::{Dialer, Expect},
        testing::{Roles, TestCa},
    },
};

/// Asks the handler to send one message and then nothing, for ever.
const ENDLESS: &str = "x-endless";
/// Asks the handler to send messages for ever.
const FLOODING: &str = "x-flooding";
/// Asks the handler not to answer at all.
const HANGING: &str = "x-hanging";
/// Asks the handler to read the request first.
const READING: &str = "x-reading";
/// The handler's `Caller`.
const CALLER: &str = "x-caller";

/// A manager's server, and how often its handlers were reached.
struct TestServer {
    addr: String,
    roles: Roles,
    reached: Arc<AtomicUsize>,
    shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl TestServer {
    async fn start(identity: IdentityHandle) -> Self {
        Self::start_with(identity, ServerLimits::default()).await
    }

    async fn start_with(identity: IdentityHandle, limits: ServerLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (roles, reached, shutdown) = (Roles::default(), Arc::default(), CancellationToken::new());
        let routes = Routes::from(Router::new().fallback(handler).with_state(Arc::clone(&reached)));
        let server = RpcServer::new(listener, identity, Arc::new(roles.clone()), routes).with_limits(limits);
        let serving = tokio::spawn(server.serve(shutdown.clone()));
        Self { addr, roles, reached, shutdown, serving }
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::SeqCst)
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.serving.await.unwrap();
    }
}

/// Answers every call with one empty message and success, whatever the method.
async fn handler(State(reached): State<Arc<AtomicUsize>>, request: axum::extract::Request) -> axum::response::Response {
    reached.fetch_add(1, Ordering::SeqCst);
    let (endless, hanging) = (request.headers().contains_key(ENDLESS), request.headers().contains_key(HANGING));
    if hanging {
        std::future::pending::<()>().await;
    }
    let flooding = request.headers().contains_key(FLOODING);
    let caller = format!("{:?}", request.extensions().get::<Caller>().unwrap());
    if request.headers().contains_key(READING)
        && let Err(error) = request.into_body().collect().await
    {
        return Status::from_error(error.into()).into_http::<axum::body::Body>();
    }
    let message = Frame::data(Bytes::from_static(&[0; 5]));
    let success = Frame::trailers(HeaderMap::from_iter([(Status::GRPC_STATUS, HeaderValue::from_static("0"))]));
    let end = if flooding {
        // Thousands of empty messages.
        stream::repeat_with(|| Frame::data(Bytes::from_static(&[0; 5 << 10]))).boxed()
    } else if endless {
        stream::pending().boxed()
    } else {
        stream::iter([success]).boxed()
    };
    let frames = stream::iter([message]).chain(end).map(Ok::<_, Infallible>);
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/grpc")),
        (HeaderName::from_static(CALLER), HeaderValue::try_from(caller).unwrap()),
    ];
    (HeaderMap::from_iter(headers), axum::body::Body::new(StreamBody::new(frames))).into_response()
}

/// Waits until the server has closed `stream`.
async fn closed(mut stream: impl AsyncRead + Unpin) {
    let mut bytes = [0; 1024];
    let end = async { while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {} };
    tokio::time::timeout(Duration::from_secs(10), end).await.expect("the server closes it");
}

async fn grpc(channel: Channel) -> Result<Grpc<Channel>, Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
    Ok(grpc)
}

/// Calls `path` with an empty message.
async fn call_with(channel: Channel, path: &str, request: Request<()>) -> Result<Response<()>, Status> {
    let path: PathAndQuery = path.parse().unwrap();
    grpc(channel).await?.unary(request, path, ProstCodec::<(), ()>::default()).await
}

async fn call(channel: Channel, path: &str) -> Result<Response<()>, Status> {
    call_with(channel, path, Request::new(())).await
}

/// Opens a stream that has sent its first message and never ends by itself.
async fn endless(channel: Channel, path: &str) -> Streaming<()> {
    stream_of(ENDLESS, channel, path).await
}

/// Opens a stream of this kind that has sent its first message.
async fn stream_of(kind: &'static str, channel: Channel, path: &str) -> Streaming<()> {
    let mut request = Request::new(());
    request.metadata_mut().insert(kind, "yes".parse().unwrap());
    let path: PathAndQuery = path.parse().unwrap();
    let codec = ProstCodec::<(), ()>::default();
    let mut stream = grpc(channel).await.unwrap().server_streaming(request, path, codec).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    stream
}

fn dialer(ca: &TestCa, node_id: &str, role: NodeRole) -> Dialer {
    Dialer::new(ca.handle(node_id, role))
}

fn code<T>(result: Result<T, Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}
