//! The container itself: made and started through libcontainer.

use std::{
    error::Error,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use libcontainer::{container::builder::ContainerBuilder, oci_spec::runtime::Spec, syscall::syscall::SyscallType};
use rustix::{
    fs::{Uid, fchown},
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    cgroup::Cgroup,
    console::{self, Console},
    devices,
    exit::ExitRecord,
    json_log::Stream,
    payload::{NO_SUCH_FILE, NOT_FOUND, NOT_PERMITTED, Payload},
    plan::Plan,
    protocol::Running,
    timestamp,
};

/// A started container and our ends of its streams.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) running: Running,
    /// What it writes: two pipes, or one terminal.
    pub(crate) outputs: Vec<(Stream, OwnedFd)>,
    /// Kept open so that a container with an open standard input waits there instead of reading its end.
    pub(crate) stdin: Option<OwnedFd>,
}

/// Makes the container of a bundle and starts it. `dir` takes libcontainer's own state.
///
/// # Errors
/// The record of a container that never ran: the exit code Docker gives and the reason.
pub(crate) fn start(plan: &Plan, cgroup: &Cgroup, bundle: &Path, dir: &Path) -> Result<Started, ExitRecord> {
    let user = user(bundle).map_err(|error| failed(&error))?;
    // Whoever the container runs as may open its streams again by their names: `echo >/dev/stdout`.
    let give = |stream: &OwnedFd| fchown(stream, Some(user), None).map_err(|error| failed(&io::Error::from(error)));
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(&io::Error::from(error)));
    let mut builder = ContainerBuilder::new(plan.id.clone(), SyscallType::default())
        .with_executor(Payload { init: plan.init, privileges: plan.privileges.clone() })
        .with_root_path(dir.join(STATE))
        .map_err(|error| failed(&error))?;
    let (mut outputs, mut stdin, mut console) = (Vec::new(), None, None);
    if plan.terminal {
        let socket = Console::listen(dir).map_err(|error| failed(&error))?;
        builder = builder.with_console_socket(Some(socket.path()));
        console = Some(socket);
    } else {
        let (stdout, inside) = pipe()?;
        give(&inside)?;
        builder = builder.with_stdout(inside);
        let (stderr, inside) = pipe()?;
        give(&inside)?;
        builder = builder.with_stderr(inside);
        outputs = vec![(Stream::Stdout, stdout), (Stream::Stderr, stderr)];
        if plan.open_stdin {
            let (inside, ours) = pipe()?;
            give(&inside)?;
            builder = builder.with_stdin(inside);
            stdin = Some(ours);
        }
    }

    let mut container = builder.as_init(bundle).with_systemd(false).build().map_err(|error| failed(&error))?;
    if let Some(console) = console {
        let terminal = console.receive().map_err(|error| failed(&error))?;
        give(&console::inside(&terminal).map_err(|error| failed(&error))?)?;
        outputs.push((Stream::Stdout, terminal));
    }
    let pid = container.pid().and_then(|pid| u32::try_from(pid.as_raw()).ok());
    let pid = pid.ok_or_else(|| failed(&io::Error::other("the container has no process")))?;
    // The first process waits inside for the start: it has executed nothing of the image.
    cgroup.hold(pid, &plan.cgroup).map_err(|error| failed(&error))?;
    devices::confine(cgroup).map_err(|error| failed(&error))?;
    container.start().map_err(|error| failed(&error))?;
    Ok(Started { running: Running::new(pid, timestamp::now()), outputs, stdin })
}

/// The user a bundle names. It must name the home directory too, or libcontainer finds it out inside, by means of the
/// image's own libraries and before any privilege is given up.
fn user(bundle: &Path) -> io::Result<Uid> {
    let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let spec = Spec::load(bundle.join("config.json")).map_err(io::Error::other)?;
    let process = spec.process().as_ref().ok_or_else(|| wrong("the bundle names no process"))?;
    if !process.env().iter().flatten().any(|entry| entry.starts_with("HOME=")) {
        return Err(wrong("the bundle names no home directory"));
    }
    Ok(Uid::from_raw(process.user().uid()))
}

/// Where libcontainer keeps its state of the container, in the shim's directory.
const STATE: &str = "state";

/// The directory of libcontainer's state.
pub(crate) fn state_dir(dir: &Path) -> PathBuf {
    dir.join(STATE)
}

fn failed(error: &dyn Error) -> ExitRecord {
    let reason = reason(error);
    let code = if reason.ends_with(NOT_FOUND) || reason.ends_with(NO_SUCH_FILE) {
        127
    } else if reason.ends_with(NOT_PERMITTED) {
        126
    } else {
        128
    };
    ExitRecord::new(code, false, timestamp::now(), Some(reason))
}

/// One sentence from a chain of errors that repeat each other: what the payload said if it got that far, else the
/// chain without repetitions.
fn reason(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if let Some(at) = text.find("exec: \"") {
            return text.get(at..).unwrap_or_default().to_owned();
        }
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_that_leaves_the_home_to_the_image_is_refused() {
        let bundle = tempfile::tempdir().unwrap();
        let with = |env: &str| {
            let process = format!(r#"{{"cwd":"/","user":{{"uid":7,"gid":7}},"args":["x"],"env":[{env}]}}"#);
            let config = format!(r#"{{"ociVersion":"1.0.2","process":{process}}}"#);
            std::fs::write(bundle.path().join("config.json"), config).unwrap();
            user(bundle.path())
        };
        assert_eq!(with(r#""A=b","HOME=/x""#).unwrap(), Uid::from_raw(7));
        assert_eq!(with(r#""A=b""#).unwrap_err().to_string(), "the bundle names no home directory");
    }

    #[test]
    fn a_missing_command_is_told_as_docker_tells_it() {
        let error = io::Error::other(format!("channel: in executor: exec: \"tool\": {NOT_FOUND}"));
        let record = failed(&error);
        assert_eq!(record.code, 127);
        assert_eq!(record.error.unwrap(), "exec: \"tool\": executable file not found in $PATH");
    }

    #[test]
    fn another_failure_keeps_its_words() {
        let record = failed(&io::Error::other("no space left"));
        assert_eq!((record.code, record.error.unwrap().as_str()), (128, "no space left"));
    }

    #[test]
    fn each_reason_has_dockers_code() {
        for (reason, code) in [(NOT_FOUND, 127), (NO_SUCH_FILE, 127), (NOT_PERMITTED, 126), ("is a directory", 128)] {
            assert_eq!(failed(&io::Error::other(format!("exec: \"x\": {reason}"))).code, code, "{reason}");
        }
    }

    #[test]
    fn a_chain_of_errors_says_nothing_twice() {
        #[derive(Debug)]
        struct Link(&'static str, Option<Box<Link>>);
        impl std::fmt::Display for Link {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.0)
            }
        }
        impl Error for Link {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                self.1.as_deref().map(|link| link as &dyn Error)
            }
        }
        let words = ["cannot start: no room", "no room", "the disk"];
        let chain = words.into_iter().rev().fold(None, |source, word| Some(Box::new(Link(word, source)))).unwrap();
        assert_eq!(reason(&*chain), "cannot start: no room: the disk");
    }
}
