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
        let real_time = match name {
            "IOT" => Some(6),
            "CLD" => Some(17),
            "POLL" => Some(29),
            "RTMIN" => Some(RTMIN),
            "RTMAX" => Some(RTMAX),
            _ => name.strip_prefix("RTMIN+").and_then(|n| n.parse::<u8>().ok()).map(|n| RTMIN + i32::from(n)).or_else(
                || name.strip_prefix("RTMAX-").and_then(|n| n.parse::<u8>().ok()).map(|n| RTMAX - i32::from(n)),
            ),
        };
        real_time.filter(|n| *n < RTMIN || (RTMIN..=RTMAX).contains(n)).filter(|n| *n > 0).map(Self).ok_or_else(unknown)
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
