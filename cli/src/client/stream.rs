//! An answer that is read as it comes.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use skep_dockerapi::decode::DecodeError;

use super::ClientError;

/// Longest single value of a stream; a log line is cut far below.
const MAX_VALUE: usize = 16 << 20;

/// The body of an answer, bit by bit. Dropping it ends the request.
pub(crate) struct ByteStream {
    body: Incoming,
    /// Came, and is not asked for yet.
    held: BytesMut,
}

impl ByteStream {
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, held: BytesMut::new() }
    }

    /// Whatever comes next; `None` at the end.
    ///
    /// # Errors
    /// When the stream breaks off.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        if !self.held.is_empty() {
            return Ok(Some(self.held.split().freeze()));
        }
        self.receive().await
    }

    /// Exactly `count` bytes; `None` when the stream ends before the first of them.
    ///
    /// # Errors
    /// When the stream breaks off, also inside of the bytes.
    pub(crate) async fn take(&mut self, count: usize) -> Result<Option<Bytes>, ClientError> {
        if count > MAX_VALUE {
            return Err(broken("a piece of it is too large"));
        }
        while self.held.len() < count {
            match self.receive().await? {
                Some(more) => self.held.extend_from_slice(&more),
                None if self.held.is_empty() => return Ok(None),
                None => return Err(broken("the connection was closed")),
            }
        }
        Ok(Some(self.held.split_to(count).freeze()))
    }

    /// The next JSON value, with or without white space between them; `None` at the end.
    ///
    /// # Errors
    /// When the stream breaks off or holds something else.
    pub(crate) async fn value<T: DeserializeOwned>(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.held).into_iter::<T>();
            match values.next() {
                Some(Ok(value)) => {
                    let read = values.byte_offset();
                    self.held.advance(read);
                    return Ok(Some(value));
                }
                Some(Err(error)) if !error.is_eof() => {
                    return Err(DecodeError::Syntax(error.to_string()).into());
                }
                Some(Err(_)) | None => {}
            }
            if self.held.len() > MAX_VALUE {
                return Err(broken("a piece of it is too large"));
            }
            match self.receive().await? {
                Some(more) => self.held.extend_from_slice(&more),
                None if self.held.iter().all(u8::is_ascii_whitespace) => return Ok(None),
                None => return Err(broken("the connection was closed")),
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(|error| ClientError::Body(error.into()))?.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

fn broken(why: &str) -> ClientError {
    ClientError::Body(why.into())
}
