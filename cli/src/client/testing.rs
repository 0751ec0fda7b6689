//! A daemon for tests: a real HTTP server on a real socket, with answers written down beforehand.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;

use super::Client;

type Answer = (u16, Bytes);

#[derive(Default)]
struct State {
    version: String,
    /// By `METHOD /path?query`. Several answers come one after the other, the last one for ever.
    answers: HashMap<String, Vec<Answer>>,
    /// Requests that came, with their bodies.
    seen: Vec<(String, String)>,
}

/// A scripted daemon; it is gone when dropped.
pub(crate) struct FakeDaemon {
    dir: TempDir,
    state: Arc<Mutex<State>>,
    server: tokio::task::JoinHandle<()>,
}

impl FakeDaemon {
    /// One that knows nothing yet. Must be called inside a runtime.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
        let state = Arc::new(Mutex::new(State { version: "1.46".to_owned(), ..State::default() }));
        let server = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self { dir, state, server }
    }

    /// Says it speaks this API version.
    pub(crate) fn speaking(self, version: &str) -> Self {
        version.clone_into(&mut self.state.lock().unwrap().version);
        self
    }

    /// Answers a request, `METHOD /path?query`, with JSON.
    pub(crate) fn on(self, request: &str, answer: Value) -> Self {
        self.answer(request, 200, answer.to_string().into())
    }

    /// Answers a request with bytes.
    pub(crate) fn on_bytes(self, request: &str, answer: impl Into<Bytes>) -> Self {
        self.answer(request, 200, answer.into())
    }

    /// Refuses a request.
    pub(crate) fn refusing(self, request: &str, status: u16, message: &str) -> Self {
        self.answer(request, status, json!({ "message": message }).to_string().into())
    }

    fn answer(self, request: &str, status: u16, body: Bytes) -> Self {
        self.state.lock().unwrap().answers.entry(request.to_owned()).or_default().push((status, body));
        self
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("unix://{}", self.dir.path().join("sock").display())).unwrap()
    }

    /// The body of the one request of this kind that came.
    pub(crate) fn sent(&self, request: &str) -> Value {
        let state = self.state.lock().unwrap();
        let bodies: Vec<&String> =
            state.seen.iter().filter(|(seen, _)| seen == request).map(|(_, body)| body).collect();
        assert_eq!(bodies.len(), 1, "{request} among {:?}", state.seen);
        serde_json::from_str(bodies[0]).unwrap_or(Value::String(bodies[0].clone()))
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(listener: UnixListener, state: Arc<Mutex<State>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        let service = service_fn(move |request| respond(request, Arc::clone(&state)));
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

async fn respond(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let key = format!("{} {}", request.method(), request.uri());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let mut state = state.lock().unwrap();
    if key.ends_with(" /_ping") {
        return Ok(Response::builder().header("api-version", &state.version).body("OK".into()).unwrap());
    }
    state.seen.push((key.clone(), String::from_utf8_lossy(&body).into_owned()));
    let (status, body) = match state.answers.get_mut(&key) {
        Some(answers) if answers.len() > 1 => answers.remove(0),
        Some(answers) => answers[0].clone(),
        None => (500, json!({ "message": format!("nobody expects {key}") }).to_string().into()),
    };
    Ok(Response::builder().status(status).body(body.into()).unwrap())
}
