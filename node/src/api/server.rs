//! Connections: accepted, bounded, served as HTTP/1.1, and ended in good order.
//!
//! Owns the connections of one listener. Nothing a client does ends the accept loop, and no client keeps another out:
//! when there are as many connections as there may be, the process that holds the most loses its oldest.

use std::{sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use skep_common::{
    limits::STOP_REQUESTS,
    net::{backoff::Backoff, permits::Permits},
};
use tokio::{
    net::{UnixListener, UnixStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    backend::ApiState,
    router::{answer, router},
    state::Api,
};

/// Connections at a time, shared out between the processes that open them.
const MAX_CONNECTIONS: usize = 1024;

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest head of a request.
const MAX_HEAD: usize = 64 << 10;

/// Serves the API on `listener` until `stop` is cancelled, then lets requests under way finish; streams that would
/// go on for ever end.
pub async fn serve(listener: &UnixListener, state: ApiState, stop: CancellationToken) {
    serve_at_most(MAX_CONNECTIONS, listener, state, stop).await;
}

pub(super) async fn serve_at_most(limit: usize, listener: &UnixListener, state: ApiState, stop: CancellationToken) {
    let api = Api::new(state, stop.clone());
    let tasks = TaskTracker::new();
    let abort = CancellationToken::new();
    {
        let (events, swarm, stop) = (api.events.clone(), Arc::clone(&api.backend.cluster), stop.clone());
        tasks.spawn(async move { events.collect(swarm, stop).await });
    }
    let router = router(api);
    let permits = Permits::new(limit);
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((connection, _)) => {
                backoff.reset();
                let permit = permits.acquire(process_of(&connection));
                let revoked = permit.revoked();
                let (router, stop, abort) = (router.clone(), stop.clone(), abort.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = converse(connection, router, stop) => {}
                        () = abort.cancelled() => {}
                        () = revoked.cancelled() => debug!("a connection to the API made room for another"),
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                warn!(%error, "a connection to the API could not be accepted");
                backoff.wait().await;
            }
        }
    }
    tasks.close();
    if timeout(STOP_REQUESTS, tasks.wait()).await.is_err() {
        abort.cancel();
        tasks.wait().await;
    }
}

/// Who opened it, as the kernel tells; whom it cannot name (a process of another PID namespace) counts as one.
fn process_of(connection: &UnixStream) -> Option<i32> {
    connection.peer_cred().ok().and_then(|peer| peer.pid()).filter(|pid| *pid > 0)
}

/// Serves one connection until it ends; after `stop` no longer than its request under way.
async fn converse(connection: UnixStream, router: Router, stop: CancellationToken) {
    let service = service_fn(move |request: http::Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(router, request.map(Body::new)).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(connection), service)
        .with_upgrades();
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection to the API ended early");
    }
}
