//! `POST /images/load`: an archive streams in, progress streams out.
//!
//! The status is 200 before the archive is read, as in Docker: a failure is the last line of the answer.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use skep_dockerapi::types::{ErrorBody, Progress, ProgressDetail};
use skep_runtime::{LoadedImage, RuntimeError};
use tokio::{
    io::{AsyncRead, ReadBuf},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::StreamReader;
use tracing::info;

use super::{body, request::Params, state::Api};

/// Bytes between two lines of progress.
const STEP: u64 = 1 << 20;

/// Lines the client may be behind; progress that does not fit is left out.
const QUEUE: usize = 16;

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/images/load", post(load))
}

/// `POST /images/load`.
async fn load(State(api): State<Api>, params: Params, request: Request) -> Response {
    let total = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let (lines, answer) = mpsc::channel(QUEUE);
    let progress = (!params.flag("quiet")).then(|| lines.clone());
    tokio::spawn(async move {
        let (body, rest) = body::lend(request.into_body());
        let bytes = body.into_data_stream().map_err(|error| {
            let kind = if body::is_too_slow(&error) { io::ErrorKind::TimedOut } else { io::ErrorKind::Other };
            io::Error::new(kind, error)
        });
        let archive =
            Counted { inner: StreamReader::new(bytes), read: 0, told: 0, total: total.unwrap_or(0), progress };
        let loaded = tokio::select! {
            loaded = api.backend.runtime.load_archive(Box::pin(archive)) => loaded,
            () = api.stop.cancelled() => Err(RuntimeError::Storage("the daemon stops".to_owned())),
            // The client is gone.
            () = lines.closed() => return,
        };
        rest.drain_when_done().await;
        // A client that went away does not care for the outcome.
        for line in outcome(loaded) {
            let _ = lines.send(line).await;
        }
    });
    let body = Body::from_stream(ReceiverStream::new(answer).map(|line| line_of(&line)));
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

fn outcome(loaded: Result<Vec<LoadedImage>, RuntimeError>) -> Vec<Progress> {
    match loaded {
        Ok(images) => images.iter().flat_map(names).map(|stream| Progress { stream, ..Progress::default() }).collect(),
        Err(error) => {
            let message = error.to_string();
            let detail = Some(ErrorBody { message: message.clone() });
            vec![Progress { error: message, error_detail: detail, ..Progress::default() }]
        }
    }
}

fn names(image: &LoadedImage) -> Vec<String> {
    info!(image = image.id, tags = ?image.tags, "an image was loaded");
    match image.tags.as_slice() {
        [] => vec![format!("Loaded image ID: {}\n", image.id)],
        tags => tags.iter().map(|tag| format!("Loaded image: {tag}\n")).collect(),
    }
}

fn line_of(line: &Progress) -> Result<Bytes, serde_json::Error> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.extend_from_slice(b"\r\n");
    Ok(bytes.into())
}

/// Tells how far an archive was read.
struct Counted<R> {
    inner: R,
    read: u64,
    told: u64,
    total: u64,
    progress: Option<mpsc::Sender<Progress>>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.read += u64::try_from(buf.filled().len() - before).unwrap_or(0);
        if let Some(progress) = &self.progress
            && self.read >= self.told + STEP
        {
            let line = Progress {
                status: "Loading".to_owned(),
                id: "archive".to_owned(),
                detail: Some(ProgressDetail { current: self.read, total: self.total }),
                ..Progress::default()
            };
            let _ = progress.try_send(line);
            self.told = self.read;
        }
        polled
    }
}
