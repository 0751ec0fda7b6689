//! What a run is a function of.

use std::time::Duration;

use crate::Mutant;

/// A run.
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything that is left to chance.
    pub seed: u64,
    /// How long faults and users are let loose.
    pub chaos: Duration,
    /// How long the swarm then has to become what was asked for.
    pub healing: Duration,
    /// A mutant to switch on.
    pub mutant: Option<Mutant>,
    /// Keep every line of the trace.
    pub keep_trace: bool,
}

impl Config {
    /// The usual run.
    pub fn new(seed: u64) -> Self {
        Self { seed, chaos: Duration::from_secs(60), healing: Duration::from_secs(60), mutant: None, keep_trace: false }
    }

    /// The command that plays this run again.
    pub fn replay(&self) -> String {
        let features = if self.mutant.is_some() { "--features mutants " } else { "" };
        let mutant = self.mutant.map(|mutant| format!(" --mutant {}", name(mutant))).unwrap_or_default();
        let defaults = Self::new(self.seed);
        let chaos = (self.chaos != defaults.chaos).then(|| format!(" --chaos {}", self.chaos.as_secs()));
        format!("cargo run -p skep-sim {features}-- --seed {}{}{mutant} --trace", self.seed, chaos.unwrap_or_default())
    }
}

fn name(mutant: Mutant) -> String {
    clap::ValueEnum::to_possible_value(&mutant).map(|value| value.get_name().to_owned()).unwrap_or_default()
}
