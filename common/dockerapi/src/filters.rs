//! The `filters` parameter of list calls: `{"label":["a=b"]}`, or `{"label":{"a=b":true}}` as newer clients send it.
//!
//! Invariant: a handler reads only filters it named in [`Filters::accept`], so a filter nobody looks at is an error.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// The values asked for, by filter. Values of one filter are alternatives; filters must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filters(BTreeMap<String, BTreeSet<String>>);

/// Why filters cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// Not JSON of either form.
    #[error("invalid filters: expected JSON like {{\"name\":[\"value\"]}}")]
    Syntax,
    /// A filter this list does not have.
    #[error("invalid filter '{0}'")]
    Unknown(String),
    /// A value that makes no sense for its filter.
    #[error("invalid filter '{name}={value}'")]
    Value {
        /// The filter.
        name: String,
        /// The value given.
        value: String,
    },
    /// The same where the engine has a sentence of its own for it.
    #[error("{0}")]
    Sentence(String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Wire {
    Maps(BTreeMap<String, BTreeMap<String, bool>>),
    Lists(BTreeMap<String, Vec<String>>),
}

impl Filters {
    /// Parses the parameter; absent and empty are no filters.
    ///
    /// # Errors
    /// [`FilterError::Syntax`].
    pub fn parse(parameter: Option<&str>) -> Result<Self, FilterError> {
        let Some(text) = parameter.filter(|text| !text.is_empty()) else { return Ok(Self::default()) };
        let wire = serde_json::from_str(text).map_err(|_| FilterError::Syntax)?;
        Ok(Self(match wire {
            Wire::Maps(maps) => maps.into_iter().map(|(name, map)| (name, map.into_keys().collect())).collect(),
            Wire::Lists(lists) => lists.into_iter().map(|(name, list)| (name, list.into_iter().collect())).collect(),
        }))
    }

    /// Refuses every filter that is not among `names`.
    ///
    /// # Errors
    /// [`FilterError::Unknown`].
    pub fn accept(self, names: &[&str]) -> Result<Self, FilterError> {
        match self.0.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => Err(FilterError::Unknown(name.clone())),
            None => Ok(self),
        }
    }

    /// The values of a filter; none when it is not given.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.get(name).into_iter().flatten().map(String::as_str)
    }

    /// [`Self::values`], owned.
    pub fn list(&self, name: &str) -> Vec<String> {
        self.values(name).map(str::to_owned).collect()
    }

    /// Whether a filter is given.
    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|values| !values.is_empty())
    }

    /// The values of a filter, each read by `parse`.
    ///
    /// # Errors
    /// [`FilterError::Value`] for one that `parse` refuses.
    pub fn parsed<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, FilterError> {
        let read = |value: &str| {
            parse(value).ok_or_else(|| FilterError::Value { name: name.to_owned(), value: value.to_owned() })
        };
        self.values(name).map(read).collect()
    }

    /// The same, with `sentence` for a value that `parse` refuses.
    ///
    /// # Errors
    /// [`FilterError::Sentence`].
    pub fn parsed_or<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        sentence: impl Fn(&str) -> String,
    ) -> Result<Vec<T>, FilterError> {
        let read = |value: &str| parse(value).ok_or_else(|| FilterError::Sentence(sentence(value)));
        self.values(name).map(read).collect()
    }

    /// The same in the words the engine has for a list of the swarm.
    ///
    /// # Errors
    /// [`FilterError::Sentence`].
    pub fn words<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, FilterError> {
        self.parsed_or(name, parse, |value| format!("invalid {name} filter: '{value}'"))
    }

    /// A filter that is true or false; `None` when it is not given.
    ///
    /// # Errors
    /// [`FilterError::Value`] for other words, and for both at once.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, FilterError> {
        let flag = |value: &str| match value {
            "1" | "true" | "True" | "TRUE" => Some(true),
            "0" | "false" | "False" | "FALSE" => Some(false),
            _ => None,
        };
        let flags: Option<BTreeSet<bool>> = self.values(name).map(flag).collect();
        match flags {
            Some(flags) if flags.len() < 2 => Ok(flags.first().copied()),
            // Go prints a list like this.
            _ => Err(FilterError::Value { name: name.to_owned(), value: format!("[{}]", self.list(name).join(" ")) }),
        }
    }

    /// Whether `labels` has every label of the filter `name`: `key`, or `key=value`.
    pub fn labels_match(&self, name: &str, labels: &BTreeMap<String, String>) -> bool {
        self.values(name).all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|held| held == value),
            None => labels.contains_key(wanted),
        })
    }

    /// Adds a value, for a client.
    pub fn add(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.entry(name.to_owned()).or_default().insert(value.into());
        self
    }

    /// The parameter, for a client: `None` when there is nothing to ask for.
    pub fn to_parameter(&self) -> Option<String> {
        let as_map = |values: &BTreeSet<String>| -> BTreeMap<String, bool> {
            values.iter().map(|value| (value.clone(), true)).collect()
        };
        let maps: BTreeMap<&String, _> = self.0.iter().map(|(name, values)| (name, as_map(values))).collect();
        if maps.is_empty() { None } else { serde_json::to_string(&maps).ok() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_forms_mean_the_same() {
        let lists = Filters::parse(Some(r#"{"name":["a","b"],"id":[]}"#)).unwrap();
        let maps = Filters::parse(Some(r#"{"name":{"a":true,"b":true},"id":{}}"#)).unwrap();
        assert_eq!(lists, maps);
        assert_eq!(lists.list("name"), ["a", "b"]);
        assert!(lists.has("name") && !lists.has("id") && !lists.has("label"));
    }

    #[test]
    fn absent_is_no_filter_and_nonsense_is_an_error() {
        for empty in [None, Some(""), Some("{}")] {
            assert_eq!(Filters::parse(empty), Ok(Filters::default()));
        }
        for nonsense in ["nonsense", "[]", "1", r#"{"a":1}"#, r#"{"a":{"b":1}}"#] {
            assert_eq!(Filters::parse(Some(nonsense)), Err(FilterError::Syntax), "{nonsense}");
        }
    }

    #[test]
    fn an_unknown_filter_is_an_error_in_dockers_words() {
        let filters = Filters::parse(Some(r#"{"x":["y"]}"#)).unwrap();
        assert_eq!(filters.accept(&["name"]).unwrap_err().to_string(), "invalid filter 'x'");
    }

    #[test]
    fn flags_and_labels() {
        let filters =
            Filters::parse(Some(r#"{"_up-to-date":["true"],"b":["maybe"],"c":["0","1"],"label":["k","a=b"]}"#));
        let filters = filters.unwrap();
        assert_eq!(filters.flag("_up-to-date"), Ok(Some(true)));
        assert_eq!(filters.flag("none"), Ok(None));
        assert_eq!(filters.flag("b").unwrap_err().to_string(), "invalid filter 'b=[maybe]'");
        assert!(filters.flag("c").is_err());
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        assert!(filters.labels_match("label", &labels(&[("k", ""), ("a", "b")])));
        assert!(!filters.labels_match("label", &labels(&[("k", ""), ("a", "c")])));
        assert!(!filters.labels_match("label", &labels(&[("a", "b")])));
    }

    proptest! {
        #[test]
        fn a_server_reads_what_a_client_writes(pairs: Vec<(String, String)>) {
            let mut filters = Filters::default();
            for (name, value) in &pairs {
                filters.add(name, value);
            }
            prop_assert_eq!(Filters::parse(filters.to_parameter().as_deref()), Ok(filters));
        }
    }
}
