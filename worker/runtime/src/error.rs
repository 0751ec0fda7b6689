//! Why a call on the runtime failed, in the words the user reads.

/// A failed call. `Display` is one clear sentence for the user, Docker's own where Docker has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The image is not on this node.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// There is no such container.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// The container was started before; it never is a second time.
    #[error("container {0} was already started")]
    AlreadyStarted(String),
    /// The container was prepared but not started.
    #[error("container {0} was not started")]
    NotStarted(String),
    /// What is asked for cannot be run; trying again would not help.
    #[error("{0}")]
    InvalidSpecification(String),
    /// The container could not be brought to run; the text is the reason.
    #[error("{0}")]
    StartFailed(String),
    /// The archive is not what it should be; nothing was taken from it.
    #[error("invalid image archive: {0}")]
    InvalidArchive(String),
    /// The node's disk or kernel refused something that should work.
    #[error("{0}")]
    Storage(String),
}

impl RuntimeError {
    /// Whether the same call can never succeed on this node as it is, so that the task is to be rejected.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        !matches!(self, Self::Storage(_))
    }
}
