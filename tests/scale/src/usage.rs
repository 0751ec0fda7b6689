//! What a process has used: /proc, as the kernel counts.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// A tick of the times in /proc. Linux shows them in this unit whatever the kernel's own is.
const TICK: Duration = Duration::from_millis(10);

/// CPU and memory of a process.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Usage {
    /// Seconds on a CPU since it started, all threads, user and system.
    pub(crate) cpu: f64,
    /// Bytes of the resident set.
    pub(crate) rss: f64,
}

impl Usage {
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).context("a process is gone");
        let ticks = ticks(&read("stat")?).context("/proc has no CPU times")?;
        let rss = rss_kib(&read("status")?).context("/proc has no resident set")?;
        Ok(Self { cpu: ticks as f64 * TICK.as_secs_f64(), rss: rss as f64 * 1024.0 })
    }

    /// What came on top of an earlier reading; of memory it may be less.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu - before.cpu, rss: self.rss - before.rss }
    }
}

/// utime and stime of a `stat` line. The name, in parentheses, may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn rss_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let stat = "42 (a) b) R 1 42 42 0 -1 4194304 100 0 0 0 31 11 5 6 20 0 1 0 100 1000 200";
        assert_eq!(ticks(stat), Some(42));
        assert_eq!(rss_kib("Name:\tx\nVmRSS:\t   1234 kB\nThreads:\t1\n"), Some(1234));
        assert_eq!(ticks("42 (a"), None);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(Usage::of(std::process::id()).unwrap().rss > 0.0);
    }
}
