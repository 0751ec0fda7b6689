//! An object that is read to be changed and written back.
//!
//! Owns the spec as the daemon wrote it. Invariant: what goes back differs from what came in nothing but what was
//! changed, so that what a newer daemon put there and this client has no word for is not lost.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use skep_dockerapi::{decode, types::Version};

use super::ClientError;

/// An object being changed.
pub(crate) struct Draft<T> {
    /// Its id.
    pub(crate) id: String,
    /// The version that is changed.
    pub(crate) version: u64,
    /// To be changed.
    pub(crate) spec: T,
    read: T,
    written: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Object<T> {
    #[serde(rename = "ID")]
    id: String,
    version: Version,
    spec: T,
}

impl<T: Clone + Default + Serialize + DeserializeOwned> Draft<T> {
    /// Reads an object of the daemon's.
    ///
    /// # Errors
    /// [`ClientError::Answer`].
    pub(super) fn read(object: &[u8]) -> Result<Self, ClientError> {
        let Object::<T> { id, version, spec } = decode::answer(object)?;
        let whole: Value = decode::answer(object)?;
        let written = whole.get("Spec").cloned().unwrap_or_default();
        Ok(Self { id, version: version.index, read: spec.clone(), spec, written })
    }

    /// The spec to send.
    ///
    /// # Errors
    /// [`ClientError::Request`].
    pub(super) fn to_json(&self) -> Result<Vec<u8>, ClientError> {
        let json = |spec: &T| serde_json::to_value(spec).map_err(ClientError::Request);
        let mut changed = self.written.clone();
        change(&mut changed, &json(&self.read)?, json(&self.spec)?);
        serde_json::to_vec(&changed).map_err(ClientError::Request)
    }
}

/// Applies the changes made to `before`, the part of `written` that this client understands, to `written`.
fn change(written: &mut Value, before: &Value, after: Value) {
    if *before == after {
        return;
    }
    *written = match (std::mem::take(written), before, after) {
        (Value::Object(written), Value::Object(before), Value::Object(after)) => {
            Value::Object(change_entries(written, before, after))
        }
        (Value::Array(written), Value::Array(before), Value::Array(after)) if written.len() == before.len() => {
            Value::Array(change_items(written, before, after))
        }
        (_, _, after) => after,
    };
}

fn change_entries(
    mut written: Map<String, Value>,
    before: &Map<String, Value>,
    after: Map<String, Value>,
) -> Map<String, Value> {
    written.retain(|key, _| after.contains_key(key) || !before.contains_key(key));
    for (key, value) in after {
        match before.get(&key) {
            Some(before) if *before == value => {}
            Some(before) => change(written.entry(key).or_insert(Value::Null), before, value),
            None => drop(written.insert(key, value)),
        }
    }
    written
}

/// One that was there before and still is stays as it was written. Of the others one that goes by the same name as one
/// before is that one, changed.
fn change_items(written: Vec<Value>, before: &[Value], after: Vec<Value>) -> Vec<Value> {
    let mut kept: Vec<_> = before.iter().zip(written).collect();
    let same: Vec<_> = after
        .iter()
        .map(|item| kept.iter().position(|(before, _)| *before == item).map(|at| kept.remove(at).1))
        .collect();
    let items = after.into_iter().zip(same).map(|(item, same)| {
        let same_name = || kept.iter().position(|(before, _)| name(before).is_some() && name(before) == name(&item));
        if let Some(written) = same {
            return written;
        }
        let Some(at) = same_name() else { return item };
        let (before, mut written) = kept.remove(at);
        change(&mut written, before, item);
        written
    });
    items.collect()
}

/// The key of a list item: a limit's name, a network's target, a resource's kind.
fn name(item: &Value) -> Option<&str> {
    const NAMES: [&str; 3] = ["Name", "Target", "Kind"];
    let entries = item.as_object()?;
    let own = NAMES.iter().find_map(|key| entries.get(*key)?.as_str());
    // What is one of several kinds of things is inside another.
    own.or_else(|| if entries.len() == 1 { entries.values().next().and_then(name) } else { None })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Known {
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        count: u64,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        list: Vec<Known>,
        #[serde(skip_serializing_if = "Option::is_none")]
        inner: Option<Box<Known>>,
    }

    type Edit = fn(&mut Known);

    fn named(name: &str) -> Known {
        Known { name: Some(name.to_owned()), ..Known::default() }
    }

    #[test]
    fn only_what_was_changed_differs() {
        let spec = json!({
            "Name": "a", "Ratio": 0.1, "Labels": {"x": "1", "y": "2"}, "Null": null,
            "Inner": {"Name": "b", "New": {"Count": 9}},
            "List": [{"Name": "c", "New": 1}, {"Name": "d", "New": 2}, {"Name": "c", "New": 3}],
        });
        let table: [(Edit, &str, Value); 12] = [
            (|_| {}, "", json!(null)),
            (|k| k.name = Some("z".into()), "/Name", json!("z")),
            (|k| k.name = None, "/Name", json!(null)),
            (|k| k.count = 3, "/Count", json!(3)),
            (|k| drop(k.labels.remove("x")), "/Labels", json!({"y": "2"})),
            (|k| k.labels.clear(), "/Labels", json!(null)),
            (|k| k.inner.as_mut().unwrap().count = 4, "/Inner", json!({"Name": "b", "New": {"Count": 9}, "Count": 4})),
            (|k| k.inner = None, "/Inner", json!(null)),
            (|k| drop(k.list.remove(0)), "/List", json!([{"Name": "d", "New": 2}, {"Name": "c", "New": 1}])),
            (
                |k| k.list.insert(0, named("e")),
                "/List",
                json!([
                    {"Name": "e", "Count": 0}, {"Name": "c", "New": 1}, {"Name": "d", "New": 2},
                    {"Name": "c", "New": 3}
                ]),
            ),
            (
                |k| {
                    k.list.remove(1);
                    k.list.push(Known { count: 5, ..named("d") });
                },
                "/List",
                json!([{"Name": "c", "New": 1}, {"Name": "c", "New": 3}, {"Name": "d", "New": 2, "Count": 5}]),
            ),
            (
                |k| k.list[1].name = Some("f".into()),
                "/List",
                json!([{"Name": "c", "New": 1}, {"Name": "f", "Count": 0}, {"Name": "c", "New": 3}]),
            ),
        ];
        for (edit, place, becomes) in table {
            let object = json!({"ID": "i", "Version": {"Index": 7}, "Spec": spec}).to_string();
            let mut draft = Draft::<Known>::read(object.as_bytes()).unwrap();
            assert_eq!((draft.id.as_str(), draft.version), ("i", 7));
            edit(&mut draft.spec);
            let mut expected = spec.clone();
            if let Some(key) = place.strip_prefix('/') {
                let entries = expected.as_object_mut().unwrap();
                match becomes {
                    Value::Null => drop(entries.remove(key)),
                    value => drop(entries.insert(key.to_owned(), value)),
                }
            }
            let sent: Value = serde_json::from_slice(&draft.to_json().unwrap()).unwrap();
            assert_eq!(sent, expected, "{place}");
        }
    }

    #[test]
    fn what_has_no_spec_gets_one() {
        let mut draft = Draft::<Known>::read(b"{}").unwrap();
        draft.spec.count = 1;
        let sent: Value = serde_json::from_slice(&draft.to_json().unwrap()).unwrap();
        assert_eq!(sent, json!({"Count": 1}));
    }
}
