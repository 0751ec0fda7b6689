//! When a schedule falls due.
//!
//! The ticks of a schedule are the same on every manager, whatever its clock and its own time zone: the time zones come
//! with the program.
//!
//! Invariants: [`Schedule::next_after`] is strictly later than what it is given and never goes back; a moment of the
//! wall clock is one tick at most. Where the clock skips a tick, the tick is right after the gap; where the clock
//! repeats one, it is the first time that counts.

use std::{sync::LazyLock, time::Duration};

use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    SignedDuration,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};
use skep_common::clock::{Timestamp, nanos};

/// Shortest period of `@every`.
const MIN_PERIOD: Duration = Duration::from_secs(1);

/// No clock repeats more minutes than a day has.
const MAX_REPEATED: usize = 24 * 60 + 1;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// A schedule in its time zone.
#[derive(Debug, Clone)]
pub struct Schedule {
    ticks: Ticks,
    zone: TimeZone,
}

#[derive(Debug, Clone)]
enum Ticks {
    /// Moments of the wall clock.
    Calendar(Box<Cron>),
    /// Every so often, counted from here.
    Every { period: Duration, origin: Timestamp },
}

impl Schedule {
    /// Reads five fields of cron, `@hourly` and its like, or `@every 10m`; `zone` is a name of the IANA's database.
    /// `None` when it is no schedule, or one that never falls due.
    pub fn parse(text: &str, zone: &str, origin: Timestamp) -> Option<Self> {
        let zone = time_zone(zone)?;
        let ticks = match text.strip_prefix("@every ") {
            Some(period) => Ticks::Every { period: duration(period).filter(|it| *it >= MIN_PERIOD)?, origin },
            None => Ticks::Calendar(Box::new(calendar(text)?)),
        };
        let schedule = Self { ticks, zone };
        schedule.next_after(origin)?;
        Some(schedule)
    }

    /// The first tick after `time`; `None` when there is none any more.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.ticks {
            Ticks::Every { period, origin } => {
                let period = nanos(*period);
                let passed = time.0.saturating_sub(origin.0).max(0) / period;
                origin.0.checked_add(period.checked_mul(passed.checked_add(1)?)?).map(Timestamp)
            }
            Ticks::Calendar(cron) => {
                let instant = jiff::Timestamp::from_nanosecond(i128::from(time.0)).ok()?;
                let mut civil = self.zone.to_datetime(instant);
                for _ in 0..MAX_REPEATED {
                    civil = cron.find_next_occurrence(&civil, false).ok()?;
                    let tick = self.moment(civil)?;
                    if tick > time {
                        return Some(tick);
                    }
                }
                None
            }
        }
    }

    /// The last tick after `time` that is not after `until`.
    pub fn newest(&self, time: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let due = |time| self.next_after(time).filter(|tick| *tick <= until);
        let mut newest = due(time)?;
        // Between this and `until` there is none.
        let mut clear = until;
        while let Some(next) = due(newest) {
            let middle = newest + clear.since(newest) / 2;
            match due(middle) {
                Some(later) => newest = later,
                None => clear = middle.max(next),
            }
        }
        Some(newest)
    }

    /// When a clock in the zone shows this, for the first time; when it never does, the moment it skips it.
    fn moment(&self, civil: DateTime) -> Option<Timestamp> {
        let instant = match self.zone.to_ambiguous_timestamp(civil).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(civil).ok()?,
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(civil).ok()?,
            // By the offset that only comes into force with the gap, the moment lies before it.
            AmbiguousOffset::Gap { after, .. } => {
                self.zone.following(after.to_timestamp(civil).ok()?).next()?.timestamp()
            }
        };
        i64::try_from(instant.as_nanosecond()).ok().map(Timestamp)
    }
}

/// A duration like `90s` or `1h30m`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    Duration::try_from(text.parse::<SignedDuration>().ok()?).ok()
}

/// The time zone of this name.
pub(crate) fn time_zone(name: &str) -> Option<TimeZone> {
    if name == "UTC" { Some(TimeZone::UTC) } else { ZONES.get(name).ok() }
}

fn calendar(text: &str) -> Option<Cron> {
    let fields = match text {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        fields if fields.contains('@') || fields.split_ascii_whitespace().count() != 5 => return None,
        fields => fields,
    };
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(fields).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(i64::try_from(text.parse::<jiff::Timestamp>().unwrap().as_nanosecond()).unwrap())
    }

    fn ticks(schedule: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule, zone, at("2024-01-01T00:00:10Z")).unwrap();
        let mut time = at(from);
        let next = || {
            time = schedule.next_after(time)?;
            Some(jiff::Timestamp::from_nanosecond(time.0.into()).unwrap().to_string())
        };
        std::iter::from_fn(next).take(count).collect()
    }

    #[test]
    fn each_kind_of_schedule_has_its_ticks() {
        for (schedule, from, expected) in [
            ("*/5 * * * *", "2024-05-01T10:02:00Z", ["2024-05-01T10:05:00Z", "2024-05-01T10:10:00Z"]),
            ("*/5 * * * *", "2024-05-01T10:04:59.5Z", ["2024-05-01T10:05:00Z", "2024-05-01T10:10:00Z"]),
            ("0 9-17/4 * * MON-FRI", "2024-05-03T13:00:00Z", ["2024-05-03T17:00:00Z", "2024-05-06T09:00:00Z"]),
            // Of a day of the month and a day of the week either does.
            ("0 0 13 * 5", "2024-09-11T00:00:00Z", ["2024-09-13T00:00:00Z", "2024-09-20T00:00:00Z"]),
            ("0 0 29 2 *", "2024-03-01T00:00:00Z", ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]),
            ("0 0 31 * *", "2024-01-31T00:00:00Z", ["2024-03-31T00:00:00Z", "2024-05-31T00:00:00Z"]),
            ("59 23 31 12 *", "2024-05-01T00:00:00Z", ["2024-12-31T23:59:00Z", "2025-12-31T23:59:00Z"]),
            ("@hourly", "2024-05-01T10:00:00Z", ["2024-05-01T11:00:00Z", "2024-05-01T12:00:00Z"]),
            ("@daily", "2024-02-28T00:00:00Z", ["2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"]),
            ("@weekly", "2024-05-01T00:00:00Z", ["2024-05-05T00:00:00Z", "2024-05-12T00:00:00Z"]),
            ("@monthly", "2024-05-01T00:00:00Z", ["2024-06-01T00:00:00Z", "2024-07-01T00:00:00Z"]),
            ("@yearly", "2024-05-01T00:00:00Z", ["2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"]),
            // Counted from 2024-01-01 00:00:10, when the service was made.
            ("@every 10m", "2024-01-01T00:00:00Z", ["2024-01-01T00:10:10Z", "2024-01-01T00:20:10Z"]),
            ("@every 10m", "2024-01-01T00:10:10Z", ["2024-01-01T00:20:10Z", "2024-01-01T00:30:10Z"]),
            ("@every 1h30m", "2024-01-01T12:01:00Z", ["2024-01-01T13:30:10Z", "2024-01-01T15:00:10Z"]),
        ] {
            assert_eq!(ticks(schedule, "UTC", from, 2), expected, "{schedule} from {from}");
        }
    }

    #[test]
    fn a_clock_that_is_set_neither_loses_nor_doubles_a_tick() {
        for (schedule, zone, from, expected) in [
            // 2024-03-31 01:00 UTC: two o'clock becomes three.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2024-03-30T12:00:00Z",
                vec!["2024-03-31T01:00:00Z", "2024-04-01T00:30:00Z"],
            ),
            (
                "*/20 * * * *",
                "Europe/Berlin",
                "2024-03-31T00:30:00Z",
                vec!["2024-03-31T00:40:00Z", "2024-03-31T01:00:00Z", "2024-03-31T01:20:00Z"],
            ),
            // 2024-10-27 01:00 UTC: three o'clock becomes two again.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2024-10-26T12:00:00Z",
                vec!["2024-10-27T00:30:00Z", "2024-10-28T01:30:00Z"],
            ),
            (
                "*/30 * * * *",
                "Europe/Berlin",
                "2024-10-27T00:00:00Z",
                vec!["2024-10-27T00:30:00Z", "2024-10-27T02:00:00Z", "2024-10-27T02:30:00Z"],
            ),
            // Asked in the middle of the repeated hour.
            ("*/30 * * * *", "Europe/Berlin", "2024-10-27T01:15:00Z", vec!["2024-10-27T02:00:00Z"]),
            // Samoa went over the date line: there was no 30th of December.
            (
                "0 12 * * *",
                "Pacific/Apia",
                "2011-12-29T12:00:00Z",
                vec!["2011-12-29T22:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T22:00:00Z"],
            ),
            ("0 9 * * *", "Asia/Kathmandu", "2024-05-01T00:00:00Z", vec!["2024-05-01T03:15:00Z"]),
            // What is counted does not look at the clock.
            (
                "@every 1h",
                "Europe/Berlin",
                "2024-10-27T00:30:00Z",
                vec!["2024-10-27T01:00:10Z", "2024-10-27T02:00:10Z"],
            ),
        ] {
            assert_eq!(ticks(schedule, zone, from, expected.len()), expected, "{schedule} in {zone} from {from}");
        }
    }

    #[test]
    fn what_is_no_schedule() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "0 0 * * * * 2030",
            "61 * * * *",
            "* 24 * * *",
            "0 0 0 * *",
            "*/0 * * * *",
            "5-1 * * * *",
            "a * * * *",
            "0 0 30 2 *",
            "@reboot",
            "@HOURLY",
            "@hourly @daily",
            "@every",
            "@every ",
            "@every 10",
            "@every -5m",
            "@every 1ms",
            "@every never",
            "@every 1h ago",
        ] {
            assert!(Schedule::parse(text, "UTC", Timestamp::ZERO).is_none(), "{text:?}");
        }
        assert!(Schedule::parse("@daily", "Europe/Bärlin", Timestamp::ZERO).is_none());
        assert!(Schedule::parse("@daily", "", Timestamp::ZERO).is_none());
    }

    fn schedule() -> impl Strategy<Value = Schedule> {
        let text = prop::sample::select(vec!["* * * * *", "*/7 2,3 * * *", "30 2 * * 0", "0 0 29 2 *", "@every 90s"]);
        let zone = prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]);
        (text, zone).prop_map(|(text, zone)| Schedule::parse(text, zone, Timestamp::from_secs(1_700_000_000)).unwrap())
    }

    proptest! {
        #[test]
        fn ticks_are_a_list_in_order(schedule in schedule(), from in 1_700_000_000..1_800_000_000i64, step in 0..200_000i64) {
            let (from, to) = (Timestamp::from_secs(from), Timestamp::from_secs(from + step));
            let first = schedule.next_after(from).unwrap();
            prop_assert!(first > from);
            // Whoever asks later gets the same tick, or one that is later.
            let later = schedule.next_after(to).unwrap();
            let in_order = if first > to { later == first } else { later > first };
            prop_assert!(in_order, "{:?} after {:?}", later, first);
            let mut walked = None;
            let mut time = from;
            while let Some(next) = schedule.next_after(time).filter(|next| *next <= to) {
                walked = Some(next);
                time = next;
            }
            prop_assert_eq!(schedule.newest(from, to), walked);
        }
    }
}
