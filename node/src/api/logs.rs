//! Logs of services, tasks and containers as HTTP streams.

use std::{collections::BTreeMap, fmt::Display};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, future};
use http::header::CONTENT_TYPE;
use skep_dockerapi::convert::{LogFormat, MULTIPLEXED_STREAM, RAW_STREAM};
use skep_proto::v1::{GetObjectRequest, LogOptions, LogRecord, TaskSpec};
use tokio_util::sync::CancellationToken;

use super::{
    backend::LogSelector, call::call, containers, error::ApiError, request::Params, state::Api, version::ApiVersion,
};

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/services/{id}/logs", get(of_service))
        .route("/tasks/{id}/logs", get(of_task))
        .route("/containers/{id}/logs", get(of_container))
}

/// `GET /services/{id}/logs`.
async fn of_service(
    State(api): State<Api>,
    Extension(version): Extension<ApiVersion>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let manager = api.manager()?;
    let service = call(manager.control().get_service(GetObjectRequest { key })).await?;
    let template = service.spec.and_then(|spec| spec.task).unwrap_or_default();
    let (options, format) = wanted(&params, has_terminal(&template))?;
    let logs = manager.logs(LogSelector::Service(service.id), options).await?;
    let records = logs.map(|log| log.map(|log| log.record).map_err(|error| ApiError::from(error).message));
    Ok(respond(records, format, version, &api.stop))
}

/// `GET /tasks/{id}/logs`.
async fn of_task(
    State(api): State<Api>,
    Extension(version): Extension<ApiVersion>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let manager = api.manager()?;
    let task = call(manager.control().get_task(GetObjectRequest { key })).await?;
    let (options, format) = wanted(&params, has_terminal(&task.spec.unwrap_or_default()))?;
    let logs = manager.logs(LogSelector::Task(task.id), options).await?;
    let records = logs.map(|log| log.map(|log| log.record).map_err(|error| ApiError::from(error).message));
    Ok(respond(records, format, version, &api.stop))
}

/// `GET /containers/{id}/logs`. Always framed, as `/containers/{id}/json` says: which stream a line came on is known.
async fn of_container(
    State(api): State<Api>,
    Extension(version): Extension<ApiVersion>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let (options, format) = wanted(&params, false)?;
    let container = containers::find(&api, &key).await?;
    let records = api.backend.runtime.logs(&container.id, options).await?;
    let bare = records.map(|record| record.map(|record| LogRecord { attrs: BTreeMap::new(), ..record }));
    Ok(respond(bare, format, version, &api.stop))
}

fn has_terminal(spec: &TaskSpec) -> bool {
    spec.container.as_ref().is_some_and(|container| container.tty)
}

/// What the parameters ask for.
fn wanted(params: &Params, raw: bool) -> Result<(LogOptions, LogFormat), ApiError> {
    let (stdout, stderr) = (params.flag("stdout"), params.flag("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::bad("Bad parameters: you must choose at least one stream"));
    }
    let tail = match params.text("tail") {
        "" | "all" => None,
        lines => {
            let not_a_number = |_| ApiError::bad("tail value must be a positive integer or \"all\"");
            Some(lines.parse().map_err(not_a_number)?)
        }
    };
    let options = LogOptions {
        follow: params.flag("follow"),
        tail,
        since: params.time("since")?.0,
        until: params.time("until")?.0,
        stdout,
        stderr,
    };
    Ok((options, LogFormat { timestamps: params.flag("timestamps"), details: params.flag("details"), raw }))
}

/// The answer that carries `records`. An error among them is the last thing in it, as clients of Docker expect it.
fn respond<S, E>(records: S, format: LogFormat, version: ApiVersion, stop: &CancellationToken) -> Response
where
    S: Stream<Item = Result<LogRecord, E>> + Send + 'static,
    E: Display + Send + 'static,
{
    let bytes = encoded(records, format).take_until(stop.clone().cancelled_owned());
    let body = Body::from_stream(bytes.map(Ok::<_, std::convert::Infallible>));
    if version < ApiVersion::TYPED_STREAMS {
        return body.into_response();
    }
    let content_type = if format.raw { RAW_STREAM } else { MULTIPLEXED_STREAM };
    ([(CONTENT_TYPE, content_type)], body).into_response()
}

fn encoded<E: Display>(
    records: impl Stream<Item = Result<LogRecord, E>>,
    format: LogFormat,
) -> impl Stream<Item = Bytes> {
    let lines = records.map(move |record| match record {
        Ok(record) => (Bytes::from(format.encode(&record, &record.attrs)), true),
        Err(error) => (Bytes::from(format.encode_error(&error.to_string())), false),
    });
    lines.scan(true, |going_on, (bytes, ok)| future::ready(std::mem::replace(going_on, ok).then_some(bytes)))
}

#[cfg(test)]
mod tests {
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn an_error_is_the_last_frame() {
        let record = LogRecord { data: b"a\n".into(), ..LogRecord::default() };
        let records = stream::iter([Ok(record.clone()), Err("the node is gone"), Ok(record)]);
        let frames: Vec<Bytes> = encoded(records, LogFormat::default()).collect().await;
        assert_eq!(frames[0], &b"\x01\0\0\0\0\0\0\x02a\n"[..]);
        assert_eq!(frames[1], &b"\x03\0\0\0\0\0\0\x10the node is gone"[..]);
        assert_eq!(frames.len(), 2);
    }
}
