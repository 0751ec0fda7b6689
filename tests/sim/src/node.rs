//! A machine: its disk, its containers, its link, and the agent while that runs.

use std::collections::BTreeMap;

use skep_common::{clock::Timestamp, feature_level::FEATURE_LEVEL};
use skep_proto::v1::{NodeDescription, Platform, Resources, Task};

use crate::{agent::Agent, context::Context, rng::Rng, runtime::Runtime};

/// Which managers a machine can talk to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    All,
    /// Those on one side of a partition: the one that was cut off, or the other.
    Side {
        is_cut: bool,
    },
    Nobody,
}

impl Reach {
    /// Whether it extends to this side.
    pub(crate) fn reaches(self, is_cut: bool) -> bool {
        match self {
            Self::All => true,
            Self::Side { is_cut: own } => own == is_cut,
            Self::Nobody => false,
        }
    }
}

/// What survives the daemon.
pub(crate) struct Machine {
    pub(crate) id: String,
    pub(crate) description: NodeDescription,
    /// task.db: the last saved record of each task.
    pub(crate) disk: BTreeMap<String, Task>,
    pub(crate) runtime: Runtime,
    pub(crate) reach: Reach,
    /// Milliseconds its clock is wrong by.
    skew: i64,
}

/// A machine and its daemon.
pub(crate) struct Node {
    pub(crate) machine: Machine,
    /// `None` while the daemon is dead.
    pub(crate) agent: Option<Agent>,
    /// Agents this machine has had.
    pub(crate) incarnations: u64,
}

impl Node {
    pub(crate) fn new(id: &str, cpus: u64, rng: &mut Rng) -> Self {
        let description = NodeDescription {
            hostname: id.to_owned(),
            platform: Some(Platform { architecture: "x86_64".into(), os: "linux".into() }),
            resources: Some(Resources {
                nano_cpus: i64::try_from(cpus * 1_000_000_000).unwrap_or(i64::MAX),
                memory_bytes: 8 << 30,
                ..Resources::default()
            }),
            feature_level: FEATURE_LEVEL,
            ..NodeDescription::default()
        };
        let machine = Machine {
            id: id.to_owned(),
            description,
            disk: BTreeMap::new(),
            runtime: Runtime::default(),
            reach: Reach::All,
            skew: skew(rng),
        };
        Self { machine, agent: None, incarnations: 0 }
    }
}

impl Machine {
    /// The time by this machine's clock.
    pub(crate) fn wall(&self, context: &Context) -> Timestamp {
        Timestamp(context.wall().0 + self.skew * 1_000_000)
    }
}

/// A clock that is wrong by up to two seconds, in milliseconds.
pub(crate) fn skew(rng: &mut Rng) -> i64 {
    i64::try_from(rng.between(0, 4000)).unwrap_or(0) - 2000
}
