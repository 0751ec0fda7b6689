//! What an image says of itself, as far as running it goes.
//!
//! Read from Docker's and OCI's image configurations, which write the same fields; what else they hold is not looked at.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::IgnoredAny};
use skep_common::clock::Timestamp;

/// An image configuration.
#[derive(Debug, Deserialize)]
pub(super) struct ImageConfig {
    #[serde(default)]
    pub(super) architecture: String,
    #[serde(default)]
    pub(super) os: String,
    pub(super) created: Option<String>,
    #[serde(default)]
    pub(super) config: Option<Execution>,
    pub(super) rootfs: RootFs,
}

/// The layers, by the digests of their uncompressed archives, lowest first.
#[derive(Debug, Deserialize)]
pub(super) struct RootFs {
    #[serde(default)]
    pub(super) diff_ids: Option<Vec<String>>,
}

/// The `config` of an image configuration. Go writes an empty list as `null`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Execution {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    volumes: Option<BTreeMap<String, IgnoredAny>>,
    healthcheck: Option<HealthCheck>,
}

/// How a container of the image is asked for its health: not at all when the test is empty or `NONE`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthCheck {
    test: Option<Vec<String>>,
}

/// What a container of the image does unless its specification says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Defaults {
    /// `user[:group]`, names or numbers; empty = root.
    pub(crate) user: String,
    /// `KEY=VALUE`.
    pub(crate) env: Vec<String>,
    /// What is executed.
    pub(crate) entrypoint: Vec<String>,
    /// Its arguments, or the command itself when there is no entrypoint.
    pub(crate) cmd: Vec<String>,
    /// The directory it starts in; empty = `/`.
    pub(crate) workdir: String,
    /// The signal that asks it to end; empty = SIGTERM.
    pub(crate) stop_signal: String,
    /// Paths whose content is to outlive a read-only root file system.
    #[serde(default)]
    pub(crate) volumes: Vec<String>,
    /// Whether its health is to be asked for.
    #[serde(default)]
    pub(crate) healthcheck: bool,
}

impl ImageConfig {
    /// Splits off what containers take over; labels come second.
    pub(super) fn defaults(config: Option<Execution>) -> (Defaults, BTreeMap<String, String>) {
        let config = config.unwrap_or_default();
        let defaults = Defaults {
            user: config.user.unwrap_or_default(),
            env: config.env.unwrap_or_default(),
            entrypoint: config.entrypoint.unwrap_or_default(),
            cmd: config.cmd.unwrap_or_default(),
            workdir: config.working_dir.unwrap_or_default(),
            stop_signal: config.stop_signal.unwrap_or_default(),
            volumes: config.volumes.unwrap_or_default().into_keys().collect(),
            healthcheck: config
                .healthcheck
                .and_then(|check| check.test?.into_iter().next())
                .is_some_and(|kind| kind != "NONE"),
        };
        (defaults, config.labels.unwrap_or_default())
    }

    /// When the image was built; `None` when it does not say, or not in RFC 3339.
    pub(super) fn created(&self) -> Option<Timestamp> {
        let time: jiff::Timestamp = self.created.as_deref()?.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok().map(Timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_of_go_are_empty_lists() {
        let text = r#"{"architecture":"amd64","os":"linux","created":"1970-01-01T00:00:01Z",
            "config":{"Env":null,"Cmd":["sh"],"Entrypoint":null,"Labels":null,"ExposedPorts":{"80/tcp":{}}},
            "rootfs":{"type":"layers","diff_ids":null}}"#;
        let config: ImageConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.created(), Some(Timestamp(1_000_000_000)));
        let (defaults, labels) = ImageConfig::defaults(config.config);
        assert_eq!(defaults.cmd, ["sh"]);
        assert!(defaults.env.is_empty() && labels.is_empty());
        assert!(defaults.volumes.is_empty() && !defaults.healthcheck);
    }

    #[test]
    fn volumes_and_health_checks_are_noticed() {
        let read = |config: &str| {
            let config: ImageConfig = serde_json::from_str(&format!(r#"{{"config":{config},"rootfs":{{}}}}"#)).unwrap();
            let (defaults, _) = ImageConfig::defaults(config.config);
            (defaults.volumes, defaults.healthcheck)
        };
        assert_eq!(read(r#"{"Volumes":{"/data":{}}}"#), (vec!["/data".to_owned()], false));
        assert!(read(r#"{"Healthcheck":{"Test":["CMD","x"],"Interval":1}}"#).1);
        for none in
            [r#"{"Healthcheck":{"Test":["NONE"]}}"#, r#"{"Healthcheck":{"Test":[]}}"#, r#"{"Healthcheck":null}"#]
        {
            assert!(!read(none).1, "{none}");
        }
    }
}
