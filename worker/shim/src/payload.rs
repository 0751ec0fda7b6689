//! Becomes the container's command: the last step inside, after libcontainer has set up the isolation.

use std::{
    ffi::CString,
    io::Write as _,
    path::{Path, PathBuf},
};

use libcontainer::{
    oci_spec::runtime::Spec,
    workload::{Executor, ExecutorError, ExecutorValidationError},
};
use nix::{
    errno::Errno,
    sys::signal::{SigSet, SigmaskHow, pthread_sigmask},
    unistd::execvp,
};

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::{init, privileges::Privileges, sys};

/// What the reasons below end with, by which the shim picks the exit code Docker gives.
pub(crate) const NOT_FOUND: &str = "executable file not found in $PATH";
pub(crate) const NO_SUCH_FILE: &str = "no such file or directory";
pub(crate) const NOT_PERMITTED: &str = "permission denied";

/// Runs the command of the bundle, behind an init if the container wants one.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    pub(crate) init: bool,
    pub(crate) privileges: Privileges,
}

impl Executor for Payload {
    /// Gives up privileges and looks the command up, while a failure can still be told as one.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        self.privileges.drop_to().map_err(|error| invalid(format!("cannot give up privileges: {error}")))?;
        let (command, path) = command(spec).ok_or_else(|| invalid("no command specified".to_owned()))?;
        let found = find(&command, &path).map_err(|reason| invalid(format!("exec: {command:?}: {reason}")))?;
        if is_executable(&found) { Ok(()) } else { Err(invalid(format!("exec: {command:?}: {NOT_PERMITTED}"))) }
    }

    /// Returns only to say that it cannot be done, in which case the process ends with 126 or 127.
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let args = spec.process().as_ref().and_then(|process| process.args().as_ref());
        let args: Vec<CString> = args
            .into_iter()
            .flatten()
            .map(|arg| CString::new(arg.as_str()))
            .collect::<Result<_, _>>()
            .map_err(|_| ExecutorError::InvalidArg)?;
        if self.init { init::run(&args) } else { execute(&args) }
    }
}

fn invalid(reason: String) -> ExecutorValidationError {
    ExecutorValidationError::ArgValidationError(reason)
}

/// Executes the command in place of this process. The Rust runtime ignores SIGPIPE, who started the daemon perhaps others,
/// and what is ignored stays so across an exec: the command must find every signal as a fresh process does.
pub(crate) fn execute(args: &[CString]) -> ! {
    sys::restore_signals();
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    let (error, name) = match args.first() {
        Some(command) => (execvp(command, args).err().unwrap_or(Errno::ENOEXEC), command.to_string_lossy()),
        None => (Errno::ENOENT, "".into()),
    };
    // Standard error is the container's: the reason shows up in its log.
    let _ = writeln!(std::io::stderr(), "exec {name}: {}", error.desc().to_lowercase());
    std::process::exit(if error == Errno::ENOENT { 127 } else { 126 })
}

fn command(spec: &Spec) -> Option<(String, String)> {
    let process = spec.process().as_ref()?;
    let command = process.args().as_ref()?.first()?.clone();
    let path = process.env().iter().flatten().find_map(|entry| entry.strip_prefix("PATH="));
    Some((command, path.unwrap_or_default().to_owned()))
}

/// execvp's own rules: a name with a slash is a path, any other is the first along `PATH` that can be executed.
fn find(command: &str, path: &str) -> Result<PathBuf, &'static str> {
    if command.contains('/') {
        let file = PathBuf::from(command);
        return if file.exists() { Ok(file) } else { Err(NO_SUCH_FILE) };
    }
    path.split(':').map(|dir| Path::new(dir).join(command)).find(|file| is_executable(file)).ok_or(NOT_FOUND)
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && accessat(CWD, file, Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_bare_name_is_looked_for_along_the_path() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [plain, dir, tool] = dirs.each_ref().map(|dir| dir.path().join("tool"));
        std::fs::write(&plain, "").unwrap();
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(&tool, "").unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path: Vec<_> = dirs.iter().map(|dir| dir.path().display().to_string()).collect();
        let path = format!("/nowhere:{}", path.join(":"));
        assert_eq!(find("tool", &path), Ok(tool));
        assert_eq!(find("other", &path), Err(NOT_FOUND));
        assert_eq!(find("tool", &dirs[0].path().display().to_string()), Err(NOT_FOUND));
    }

    #[test]
    fn a_name_with_a_slash_is_not() {
        assert_eq!(find("/nowhere/tool", "/bin"), Err(NO_SUCH_FILE));
        assert_eq!(find("/bin/sh", ""), Ok(PathBuf::from("/bin/sh")));
    }

    #[test]
    fn the_command_and_where_to_look_for_it_are_the_bundles() {
        let spec = |args: &str, env: &str| -> Spec {
            let process = format!(r#"{{"cwd":"/","user":{{"uid":0,"gid":0}},"args":[{args}],"env":[{env}]}}"#);
            serde_json::from_str(&format!(r#"{{"ociVersion":"1.0.2","process":{process}}}"#)).unwrap()
        };
        let owned = |command: &str, path: &str| Some((command.to_owned(), path.to_owned()));
        assert_eq!(command(&spec(r#""a","b""#, r#""XPATH=/x","PATH=/bin:/y""#)), owned("a", "/bin:/y"));
        assert_eq!(command(&spec(r#""a""#, "")), owned("a", ""));
        assert_eq!(command(&spec("", r#""PATH=/bin""#)), None);
    }

    #[test]
    fn only_a_file_that_may_be_executed_is_a_command() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("tool");
        std::fs::write(&file, "").unwrap();
        for (mode, executable) in [(0o644, false), (0o755, true)] {
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_executable(&file), executable, "{mode:o}");
        }
        assert!(!is_executable(dir.path()));
        assert!(!is_executable(&dir.path().join("gone")));
    }
}
