//! The signals containers are sent.

use std::{fmt, str::FromStr};

use skep_common::validate::{self, Invalid, RTMIN, SIGNALS};

/// A signal of the kernel, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    /// What containers are asked to end with unless they or their image say otherwise.
    pub const TERM: Self = Self(15);
    /// The one that cannot be caught.
    pub const KILL: Self = Self(9);

    /// Its number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = Invalid;

    fn from_str(word: &str) -> Result<Self, Invalid> {
        validate::parse_signal(word).map(Self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = usize::try_from(self.0 - 1).ok().and_then(|at| SIGNALS.get(at));
        match name {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_as_users_write_them() {
        let number = |word: &str| word.parse::<Signal>().ok().map(Signal::number);
        let table = [
            ("SIGTERM", 15),
            ("term", 15),
            ("9", 9),
            ("IOT", 6),
            ("SIGRTMIN", 34),
            ("RTMIN+30", 64),
            ("SIGRTMAX-30", 34),
            ("rtmax", 64),
        ];
        for (word, want) in table {
            assert_eq!(number(word), Some(want), "{word}");
        }
        for word in ["", "SIG", "0", "65", "-1", "RTMIN+31", "RTMAX-31", "RTMAX-60", "RTMIN+", "RTMIN-1", "FOO"] {
            assert_eq!(number(word), None, "{word}");
        }
    }

    #[test]
    fn a_signal_reads_back_from_its_name() {
        for number in (1..=31).chain(34..=64) {
            assert_eq!(Signal(number).to_string().parse(), Ok(Signal(number)));
        }
    }
}
