//! The daemon's end of a shim's socket.

use std::{io, os::fd::AsRawFd as _, path::Path, time::Duration};

use rustix::fs::{Mode, OFlags, open};
use skep_shim::protocol::{Call, MAX_LINE, Reply, Request, SOCKET};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    time::timeout,
};

/// A connection to a shim.
#[derive(Debug)]
pub(super) struct ShimClient {
    stream: BufReader<UnixStream>,
    patience: Duration,
}

impl ShimClient {
    /// Connects to the shim of a directory. The socket's path may be longer than an address has room for, so it is
    /// named by way of the open directory.
    /// Answers that come at once must come within `patience`.
    pub(super) async fn connect(dir: &Path, patience: Duration) -> io::Result<Self> {
        let dir = open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
        let stream = UnixStream::connect(path).await?;
        Ok(Self { stream: BufReader::with_capacity(512, stream), patience })
    }

    /// Asks what the shim answers at once.
    pub(super) async fn ask(&mut self, request: Request) -> io::Result<Reply> {
        let patience = self.patience;
        let answered = async {
            self.send(request).await?;
            self.reply().await
        };
        timeout(patience, answered).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Waits for the container's end; an error when the shim goes without telling it.
    pub(super) async fn wait(mut self) -> io::Result<skep_shim::exit::ExitRecord> {
        self.send(Request::Wait).await?;
        match self.reply().await? {
            Reply::Exited(record) => Ok(record),
            other => Err(io::Error::new(io::ErrorKind::InvalidData, format!("unexpected answer {other:?}"))),
        }
    }

    async fn send(&mut self, request: Request) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Call::new(request))?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line).await
    }

    async fn reply(&mut self) -> io::Result<Reply> {
        let mut line = Vec::new();
        (&mut self.stream).take(MAX_LINE as u64).read_until(b'\n', &mut line).await?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}
