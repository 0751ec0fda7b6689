//! Options of log drivers.

use super::{Invalid, shown};

/// The driver tasks get that name none.
pub const JSON_FILE: &str = "json-file";
/// The driver that keeps nothing.
pub const NO_LOG: &str = "none";

/// What `json-file` is told, each with its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonFile {
    /// Bytes after which a new file is begun; `None` = never.
    pub max_size: Option<u64>,
    /// Files there may be, the one written to included.
    pub max_files: u32,
}

/// Most files one log may have.
const MAX_FILES: u32 = 1000;

impl JsonFile {
    /// Reads the driver's options.
    pub fn parse<'a>(options: impl IntoIterator<Item = (&'a String, &'a String)>) -> Result<Self, Invalid> {
        let mut log = Self { max_size: None, max_files: 1 };
        for (key, value) in options {
            let refuse = || Invalid::LogOption(shown(key), shown(value));
            match key.as_str() {
                "max-size" => log.max_size = size(value).ok_or_else(refuse)?,
                "max-file" => {
                    let files = value.parse().ok().filter(|files| (1..=MAX_FILES).contains(files));
                    log.max_files = files.ok_or_else(refuse)?;
                }
                _ => return Err(Invalid::UnknownLogOption(shown(key))),
            }
        }
        Ok(log)
    }
}

/// Checks a driver's options as far as the driver is one of ours; whether a node has another is for the scheduler.
pub fn check_log_driver<'a>(
    name: &str,
    options: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<(), Invalid> {
    if matches!(name, "" | JSON_FILE) { JsonFile::parse(options).map(|_| ()) } else { Ok(()) }
}

/// `10m`, `1g`, `512k`, `1000`; `-1` for no limit. `None` for anything else.
fn size(text: &str) -> Option<Option<u64>> {
    if text == "-1" {
        return Some(None);
    }
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches('b').trim_end_matches(['k', 'm', 'g']);
    let unit: u64 = match lower.get(digits.len()..)?.trim_end_matches('b') {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok().filter(|size| *size > 0)?.checked_mul(unit).map(Some)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check(name: &str, options: &[(&str, &str)]) -> Result<(), String> {
        let options: BTreeMap<String, String> =
            options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        check_log_driver(name, &options).map_err(|error| error.to_string())
    }

    #[test]
    fn sizes_read_as_docker_writes_them() {
        assert_eq!(size("10m"), Some(Some(10 << 20)));
        assert_eq!(size("1GB"), Some(Some(1 << 30)));
        assert_eq!(size("512k"), Some(Some(512 << 10)));
        assert_eq!(size("1000"), Some(Some(1000)));
        assert_eq!(size("-1"), Some(None));
        for wrong in ["", "m", "10x", "-5", "0", "99999999999999999999g", "1mm"] {
            assert_eq!(size(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn options_are_known_and_mean_something() {
        assert_eq!(check("json-file", &[("max-size", "10m"), ("max-file", "3")]), Ok(()));
        assert_eq!(check("", &[]), Ok(()));
        let refused = |options: &[(&str, &str)]| check("json-file", options).unwrap_err();
        assert_eq!(refused(&[("max-file", "0")]), "invalid max-file: 0");
        assert_eq!(refused(&[("max-size", "big")]), "invalid max-size: big");
        assert_eq!(refused(&[("max-files", "3")]), "unknown log opt 'max-files' for json-file log driver");
        assert_eq!(check("", &[("x", "y")]).unwrap_err(), "unknown log opt 'x' for json-file log driver");
        assert_eq!(check("syslog", &[("syslog-address", "udp://1.2.3.4")]), Ok(()), "another node may know it");
    }
}
