//! Times as people type them, made into the notation of queries.

use anyhow::{Context as _, Result};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use skep_dockerapi::time::Time;

use crate::args::GoDuration;

/// A time for a query: `10m` is so long before `now`; a time without a zone is in `zone`; seconds since 1970 are
/// taken as they are. `None` is no time, the empty text.
///
/// # Errors
/// When it is none of these.
pub(super) fn query(typed: Option<&str>, now: Time, zone: TimeZone) -> Result<String> {
    let Some(typed) = typed else { return Ok(String::new()) };
    if let Ok(time) = Time::parse_query(typed) {
        return Ok(seconds(time));
    }
    if let Ok(GoDuration(before)) = typed.parse() {
        return Ok(seconds(Time(now.0.saturating_sub(before))));
    }
    let local = typed.parse::<DateTime>().ok().and_then(|time| time.to_zoned(zone).ok());
    let time = local.map(|zoned| zoned.timestamp()).with_context(|| {
        format!(
            "{typed:?} is not a time: write 2024-05-06T07:08:09Z, 2024-05-06, seconds since 1970, or how long ago (10m)"
        )
    })?;
    Ok(seconds(nanos(time)))
}

fn nanos(time: Timestamp) -> Time {
    Time(i64::try_from(time.as_nanosecond()).unwrap_or(0))
}

fn seconds(time: Time) -> String {
    format!("{}.{:09}", time.unix_seconds(), time.0.rem_euclid(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_notations() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now = Time(1_714_979_289_500_000_000);
        let table = [
            ("10m", Some("1714978689.500000000")),
            ("0s", Some("1714979289.500000000")),
            ("1714979289", Some("1714979289.000000000")),
            ("2024-05-06T07:08:09Z", Some("1714979289.000000000")),
            ("2024-05-06T09:08:09", Some("1714979289.000000000")),
            ("2024-05-06", Some("1714946400.000000000")),
            ("yesterday", None),
            ("-10m", None),
        ];
        for (typed, expected) in table {
            assert_eq!(query(Some(typed), now, zone.clone()).ok().as_deref(), expected, "{typed}");
        }
        assert_eq!(query(None, now, zone).unwrap(), "");
    }
}
