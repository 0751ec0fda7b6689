//! How long to wait before trying again: exponential, capped, with jitter, so that nodes that lost the same peer
//! at the same moment do not all come back at the same moment.

use std::time::Duration;

use crate::random;

/// The waits of one series of attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits that start near `first` and double up to `cap`.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, failures: 0 }
    }

    /// How long to wait after another failure: between half of the step and all of it.
    pub fn next_delay(&mut self) -> Duration {
        let step = self.first.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        step.mul_f64(0.5 + random::fraction() / 2.0)
    }

    /// Something worked: the next failure starts the series again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits for [`Self::next_delay`].
    pub async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap_and_jitters_downwards_only() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for step in [100, 200, 400, 800, 1000, 1000] {
            let delay = backoff.next_delay();
            let step = Duration::from_millis(step);
            assert!(delay >= step / 2 && delay <= step, "{delay:?} of {step:?}");
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(100));
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::MAX);
        for _ in 0..100 {
            assert!(backoff.next_delay() >= Duration::from_millis(500));
        }
    }
}
