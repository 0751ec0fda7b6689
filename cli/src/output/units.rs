//! Sizes, durations and times as Docker writes them for people (docker/go-units and Go's own `time`).

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use skep_dockerapi::{human, time::Time};

/// Powers of 1024 with four digits: `23.54GiB`.
pub(crate) fn binary_size(bytes: i64) -> String {
    scaled(bytes, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB"], 4)
}

/// Powers of 1000 with three digits: `1.98MB`.
pub(crate) fn decimal_size(bytes: u64) -> String {
    scaled(i64::try_from(bytes).unwrap_or(i64::MAX), 1000.0, &["B", "kB", "MB", "GB", "TB", "PB"], 3)
}

fn scaled(bytes: i64, base: f64, units: &[&str], digits: usize) -> String {
    let (mut size, mut unit) = (bytes as f64, 0);
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// C's `%.Ng` for the numbers at hand: so many digits that count, no zeros at the end.
fn significant(number: f64, digits: usize) -> String {
    let whole = if number < 1.0 { 1 } else { number.log10().floor() as usize + 1 };
    let text = format!("{number:.decimals$}", decimals = digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Go's notation of a duration: `1m30s`, `1.5s`, `250ms`.
pub(crate) fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let text = match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanos, 1_000_000)),
        _ => {
            let (minutes, rest) = (nanos / 60_000_000_000, nanos % 60_000_000_000);
            let seconds = format!("{}s", fraction(rest, 1_000_000_000));
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

/// `number / unit` in full, without zeros at the end.
fn fraction(number: u64, unit: u64) -> String {
    let digits = unit.ilog10() as usize;
    let text = format!("{}.{:0digits$}", number / unit, number % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// How long ago, in words: `5 minutes ago`.
pub(crate) fn ago(then: Time, now: Time) -> String {
    format!("{} ago", human::duration(Duration::from_nanos(now.0.saturating_sub(then.0).max(0).unsigned_abs())))
}

/// Go's default notation of a time: `2024-05-06 07:08:09.123456789 +0000 UTC`.
pub(crate) fn go_time(time: Time) -> String {
    let utc = Timestamp::from_nanosecond(time.0.into()).unwrap_or_default().to_zoned(TimeZone::UTC);
    format!("{} +0000 UTC", utc.strftime("%Y-%m-%d %H:%M:%S%.f"))
}

/// RFC 3339 with nine digits in the zone of whoever reads it, as event lines begin.
pub(crate) fn local_time(nanos: i64, zone: TimeZone) -> String {
    let time = Timestamp::from_nanosecond(nanos.into()).unwrap_or_default().to_zoned(zone);
    let zone = if time.offset().is_zero() { "Z".to_owned() } else { time.strftime("%:z").to_string() };
    format!("{}{zone}", time.strftime("%Y-%m-%dT%H:%M:%S.%9f"))
}

/// Now, by this machine's clock.
pub(crate) fn now() -> Time {
    Time(i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let table = [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (64 << 20, "64MiB"),
            (25_276_510_208, "23.54GiB"),
        ];
        for (bytes, expected) in table {
            assert_eq!(binary_size(bytes), expected);
        }
        let table = [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (1_984_132, "1.98MB"),
            (19_841_320, "19.8MB"),
            (198_413_200, "198MB"),
        ];
        for (bytes, expected) in table {
            assert_eq!(decimal_size(bytes), expected);
        }
    }

    #[test]
    fn durations() {
        let table = [
            (0, "0s"),
            (7, "7ns"),
            (1_500, "1.5µs"),
            (250_000_000, "250ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (90_000_000_000, "1m30s"),
            (7_776_000_000_000_000, "2160h0m0s"),
            (-1_000_000_000, "-1s"),
        ];
        for (nanos, expected) in table {
            assert_eq!(go_duration(nanos), expected);
        }
    }

    #[test]
    fn times() {
        let time = Time(1_714_979_289_123_456_789);
        assert_eq!(go_time(time), "2024-05-06 07:08:09.123456789 +0000 UTC");
        assert_eq!(go_time(Time(1_714_979_289_000_000_000)), "2024-05-06 07:08:09 +0000 UTC");
        assert_eq!(local_time(time.0, TimeZone::UTC), "2024-05-06T07:08:09.123456789Z");
        let east = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(local_time(time.0, east), "2024-05-06T09:08:09.123456789+02:00");
        assert_eq!(ago(time, Time(time.0 + 300_000_000_000)), "5 minutes ago");
        assert_eq!(ago(Time(time.0 + 5), time), "Less than a second ago");
    }
}
