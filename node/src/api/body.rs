//! Bodies of requests: what a handler leaves of one is read all the same before the answer goes, within bounds.
//!
//! A connection that closes on a client that still writes shows it a broken pipe in place of the answer. So a body is
//! only ever lent ([`lend`]): whoever drops it, read or not, gives back what is left of it.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::{sync::oneshot, time::timeout};

/// How many bytes of what nobody wanted are read.
const DRAIN: usize = 16 << 20;

/// How long they may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// A body that goes back where it came from.
struct Lent {
    body: Body,
    home: Option<oneshot::Sender<Body>>,
}

/// Where a lent body comes back.
pub(super) struct Rest(oneshot::Receiver<Body>);

/// The same body, and where it comes back.
pub(super) fn lend(body: Body) -> (Body, Rest) {
    let (home, rest) = oneshot::channel();
    (Body::new(Lent { body, home: Some(home) }), Rest(rest))
}

impl Rest {
    /// Reads what is left, unless the body is still in use.
    pub(super) async fn drain(mut self) {
        if let Ok(body) = self.0.try_recv() {
            drain(body).await;
        }
    }

    /// Waits until whoever has the body is done with it, and reads what is left.
    pub(super) async fn drain_when_done(self) {
        if let Ok(body) = self.0.await {
            drain(body).await;
        }
    }
}

async fn drain(mut body: Body) {
    let read = async {
        let mut length = 0;
        while length <= DRAIN
            && let Some(Ok(frame)) = body.frame().await
        {
            length += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    // A client that is slower than that, or sends more, is on its own.
    let _ = timeout(PATIENCE, read).await;
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let _ = home.send(std::mem::take(&mut self.body));
        }
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
