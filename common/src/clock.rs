//! Time as a value. Whatever decides takes a [`Timestamp`] or a [`Clock`]; only loops that merely wait use a timer.
//!
//! Two clocks, never mixed: wall time is what objects record and people read, monotonic time is what liveness
//! and timeouts are measured with (a wall clock jumps).

use std::{
    ops::{Add, Sub},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Wall time: nanoseconds since the Unix epoch, as every time in the proto vocabulary. 0 stands for "never".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// "Never", or the epoch.
    pub const ZERO: Self = Self(0);

    /// Nanoseconds since the Unix epoch.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// The time `secs` seconds after the Unix epoch; far values saturate.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// How much later this is than `earlier`; zero when it is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<i64> for Timestamp {
    fn from(nanos: i64) -> Self {
        Self(nanos)
    }
}

impl From<Timestamp> for i64 {
    fn from(time: Timestamp) -> Self {
        time.0
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(nanos(after)),
            Err(before) => Self(nanos(before.duration()).saturating_neg()),
        }
    }
}

/// Saturates.
impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }
}

/// Saturates.
impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(span)))
    }
}

/// A duration in the nanoseconds the proto vocabulary uses; more than 292 years saturates.
pub fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

/// The duration that a proto field of nanoseconds means; negative values are zero.
pub fn duration(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Wall time. May jump, also backwards.
    fn now(&self) -> Timestamp;
    /// Time since some fixed moment of this clock. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time starts now.
    #[expect(clippy::new_without_default, reason = "reading a clock is not a default value")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        SystemTime::now().into()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A clock that moves only when told to, for tests and simulations.
#[derive(Debug, Default)]
pub struct ManualClock {
    hands: Mutex<Hands>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Hands {
    wall: Timestamp,
    monotonic: Duration,
}

impl ManualClock {
    /// A clock that stands at `wall`, its monotonic time at zero.
    pub fn new(wall: Timestamp) -> Self {
        Self { hands: Mutex::new(Hands { wall, monotonic: Duration::ZERO }) }
    }

    /// Moves both times forward.
    pub fn advance(&self, span: Duration) {
        let mut hands = self.hands();
        hands.wall = hands.wall + span;
        hands.monotonic = hands.monotonic.saturating_add(span);
    }

    /// Sets the wall time alone, as an administrator or a time server does.
    pub fn set_wall(&self, wall: Timestamp) {
        self.hands().wall = wall;
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.hands().wall
    }

    fn monotonic(&self) -> Duration {
        self.hands().monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(Timestamp(i64::MAX) + Duration::from_secs(1), Timestamp(i64::MAX));
        assert_eq!(Timestamp(i64::MIN) - Duration::MAX, Timestamp(i64::MIN));
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
        assert_eq!(Timestamp(i64::MAX).since(Timestamp(i64::MIN)), Duration::from_nanos(i64::MAX as u64));
        assert_eq!(Timestamp::from_secs(i64::MAX), Timestamp(i64::MAX));
        assert_eq!(duration(-1), Duration::ZERO);
    }

    #[test]
    fn seconds_round_down_also_before_the_epoch() {
        assert_eq!(Timestamp(1_999_999_999).as_secs(), 1);
        assert_eq!(Timestamp(-1).as_secs(), -1);
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(2)).as_secs(), -2);
    }

    #[test]
    fn a_manual_clock_moves_when_told_and_keeps_its_times_apart() {
        let clock = ManualClock::new(Timestamp::from_secs(100));
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now(), Timestamp::from_secs(105));
        clock.set_wall(Timestamp::from_secs(1));
        assert_eq!((clock.now(), clock.monotonic()), (Timestamp::from_secs(1), Duration::from_secs(5)));
    }

    #[test]
    fn the_system_clock_never_goes_back() {
        let clock = SystemClock::new();
        let readings: Vec<_> = (0..100).map(|_| clock.monotonic()).collect();
        assert!(readings.is_sorted());
        assert!(clock.now() > Timestamp::from_secs(1_600_000_000));
    }
}
