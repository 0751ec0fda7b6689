//! Signals by name or number, as users write them.

use std::{fmt, str::FromStr};

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

/// A word that names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Invalid signal: {0}")]
pub struct UnknownSignal(String);

/// Linux's standard signals from 1 on, without SIG.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// The C library keeps the first real-time signals for itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl FromStr for Signal {
    type Err = UnknownSignal;

    /// Reads `SIGTERM`, `term`, `15`, `SIGRTMIN+3` and `RTMAX-1`.
    fn from_str(word: &str) -> Result<Self, UnknownSignal> {
        let unknown = || UnknownSignal(word.to_owned());
        if let Ok(number) = word.parse::<i32>() {
            return if (1..=RTMAX).contains(&number) { Ok(Self(number)) } else { Err(unknown()) };
        }
        let upper = word.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(at) = NAMES.iter().position(|known| *known == name) {
            return i32::try_from(at + 1).map(Self).map_err(|_| unknown());
        }
        let other_names = match name {
            "IOT" => Some(6),
            "CLD" => Some(17),
            "POLL" => Some(29),
            "RTMIN" => Some(RTMIN),
            "RTMAX" => Some(RTMAX),
            _ => {
                let distance = |prefix| name.strip_prefix(prefix)?.parse::<u8>().ok().map(i32::from);
                let from_first = distance("RTMIN+").map(|n| RTMIN + n);
                from_first.or_else(|| distance("RTMAX-").map(|n| RTMAX - n)).filter(|n| (RTMIN..=RTMAX).contains(n))
            }
        };
        other_names.map(Self).ok_or_else(unknown)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = usize::try_from(self.0 - 1).ok().and_then(|at| NAMES.get(at));
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
