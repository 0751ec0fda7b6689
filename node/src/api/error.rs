//! Failures as Docker answers them: a status code and `{"message": …}`.
//!
//! Owns the mapping from every error a handler meets to a status code; the codes are those of a real engine
//! (`common/dockerapi/tests/goldens`), except that input which is the sender's fault is 400 also where Docker says 500.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use skep_common::pages::TooLong;
use skep_dockerapi::{
    convert::Invalid, decode::DecodeError, filters::FilterError, time::InvalidTime, types::ErrorBody,
};
use skep_runtime::RuntimeError;
use tonic::{Code, Status};

use super::backend::SwarmError;

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    /// The code.
    pub(super) status: StatusCode,
    /// One sentence for the user.
    pub(super) message: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The sender's fault.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// There is no such thing.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// This node cannot, as it is.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { message: self.message })).into_response()
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<FilterError> for ApiError {
    fn from(error: FilterError) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<Invalid> for ApiError {
    fn from(error: Invalid) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<skep_common::validate::Invalid> for ApiError {
    fn from(error: skep_common::validate::Invalid) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<InvalidTime> for ApiError {
    fn from(error: InvalidTime) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<TooLong> for ApiError {
    fn from(error: TooLong) -> Self {
        Self::bad(error.to_string())
    }
}

impl From<SwarmError> for ApiError {
    fn from(error: SwarmError) -> Self {
        let status = match &error {
            SwarmError::NotInSwarm
            | SwarmError::AlreadyInSwarm
            | SwarmError::JoinTimeout(_)
            | SwarmError::LeaveNeedsForce(_) => StatusCode::SERVICE_UNAVAILABLE,
            SwarmError::Invalid(_) | SwarmError::Refused(_) => StatusCode::BAD_REQUEST,
            SwarmError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

impl From<RuntimeError> for ApiError {
    fn from(error: RuntimeError) -> Self {
        let status = match &error {
            RuntimeError::NoSuchImage(_) | RuntimeError::NoSuchContainer(_) => StatusCode::NOT_FOUND,
            RuntimeError::InvalidSpecification(_) | RuntimeError::InvalidArchive(_) => StatusCode::BAD_REQUEST,
            RuntimeError::AlreadyStarted(_) | RuntimeError::NotStarted(_) => StatusCode::CONFLICT,
            RuntimeError::StartFailed(_) | RuntimeError::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, error.to_string())
    }
}

/// The control service's answer. What names the object, or says that nobody can decide now, is shown as it is;
/// everything else in the dress Docker gives it.
impl From<Status> for ApiError {
    fn from(error: Status) -> Self {
        let status = match error.code() {
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let message = match error.code() {
            Code::NotFound | Code::Unavailable | Code::DeadlineExceeded => error.message().to_owned(),
            // Go spells it with one l.
            Code::Cancelled => format!("rpc error: code = Canceled desc = {}", error.message()),
            code => format!("rpc error: code = {code:?} desc = {}", error.message()),
        };
        Self { status, message }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_errors_wear_dockers_dress() {
        let table = [
            (Status::unknown("update out of sequence"), 500, "rpc error: code = Unknown desc = update out of sequence"),
            (Status::invalid_argument("x"), 400, "rpc error: code = InvalidArgument desc = x"),
            (Status::already_exists("x"), 409, "rpc error: code = AlreadyExists desc = x"),
            (Status::failed_precondition("x"), 400, "rpc error: code = FailedPrecondition desc = x"),
            (Status::unimplemented("x"), 501, "rpc error: code = Unimplemented desc = x"),
            (Status::permission_denied("x"), 403, "rpc error: code = PermissionDenied desc = x"),
            (Status::cancelled("x"), 500, "rpc error: code = Canceled desc = x"),
            (Status::not_found("service x not found"), 404, "service x not found"),
            (Status::unavailable("no leader"), 503, "no leader"),
            (Status::deadline_exceeded("late"), 504, "late"),
        ];
        for (status, code, message) in table {
            let error = ApiError::from(status);
            assert_eq!((error.status.as_u16(), error.message.as_str()), (code, message));
        }
    }
}
