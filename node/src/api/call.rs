//! Calls of the control service with a deadline.

use std::{future::Future, time::Duration};

use skep_common::limits::RPC_DEADLINE;
use tokio::time::timeout;
use tonic::{Response, Status};

use super::error::ApiError;

/// A little more than the manager's own, so that its reason arrives.
const DEADLINE: Duration = RPC_DEADLINE.saturating_add(Duration::from_secs(2));

/// The reply of a call, within the deadline of every call.
pub(super) async fn call<T>(reply: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, ApiError> {
    call_within(DEADLINE, reply).await
}

/// The reply of a call, within `deadline`.
pub(super) async fn call_within<T>(
    deadline: Duration,
    reply: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, ApiError> {
    match timeout(deadline, reply).await {
        Ok(reply) => Ok(reply?.into_inner()),
        Err(_) => Err(Status::deadline_exceeded("the swarm's managers did not answer in time").into()),
    }
}
