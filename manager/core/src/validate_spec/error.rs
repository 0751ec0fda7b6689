//! Why a spec is refused.

use skep_common::{limits, template::TemplateError, validate::Invalid};

use crate::{constraint::ConstraintError, policy::InvalidPolicy};

/// Why a spec is refused: one sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// A name, label, image or variable.
    #[error(transparent)]
    Value(#[from] Invalid),
    /// A placement constraint.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// A label that is a setting.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// There is no container in it.
    #[error("ContainerSpec: missing in service spec")]
    NoContainer,
    /// There is no image in it.
    #[error("ContainerSpec: image reference must be provided")]
    NoImage,
    /// The image's name is none.
    #[error("ContainerSpec: \"{0}\" is not a valid repository/tag")]
    Image(String),
    /// No mode.
    #[error("Unrecognized service mode")]
    NoMode,
    /// Too little CPU.
    #[error("invalid cpu value {0}: Must be at least 0.001")]
    Cpu(String),
    /// Too little memory.
    #[error("invalid memory value {0}: Must be at least 4MiB")]
    Memory(i64),
    /// A duration or a number below zero; the field as Docker names it.
    #[error("{0} cannot be negative")]
    Negative(&'static str),
    /// A share of failures that is none.
    #[error("TaskSpec: {0}-maxfailureratio cannot be less than 0 or bigger than 1")]
    Ratio(&'static str),
    /// A template in a variable.
    #[error("expanding env failed: expanding env {0:?}: {1}")]
    EnvTemplate(String, TemplateError),
    /// A template in the host name.
    #[error("expanding hostname failed: {0}")]
    HostnameTemplate(TemplateError),
    /// A working directory that is none.
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    Dir(String),
    /// A NUL byte in the named field.
    #[error("ContainerSpec: {0} cannot contain NUL")]
    Nul(&'static str),
    /// A number that stands for nothing in the named field.
    #[error("{0}: unknown value")]
    Unknown(&'static str),
    /// Too many.
    #[error("the number of replicas cannot be more than {max}", max = limits::MAX_REPLICAS)]
    Replicas,
    /// More runs at a time than there are numbers.
    #[error("Maximum concurrent jobs must not be negative")]
    NegativeConcurrency,
    /// The same of completions.
    #[error("Total completed jobs must not be negative")]
    NegativeCompletions,
    /// Too many: each keeps its task.
    #[error("the number of completions cannot be more than {max}", max = limits::MAX_REPLICAS)]
    Completions,
    /// A limit per node where there is one per node anyway.
    #[error("replicas-max-per-node can only be used with replicated or replicated-job mode")]
    MaxReplicasMode,
    /// A job begins anew, it is not updated task by task.
    #[error("Jobs may not have an update config")]
    JobUpdate,
    /// Nothing is left to go back to.
    #[error("RollbackConfig: failure action rollback is for updates; a rollback that fails is paused or continues")]
    RollbackAction,
    /// A reservation counts; which ones a task is given is the scheduler's choice.
    #[error("Named Generic Resources is not supported for service create or update")]
    NamedGeneric,
    /// Less than nothing of the named kind.
    #[error("cannot ask for negative resource {0}")]
    NegativeGeneric(String),
    /// A generic resource without a kind, or of the same kind as another.
    #[error("Resources: every generic resource needs a kind of its own")]
    GenericKind,
    /// What later versions will do.
    #[error("{0} not supported by this version")]
    Unsupported(&'static str),
    /// The name identifies the service.
    #[error("renaming services is not supported")]
    Rename,
    /// Replicated stays replicated.
    #[error("service mode change is not allowed")]
    ModeChange,
    /// A heartbeat before the last one.
    #[error("heartbeat time period cannot be a negative duration")]
    NegativeHeartbeat,
    /// The cluster's name is fixed.
    #[error("modification of cluster name is not allowed")]
    ClusterName,
    /// Certificates must live long enough to be renewed.
    #[error("minimum certificate expiry time is: 1h0m0s")]
    CertExpiry,
    /// Too fast a heart.
    #[error("the heartbeat period must be at least 100 ms")]
    HeartbeatPeriod,
}
