//! Cuts a stream of bytes into log messages as Docker does: a line each, a very long line in several.

/// The longest message: what Docker's copier holds of a line before it passes it on in parts.
pub(crate) const MAX_MESSAGE: usize = 16 * 1024;

/// The unfinished line of one stream.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// Takes in more bytes and calls `emit` for each message they complete: a line with its newline, or
    /// [`MAX_MESSAGE`] bytes of one without.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let room = MAX_MESSAGE - self.pending.len();
            let end = bytes.iter().take(room).position(|byte| *byte == b'\n');
            let (taken, complete) = match end {
                Some(at) => (at + 1, true),
                None => (bytes.len().min(room), bytes.len() >= room),
            };
            let (head, rest) = bytes.split_at(taken);
            bytes = rest;
            if complete && self.pending.is_empty() {
                emit(head);
            } else {
                self.pending.extend_from_slice(head);
                if complete {
                    emit(&self.pending);
                    self.pending.clear();
                }
            }
        }
    }

    /// The stream has ended: calls `emit` for what was left of a line.
    pub(crate) fn finish(&mut self, emit: impl FnOnce(&[u8])) {
        if !self.pending.is_empty() {
            emit(&self.pending);
        }
        self.pending = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection, prelude::*, sample::Index};

    use super::*;

    fn cut(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut messages = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, |message| messages.push(message.to_vec()));
        }
        lines.finish(|message| messages.push(message.to_vec()));
        messages
    }

    #[test]
    fn lines_come_whole_however_the_bytes_arrive() {
        assert_eq!(cut(&[b"one\ntwo\n"]), [b"one\n", b"two\n"]);
        assert_eq!(cut(&[b"o", b"ne\ntw", b"o\n"]), [b"one\n", b"two\n"]);
        assert_eq!(cut(&[b"\n\n"]), [b"\n", b"\n"]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_cuts_do_not_depend_on_arrival(
            text in collection::vec(prop_oneof![Just(b'\n'), Just(b'x')], 0..200),
            at in any::<Index>(),
        ) {
            let (head, tail) = text.split_at(at.index(text.len() + 1));
            let messages = cut(&[head, tail]);
            prop_assert_eq!(&messages, &cut(&[&text]));
            prop_assert_eq!(messages.concat(), text);
        }
    }

    #[test]
    fn the_end_of_the_stream_ends_a_line_without_a_newline() {
        assert_eq!(cut(&[b"one\ntw"]), [b"one\n".to_vec(), b"tw".to_vec()]);
    }

    #[test]
    fn a_long_line_comes_in_parts_of_the_same_size_however_it_arrives() {
        let mut line = vec![b'x'; MAX_MESSAGE * 2 + 5];
        line.push(b'\n');
        let sizes = |chunks: &[&[u8]]| cut(chunks).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(&[&line]), [MAX_MESSAGE, MAX_MESSAGE, 6]);
        let (head, tail) = line.split_at(7777);
        assert_eq!(sizes(&[head, tail]), [MAX_MESSAGE, MAX_MESSAGE, 6]);
    }

    #[test]
    fn a_part_is_as_long_as_dockers() {
        assert_eq!(cut(&[&[b'x'; 20_000]]).iter().map(Vec::len).collect::<Vec<_>>(), [16_384, 3_616]);
    }

    #[test]
    fn a_line_that_just_fits_keeps_its_newline() {
        let mut line = vec![b'x'; MAX_MESSAGE - 1];
        line.push(b'\n');
        assert_eq!(cut(&[&line]), [line]);
    }
}
