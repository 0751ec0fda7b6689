//! What a container executes: command, environment, place and identity, from specification and image.

use std::path::{Component, Path};

use skep_common::validate::check_env;
use skep_proto::v1::ContainerSpec;

use super::{
    accounts::{Accounts, Identity},
    invalid,
};
use crate::{RuntimeError, Signal, image::Defaults};

/// Docker's, for images that set none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The resolved process of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) workdir: String,
    pub(crate) identity: Identity,
    pub(crate) stop_signal: Signal,
}

impl Process {
    /// Resolves a specification against its image.
    pub(crate) fn resolve(
        spec: &ContainerSpec,
        image: &Defaults,
        accounts: &Accounts,
        hostname: &str,
    ) -> Result<Self, RuntimeError> {
        let user = if spec.user.is_empty() { &image.user } else { &spec.user };
        let stop_signal = [&spec.stop_signal, &image.stop_signal].into_iter().find(|signal| !signal.is_empty());
        let identity = accounts.identify(user, &spec.groups)?;
        let process = Self {
            args: args(spec, image)?,
            env: env(spec, image, hostname, identity.home.as_deref().unwrap_or("/")),
            workdir: workdir(if spec.dir.is_empty() { &image.workdir } else { &spec.dir })?,
            identity,
            stop_signal: stop_signal
                .map_or(Ok(Signal::TERM), |signal| signal.parse())
                .map_err(|error| invalid(error.to_string()))?,
        };
        if process.args.iter().any(|text| text.contains('\0')) {
            return Err(invalid("a command holds a NUL byte"));
        }
        // Nobody has looked at the image's yet, and there is no way to set such a one.
        process.env.iter().try_for_each(|entry| check_env(entry)).map_err(|error| invalid(error.to_string()))?;
        Ok(process)
    }
}

/// A command of the specification replaces the image's entrypoint and makes its arguments void; arguments of the
/// specification replace the image's.
fn args(spec: &ContainerSpec, image: &Defaults) -> Result<Vec<String>, RuntimeError> {
    let (entrypoint, inherited) =
        if spec.command.is_empty() { (&image.entrypoint, &image.cmd[..]) } else { (&spec.command, &[][..]) };
    let args = if spec.args.is_empty() { inherited } else { &spec.args };
    let all: Vec<String> = entrypoint.iter().chain(args).cloned().collect();
    if all.first().is_none_or(String::is_empty) { Err(invalid("no command specified")) } else { Ok(all) }
}

/// The image's environment overlaid with the specification's; an entry without `=` takes a variable away. `HOME` is
/// always there: whoever is left to find it out inside the container would ask the image's own libraries.
fn env(spec: &ContainerSpec, image: &Defaults, hostname: &str, home: &str) -> Vec<String> {
    let mut env = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if spec.tty {
        env.push("TERM=xterm".to_owned());
    }
    for entry in image.env.iter().chain(&spec.env) {
        let (key, value) = entry.split_once('=').map_or((entry.as_str(), None), |(key, value)| (key, Some(value)));
        let same = |known: &String| known.split_once('=').is_some_and(|(known, _)| known == key);
        match (env.iter().position(same), value) {
            (Some(at), Some(_)) => entry.clone_into(&mut env[at]),
            (Some(at), None) => {
                env.remove(at);
            }
            (None, Some(_)) => env.push(entry.clone()),
            (None, None) => {}
        }
    }
    env.retain(|entry| entry != "HOME=");
    if !env.iter().any(|entry| entry.starts_with("HOME=")) {
        env.push(format!("HOME={home}"));
    }
    env
}

/// An absolute path without `.` and `..`; `/` when nothing is said.
fn workdir(dir: &str) -> Result<String, RuntimeError> {
    if dir.is_empty() {
        return Ok("/".to_owned());
    }
    if !dir.starts_with('/') || dir.contains('\0') {
        return Err(invalid(format!("the working directory '{dir}' is invalid, it needs to be an absolute path")));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in Path::new(dir).components() {
        match part {
            Component::Normal(part) => parts.extend(part.to_str()),
            Component::ParentDir => {
                parts.pop();
            }
            _ => {}
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn image() -> Defaults {
        Defaults {
            entrypoint: strings(&["/entry"]),
            cmd: strings(&["serve"]),
            env: strings(&["PATH=/bin", "A=1"]),
            ..Defaults::default()
        }
    }

    fn resolve(spec: &ContainerSpec) -> Result<Process, RuntimeError> {
        Process::resolve(spec, &image(), &Accounts::default(), "host")
    }

    #[test]
    fn command_and_arguments_combine_as_in_docker() {
        let args = |command: &[&str], args: &[&str]| {
            let spec = ContainerSpec { command: strings(command), args: strings(args), ..ContainerSpec::default() };
            resolve(&spec).unwrap().args
        };
        assert_eq!(args(&[], &[]), ["/entry", "serve"]);
        assert_eq!(args(&[], &["other"]), ["/entry", "other"]);
        assert_eq!(args(&["/cmd"], &[]), ["/cmd"]);
        assert_eq!(args(&["/cmd"], &["x"]), ["/cmd", "x"]);
        let nothing = Process::resolve(&ContainerSpec::default(), &Defaults::default(), &Accounts::default(), "h");
        assert_eq!(nothing.unwrap_err().to_string(), "no command specified");
    }

    #[test]
    fn the_environment_is_overlaid_and_can_be_taken_from() {
        let spec = ContainerSpec { env: strings(&["A=2", "B=3", "HOSTNAME", "NONE"]), ..ContainerSpec::default() };
        assert_eq!(resolve(&spec).unwrap().env, ["PATH=/bin", "A=2", "B=3", "HOME=/"]);
        let spec = ContainerSpec { env: strings(&["HOME=/mine", "HOME"]), ..ContainerSpec::default() };
        assert!(resolve(&spec).unwrap().env.contains(&"HOME=/".to_owned()), "taken away is not gone");
        let spec = ContainerSpec { env: strings(&["HOME="]), ..ContainerSpec::default() };
        assert!(resolve(&spec).unwrap().env.contains(&"HOME=/".to_owned()), "an empty one is none");
    }

    #[test]
    fn an_image_with_an_environment_that_cannot_be_set_is_refused() {
        for (entry, shown) in [("=x", "=x"), ("=", "="), ("A=\0", "A=\\0")] {
            let image = Defaults { env: strings(&[entry]), ..image() };
            let refused = Process::resolve(&ContainerSpec::default(), &image, &Accounts::default(), "host");
            assert_eq!(refused.unwrap_err().to_string(), format!("invalid environment variable: {shown}"));
        }
    }

    #[test]
    fn the_working_directory_is_absolute_and_plain() {
        assert_eq!(workdir("/a/../b/./c/").unwrap(), "/b/c");
        assert_eq!(workdir("/../..").unwrap(), "/");
        assert_eq!(workdir("").unwrap(), "/");
        assert!(workdir("a").is_err());
    }

    #[test]
    fn nul_bytes_and_unknown_signals_are_refused() {
        assert!(resolve(&ContainerSpec { args: strings(&["a\0b"]), ..ContainerSpec::default() }).is_err());
        assert!(resolve(&ContainerSpec { stop_signal: "SIGFOO".into(), ..ContainerSpec::default() }).is_err());
        let spec = ContainerSpec { stop_signal: "SIGQUIT".into(), ..ContainerSpec::default() };
        assert_eq!(resolve(&spec).unwrap().stop_signal.number(), 3);
    }
}
