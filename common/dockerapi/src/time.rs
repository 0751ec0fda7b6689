//! Times as Docker writes them: RFC 3339 with as many digits as needed in objects and events, always nine in log
//! lines, Unix seconds in queries. Inside, all are nanoseconds since the epoch, and 0 is "never".

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A moment; 0 is Go's zero time, the year 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(pub i64);

const GO_ZERO: &str = "0001-01-01T00:00:00Z";

/// Why a time in a query is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a time: seconds since 1970, with or without a fraction, or RFC 3339")]
pub struct InvalidTime(pub String);

impl Time {
    /// Nine digits of fraction, so that lines align: `2024-05-06T07:08:09.120000000Z`.
    pub fn fixed_width(self) -> String {
        format!("{:.9}", Timestamp::from_nanosecond(self.0.into()).unwrap_or_default())
    }

    /// A time of a query: Unix seconds with up to nine digits of fraction, or RFC 3339. Empty is "not given", 0.
    ///
    /// # Errors
    /// [`InvalidTime`].
    pub fn parse_query(text: &str) -> Result<Self, InvalidTime> {
        let invalid = || InvalidTime(text.to_owned());
        if text.is_empty() {
            return Ok(Self(0));
        }
        if text.contains('T') {
            return text.parse();
        }
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let seconds: i64 = seconds.parse().map_err(|_| invalid())?;
        if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let fraction: i64 = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
        let fraction = if text.starts_with('-') { -fraction } else { fraction };
        seconds.checked_mul(1_000_000_000).and_then(|ns| ns.checked_add(fraction)).map(Self).ok_or_else(invalid)
    }

    /// A time that may really be the first moment of 1970, where 0 does not stand for never.
    pub fn text_of(time: Option<Self>) -> String {
        match time.map(|time| Timestamp::from_nanosecond(time.0.into())) {
            Some(Ok(time)) => time.to_string(),
            _ => GO_ZERO.to_owned(),
        }
    }

    /// Whole seconds since 1970, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Timestamp::from_nanosecond(self.0.into()) {
            Ok(time) if self.0 != 0 => time.fmt(f),
            _ => f.write_str(GO_ZERO),
        }
    }
}

impl std::str::FromStr for Time {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        if text == GO_ZERO {
            return Ok(Self(0));
        }
        let invalid = || InvalidTime(text.to_owned());
        let time: Timestamp = text.parse().map_err(|_| invalid())?;
        i64::try_from(time.as_nanosecond()).map(Self).map_err(|_| invalid())
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl From<skep_common::clock::Timestamp> for Time {
    fn from(time: skep_common::clock::Timestamp) -> Self {
        Self(time.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn as_go_prints_it() {
        assert_eq!(Time(0).to_string(), GO_ZERO);
        assert_eq!(Time(1_714_979_289_123_456_789).to_string(), "2024-05-06T07:08:09.123456789Z");
        assert_eq!(Time(1_714_979_289_120_000_000).to_string(), "2024-05-06T07:08:09.12Z");
        assert_eq!(Time(1_714_979_289_000_000_000).to_string(), "2024-05-06T07:08:09Z");
        assert_eq!(Time(1_714_979_289_120_000_000).fixed_width(), "2024-05-06T07:08:09.120000000Z");
        assert_eq!(Time::text_of(Some(Time(0))), "1970-01-01T00:00:00Z");
        assert_eq!(Time::text_of(None), GO_ZERO);
        assert_eq!(Time(0).fixed_width(), "1970-01-01T00:00:00.000000000Z");
    }

    #[test]
    fn query_times() {
        let table = [
            ("", Some(0)),
            ("0", Some(0)),
            ("1136073600", Some(1_136_073_600_000_000_000)),
            ("1136073600.5", Some(1_136_073_600_500_000_000)),
            ("1136073600.000000001", Some(1_136_073_600_000_000_001)),
            ("-1.5", Some(-1_500_000_000)),
            ("2006-01-01T01:00:00+01:00", Some(1_136_073_600_000_000_000)),
            ("1.0000000001", None),
            ("99999999999999", None),
            ("1.-5", None),
            ("x", None),
            ("30m", None),
        ];
        for (text, expected) in table {
            assert_eq!(Time::parse_query(text).ok().map(|time| time.0), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(ns: i64) {
            prop_assert_eq!(Time(ns).to_string().parse(), Ok(Time(ns)));
        }

        #[test]
        fn no_text_is_too_strange(text: String) {
            let _ = text.parse::<Time>();
            let _ = Time::parse_query(&text);
        }
    }
}
