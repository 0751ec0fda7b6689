//! The generic resources an operator gives a node, in dockerd's notation: `gpu=UUID1` once for each by name, `ssd=5` for a
//! number of them.

use std::collections::BTreeMap;

use skep_proto::v1::{GenericResource, generic_resource::Value};

/// Why a generic resource is none. dockerd's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenericResourceError {
    /// Not `KIND=VALUE`.
    #[error("could not parse GenericResource: incorrect term {0}, missing '=' or malformed expression")]
    Term(String),
    /// Less than nothing.
    #[error("could not parse GenericResource: cannot ask for negative resource {0}")]
    Negative(String),
    /// A number and names, or two numbers, or a name twice.
    #[error("could not parse GenericResource: {0} is either one number or has names, each once")]
    Mixed(String),
}

/// Reads what was given, one term each; in the order of kinds and names.
///
/// # Errors
/// See [`GenericResourceError`].
pub fn parse_generic_resources(terms: &[String]) -> Result<Vec<GenericResource>, GenericResourceError> {
    let mut kinds: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for term in terms {
        let wrong = || GenericResourceError::Term(term.clone());
        let (kind, value) = term.split_once('=').ok_or_else(wrong)?;
        let (kind, value) = (kind.trim(), value.trim());
        if kind.is_empty() || value.is_empty() || value.contains(['=', '\0']) || kind.contains('\0') {
            return Err(wrong());
        }
        let value = match value.parse() {
            Ok(count @ 0..) => Value::Discrete(count),
            Ok(_) => return Err(GenericResourceError::Negative(kind.to_owned())),
            Err(_) => Value::Named(value.to_owned()),
        };
        let known = kinds.entry(kind).or_default();
        let beside = |other: &Value| matches!((other, &value), (Value::Named(a), Value::Named(b)) if a != b);
        if !known.iter().all(beside) {
            return Err(GenericResourceError::Mixed(kind.to_owned()));
        }
        known.push(value);
    }
    let named = |(kind, values): (&str, Vec<Value>)| {
        values
            .into_iter()
            .map(|value| GenericResource { kind: kind.to_owned(), value: Some(value) })
            .collect::<Vec<_>>()
    };
    Ok(kinds.into_iter().flat_map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(terms: &[&str]) -> Result<Vec<GenericResource>, GenericResourceError> {
        parse_generic_resources(&terms.iter().map(|&term| term.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn names_and_numbers() {
        let of = |kind: &str, value| GenericResource { kind: kind.to_owned(), value: Some(value) };
        assert_eq!(
            parse(&["ssd=5", "gpu=UUID1", "gpu = UUID2"]).unwrap(),
            [
                of("gpu", Value::Named("UUID1".into())),
                of("gpu", Value::Named("UUID2".into())),
                of("ssd", Value::Discrete(5)),
            ]
        );
        assert_eq!(parse(&[]).unwrap(), []);
    }

    #[test]
    fn what_is_none_is_named() {
        for term in ["gpu", "=1", "gpu=", "gpu=a=b", ""] {
            assert_eq!(parse(&[term]), Err(GenericResourceError::Term(term.to_owned())), "{term}");
        }
        assert_eq!(parse(&["gpu=-1"]), Err(GenericResourceError::Negative("gpu".to_owned())));
        for terms in [["gpu=1", "gpu=a"], ["gpu=a", "gpu=1"], ["gpu=1", "gpu=2"], ["gpu=a", "gpu=a"]] {
            assert_eq!(parse(&terms), Err(GenericResourceError::Mixed("gpu".to_owned())), "{terms:?}");
        }
    }
}
