//! Bodies of requests: what a handler leaves of one is read all the same before the answer goes, within bounds.
//!
//! A connection that closes on a client that still writes shows it a broken pipe in place of the answer. So a body is
//! only ever lent ([`lend`]): whoever drops it, read or not, gives back what is left of it.
//!
//! Invariant: no body is waited for longer than its [`Pace`] allows, whoever reads it. Only waiting for the client
//! counts: a server that is slow to read makes no client slow.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use futures::FutureExt as _;
use http::Uri;
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep, timeout},
};

/// How many bytes of an unread rest are drained.
const DRAIN: usize = 16 << 20;

/// How long they may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a client may be waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// In any case.
    grace: Duration,
    /// For each second more.
    bytes_a_second: u32,
}

/// Specifications are short.
const OF_SPECS: Pace = Pace { grace: Duration::from_secs(10), bytes_a_second: 64 << 10 };
/// Archives come through pipes and slow networks.
const OF_ARCHIVES: Pace = Pace { grace: Duration::from_secs(60), bytes_a_second: 16 << 10 };

impl Pace {
    /// That of the body of a request.
    pub(super) fn of(uri: &Uri) -> Self {
        if uri.path().ends_with("/images/load") { OF_ARCHIVES } else { OF_SPECS }
    }

    fn allows(self, bytes: u64) -> Duration {
        self.grace + Duration::from_millis(bytes.saturating_mul(1000) / u64::from(self.bytes_a_second))
    }
}

/// What a reader of a body sees when its client is too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request took too long to arrive")]
struct TooSlow;

/// Whether a body could not be read because of its pace.
pub(super) fn is_too_slow(error: &axum::Error) -> bool {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    causes.into_iter().any(|cause| cause.is::<TooSlow>())
}

/// A body that has to keep up its pace.
struct Paced {
    body: Body,
    pace: Pace,
    bytes: u64,
    waited: Duration,
    /// While the client is waited for: since when, and until when.
    wait: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            if let Some((since, _)) = self.wait.take() {
                self.waited += since.elapsed();
            }
            let length = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
            self.bytes += length as u64;
            return Poll::Ready(frame);
        }
        let left = self.pace.allows(self.bytes).saturating_sub(self.waited);
        let (_, end) = self.wait.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
        end.poll_unpin(cx).map(|()| Some(Err(axum::Error::new(TooSlow))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that goes back where it came from.
struct Lent {
    body: Body,
    home: Option<oneshot::Sender<Body>>,
}

/// Where a lent body comes back.
pub(super) struct Rest(oneshot::Receiver<Body>);

/// The same body with a pace to keep, and where it comes back.
pub(super) fn lend_paced(body: Body, pace: Pace) -> (Body, Rest) {
    lend(Body::new(Paced { body, pace, bytes: 0, waited: Duration::ZERO, wait: None }))
}

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

    /// Waits until the handler is done with the body, and reads what is left.
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

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};

    use super::*;

    /// Reads a body of `chunks` of so many bytes each, with a second before each; how long it took until it failed.
    async fn read(pace: Pace, chunks: usize, bytes: usize) -> Result<(), Duration> {
        let begun = Instant::now();
        let chunks = stream::repeat(Bytes::from(vec![0; bytes])).take(chunks);
        let slow = chunks.then(|chunk| async move {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, std::io::Error>(chunk)
        });
        let (body, _rest) = lend_paced(Body::from_stream(slow), pace);
        axum::body::to_bytes(body, usize::MAX).await.map(|_| ()).map_err(|error| {
            assert!(error.to_string().contains("took too long"), "{error}");
            begun.elapsed()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn who_trickles_is_given_up_and_who_is_merely_slow_is_not() {
        let spec = Pace::of(&Uri::from_static("/v1.44/services/create"));
        let archive = Pace::of(&Uri::from_static("/images/load"));
        assert!(read(spec, 5, 1).await.is_ok());
        assert!(read(spec, 1000, 1).await.unwrap_err() < Duration::from_secs(11));
        assert!(read(archive, 1000, 1).await.unwrap_err() < Duration::from_secs(61));
        assert!(read(archive, 1000, 20 << 10).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_server_makes_no_slow_client() {
        let (mut body, _rest) = lend_paced(Body::from("all of it"), OF_SPECS);
        sleep(Duration::from_secs(3600)).await;
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.is_none());
    }
}
