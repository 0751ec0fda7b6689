//! A request body with the size limit of its line in the table, and from a stranger a time limit.
//!
//! What is beyond the bound is never buffered: the call ends at the frame that goes over it.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tower::BoxError;

/// The body of a request.
pub(super) struct BoundedBody<B> {
    body: Pin<Box<B>>,
    /// Bytes that may still come; `None` for an upload, which is taken in as it comes.
    left: Option<usize>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> BoundedBody<B> {
    /// `body`, of at most `limit` bytes, the last of them before `deadline` has passed.
    pub(super) fn new(body: B, limit: Option<usize>, deadline: Option<Duration>) -> Self {
        Self { body: Box::pin(body), left: limit, deadline: deadline.map(|deadline| Box::pin(sleep(deadline))) }
    }

    fn take(&mut self, bytes: usize) -> Result<(), Status> {
        let Some(left) = &mut self.left else { return Ok(()) };
        *left = left.checked_sub(bytes).ok_or_else(|| Status::resource_exhausted("the request is too large"))?;
        Ok(())
    }
}

impl<B: HttpBody<Data = Bytes, Error: Into<BoxError>>> HttpBody for BoundedBody<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.body.as_mut().poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                Poll::Ready(Some(self.take(bytes).map(|()| frame)))
            }
            Poll::Pending if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) => {
                self.deadline = None;
                Poll::Ready(Some(Err(Status::deadline_exceeded("the request takes too long to come"))))
            }
            other => other.map_err(|error| Status::from_error(error.into())),
        }
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
    use http_body_util::{BodyExt as _, Full, StreamBody};
    use tonic::Code;

    use super::*;

    async fn end<B: HttpBody<Data = Bytes, Error: Into<BoxError>>>(body: BoundedBody<B>) -> Result<usize, Code> {
        body.collect().await.map(|whole| whole.to_bytes().len()).map_err(|status| status.code())
    }

    #[tokio::test]
    async fn only_what_fits_is_taken_in() {
        let body = |limit| BoundedBody::new(Full::new(Bytes::from_static(&[0; 10])), limit, None);
        assert_eq!(end(body(Some(10))).await, Ok(10));
        assert_eq!(end(body(Some(9))).await, Err(Code::ResourceExhausted));
        assert_eq!(end(body(None)).await, Ok(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let begun = stream::iter([Ok::<_, Status>(Frame::data(Bytes::from_static(b"a")))]);
        let stalled = begun.chain(stream::pending());
        let body = BoundedBody::new(StreamBody::new(stalled), Some(10), Some(Duration::from_secs(3)));
        assert_eq!(end(body).await, Err(Code::DeadlineExceeded));
    }
}
