//! Log records as Docker's log streams carry them.
//!
//! Without a terminal each record is a frame: one byte for the stream (1 stdout, 2 stderr, 3 an error of the daemon),
//! three zeros, the length in four bytes big-endian, then the line. With a terminal the lines come bare.

use std::collections::BTreeMap;

use skep_proto::v1::{LogRecord, LogStream};

use crate::time::Time;

/// Content type of framed logs, from API 1.42 on.
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";

/// Content type of bare logs, from API 1.42 on.
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const SYSTEM_ERROR: u8 = 3;

/// What a client asked to have around each line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogFormat {
    /// The time before the line.
    pub timestamps: bool,
    /// Attributes before the line: of a service's log, whose line it is.
    pub details: bool,
    /// No frames.
    pub raw: bool,
}

impl LogFormat {
    /// The bytes of one record.
    pub fn encode(self, record: &LogRecord, attributes: &BTreeMap<String, String>) -> Vec<u8> {
        let mut line = Vec::with_capacity(64 + record.data.len());
        if self.timestamps {
            line.extend_from_slice(Time(record.timestamp).fixed_width().as_bytes());
            line.push(b' ');
        }
        if self.details {
            let pair = |(key, value): (&String, &String)| format!("{}={}", escape(key), escape(value));
            let pairs: Vec<_> = attributes.iter().map(pair).collect();
            line.extend_from_slice(pairs.join(",").as_bytes());
            line.push(b' ');
        }
        line.extend_from_slice(&record.data);
        self.frame(if record.stream() == LogStream::Stderr { STDERR } else { STDOUT }, line)
    }

    /// The bytes that tell the client why there are no more: clients show the text of such a frame as an error.
    pub fn encode_error(self, message: &str) -> Vec<u8> {
        self.frame(SYSTEM_ERROR, message.as_bytes().to_vec())
    }

    fn frame(self, stream: u8, content: Vec<u8>) -> Vec<u8> {
        if self.raw {
            return content;
        }
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let mut frame = Vec::with_capacity(8 + content.len());
        frame.extend_from_slice(&[stream, 0, 0, 0]);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&content);
        frame
    }
}

/// Go's `url.QueryEscape`.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => escaped.push(char::from(byte)),
            b' ' => escaped.push('+'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(stream: LogStream) -> LogRecord {
        LogRecord {
            stream: stream.into(),
            timestamp: 1_714_979_289_120_000_000,
            data: b"out\n".into(),
            ..LogRecord::default()
        }
    }

    /// As seen on the wire of Docker Engine 20.10.
    #[test]
    fn frames_are_dockers() {
        let none = BTreeMap::new();
        let ids =
            ["node", "service", "task"].map(|kind| (format!("com.docker.swarm.{kind}.id"), format!("{kind}1"))).into();
        let plain = LogFormat::default();
        assert_eq!(plain.encode(&record(LogStream::Stdout), &ids), b"\x01\0\0\0\0\0\0\x04out\n");
        assert_eq!(plain.encode(&record(LogStream::Stderr), &ids), b"\x02\0\0\0\0\0\0\x04out\n");
        let details = LogFormat { details: true, ..plain };
        assert_eq!(details.encode(&record(LogStream::Stdout), &none), b"\x01\0\0\0\0\0\0\x05 out\n");
        let all = LogFormat { details: true, timestamps: true, raw: true };
        let expected = "2024-05-06T07:08:09.120000000Z com.docker.swarm.node.id=node1,\
            com.docker.swarm.service.id=service1,com.docker.swarm.task.id=task1 out\n";
        assert_eq!(String::from_utf8(all.encode(&record(LogStream::Stdout), &ids)).unwrap(), expected);
    }

    #[test]
    fn attributes_cannot_forge_others() {
        let attributes = [("k".to_owned(), "a,b=c d%".to_owned())].into();
        let format = LogFormat { details: true, raw: true, timestamps: false };
        assert_eq!(format.encode(&record(LogStream::Stdout), &attributes), b"k=a%2Cb%3Dc+d%25 out\n");
    }
}
