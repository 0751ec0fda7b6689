//! One connection of the daemon to the shim.

use std::{
    io::{self, Read as _},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
};

use rustix::net::{SendFlags, send};

use crate::protocol::{Call, MAX_LINE, Reply, Request, VERSION};

/// What came in on a connection.
pub(crate) enum Heard {
    /// Whole calls, each a request or why it is none.
    Calls(Vec<Result<Request, String>>),
    /// The other side is gone, or talks too long without an end.
    Gone,
}

/// A connection and the unfinished line on it.
pub(crate) struct Client {
    stream: UnixStream,
    line: Vec<u8>,
    /// Whether it asked to be told the end.
    pub(crate) waits: bool,
}

impl Client {
    pub(crate) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, line: Vec::new(), waits: false })
    }

    /// Reads what there is.
    pub(crate) fn hear(&mut self) -> Heard {
        let mut chunk = [0; 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => return Heard::Gone,
            Ok(count) => self.line.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => return Heard::Gone,
        }
        let mut calls = Vec::new();
        while let Some(end) = self.line.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            calls.push(read(&line));
        }
        if self.line.len() > MAX_LINE { Heard::Gone } else { Heard::Calls(calls) }
    }

    /// Sends a reply. A reply is shorter than any socket buffer; a peer that leaves so many unread that it does not
    /// fit has lost it.
    pub(crate) fn answer(&self, reply: &Reply) {
        if let Ok(mut line) = serde_json::to_vec(reply) {
            line.push(b'\n');
            let _ = send(&self.stream, &line, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn read(line: &[u8]) -> Result<Request, String> {
    match serde_json::from_slice::<Call>(line) {
        Ok(call) => Ok(call.request),
        Err(error) => Err(format!("this shim speaks version {VERSION}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn pair() -> (UnixStream, Client) {
        let (daemon, shim) = UnixStream::pair().unwrap();
        (daemon, Client::new(shim).unwrap())
    }

    fn calls(heard: Heard) -> Vec<Result<Request, String>> {
        match heard {
            Heard::Calls(calls) => calls,
            Heard::Gone => panic!("gone"),
        }
    }

    #[test]
    fn calls_are_heard_whole_however_they_arrive() {
        let (mut daemon, mut client) = pair();
        daemon.write_all(b"{\"version\":1,\"req").unwrap();
        assert!(calls(client.hear()).is_empty());
        daemon.write_all(b"uest\":\"wait\"}\n{\"version\":1,\"request\":\"state\"}\n").unwrap();
        assert_eq!(calls(client.hear()), [Ok(Request::Wait), Ok(Request::State)]);
    }

    #[test]
    fn known_words_are_followed_whoever_says_them_and_unknown_ones_refused() {
        let (mut daemon, mut client) = pair();
        daemon.write_all(b"{\"version\":9,\"request\":\"wait\",\"why\":1}\n").unwrap();
        assert_eq!(calls(client.hear()), [Ok(Request::Wait)]);
        daemon.write_all(b"{\"version\":9,\"request\":\"dance\"}\nhello\n").unwrap();
        assert!(calls(client.hear()).iter().all(Result::is_err));
    }

    #[test]
    fn an_endless_line_ends_the_connection() {
        let (mut daemon, mut client) = pair();
        daemon.write_all(&[b'x'; MAX_LINE * 2]).unwrap();
        let gone = (0..10).any(|_| matches!(client.hear(), Heard::Gone));
        assert!(gone);
    }

    #[test]
    fn a_line_may_be_as_long_as_agreed() {
        let (mut daemon, mut client) = pair();
        daemon.write_all(&[b'x'; MAX_LINE]).unwrap();
        assert!((0..10).all(|_| matches!(client.hear(), Heard::Calls(_))), "with nothing more to read it waits");
        daemon.write_all(b"x").unwrap();
        assert!(matches!(client.hear(), Heard::Gone));
    }

    #[test]
    fn a_reply_is_a_line() {
        let (mut daemon, client) = pair();
        client.answer(&Reply::Done);
        client.answer(&Reply::Refused("no".to_owned()));
        drop(client);
        let mut said = String::new();
        daemon.read_to_string(&mut said).unwrap();
        assert_eq!(said, "\"done\"\n{\"refused\":\"no\"}\n");
    }
}
