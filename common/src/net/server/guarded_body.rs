//! A reply stream that ends when its authorization is withdrawn: the watch or session of a node removed or demoted.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::{Status, body::Body};

use super::right::Right;
use crate::limits::RECHECK_PERIOD;

/// A reply's body, and what entitles the caller to it.
pub(super) struct GuardedBody {
    body: Body,
    guard: Option<Guard>,
}

struct Guard {
    right: Right,
    /// Set when the first poll finds the reply unfinished: most replies are complete at once and need no timer.
    recheck: Option<Pin<Box<Sleep>>>,
}

impl GuardedBody {
    /// A reply that lasts as long as `right` does.
    pub(super) fn new(body: Body, right: Right) -> Self {
        let guard = right.peer.is_some().then_some(Guard { right, recheck: None });
        Self { body, guard }
    }

    /// A reply anyone may have.
    pub(super) fn open(body: Body) -> Self {
        Self { body, guard: None }
    }
}

impl Guard {
    /// Ready with the reason once the right is lost.
    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        loop {
            let recheck = self.recheck.get_or_insert_with(|| Box::pin(sleep(RECHECK_PERIOD)));
            match recheck.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.recheck = None,
            }
            if let Err(status) = self.right.check() {
                return Poll::Ready(status);
            }
        }
    }
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // The check comes first: a stream that always has something to send must end as well.
        if let Some(guard) = &mut self.guard
            && let Poll::Ready(status) = guard.poll_lost(cx)
        {
            *self = Self::open(Body::empty());
            return Poll::Ready(Some(Ok(Frame::trailers(trailers(&status)))));
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Only a message that is no header value could do this; the code alone says enough.
        trailers.insert(Status::GRPC_STATUS, (status.code() as i32).into());
    }
    trailers
}
