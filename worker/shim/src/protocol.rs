//! What a shim and the daemon say to each other: one JSON value a line.
//!
//! The first line is the shim's, on its standard output: a [`StartReport`]. From then on it listens on [`SOCKET`] in
//! its directory and answers every [`Call`] with one [`Reply`], in order; the answer to [`Request::Wait`] comes when
//! the container has ended and closes the connection.
//!
//! A daemon meets shims of other versions, earlier ones above all: they live as long as their containers. So words keep
//! their meaning for good; a new meaning takes a new word, fields are only added, and what lacks one has the value that
//! held before it. Whoever meets a word it does not know refuses the call and changes nothing.

use serde::{Deserialize, Serialize};

use crate::exit::ExitRecord;

/// Name of the socket in the shim's directory.
pub const SOCKET: &str = "shim.sock";

/// The version this build speaks. 2: a shim says its version and follows any call it understands; one of version 1
/// refuses every call that does not say 1.
pub const VERSION: u32 = 2;

/// The longest line either side takes.
pub const MAX_LINE: usize = 4096;

/// How the start went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartReport {
    /// The container runs.
    Started(Running),
    /// It does not and never will; the same is in the exit record.
    Failed(ExitRecord),
}

/// A running container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// [`VERSION`] of its shim.
    #[serde(default = "first")]
    pub version: u32,
    /// Its first process, as the host numbers it.
    pub pid: u32,
    /// When it was started, in nanoseconds since the Unix epoch.
    pub started: i64,
}

impl Running {
    /// A container of this build's shim.
    #[must_use]
    pub const fn new(pid: u32, started: i64) -> Self {
        Self { version: VERSION, pid, started }
    }
}

/// The version of who names none.
const fn first() -> u32 {
    1
}

/// One line to the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The version its words belong to, not the sender's: an older shim understands all that belongs to its own.
    pub version: u32,
    /// What is asked.
    pub request: Request,
}

impl Call {
    /// A call to a shim of any version that has the words for it.
    #[must_use]
    pub fn new(request: Request) -> Self {
        let version = match request {
            Request::State | Request::Signal { .. } | Request::Stop { .. } | Request::Wait => 1,
        };
        Self { version, request }
    }
}

/// What a shim can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Who runs, since when: [`Reply::Running`].
    State,
    /// Sends a signal to the first process: [`Reply::Done`].
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// Sends a signal, and SIGKILL when the container still runs after the grace: [`Reply::Done`] at once. A second
    /// stop may shorten the grace, never lengthen it.
    Stop {
        /// The signal's number.
        signal: i32,
        /// Milliseconds until SIGKILL.
        grace_ms: u64,
    },
    /// Asks to be told the end: [`Reply::Exited`].
    Wait,
}

/// What a shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// It runs.
    Running(Running),
    /// Done as asked.
    Done,
    /// It has ended.
    Exited(ExitRecord),
    /// The call was not understood or could not be followed; nothing changed.
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_on_the_wire_stay_as_they_are() {
        let stop = Call::new(Request::Stop { signal: 15, grace_ms: 10_000 });
        let text = serde_json::to_string(&stop).unwrap();
        assert_eq!(text, r#"{"version":1,"request":{"stop":{"signal":15,"grace_ms":10000}}}"#);
        let wait = serde_json::to_string(&Call::new(Request::Wait)).unwrap();
        assert_eq!(wait, r#"{"version":1,"request":"wait"}"#);
        let running = serde_json::to_string(&Reply::Running(Running::new(7, 9))).unwrap();
        assert_eq!(running, r#"{"running":{"version":2,"pid":7,"started":9}}"#);
    }

    #[test]
    fn what_version_1_says_is_understood() {
        let running = Running { version: 1, pid: 7, started: 9 };
        let exit = |code, error: Option<&str>| ExitRecord {
            version: 1,
            code,
            oom: false,
            at: 9,
            error: error.map(str::to_owned),
        };
        let replies: Vec<Reply> = lines(include_str!("../golden/1/replies.jsonl"));
        let refused = Reply::Refused("cannot send signal 99: EINVAL".to_owned());
        assert_eq!(replies, [Reply::Running(running), Reply::Done, Reply::Exited(exit(0, None)), refused]);
        let reports: Vec<StartReport> = lines(include_str!("../golden/1/reports.jsonl"));
        assert_eq!(reports, [StartReport::Started(running), StartReport::Failed(exit(128, Some("no space left")))]);
    }

    #[test]
    fn what_is_said_to_version_1_is_what_it_knows() {
        let requests = [
            Request::State,
            Request::Signal { signal: 15 },
            Request::Stop { signal: 15, grace_ms: 10_000 },
            Request::Wait,
        ];
        let calls: Vec<Call> = lines(include_str!("../golden/1/calls.jsonl"));
        assert_eq!(calls, requests.clone().map(Call::new));
        let said: Vec<String> = requests.map(|request| serde_json::to_string(&Call::new(request)).unwrap()).into();
        assert_eq!(said, include_str!("../golden/1/calls.jsonl").lines().collect::<Vec<_>>());
    }

    fn lines<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
