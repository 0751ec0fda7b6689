//! What is written down of a container when it is prepared.
//!
//! Owns `record.json` in the bundle. It is written last: a bundle without one was never finished and is garbage. Like
//! everything of a container it is not synced; a power cut that loses it also ended the container.
//!
//! A container may be older or younger than the daemon that finds it. So a record is read for what it has: what is
//! missing, or means nothing to this build, has the value it had before there was a word for it, and a record of which
//! nothing can be read still stands for its container.

use std::{collections::BTreeMap, fs, io, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Details, Signal, container::TASK_LABEL};

const FILE: &str = "record.json";

/// The version of the record that this build writes; 1 named none.
const VERSION: u32 = 2;

/// A container's unchanging facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) version: u32,
    pub(super) id: String,
    pub(super) name: String,
    /// As the specification names it.
    pub(super) image: String,
    pub(super) image_id: String,
    pub(super) command: Vec<String>,
    pub(super) labels: BTreeMap<String, String>,
    /// Nanoseconds since the Unix epoch.
    pub(super) created: i64,
    pub(super) cgroup: String,
    pub(super) stop_signal: i32,
    /// Whether its output is kept.
    pub(super) logged: bool,
    /// What else it was made from.
    pub(super) details: Arc<Details>,
    /// Names of the layers of its image, lowest first.
    pub(super) layers: Vec<String>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            version: VERSION,
            id: String::new(),
            name: String::new(),
            image: String::new(),
            image_id: String::new(),
            command: Vec::new(),
            labels: BTreeMap::new(),
            created: 0,
            cgroup: String::new(),
            stop_signal: Signal::TERM.number(),
            logged: true,
            details: Arc::default(),
            layers: Vec::new(),
        }
    }
}

/// What a bundle says of its container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Record(Record),
    /// Something is written and nothing of it can be read.
    Unreadable(String),
    /// Nothing: the bundle was not finished, or its removal has begun.
    Nothing,
}

impl Record {
    /// Reads the record of a bundle.
    pub(super) fn load(bundle: &Path) -> Found {
        match fs::read(bundle.join(FILE)) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(Value::Object(fields)) => Found::Record(Self::of(fields)),
                Ok(_) => Found::Unreadable("it is no record".to_owned()),
                Err(error) => Found::Unreadable(error.to_string()),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
            Err(error) => Found::Unreadable(error.to_string()),
        }
    }

    /// What the fields say, each by itself.
    fn of(fields: Map<String, Value>) -> Self {
        let whole = serde_json::from_value::<Self>(Value::Object(fields.clone()));
        let mut record = whole.unwrap_or_else(|_| {
            let readable = |(key, value): &(String, Value)| {
                let alone = Map::from_iter([(key.clone(), value.clone())]);
                serde_json::from_value::<Self>(Value::Object(alone)).is_ok()
            };
            let fields = fields.clone().into_iter().filter(readable).collect();
            serde_json::from_value(Value::Object(fields)).unwrap_or_default()
        });
        if !fields.contains_key("version") {
            record.version = 1;
        }
        record
    }

    /// The task it belongs to; empty when it belongs to none.
    pub(super) fn task(&self) -> &str {
        self.labels.get(TASK_LABEL).map_or("", String::as_str)
    }

    /// Finishes a bundle.
    pub(super) fn save(&self, bundle: &Path) -> io::Result<()> {
        let temporary = bundle.join(".record.json.tmp");
        fs::write(&temporary, serde_json::to_vec(self)?)?;
        fs::rename(temporary, bundle.join(FILE))
    }

    /// Makes a bundle an unfinished one, the first step of its removal.
    pub(super) fn delete(bundle: &Path) -> io::Result<()> {
        match fs::remove_file(bundle.join(FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Found {
        let bundle = tempfile::tempdir().unwrap();
        fs::write(bundle.path().join(FILE), text).unwrap();
        Record::load(bundle.path())
    }

    fn first() -> Record {
        Record {
            version: 1,
            id: "5d0c9a".into(),
            name: "web.1.t1".into(),
            image: "nginx:1".into(),
            image_id: "sha256:ab".into(),
            command: ["sh", "-c", "true"].map(str::to_owned).into(),
            labels: [(TASK_LABEL, "t1"), ("tier", "front")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            created: 1_700_000_000_000_000_001,
            cgroup: "/skep/5d0c9a".into(),
            stop_signal: 3,
            ..Record::default()
        }
    }

    #[test]
    fn a_record_comes_back_until_it_is_deleted() {
        let bundle = tempfile::tempdir().unwrap();
        let record = Record { version: VERSION, ..first() };
        record.save(bundle.path()).unwrap();
        assert_eq!(Record::load(bundle.path()), Found::Record(record));
        Record::delete(bundle.path()).unwrap();
        Record::delete(bundle.path()).unwrap();
        assert_eq!(Record::load(bundle.path()), Found::Nothing);
    }

    #[test]
    fn the_first_records_are_still_read() {
        assert_eq!(read(include_str!("../../golden/1/record.json")), Found::Record(first()));
    }

    #[test]
    fn a_record_of_another_version_is_read_for_what_it_has() {
        let later =
            r#"{"version":9,"id":"x","labels":{"com.docker.swarm.task.id":"t"},"mood":1,"stop_signal":{"n":3}}"#;
        let Found::Record(record) = read(later) else { panic!("not read") };
        assert_eq!((record.version, record.id.as_str(), record.task()), (9, "x", "t"));
        assert_eq!((record.stop_signal, record.logged), (15, true));
    }

    #[test]
    fn what_is_torn_is_not_nothing() {
        for torn in ["", "{\"id\":", "7", "\0\0"] {
            assert!(matches!(read(torn), Found::Unreadable(_)), "{torn:?}");
        }
    }
}
