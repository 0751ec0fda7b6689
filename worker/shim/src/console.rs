//! The terminal of a container that has one: libcontainer makes it inside and hands its other side over a socket.

use std::{
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
};

use rustix::{
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::chdir,
    pty::{OpenptFlags, ioctl_tiocgptpeer},
};

const SOCKET: &str = "console.sock";

/// The inner side of a terminal, by its outer one.
pub(crate) fn inside(terminal: &OwnedFd) -> io::Result<OwnedFd> {
    Ok(ioctl_tiocgptpeer(terminal, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?)
}

/// The socket libcontainer will connect to.
pub(crate) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    /// Listens in the shim's directory; like the shim's own socket, from inside it.
    pub(crate) fn listen(dir: &Path) -> io::Result<Self> {
        chdir(dir)?;
        let listener = UnixListener::bind(SOCKET)?;
        chdir("/")?;
        Ok(Self { listener, path: dir.join(SOCKET) })
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Takes the terminal's outer side. The container has been made, so it is in the socket already.
    pub(crate) fn receive(self) -> io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept()?;
        let mut name = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let terminal = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut files) => files.next(),
            _ => None,
        });
        terminal.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no terminal came with the message"))
    }
}
