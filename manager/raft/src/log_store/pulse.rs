//! Whether the disk still responds: how long the present write has taken.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use skep_common::clock::Clock;

const IDLE: u64 = u64::MAX;

/// Set by the writer around each commit; read to decide whether this member may lead.
pub(crate) struct Pulse {
    clock: Arc<dyn Clock>,
    /// Monotonic nanoseconds at which the present write began.
    since: AtomicU64,
}

impl Pulse {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, since: AtomicU64::new(IDLE) }
    }

    pub(crate) fn begin(&self) {
        self.since.store(self.now(), Ordering::Release);
    }

    /// How long the write took.
    pub(crate) fn end(&self) -> Duration {
        let took = self.busy_for();
        self.since.store(IDLE, Ordering::Release);
        took
    }

    /// How long the disk has been busy with one write; zero when it is idle.
    pub(crate) fn busy_for(&self) -> Duration {
        match self.since.load(Ordering::Acquire) {
            IDLE => Duration::ZERO,
            since => Duration::from_nanos(self.now().saturating_sub(since)),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(IDLE - 1)
    }
}

#[cfg(test)]
mod tests {
    use skep_common::clock::{ManualClock, Timestamp};

    use super::*;

    #[test]
    fn tells_how_long_one_write_takes() {
        let clock = Arc::new(ManualClock::new(Timestamp::ZERO));
        let pulse = Pulse::new(clock.clone());
        clock.advance(Duration::from_secs(5));
        assert_eq!(pulse.busy_for(), Duration::ZERO);
        pulse.begin();
        clock.advance(Duration::from_secs(3));
        assert_eq!(pulse.busy_for(), Duration::from_secs(3));
        assert_eq!(pulse.end(), Duration::from_secs(3));
        assert_eq!(pulse.busy_for(), Duration::ZERO);
    }
}
