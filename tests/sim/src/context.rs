//! What everybody in a run shares: time, chance, what is to come, and the record.

use std::{fmt, time::Duration};

use skep_common::clock::Timestamp;

use crate::{
    chaos::Temper,
    event::{AgentEvent, Event, Queue},
    mutants::ActiveMutant,
    rng::Rng,
    tally::Tally,
    trace::Trace,
};

/// Wall time when a run begins.
pub(crate) const EPOCH: Timestamp = Timestamp::from_secs(1_700_000_000);

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

/// `Ok`, or what must never be.
pub(crate) type Step = Result<(), Violation>;

/// Ends a run unless the condition holds.
macro_rules! must {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(crate::context::Violation(format!($($text)+)));
        }
    };
}
pub(crate) use must;

/// Shared by all.
pub(crate) struct Context {
    pub(crate) now: Duration,
    pub(crate) rng: Rng,
    pub(crate) trace: Trace,
    pub(crate) tally: Tally,
    pub(crate) mutant: ActiveMutant,
    pub(crate) temper: Temper,
    /// When nothing will break any more.
    pub(crate) chaos: Duration,
    /// Since when nothing breaks any more, and programs run on.
    pub(crate) calm_since: Option<Duration>,
    queue: Queue,
}

impl Context {
    pub(crate) fn new(seed: u64, mutant: ActiveMutant, keep_trace: bool, chaos: Duration) -> Self {
        let mut rng = Rng::new(seed);
        let temper = Temper::draw(&mut rng);
        Self {
            now: Duration::ZERO,
            rng,
            trace: Trace::new(keep_trace),
            tally: Tally::default(),
            mutant,
            temper,
            chaos,
            calm_since: None,
            queue: Queue::default(),
        }
    }

    /// True wall time.
    pub(crate) fn wall(&self) -> Timestamp {
        EPOCH + self.now
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm_since.is_some()
    }

    /// Whether nothing has been broken for so long.
    pub(crate) fn calm_for(&self, span: Duration) -> bool {
        self.calm_since.is_some_and(|since| since + span <= self.now)
    }

    pub(crate) fn after(&mut self, delay: Duration, event: Event) {
        self.queue.push(self.now + delay, event);
    }

    /// After so many milliseconds, both bounds included.
    pub(crate) fn soon(&mut self, low: u64, high: u64, event: Event) {
        let delay = self.rng.millis(low, high);
        self.after(delay, event);
    }

    pub(crate) fn agent_soon(&mut self, node: &str, incarnation: u64, low: u64, high: u64, what: AgentEvent) {
        self.soon(low, high, Event::Agent { node: node.to_owned(), incarnation, what });
    }

    /// Goes to the next event that is due by `until`, or there.
    pub(crate) fn advance(&mut self, until: Duration) -> Option<Event> {
        match self.queue.pop() {
            Some((at, event)) if at <= until => {
                self.now = at;
                Some(event)
            }
            Some((at, event)) => {
                self.queue.push(at, event);
                self.now = until;
                None
            }
            None => {
                self.now = until;
                None
            }
        }
    }

    pub(crate) fn log(&mut self, text: fmt::Arguments<'_>) {
        self.trace.line(self.now, text);
    }

    /// Whether something bad happens, so many times in a thousand; never in the calm.
    pub(crate) fn misfortune(&mut self, per_mille: u64) -> bool {
        !self.is_calm() && self.rng.chance(per_mille)
    }
}
