//! What processes weigh, and what they take of the processor.

use std::fs;

/// Resident set of the processes together, MiB.
pub(crate) fn rss(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| field(&format!("/proc/{pid}/status"), "VmRSS:")).sum::<f64>() / 1024.0
}

/// Proportional set size of the processes, the mean, MiB.
pub(crate) fn mean_pss(pids: &[u32]) -> f64 {
    if pids.is_empty() {
        return 0.0;
    }
    pids.iter().map(|pid| field(&format!("/proc/{pid}/smaps_rollup"), "Pss:")).sum::<f64>() / 1024.0 / pids.len() as f64
}

/// CPU time the processes have taken together, user and system, seconds.
pub(crate) fn cpu_seconds(pids: &[u32]) -> f64 {
    let ticks = |pid: &u32| -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in brackets, may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?)
    };
    // Linux counts in hundredths of a second wherever it is asked through /proc.
    pids.iter().filter_map(ticks).sum::<f64>() / 100.0
}

/// A kB field of a file of /proc; 0 when the process is gone.
fn field(path: &str, name: &str) -> f64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or_default()
}
