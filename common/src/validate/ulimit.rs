//! Limits of a process, as `--ulimit` writes them.

use super::{Invalid, shown};

/// The names of getrlimit(2).
const ULIMITS: [&str; 16] = [
    "as",
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// Checks a limit: a name the kernel has, and a soft limit within the hard one. Below zero is without limit.
pub fn check_ulimit(name: &str, soft: i64, hard: i64) -> Result<(), Invalid> {
    if !ULIMITS.contains(&name) {
        return Err(Invalid::Ulimit(shown(name)));
    }
    let value = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
    if value(soft) > value(hard) { Err(Invalid::UlimitOrder(soft, hard)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_limit_is_within_the_hard_one() {
        for (soft, hard) in [(1, 1), (1, 2), (1, -1), (-1, -1), (0, 0)] {
            assert_eq!(check_ulimit("nofile", soft, hard), Ok(()), "{soft}:{hard}");
        }
        let refusal = check_ulimit("core", 2, 1).unwrap_err().to_string();
        assert_eq!(refusal, "ulimit soft limit must be less than or equal to hard limit: 2 > 1");
        assert!(check_ulimit("core", -1, 1).is_err());
        assert_eq!(check_ulimit("files", 1, 1).unwrap_err().to_string(), "invalid ulimit type: files");
    }
}
