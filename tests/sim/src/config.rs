//! What a run is a function of.

use std::time::Duration;

use crate::Bug;

/// A run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything that is left to chance.
    pub seed: u64,
    /// How long faults and users are let loose.
    pub chaos: Duration,
    /// How long the swarm then has to become what was asked for.
    pub healing: Duration,
    /// A bug to plant.
    pub bug: Option<Bug>,
    /// Keep every line of the trace.
    pub keep_trace: bool,
}

impl Config {
    /// The usual run.
    pub fn new(seed: u64) -> Self {
        Self { seed, chaos: Duration::from_secs(60), healing: Duration::from_secs(60), bug: None, keep_trace: false }
    }

    /// The command that plays this run again.
    pub fn replay(&self) -> String {
        let features = if self.bug.is_some() { "--features planted-bugs " } else { "" };
        let bug = self.bug.map(|bug| format!(" --bug {}", name(bug))).unwrap_or_default();
        let defaults = Self::new(self.seed);
        let chaos = (self.chaos != defaults.chaos).then(|| format!(" --chaos {}", self.chaos.as_secs()));
        format!("cargo run -p skep-sim {features}-- --seed {}{}{bug} --trace", self.seed, chaos.unwrap_or_default())
    }
}

fn name(bug: Bug) -> String {
    clap::ValueEnum::to_possible_value(&bug).map(|value| value.get_name().to_owned()).unwrap_or_default()
}
