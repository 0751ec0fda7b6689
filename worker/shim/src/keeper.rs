//! Stays beside the running container: moves its output to the log, answers the daemon, sees it end.
//!
//! One thread, one `poll`. Owns the container's exit record, its log and the shim's socket. Whatever the daemon does
//! or fails to do, the container's output is read on, so that it never blocks on a full pipe.

use std::{
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    path::{Path, PathBuf},
};

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::chdir,
};

use crate::{
    cgroup::Cgroup,
    client::{Client, Heard},
    console,
    container::Started,
    exit::ExitRecord,
    json_log::{JsonLog, Stream},
    lines::Lines,
    protocol::{Reply, Request, Running, SOCKET},
    sys, timestamp,
};

/// Connections served at once; the daemon needs one or two.
const MAX_CLIENTS: usize = 64;
/// How long output may still come when the container has ended: only from somebody it gave its pipe to.
const DRAIN_MS: u64 = 500;
/// What is read from a pipe at once: what it holds.
const CHUNK: usize = 64 * 1024;
const SIGKILL: i32 = 9;

/// Signals the shim takes note of instead of dying from.
pub(crate) fn signals() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

/// Listens on the socket of a shim's directory. The path may be longer than an address has room for, so it is bound
/// from inside the directory.
pub(crate) fn listen(dir: &Path) -> io::Result<UnixListener> {
    chdir(dir)?;
    let listener = UnixListener::bind(SOCKET)?;
    listener.set_nonblocking(true)?;
    chdir("/")?;
    Ok(listener)
}

/// One of the container's output streams; `pipe` is gone once it has ended.
struct Output {
    stream: Stream,
    pipe: Option<File>,
    lines: Lines,
}

/// The keeper of one running container.
pub(crate) struct Keeper {
    /// The shim's directory and the bundle: where the exit record goes.
    places: (PathBuf, PathBuf),
    cgroup: Cgroup,
    running: Running,
    outputs: Vec<Output>,
    _stdin: Option<OwnedFd>,
    /// The inner side of a terminal, held until the container has ended: else the terminal would be over as soon as
    /// nothing in the container has it open, and what opens it afterwards would write to nobody.
    inside: Option<OwnedFd>,
    log: Option<JsonLog>,
    listener: UnixListener,
    signals: SignalFd,
    clients: Vec<Client>,
    kill_at: Option<u64>,
    chunk: Vec<u8>,
}

impl Keeper {
    /// Takes a started container into its keep.
    pub(crate) fn new(
        started: Started,
        log: Option<JsonLog>,
        listener: UnixListener,
        places: (PathBuf, PathBuf),
        cgroup: Cgroup,
    ) -> io::Result<Self> {
        // Pipes have none.
        let inside = started.outputs.iter().find_map(|(_, ours)| console::inside(ours).ok());
        let output = |(stream, pipe)| Output { stream, pipe: Some(File::from(pipe)), lines: Lines::default() };
        Ok(Self {
            places,
            cgroup,
            running: started.running,
            outputs: started.outputs.into_iter().map(output).collect(),
            _stdin: started.stdin,
            inside,
            log,
            listener,
            signals: SignalFd::with_flags(&signals(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?,
            clients: Vec::new(),
            kill_at: None,
            chunk: vec![0; CHUNK],
        })
    }

    /// Keeps the container until it has ended and everybody who waits has been told.
    pub(crate) fn keep(mut self) -> ExitRecord {
        let code = loop {
            if let Some(code) = self.reap() {
                break code;
            }
            self.turn(self.kill_at);
            if self.kill_at.is_some_and(|at| at <= timestamp::monotonic_ms()) {
                self.kill_at = None;
                self.signal(SIGKILL);
            }
        };
        self.inside = None;
        let at = timestamp::now();
        let until = timestamp::monotonic_ms() + DRAIN_MS;
        while self.outputs.iter().any(|output| output.pipe.is_some()) && timestamp::monotonic_ms() < until {
            self.turn(Some(until));
        }
        self.finish_log();

        let oom = self.cgroup.oom_kills() > 0;
        let record = ExitRecord::new(code, oom, at, None);
        // Should both places refuse it, those who wait are still told; to a later daemon the container is then lost.
        let _ = record.keep(&self.places.0, &self.places.1);
        for client in self.clients.iter().filter(|client| client.waits) {
            client.answer(&Reply::Exited(record.clone()));
        }
        record
    }

    /// Waits for something to happen, at most until the monotonic millisecond `until`, and deals with it.
    fn turn(&mut self, until: Option<u64>) {
        let ready = match self.wait(until) {
            Ok(ready) => ready,
            // Interrupted, or short of memory: the next turn sees the same.
            Err(_) => return,
        };
        if ready.signals {
            while let Ok(Some(_)) = self.signals.read_signal() {}
        }
        for at in ready.outputs {
            self.pump(at);
        }
        if let Some(log) = &mut self.log {
            log.flush();
        }
        for at in ready.clients.into_iter().rev() {
            self.serve(at);
        }
        if ready.listener {
            self.accept();
        }
    }

    fn wait(&self, until: Option<u64>) -> io::Result<Ready> {
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(4 + self.clients.len());
        fds.push(readable(&self.signals));
        fds.push(readable(&self.listener));
        let open: Vec<usize> = (0..self.outputs.len()).filter(|at| self.outputs[*at].pipe.is_some()).collect();
        fds.extend(self.outputs.iter().filter_map(|output| output.pipe.as_ref()).map(readable));
        fds.extend(self.clients.iter().map(readable));

        let timeout = until.map(|until| {
            let left = until.saturating_sub(timestamp::monotonic_ms());
            Timespec {
                tv_sec: i64::try_from(left / 1000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(left % 1000 * 1_000_000).unwrap_or(0),
            }
        });
        poll(&mut fds, timeout.as_ref())?;

        let mut flags = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut ready = Ready {
            signals: flags.next().unwrap_or(false),
            listener: flags.next().unwrap_or(false),
            ..Ready::default()
        };
        ready.outputs = open.into_iter().filter(|_| flags.next().unwrap_or(false)).collect();
        ready.clients = flags.enumerate().filter_map(|(at, ready)| ready.then_some(at)).collect();
        Ok(ready)
    }

    /// Moves what a pipe holds to the log.
    fn pump(&mut self, at: usize) {
        let Output { stream, pipe, lines } = &mut self.outputs[at];
        let Some(file) = pipe else { return };
        let log = &mut self.log;
        let mut emit = |message: &[u8]| {
            if let Some(log) = log {
                log.add(*stream, message);
            }
        };
        match file.read(&mut self.chunk) {
            Ok(0) => {
                *pipe = None;
                lines.finish(emit);
            }
            Ok(count) => lines.feed(self.chunk.get(..count).unwrap_or_default(), &mut emit),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The end of a terminal is an error.
            Err(_) => *pipe = None,
        }
    }

    fn finish_log(&mut self) {
        for at in 0..self.outputs.len() {
            let Output { stream, pipe, lines } = &mut self.outputs[at];
            *pipe = None;
            lines.finish(|message| {
                if let Some(log) = &mut self.log {
                    log.add(*stream, message);
                }
            });
        }
        if let Some(log) = &mut self.log {
            log.flush();
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() < MAX_CLIENTS
                && let Ok(client) = Client::new(stream)
            {
                self.clients.push(client);
            }
        }
    }

    fn serve(&mut self, at: usize) {
        let Some(client) = self.clients.get_mut(at) else { return };
        let calls = match client.hear() {
            Heard::Calls(calls) => calls,
            Heard::Gone => {
                self.clients.swap_remove(at);
                return;
            }
        };
        for call in calls {
            let reply = match call {
                Ok(Request::Wait) => {
                    if let Some(client) = self.clients.get_mut(at) {
                        client.waits = true;
                    }
                    continue;
                }
                Ok(request) => self.follow(&request),
                Err(reason) => Reply::Refused(reason),
            };
            if let Some(client) = self.clients.get(at) {
                client.answer(&reply);
            }
        }
    }

    fn follow(&mut self, request: &Request) -> Reply {
        match *request {
            Request::State | Request::Wait => Reply::Running(self.running),
            Request::Signal { signal } => self.signal(signal),
            Request::Stop { signal, grace_ms } => {
                let at = timestamp::monotonic_ms().saturating_add(grace_ms);
                self.kill_at = Some(self.kill_at.map_or(at, |earlier| earlier.min(at)));
                self.signal(signal)
            }
        }
    }

    fn signal(&self, signal: i32) -> Reply {
        // The process is this one's child and not reaped yet, so the number is still its own.
        match sys::send_signal(self.pid(), signal) {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Refused(format!("cannot send signal {signal}: {}", error.desc())),
        }
    }

    /// Reaps what has ended; the container's exit code once its first process is among it.
    fn reap(&self) -> Option<i32> {
        sys::reap(self.pid())
    }

    /// The first process, as the kernel's calls take it.
    fn pid(&self) -> i32 {
        // The kernel gave it as one.
        self.running.pid.cast_signed()
    }
}

fn readable(fd: &impl AsFd) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::IN)
}

/// What `poll` found.
#[derive(Debug, Default)]
struct Ready {
    signals: bool,
    listener: bool,
    outputs: Vec<usize>,
    clients: Vec<usize>,
}
