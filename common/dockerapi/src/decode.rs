//! JSON into types the way Go's `encoding/json` does it: keys in any case, `null` for "not given", unknown keys no
//! syntax error.
//!
//! One thing is stricter. [`request`] notes each key that Docker's API defines, the type here does not have, and that
//! holds more than a zero value, and refuses the request by that key's name: an option this version does not do is an
//! error, never silence. So a type lists what is supported and `defined` what is not.

mod defined;
mod go;

use std::cell::RefCell;

use serde::de::DeserializeOwned;
use serde_json::Value;

use self::go::{GoValue, Path};

/// Why a body cannot be used. `Display` is one sentence for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There was no body.
    #[error("got EOF while reading request body")]
    Empty,
    /// The body is no JSON.
    #[error("invalid JSON: {0}")]
    Syntax(String),
    /// A field is of another type.
    #[error("invalid JSON: {0}")]
    Type(String),
    /// The body asks for what there is not.
    #[error("not supported yet: {}", .0.join(", "))]
    Unsupported(Vec<String>),
}

/// Reads a request's body; see the module for what is refused.
///
/// # Errors
/// Every kind of [`DecodeError`].
pub fn request<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    let unknown = RefCell::default();
    let decoded = decode(body, Some(&unknown))?;
    match unknown.into_inner() {
        fields if fields.is_empty() => Ok(decoded),
        fields => Err(DecodeError::Unsupported(fields)),
    }
}

/// Reads an answer's body: unknown keys are those of a newer server and do not matter.
///
/// # Errors
/// [`DecodeError::Empty`], [`DecodeError::Syntax`] or [`DecodeError::Type`].
pub fn answer<T: DeserializeOwned>(body: &[u8]) -> Result<T, DecodeError> {
    decode(body, None)
}

fn decode<T: DeserializeOwned>(body: &[u8], unknown: Option<&RefCell<Vec<String>>>) -> Result<T, DecodeError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(DecodeError::Empty);
    }
    let value: Value = serde_json::from_slice(body).map_err(|e| DecodeError::Syntax(e.to_string()))?;
    T::deserialize(GoValue::new(value, &Path::Root, unknown)).map_err(|e| DecodeError::Type(e.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Inner {
        size: u64,
        labels: BTreeMap<String, String>,
    }

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "PascalCase", default)]
    struct Outer {
        name: String,
        inner: Option<Inner>,
        list: Vec<Inner>,
    }

    fn read(json: &str) -> Result<Outer, DecodeError> {
        request(json.as_bytes())
    }

    #[test]
    fn keys_match_in_any_case_and_the_exact_one_wins() {
        let read = read(r#"{"NAME":"a","Name":"b","inner":{"SIZE":3,"labels":{"Key":"v"}}}"#).unwrap();
        assert_eq!(read.name, "b");
        assert_eq!(read.inner, Some(Inner { size: 3, labels: [("Key".into(), "v".into())].into() }));
    }

    #[test]
    fn null_is_not_given() {
        assert_eq!(read(r#"{"Name":null,"Inner":null,"List":null}"#), Ok(Outer::default()));
        assert_eq!(read("null"), Ok(Outer::default()));
    }

    #[test]
    fn unknown_keys_pass_only_while_they_say_nothing() {
        assert_eq!(read(r#"{"Mounts":[],"X":{"Y":{},"Z":[],"N":0,"F":false,"S":""}}"#), Ok(Outer::default()));
        let refused = read(r#"{"Inner":{"Ports":[0]},"List":[{},{"Jobs":{"N":1}}],"Extra":true}"#).unwrap_err();
        assert_eq!(refused.to_string(), "not supported yet: Extra, Inner.Ports, List[1].Jobs");
        assert_eq!(answer::<Outer>(br#"{"Extra":true}"#), Ok(Outer::default()));
    }

    #[test]
    fn errors_say_where() {
        assert_eq!(read(" \n"), Err(DecodeError::Empty));
        assert!(matches!(read("{"), Err(DecodeError::Syntax(_))));
        let wrong = read(r#"{"List":[{"Size":"x"}]}"#).unwrap_err().to_string();
        assert!(wrong.contains("List[0].Size"), "{wrong}");
        let deep = "[".repeat(100_000);
        assert!(matches!(read(&deep), Err(DecodeError::Syntax(_))));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(name in ".*", size: u64, labels: BTreeMap<String, String>) {
            let outer = Outer { name, inner: Some(Inner { size, labels }), list: vec![Inner::default()] };
            prop_assert_eq!(request::<Outer>(&serde_json::to_vec(&outer).unwrap()), Ok(outer));
        }

        #[test]
        fn no_input_is_too_strange(body: Vec<u8>) {
            let _ = request::<Outer>(&body);
        }
    }
}
