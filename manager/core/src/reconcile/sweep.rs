//! Looking at every service in turn, so that a change nobody heard of delays and never loses anything.
//!
//! A sweep goes over all services in the order of their ids, some at a time, so that nothing else waits for long. It takes
//! [`PERIOD`] where there are few tasks; where there are many it takes longer, for it looks at no more than so many in a second,
//! however many there are. The first one of a term does not wait between its parts: nothing is known yet.
//!
//! Invariant: every service is looked at once in a sweep, and sweeps follow one another, however much else happens.

use std::{collections::VecDeque, time::Duration};

use super::PERIOD;

/// Tasks that are looked at together; of the services they belong to all.
const TASKS: u64 = 2_000;

/// How long to wait for so many tasks until the next: together a few hundredths of a core.
const PAUSE: Duration = Duration::from_millis(250);

/// How long to wait for so many tasks.
fn time_for(tasks: u64) -> Duration {
    PAUSE.mul_f64(tasks as f64 / TASKS as f64)
}

/// How far the present sweep has come.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The services (ids) that are left; `None` when a sweep is to begin.
    rest: Option<VecDeque<String>>,
    began: Duration,
    /// Whether it is not to wait.
    is_urgent: bool,
    /// When to go on.
    next: Duration,
}

impl Default for Sweep {
    /// One that begins after a period.
    fn default() -> Self {
        Self { rest: None, began: Duration::ZERO, is_urgent: false, next: PERIOD }
    }
}

impl Sweep {
    /// Begins anew, with everything, as soon as it is asked.
    pub(super) fn restart(&mut self) {
        *self = Self { is_urgent: true, next: Duration::ZERO, ..Self::default() };
    }

    /// How long after `now` it goes on.
    pub(super) fn pause(&self, now: Duration) -> Duration {
        self.next.saturating_sub(now)
    }

    /// The services whose turn it is: of `all` there are, each of which weighs as much as it has tasks.
    pub(super) fn part(
        &mut self,
        now: Duration,
        all: impl FnOnce() -> VecDeque<String>,
        weight: impl Fn(&str) -> u64,
    ) -> Vec<String> {
        let rest = match &mut self.rest {
            Some(rest) => rest,
            none => {
                self.began = now;
                none.insert(all())
            }
        };
        let (mut part, mut tasks) = (Vec::new(), 0);
        while tasks < TASKS
            && let Some(service) = rest.pop_front()
        {
            tasks += weight(&service);
            part.push(service);
        }
        let pause = time_for(tasks).max(PAUSE);
        self.next = if self.is_urgent { now } else { now + pause };
        if rest.is_empty() {
            self.rest = None;
            self.is_urgent = false;
            self.next = (now + pause).max(self.began + PERIOD);
        }
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many services, each of so many tasks: when which of them have their turn until `end`.
    fn turns(sweep: &mut Sweep, services: usize, tasks: u64, end: Duration) -> Vec<(Duration, Vec<String>)> {
        let mut turns = Vec::new();
        let mut now = Duration::ZERO;
        while now <= end {
            let all = || (0..services).map(|n| format!("{n:05}")).collect();
            turns.push((now, sweep.part(now, all, |_| tasks)));
            now += sweep.pause(now);
        }
        turns
    }

    fn ids(range: std::ops::Range<usize>) -> Vec<String> {
        range.map(|n| format!("{n:05}")).collect()
    }

    #[test]
    fn a_small_swarm_is_looked_at_whole_once_in_a_period() {
        let turns = turns(&mut Sweep::default(), 10, 5, 2 * PERIOD);
        assert_eq!(turns, [0, 1, 2].map(|n| (n * PERIOD, ids(0..10))));
    }

    #[test]
    fn of_a_large_swarm_no_more_is_looked_at_than_so_many_tasks_in_a_second() {
        let minute = Duration::from_secs(60);
        let turns = turns(&mut Sweep::default(), 1000, 1000, 3 * minute);
        assert!(turns.iter().all(|(_, part)| part.len() == 2));
        let all: Vec<String> = turns.iter().flat_map(|(_, part)| part.clone()).collect();
        assert_eq!(all[..1000], ids(0..1000));
        assert_eq!(all[1000..1100], ids(0..100), "the next sweep does not begin after this one");
        let (at, _) = turns[500];
        assert_eq!(at, Duration::from_secs(125));
    }

    #[test]
    fn one_large_service_has_its_turn_and_then_nothing_has_for_as_long_as_so_many_tasks_take() {
        let turns = turns(&mut Sweep::default(), 2, 100_000, Duration::from_secs(20));
        assert_eq!(turns, [(Duration::ZERO, ids(0..1)), (Duration::from_millis(12_500), ids(1..2))]);
    }

    #[test]
    fn the_first_sweep_does_not_wait() {
        let mut sweep = Sweep::default();
        sweep.restart();
        let turns = turns(&mut sweep, 100, 1000, Duration::from_secs(9));
        let all: Vec<String> = turns.iter().flat_map(|(_, part)| part.clone()).collect();
        assert!(turns.iter().all(|(at, _)| at.is_zero()));
        assert_eq!(all, ids(0..100));
        assert_eq!(sweep.pause(Duration::ZERO), PERIOD);
    }
}
