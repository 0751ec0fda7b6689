//! The daemon's configuration: flags and file become one, and nothing may be said twice.
//!
//! Keys and texts are dockerd's, so that its daemon.json can be carried over.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use skep_node::daemon::{DaemonOptions, ServerLimits, parse_generic_resources};

use crate::args::DaemonArgs;

const DEFAULT_FILE: &str = "/etc/skep/daemon.json";
/// With fewer, the few nodes of a small swarm would push each other out.
const FEWEST_CONNECTIONS: usize = 64;
const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

/// The file. What it does not say is left to flags and defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    data_root: Option<PathBuf>,
    exec_root: Option<PathBuf>,
    hosts: Vec<String>,
    labels: Vec<String>,
    node_generic_resources: Vec<String>,
    log_level: Option<String>,
    /// Connections of the swarm's nodes on each of the two ports.
    max_node_connections: Option<usize>,
    /// Connections of anybody else.
    max_stranger_connections: Option<usize>,
}

/// The options to run with, and the log level.
pub(super) fn resolve(args: DaemonArgs) -> Result<(DaemonOptions, String)> {
    let required = args.config_file.is_some();
    let path = args.config_file.clone().unwrap_or_else(|| DEFAULT_FILE.into());
    let file = read(&path, required)?;
    match file {
        Some(file) => {
            merge(args, file).with_context(|| format!("unable to configure the daemon with file {}", path.display()))
        }
        None => merge(args, File::default()).context("unable to configure the daemon"),
    }
}

/// What the file says, if it is there or has to be.
fn read(path: &Path, required: bool) -> Result<Option<File>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("unable to configure the daemon with file {}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn merge(args: DaemonArgs, file: File) -> Result<(DaemonOptions, String)> {
    let mut twice = Vec::new();
    let mut both = |name: &str, flag: bool, file: bool| {
        if flag && file {
            twice.push(name.to_owned());
        }
    };
    both("data-root", args.data_root.is_some(), file.data_root.is_some());
    both("exec-root", args.exec_root.is_some(), file.exec_root.is_some());
    both("hosts", !args.hosts.is_empty(), !file.hosts.is_empty());
    both("labels", !args.labels.is_empty(), !file.labels.is_empty());
    both("node-generic-resources", !args.node_generic_resources.is_empty(), !file.node_generic_resources.is_empty());
    both("log-level", args.log_level.is_some(), file.log_level.is_some());
    if !twice.is_empty() {
        bail!(
            "the following directives are specified both as a flag and in the configuration file: {}",
            twice.join(", ")
        );
    }

    let mut hosts = [args.hosts, file.hosts].concat();
    if hosts.is_empty() {
        hosts.push("unix:///run/skep/skep.sock".to_owned());
    }
    let log_level = args.log_level.or(file.log_level).unwrap_or_else(|| "info".to_owned());
    ensure!(
        LEVELS.contains(&log_level.as_str()),
        "unknown log level {log_level:?}: it is one of {}",
        LEVELS.join(", ")
    );
    let defaults = ServerLimits::default();
    let limits = ServerLimits {
        node_connections: file.max_node_connections.unwrap_or(defaults.node_connections),
        stranger_connections: file.max_stranger_connections.unwrap_or(defaults.stranger_connections),
        ..defaults
    };
    for (key, connections) in
        [("max-node-connections", limits.node_connections), ("max-stranger-connections", limits.stranger_connections)]
    {
        ensure!(connections >= FEWEST_CONNECTIONS, "{key} must be at least {FEWEST_CONNECTIONS}");
    }
    let options = DaemonOptions {
        limits,
        shim_args: Vec::new(),
        data_root: absolute(args.data_root.or(file.data_root).unwrap_or_else(|| "/var/lib/skep".into()))?,
        exec_root: absolute(args.exec_root.or(file.exec_root).unwrap_or_else(|| "/run/skep".into()))?,
        hosts,
        labels: labels(&[args.labels, file.labels].concat())?,
        generic_resources: parse_generic_resources(
            &[args.node_generic_resources, file.node_generic_resources].concat(),
        )?,
    };
    Ok((options, log_level))
}

/// Mounts and shims outlive the working directory of this process.
fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).with_context(|| format!("{} is not a path", path.display()))
}

fn labels(given: &[String]) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for label in given {
        let (key, value) = label
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .with_context(|| format!("bad attribute format: {label}"))?;
        if let Some(other) = labels.insert(key.to_owned(), value.to_owned())
            && other != value
        {
            bail!("conflict labels for {key}={value} and {key}={other}");
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(json: &str) -> File {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn flags_and_file_complete_each_other() {
        let args = DaemonArgs { labels: vec!["zone=a".into()], ..DaemonArgs::default() };
        let text = r#"{
            "data-root": "/data", "hosts": ["unix:///a", "unix:///b"], "log-level": "debug",
            "node-generic-resources": ["gpu=a", "gpu=b", "ssd=5"]
        }"#;
        let (options, level) = merge(args, file(text)).unwrap();
        assert_eq!(options.generic_resources.len(), 3);
        assert_eq!(options.data_root, Path::new("/data"));
        assert_eq!(options.exec_root, Path::new("/run/skep"));
        assert_eq!(options.hosts, ["unix:///a", "unix:///b"]);
        assert_eq!(options.labels["zone"], "a");
        assert_eq!(level, "debug");
    }

    #[test]
    fn nothing_said_is_the_default() {
        let (options, level) = merge(DaemonArgs::default(), File::default()).unwrap();
        assert_eq!(options.limits, ServerLimits::default());
        assert_eq!(options.hosts, ["unix:///run/skep/skep.sock"]);
        assert_eq!((options.data_root, level.as_str()), ("/var/lib/skep".into(), "info"));
    }

    #[test]
    fn the_numbers_of_connections_are_the_operators() {
        let limits = |json| merge(DaemonArgs::default(), file(json)).map(|(options, _)| options.limits);
        let given = limits(r#"{"max-node-connections": 20000, "max-stranger-connections": 64}"#).unwrap();
        assert_eq!((given.node_connections, given.stranger_connections), (20_000, 64));
        let error = limits(r#"{"max-stranger-connections": 0}"#).unwrap_err();
        assert_eq!(error.to_string(), "max-stranger-connections must be at least 64");
    }

    #[test]
    fn what_is_said_twice_is_refused() {
        let args = DaemonArgs { data_root: Some("/a".into()), log_level: Some("info".into()), ..DaemonArgs::default() };
        let error = merge(args, file(r#"{"data-root": "/b", "log-level": "warn"}"#)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the following directives are specified both as a flag and in the configuration file: data-root, log-level"
        );
    }

    #[test]
    fn mistakes_are_named() {
        let error = |args: DaemonArgs| merge(args, File::default()).unwrap_err().to_string();
        assert_eq!(
            error(DaemonArgs { labels: vec!["nokey".into()], ..DaemonArgs::default() }),
            "bad attribute format: nokey"
        );
        assert_eq!(
            error(DaemonArgs { labels: vec!["a=1".into(), "a=2".into()], ..DaemonArgs::default() }),
            "conflict labels for a=2 and a=1"
        );
        assert_eq!(
            error(DaemonArgs { node_generic_resources: vec!["gpu".into()], ..DaemonArgs::default() }),
            "could not parse GenericResource: incorrect term gpu, missing '=' or malformed expression"
        );
        assert!(
            error(DaemonArgs { log_level: Some("loud".into()), ..DaemonArgs::default() })
                .contains("unknown log level \"loud\"")
        );
        let resolved = resolve(DaemonArgs { log_level: Some("loud".into()), ..DaemonArgs::default() });
        let blames_a_file = format!("{:#}", resolved.unwrap_err()).contains(DEFAULT_FILE);
        assert_eq!(blames_a_file, Path::new(DEFAULT_FILE).exists());
        assert!(serde_json::from_str::<File>(r#"{"dataroot": "/x"}"#).is_err());
        assert!(read(Path::new("/nonexistent/daemon.json"), true).is_err());
        assert!(read(Path::new("/nonexistent/daemon.json"), false).unwrap().is_none());
    }
}
