//! What a shim and the daemon say to each other: one JSON value a line.
//!
//! The first line is the shim's, on its standard output: a [`StartReport`]. From then on it listens on [`SOCKET`] in
//! its directory and answers every [`Call`] with one [`Reply`], in order; the answer to [`Request::Wait`] comes when
//! the container has ended and closes the connection.
//!
//! A daemon of a later version meets shims of earlier ones: fields are only added, and a shim refuses a version it
//! does not know instead of guessing.

use serde::{Deserialize, Serialize};

use crate::exit::ExitRecord;

/// Name of the socket in the shim's directory.
pub const SOCKET: &str = "shim.sock";

/// The version this build speaks.
pub const VERSION: u32 = 1;

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
    /// Its first process, as the host numbers it.
    pub pid: u32,
    /// When it was started, in nanoseconds since the Unix epoch.
    pub started: i64,
}

/// One line to the shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// What is asked.
    pub request: Request,
}

impl Call {
    /// A call in this build's version.
    #[must_use]
    pub fn new(request: Request) -> Self {
        Self { version: VERSION, request }
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
        let running = serde_json::to_string(&Reply::Running(Running { pid: 7, started: 9 })).unwrap();
        assert_eq!(running, r#"{"running":{"pid":7,"started":9}}"#);
    }
}
