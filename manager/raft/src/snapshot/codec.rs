//! A state as bytes: a `SnapshotHeader`, then every object, each with its length before it. Equal states give equal bytes.

use std::io;

use bytes::{Buf as _, BytesMut};
use skep_proto::{
    Message,
    v1::{Object, SnapshotHeader},
};
use skep_store::View;

use super::SnapshotError;

/// Longest encoded object. Nothing comes near; a damaged length must not ask for the machine's memory.
const MAX_OBJECT_BYTES: usize = 64 << 20;

/// Longest encoded length.
const MAX_LENGTH_BYTES: usize = 10;

pub(super) fn encode(view: &View, out: &mut impl io::Write) -> io::Result<()> {
    out.write_all(&view.snapshot_header().encode_length_delimited_to_vec())?;
    for object in view.snapshot() {
        out.write_all(&object.encode_length_delimited_to_vec())?;
    }
    Ok(())
}

pub(super) fn decode(chunks: impl Iterator<Item = Result<Vec<u8>, SnapshotError>>) -> Result<View, SnapshotError> {
    let mut messages = Messages { chunks, buffer: BytesMut::new() };
    let header: SnapshotHeader = messages.next()?.ok_or_else(|| SnapshotError::content("it is empty"))?;
    let mut failure = None;
    let objects = std::iter::from_fn(|| match messages.next::<Object>() {
        Ok(object) => object,
        Err(error) => {
            failure = Some(error);
            None
        }
    });
    let restored = View::restore(&header, objects);
    match failure {
        Some(error) => Err(error),
        None => restored.map_err(SnapshotError::content),
    }
}

/// Cuts a stream of chunks into messages.
struct Messages<I> {
    chunks: I,
    buffer: BytesMut,
}

impl<I: Iterator<Item = Result<Vec<u8>, SnapshotError>>> Messages<I> {
    /// The next message; `None` at the end.
    fn next<M: Message + Default>(&mut self) -> Result<Option<M>, SnapshotError> {
        loop {
            let mut rest = &self.buffer[..];
            match prost::decode_length_delimiter(&mut rest) {
                Ok(length) if length > MAX_OBJECT_BYTES => return Err(SnapshotError::content("an object is too long")),
                Ok(length) if length <= rest.len() => {
                    let start = self.buffer.len() - rest.len();
                    self.buffer.advance(start);
                    let message = self.buffer.split_to(length);
                    return M::decode(message).map(Some).map_err(SnapshotError::content);
                }
                Err(error) if self.buffer.len() >= MAX_LENGTH_BYTES => return Err(SnapshotError::content(error)),
                // Not all of it is here yet.
                _ => {}
            }
            match self.chunks.next() {
                Some(chunk) => self.buffer.extend_from_slice(&chunk?),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(SnapshotError::content("it ends in the middle of an object")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::view_of;

    fn bytes_of(view: &View) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(view, &mut bytes).unwrap();
        bytes
    }

    fn decode_in(bytes: &[u8], chunk: usize) -> Result<View, SnapshotError> {
        decode(bytes.chunks(chunk).map(|chunk| Ok(chunk.to_vec())))
    }

    #[test]
    fn a_state_comes_back_the_same_however_it_is_cut() {
        let view = view_of(20);
        let bytes = bytes_of(&view);
        for chunk in [1, 2, 7, 100, bytes.len()] {
            let back = decode_in(&bytes, chunk).unwrap();
            assert_eq!(bytes_of(&back), bytes);
            assert_eq!(back.version(), view.version());
        }
        assert_eq!(bytes_of(&decode_in(&bytes_of(&View::default()), 9).unwrap()), bytes_of(&View::default()));
    }

    #[test]
    fn a_cut_end_is_an_error() {
        let bytes = bytes_of(&view_of(3));
        for end in 0..bytes.len() {
            assert!(decode_in(&bytes[..end], 64).is_err(), "cut at {end} of {}", bytes.len());
        }
    }

    proptest! {
        #[test]
        fn junk_is_an_error_and_never_a_panic(bytes in any::<Vec<u8>>()) {
            let _ = decode_in(&bytes, 5);
        }
    }
}
