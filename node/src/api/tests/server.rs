//! Connections over a real socket.

use std::{path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::super::{
    server::serve_at_most,
    testing::{Bench, SwarmRole},
};

pub(super) struct Served {
    pub(super) dir: tempfile::TempDir,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Served {
    pub(super) fn new(bench: &Bench) -> Self {
        Self::at_most(100, bench)
    }

    /// With so many connections at a time.
    fn at_most(limit: usize, bench: &Bench) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("sock")).unwrap();
        let (state, stop) = (bench.api.backend.clone(), CancellationToken::new());
        let server = tokio::spawn({
            let stop = stop.clone();
            async move { serve_at_most(limit, &listener, state, stop).await }
        });
        Self { dir, stop, server }
    }

    pub(super) fn socket(&self) -> std::path::PathBuf {
        self.dir.path().join("sock")
    }

    /// Stops the server; it must end by itself.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(20), self.server).await.unwrap().unwrap();
    }
}

async fn connect(path: &Path) -> UnixStream {
    UnixStream::connect(path).await.unwrap()
}

async fn until(stream: &mut UnixStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        let read = timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "ended after {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    text
}

#[tokio::test]
async fn connections_are_kept_and_garbage_hurts_nobody() {
    let served = Served::new(&Bench::new(SwarmRole::Outside));
    let mut garbage = connect(&served.socket()).await;
    garbage.write_all(b"\x16\x03\x01\0\0garbage\r\n\r\n").await.unwrap();
    let mut huge = connect(&served.socket()).await;
    let head = format!("GET /_ping HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(200 << 10));
    let _ = huge.write_all(head.as_bytes()).await;
    let mut stream = connect(&served.socket()).await;
    for _ in 0..3 {
        stream.write_all(b"GET /_ping HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let answer = until(&mut stream, "\r\n\r\nOK").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_stopping_server_ends_its_streams() {
    let served = Served::new(&Bench::new(SwarmRole::Manager));
    let mut stream = connect(&served.socket()).await;
    stream.write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until(&mut stream, "\r\n\r\n").await;
    let mut idle = connect(&served.socket()).await;
    served.stop().await;
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&rest), "0\r\n\r\n");
    // Closed, or reset if it had not been accepted yet; ended in any case.
    let _ = timeout(Duration::from_secs(10), idle.read_to_end(&mut rest)).await.unwrap();
}

#[tokio::test]
async fn streams_without_end_keep_nobody_out() {
    const LIMIT: usize = 3;
    let served = Served::at_most(LIMIT, &Bench::new(SwarmRole::Manager));
    let mut streams = Vec::new();
    for _ in 0..LIMIT {
        let mut stream = connect(&served.socket()).await;
        stream.write_all(b"GET /events HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        until(&mut stream, "\r\n\r\n").await;
        streams.push(stream);
    }
    let mut newcomer = connect(&served.socket()).await;
    newcomer.write_all(b"GET /_ping HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    until(&mut newcomer, "\r\n\r\nOK").await;
    // In the place of the oldest.
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), streams[0].read_to_end(&mut rest)).await.unwrap().unwrap();
    served.stop().await;
}

/// The client writes all of its body before it reads: an answer that goes before that must not close on it.
#[tokio::test]
async fn a_body_nobody_wants_is_read_before_the_answer_goes() {
    const BODY: usize = 8 << 20;
    let served = Served::new(&Bench::new(SwarmRole::Outside));
    for (path, answer) in [
        ("/nonsense", "404 Not Found"),
        ("/v1.99/services/create", "400 Bad Request"),
        ("/containers/create", "501 Not Implemented"),
        ("/services/create", "413 Payload Too Large"),
        ("/swarm/leave", "503 Service Unavailable"),
    ] {
        let mut stream = connect(&served.socket()).await;
        let (head, body) = (format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY}\r\n\r\n"), [b'x'; 4096]);
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..BODY / body.len() {
            let written = timeout(Duration::from_secs(10), stream.write_all(&body)).await.unwrap();
            written.unwrap_or_else(|error| panic!("{path}: {error}"));
        }
        let text = until(&mut stream, "}").await;
        assert!(text.starts_with(&format!("HTTP/1.1 {answer}")), "{path}: {text}");
        // The connection is good for another request, after whatever ends the last answer.
        stream.write_all(b"GET /_ping HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        until(&mut stream, "\r\n\r\nOK").await;
    }
    served.stop().await;
}
