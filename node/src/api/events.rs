//! `GET /events`: what happened since, and what happens until.

use std::{convert::Infallible, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, future, stream};
use http::header::CONTENT_TYPE;
use skep_common::clock::{Clock as _, SystemClock, duration};
use skep_dockerapi::{
    convert::{EVENT_FILTERS, event_matches},
    types::Event,
};
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::sleep,
};

use super::{error::ApiError, request::Params, state::Api};

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/events", get(stream))
}

/// `GET /events`. Without `since` the past is not told; with an `until` that is over there is nothing but the past.
async fn stream(State(api): State<Api>, params: Params) -> Result<Response, ApiError> {
    let filters = params.filters(EVENT_FILTERS)?;
    let (since, until) = (params.time("since")?.0, params.time("until")?.0);
    let now = SystemClock::new().now().as_nanos();

    let (past, live) = api.events.follow();
    let past = past
        .into_iter()
        .filter(move |event| since != 0 && event.time_nano >= since && (until == 0 || event.time_nano <= until));
    let end = async move {
        match until {
            0 => future::pending().await,
            until => sleep(duration(until.saturating_sub(now))).await,
        }
    };
    let live = follow(live).take_until(end).take_until(api.stop.clone().cancelled_owned());
    let live = if until != 0 && until <= now { stream::empty().boxed() } else { live.boxed() };
    let lines = stream::iter(past)
        .chain(live)
        .filter(move |event| future::ready(event_matches(event, &filters)))
        .filter_map(|event| future::ready(line(&event)));
    let body = Body::from_stream(lines.map(Ok::<_, Infallible>));
    Ok(([(CONTENT_TYPE, "application/json")], body).into_response())
}

/// A client that is too slow misses what it did not take; it gets what comes after.
fn follow(live: broadcast::Receiver<Arc<Event>>) -> impl Stream<Item = Arc<Event>> + Send {
    stream::unfold(live, |mut live| async move {
        loop {
            match live.recv().await {
                Ok(event) => return Some((event, live)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

fn line(event: &Event) -> Option<Bytes> {
    let mut line = serde_json::to_vec(event).ok()?;
    line.push(b'\n');
    Some(line.into())
}
