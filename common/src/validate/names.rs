//! Names, labels and environment entries.

use super::{Invalid, shown};
use crate::limits::MAX_SERVICE_NAME;

/// Longest label key.
const MAX_LABEL_KEY: usize = 256;

/// Checks a service's name: a DNS label of at most 63 characters that may also hold underscores.
pub fn check_service_name(name: &str) -> Result<(), Invalid> {
    if name.is_empty() {
        return Err(Invalid::NoName);
    }
    if !is_name(name) {
        return Err(Invalid::Name);
    }
    if name.len() > MAX_SERVICE_NAME {
        return Err(Invalid::LongName(MAX_SERVICE_NAME));
    }
    Ok(())
}

/// Whether `name` is `[a-zA-Z0-9]([a-zA-Z0-9-_]*[a-zA-Z0-9])?`.
fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Checks a label: a key without control characters, and any value without NUL.
pub fn check_label(key: &str, value: &str) -> Result<(), Invalid> {
    let refuse = |reason| Err(Invalid::Label(shown(key), reason));
    if key.is_empty() {
        return Err(Invalid::Label(shown(&format!("={value}")), "empty name"));
    }
    if key.len() > MAX_LABEL_KEY {
        return refuse("the name is too long");
    }
    if key.chars().any(char::is_control) {
        return refuse("the name holds a control character");
    }
    if value.contains('\0') {
        return refuse("the value holds a NUL");
    }
    Ok(())
}

/// Checks an environment entry: `KEY=VALUE`, or `KEY` alone, which takes the variable away.
pub fn check_env(entry: &str) -> Result<(), Invalid> {
    let key = entry.split('=').next().unwrap_or_default();
    if key.is_empty() || entry.contains('\0') {
        return Err(Invalid::Env(shown(entry)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_names() {
        for good in ["a", "A1", "web-1", "my_service", "a--b", &"x".repeat(63)] {
            assert_eq!(check_service_name(good), Ok(()), "{good}");
        }
        assert_eq!(check_service_name(""), Err(Invalid::NoName));
        assert_eq!(check_service_name(&"x".repeat(64)), Err(Invalid::LongName(63)));
        for bad in ["-a", "a-", "_", "a.b", "../etc", "a b", "a\0", "é", "a/b", "a\n"] {
            assert_eq!(check_service_name(bad), Err(Invalid::Name), "{bad}");
        }
    }

    #[test]
    fn labels() {
        for (key, value) in [("a", ""), ("com.example/x y", "any\nthing"), ("schlüssel", "=")] {
            assert_eq!(check_label(key, value), Ok(()));
        }
        assert_eq!(check_label("", "v").unwrap_err().to_string(), "invalid label '=v': empty name");
        for (key, value) in [("a\0", ""), ("a\n", ""), ("a", "\0"), (&*"k".repeat(257), "")] {
            assert!(check_label(key, value).is_err());
        }
    }

    #[test]
    fn environment() {
        for good in ["A=1", "A", "A=", "A==", "a b=c"] {
            assert_eq!(check_env(good), Ok(()), "{good}");
        }
        assert_eq!(check_env("=1").unwrap_err().to_string(), "invalid environment variable: =1");
        assert!(check_env("").is_err() && check_env("A=\0").is_err());
    }
}
