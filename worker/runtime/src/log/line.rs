//! One line of a `json-file` log.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;
use skep_proto::v1::{LogRecord, LogStream};

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// The record of a line; `None` for what is none, such as a line torn by a full disk.
pub(super) fn parse(line: &[u8]) -> Option<LogRecord> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let time: jiff::Timestamp = line.time.parse().ok()?;
    let stream = if line.stream == "stderr" { LogStream::Stderr } else { LogStream::Stdout };
    Some(LogRecord {
        stream: stream.into(),
        timestamp: i64::try_from(time.as_nanosecond()).ok()?,
        data: line.log.into_owned().into_bytes(),
        attrs: line.attrs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_docker_reads_back() {
        let line = br#"{"log":"a \u003cb\u003e\n","stream":"stderr","time":"1970-01-01T00:00:01.5Z"}"#;
        let record = parse(line).unwrap();
        assert_eq!((record.data.as_slice(), record.timestamp), (&b"a <b>\n"[..], 1_500_000_000));
        assert_eq!(record.stream(), LogStream::Stderr);
    }

    #[test]
    fn a_torn_line_is_no_record() {
        assert!(parse(br#"{"log":"a"#).is_none());
        assert!(parse(br#"{"log":"a","stream":"stdout","time":"soon"}"#).is_none());
    }
}
