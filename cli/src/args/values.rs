//! Values as Docker's flags take them, each checked when it is typed.

use std::str::FromStr;

/// A duration in Go's notation: `1h30m`, `1.5s`, `250ms`. Nanoseconds; never negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GoDuration(pub(crate) i64);

/// Units of a [`GoDuration`].
const DURATION_UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

impl FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is not a duration like 90s, 1m30s or 250ms");
        if text.starts_with('-') {
            return Err("duration cannot be negative".to_owned());
        }
        if text == "0" {
            return Ok(Self(0));
        }
        let (mut rest, mut total) = (text, 0.0);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
            let (number, tail) = rest.split_at(digits);
            let number: f64 = number.parse().map_err(|_| invalid())?;
            let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (_, unit) = DURATION_UNITS.iter().find(|(name, _)| *name == &tail[..end]).ok_or_else(invalid)?;
            total += number * unit;
            rest = &tail[end..];
        }
        // Above 2⁵³ ns (104 days) a float rounds to a few nanoseconds: nobody asks for those.
        if text.is_empty() || total >= 9.2e18 { Err(invalid()) } else { Ok(Self(total.round() as i64)) }
    }
}

/// A number of CPUs, `0.5`. In 10⁻⁹ CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cpus(pub(crate) i64);

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let cpus: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of CPUs like 0.5"))?;
        let nano = cpus * 1e9;
        if !(0.0..9.2e18).contains(&nano) {
            return Err(format!("{text:?} is not a number of CPUs like 0.5"));
        }
        if (nano - nano.round()).abs() > 1e-3 {
            Err("value is too precise".to_owned())
        } else {
            Ok(Self(nano.round() as i64))
        }
    }
}

/// A size in bytes: `64m`, `1.5GiB`, `1024`. Units are powers of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) i64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid size: '{text}'");
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: f64 = number.parse().map_err(|_| invalid())?;
        let unit = unit.trim_start().to_ascii_lowercase();
        let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
            "" => 0,
            "k" => 1,
            "m" => 2,
            "g" => 3,
            "t" => 4,
            "p" => 5,
            _ => return Err(invalid()),
        };
        let bytes = number * 1024_f64.powi(power);
        if unit == "ib" || bytes >= 9.2e18 { Err(invalid()) } else { Ok(Self(bytes as i64)) }
    }
}

/// `key=value`, or `key` alone for an empty value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyValue {
    /// Before the first `=`; not empty.
    pub(crate) key: String,
    /// Behind it.
    pub(crate) value: String,
}

impl FromStr for KeyValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.is_empty() {
            return Err(format!("{text:?} has no key: write key=value"));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// A filter of a list: `name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter {
    /// What it looks at.
    pub(crate) name: String,
    /// What is asked for.
    pub(crate) value: String,
}

impl FromStr for Filter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or("bad format of filter (expected name=value)")?;
        Ok(Self { name: name.trim().to_lowercase(), value: value.trim().to_owned() })
    }
}

/// `service=replicas`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scale {
    /// The service.
    pub(crate) service: String,
    /// How many tasks it is to have.
    pub(crate) replicas: u64,
}

impl FromStr for Scale {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid scale specifier '{text}': use SERVICE=REPLICAS");
        let (service, replicas) =
            text.split_once('=').filter(|(service, _)| !service.is_empty()).ok_or_else(invalid)?;
        Ok(Self { service: service.to_owned(), replicas: replicas.parse().map_err(|_| invalid())? })
    }
}

/// A placement preference: `spread=node.labels.zone`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spread(pub(crate) String);

impl FromStr for Spread {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("spread", over)) if !over.is_empty() && !over.contains('=') => Ok(Self(over.to_owned())),
            Some((strategy, _)) if strategy != "spread" => {
                Err(format!("unsupported placement preference {strategy} (only spread is supported)"))
            }
            _ => Err("placement preference must be of the format \"<strategy>=<arg>\"".to_owned()),
        }
    }
}

/// A reservation of a generic resource: `gpu=2`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GenericCount {
    /// The kind; not empty.
    pub(crate) kind: String,
    /// How many; never negative.
    pub(crate) count: i64,
}

impl FromStr for GenericCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, count) = text
            .split_once('=')
            .filter(|(kind, count)| !kind.is_empty() && !count.contains('='))
            .ok_or_else(|| format!("invalid generic-resource format `{text}` expected `name=value`"))?;
        match count.parse::<i64>() {
            Ok(count) if count >= 0 => Ok(Self { kind: kind.to_owned(), count }),
            Ok(_) => Err(format!("cannot ask for negative resource {kind}")),
            Err(_) => Err(format!(
                "invalid generic-resource request `{text}`, Named Generic Resources is not supported for service create or update"
            )),
        }
    }
}

/// A limit of processes: `nofile=1024`, `nofile=1024:2048`; -1 = none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UlimitValue {
    /// `nofile`, …
    pub(crate) name: String,
    /// At first.
    pub(crate) soft: i64,
    /// At most.
    pub(crate) hard: i64,
}

impl FromStr for UlimitValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("invalid ulimit argument: {text}");
        let (name, limits) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(invalid)?;
        let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
        let soft = soft.parse().map_err(|_| invalid())?;
        let hard = hard.parse().map_err(|_| invalid())?;
        if hard != -1 && (soft > hard || soft == -1) {
            return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
        }
        Ok(Self { name: name.to_owned(), soft, hard })
    }
}

/// A command line in one argument, split as a shell would: quotes and backslashes hold words together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl FromStr for Words {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            match c {
                ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
                '\\' => {
                    let escaped = chars.next().ok_or("nothing follows the last backslash")?;
                    word.get_or_insert_default().push(escaped);
                }
                quote @ ('\'' | '"') => quoted(quote, &mut chars, word.get_or_insert_default())?,
                other => word.get_or_insert_default().push(other),
            }
        }
        words.extend(word);
        Ok(Self(words))
    }
}

/// The rest of a quotation; backslashes count only between double quotes.
fn quoted(quote: char, chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), String> {
    loop {
        match chars.next() {
            Some(c) if c == quote => return Ok(()),
            Some('\\') if quote == '"' => word.extend(chars.next()),
            Some(c) => word.push(c),
            None => return Err(format!("the {quote} is not closed")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let table = [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("1.5s", Some(1_500_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("250ms", Some(250_000_000)),
            ("2160h", Some(7_776_000_000_000_000)),
            ("3us", Some(3_000)),
            ("3µs", Some(3_000)),
            ("7ns", Some(7)),
            ("", None),
            ("1", None),
            ("s", None),
            ("-1s", None),
            ("1d", None),
            ("1..s", None),
            ("99999999999h", None),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse().ok(), expected.map(GoDuration), "{text:?}");
        }
    }

    #[test]
    fn sizes_and_cpus() {
        let table = [
            ("0", Some(0)),
            ("64m", Some(64 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("2 kb", Some(2048)),
            ("1x", None),
            ("", None),
            ("5ib", None),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse().ok(), expected.map(Bytes), "{text:?}");
        }
        let table = [
            ("0.5", Some(500_000_000)),
            ("2", Some(2_000_000_000)),
            ("0.0000000001", None),
            ("-1", None),
            ("x", None),
            ("NaN", None),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse().ok(), expected.map(Cpus), "{text:?}");
        }
    }

    #[test]
    fn pairs() {
        let pair = |key: &str, value: &str| KeyValue { key: key.into(), value: value.into() };
        assert_eq!("a=b=c".parse(), Ok(pair("a", "b=c")));
        assert_eq!("a".parse(), Ok(pair("a", "")));
        assert!("=b".parse::<KeyValue>().is_err());
        assert_eq!("web=3".parse(), Ok(Scale { service: "web".into(), replicas: 3 }));
        for wrong in ["web", "=3", "web=", "web=-1", "web=x"] {
            assert!(wrong.parse::<Scale>().is_err(), "{wrong}");
        }
        assert_eq!("Label = a=b".parse(), Ok(Filter { name: "label".into(), value: "a=b".into() }));
        assert!("label".parse::<Filter>().is_err());
    }

    #[test]
    fn preferences_and_limits() {
        assert_eq!("spread=node.labels.a".parse(), Ok(Spread("node.labels.a".into())));
        assert_eq!(
            "pack=x".parse::<Spread>().unwrap_err(),
            "unsupported placement preference pack (only spread is supported)"
        );
        assert!("spread".parse::<Spread>().is_err());
        assert_eq!("gpu=2".parse(), Ok(GenericCount { kind: "gpu".into(), count: 2 }));
        for (wrong, says) in [
            ("gpu", "invalid generic-resource format `gpu` expected `name=value`"),
            ("=1", "invalid generic-resource format `=1` expected `name=value`"),
            ("gpu=-1", "cannot ask for negative resource gpu"),
            ("gpu=one", "Named Generic Resources is not supported for service create or update"),
        ] {
            let refused = wrong.parse::<GenericCount>().unwrap_err();
            assert!(refused.ends_with(says), "{refused}");
        }
        assert_eq!("nofile=1:2".parse(), Ok(UlimitValue { name: "nofile".into(), soft: 1, hard: 2 }));
        assert_eq!("core=-1".parse(), Ok(UlimitValue { name: "core".into(), soft: -1, hard: -1 }));
        for wrong in ["nofile", "nofile=x", "nofile=3:2", "=1"] {
            assert!(wrong.parse::<UlimitValue>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn words_of_a_command_line() {
        let table: [(&str, &[&str]); 4] = [
            ("", &[]),
            ("  a  b ", &["a", "b"]),
            (r#"sh -c 'echo "x y"' "a\"b" '' c\ d"#, &["sh", "-c", r#"echo "x y""#, "a\"b", "", "c d"]),
            (r"a'b'c", &["abc"]),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Words>().unwrap().0, expected, "{text}");
        }
        for wrong in ["'a", "\"a", "a\\"] {
            assert!(wrong.parse::<Words>().is_err(), "{wrong}");
        }
    }
}
