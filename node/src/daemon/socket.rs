//! The sockets the Docker Engine API is served on.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

use super::DaemonError;

/// A bound `--host`. Its file goes when it is dropped.
pub(super) struct HostSocket {
    /// Where connections come in.
    pub(super) listener: UnixListener,
    path: PathBuf,
}

impl HostSocket {
    /// Binds `unix:///absolute/path`. A stale socket file is replaced.
    ///
    /// # Errors
    /// [`DaemonError::Host`] or [`DaemonError::Listen`].
    pub(super) async fn bind(host: &str) -> Result<Self, DaemonError> {
        let path = host
            .strip_prefix("unix://")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .ok_or_else(|| DaemonError::Host(host.to_owned()))?;
        let failed = |source| DaemonError::Listen { host: host.to_owned(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        remove_stale(&path).await.map_err(failed)?;
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
        Ok(Self { listener, path })
    }
}

impl Drop for HostSocket {
    fn drop(&mut self) {
        // Nothing depends on it: the next daemon replaces a stale socket.
        let _ = fs::remove_file(&self.path);
    }
}

async fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::other(format!("{} is not a socket", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match tokio::net::UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, format!("another daemon answers on {}", path.display()))),
        Err(_) => fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/skep.sock");
        let host = format!("unix://{}", path.display());
        drop(std::os::unix::net::UnixListener::bind({
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            &path
        }));
        let bound = HostSocket::bind(&host).await.unwrap();
        assert!(matches!(HostSocket::bind(&host).await, Err(DaemonError::Listen { .. })));
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn other_hosts_and_other_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "precious").unwrap();
        for host in ["tcp://0.0.0.0:2375", "unix://relative", "", &format!("unix://{}", file.display())] {
            assert!(HostSocket::bind(host).await.is_err(), "{host}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }
}
