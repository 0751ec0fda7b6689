//! A serde deserializer over a parsed JSON value with the habits of Go's decoder.
//!
//! Invariant: only struct keys are treated so; the keys of a map (labels, options) are data and stay as they are.

use std::{cell::RefCell, fmt};

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error as _, IntoDeserializer as _, MapAccess, SeqAccess, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};
use serde_json::{Error, Map, Value};

use super::defined::is_defined;

/// Where in the document a value stands.
pub(super) enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(key),
            Self::Key(parent, key) => write!(f, "{parent}.{key}"),
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A value at a place; keys no type knows are noted in `unknown`.
pub(super) struct GoValue<'a> {
    value: Value,
    path: &'a Path<'a>,
    unknown: Option<&'a RefCell<Vec<String>>>,
}

impl<'a> GoValue<'a> {
    pub(super) fn new(value: Value, path: &'a Path<'a>, unknown: Option<&'a RefCell<Vec<String>>>) -> Self {
        Self { value, path, unknown }
    }

    fn map(self, entries: Map<String, Value>) -> Entries<'a> {
        Entries { entries: entries.into_iter(), value: None, path: self.path, unknown: self.unknown }
    }

    /// The entries under the names the type uses, without nulls.
    fn known(&self, name: &str, given: Map<String, Value>, fields: &'static [&'static str]) -> Map<String, Value> {
        let mut known = Map::new();
        for (key, value) in given {
            let field = fields.iter().find(|field| field.eq_ignore_ascii_case(&key));
            match field {
                Some(_) if value.is_null() => {}
                Some(field) if **field == key || !known.contains_key(*field) => {
                    known.insert((*field).to_owned(), value);
                }
                Some(_) => {}
                None if is_defined(name, &key) => self.note_unknown(&key, &value),
                None => {}
            }
        }
        known
    }

    fn note_unknown(&self, key: &str, value: &Value) {
        if let Some(unknown) = self.unknown
            && !is_zero(value)
        {
            unknown.borrow_mut().push(Path::Key(self.path, key).to_string());
        }
    }
}

/// What Go calls a zero value, at any depth. A list with something in it is never one.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.values().all(is_zero),
    }
}

fn at(path: &Path<'_>, error: &Error) -> Error {
    match path {
        Path::Root => Error::custom(error),
        path => Error::custom(format_args!("{path}: {error}")),
    }
}

impl<'de> Deserializer<'de> for GoValue<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.into_iter().enumerate(),
                path: self.path,
                unknown: self.unknown,
            }),
            Value::Object(entries) => {
                let this = Self { value: Value::Null, ..self };
                visitor.visit_map(this.map(entries))
            }
            scalar => scalar.deserialize_any(visitor).map_err(|error| at(self.path, &error)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let entries = match self.value.take() {
            Value::Null => Map::new(),
            Value::Object(entries) => self.known(name, entries, fields),
            other => return Self { value: other, ..self }.deserialize_any(visitor),
        };
        visitor.visit_map(self.map(entries))
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() {
            self.value = Value::Object(Map::new());
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() {
            self.value = Value::Array(Vec::new());
        }
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct enum identifier ignored_any
    }
}

struct Entries<'a> {
    entries: serde_json::map::IntoIter,
    value: Option<(String, Value)>,
    path: &'a Path<'a>,
    unknown: Option<&'a RefCell<Vec<String>>>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.value = self.entries.next();
        let Some((key, _)) = &self.value else { return Ok(None) };
        let key: StrDeserializer<'_, Error> = key.as_str().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (key, value) = self.value.take().ok_or_else(|| Error::custom("a value was asked for before its key"))?;
        seed.deserialize(GoValue::new(value, &Path::Key(self.path, &key), self.unknown))
    }
}

struct Items<'a> {
    items: std::iter::Enumerate<std::vec::IntoIter<Value>>,
    path: &'a Path<'a>,
    unknown: Option<&'a RefCell<Vec<String>>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some((index, value)) = self.items.next() else { return Ok(None) };
        seed.deserialize(GoValue::new(value, &Path::Index(self.path, index), self.unknown)).map(Some)
    }
}
