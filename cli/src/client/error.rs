//! Errors of API calls, in one sentence for the user.

use std::io;

use http::StatusCode;
use skep_dockerapi::decode::DecodeError;

/// Why a call failed. Texts are Docker's where Docker has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// The address is invalid.
    #[error(
        "unable to parse docker host `{0}`: it is unix:// and the absolute path of a socket, as in unix:///run/skep/skep.sock"
    )]
    Host(String),
    /// The socket is not for this user.
    #[error("permission denied while trying to connect to the skep daemon socket at {0}")]
    Permission(String),
    /// No daemon listens there.
    #[error("Cannot connect to the skep daemon at {0}. Is the skep daemon running?")]
    Nobody(String),
    /// The daemon refused.
    #[error("Error response from daemon: {message}")]
    Api {
        /// HTTP's word for why.
        status: StatusCode,
        /// The daemon's.
        message: String,
    },
    /// The daemon is there and says nothing.
    #[error("the skep daemon at {host} did not answer within {seconds} seconds")]
    NoAnswer {
        /// Its address.
        host: String,
        /// How long that was.
        seconds: u64,
    },
    /// The connection broke.
    #[error("error during connect: {0}")]
    Connection(#[from] hyper::Error),
    /// The answer broke off, or is larger than anything sensible.
    #[error("the daemon's answer broke off: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// The answer is of another kind.
    #[error("the daemon's answer cannot be read: {0}")]
    Answer(#[from] DecodeError),
    /// The request cannot be written as JSON.
    #[error("the request cannot be written: {0}")]
    Request(serde_json::Error),
    /// What was typed cannot stand in a URL.
    #[error("the request cannot be written: {0}")]
    Url(#[from] http::Error),
}

impl ClientError {
    pub(super) fn connect(host: &str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Permission(host.to_owned()),
            _ => Self::Nobody(host.to_owned()),
        }
    }

    /// Whether the daemon does not know what was asked for.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Api { status: StatusCode::NOT_FOUND, .. })
    }

    /// Whether the object was changed after it was read.
    pub(crate) fn is_out_of_sequence(&self) -> bool {
        matches!(self, Self::Api { message, .. } if message.ends_with("update out of sequence"))
    }
}
