//! Signals by name or number, as users write them.

use super::{Invalid, shown};

/// Linux's standard signals from 1 on, without SIG.
pub const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// The first real-time signal: the C library keeps those before it for itself.
pub const RTMIN: i32 = 34;
/// The last one.
pub const RTMAX: i32 = 64;

/// Reads `SIGTERM`, `term`, `15`, `SIGRTMIN+3` and `RTMAX-1`; gives the signal's number, 1 to 64.
pub fn parse_signal(word: &str) -> Result<i32, Invalid> {
    number(word).ok_or_else(|| Invalid::Signal(shown(word)))
}

fn number(word: &str) -> Option<i32> {
    if let Ok(number) = word.parse::<i32>() {
        return Some(number).filter(|number| (1..=RTMAX).contains(number));
    }
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = SIGNALS.iter().position(|known| *known == name) {
        return i32::try_from(at + 1).ok();
    }
    match name {
        "IOT" => Some(6),
        "CLD" => Some(17),
        "POLL" => Some(29),
        "RTMIN" => Some(RTMIN),
        "RTMAX" => Some(RTMAX),
        _ => {
            let away = |base: i32, sign: i32, n: &str| n.parse::<u8>().ok().map(|n| base + sign * i32::from(n));
            let from_first = name.strip_prefix("RTMIN+").and_then(|n| away(RTMIN, 1, n));
            let real_time = from_first.or_else(|| name.strip_prefix("RTMAX-").and_then(|n| away(RTMAX, -1, n)));
            real_time.filter(|number| (RTMIN..=RTMAX).contains(number))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_go_by_name_and_number() {
        let words = [
            ("SIGTERM", 15),
            ("term", 15),
            ("SigKill", 9),
            ("1", 1),
            ("64", 64),
            ("CLD", 17),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMIN+30", 64),
            ("rtmax-1", 63),
            ("RTMAX-30", 34),
        ];
        for (word, number) in words {
            assert_eq!(parse_signal(word), Ok(number), "{word}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        // RTMAX-60 would be 4: a name of a real-time signal never means another kind.
        let wrong =
            ["", "0", "-1", "65", "SIG", "SIGFOO", "RTMAX-60", "RTMAX-31", "RTMIN+31", "RTMIN-1", "RTMIN+", "15 "];
        for word in wrong {
            assert!(parse_signal(word).is_err(), "{word}");
        }
        assert_eq!(parse_signal("SIGFOO").unwrap_err().to_string(), "Invalid signal: SIGFOO");
    }
}
