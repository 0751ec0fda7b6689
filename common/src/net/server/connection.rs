//! The connection that a request came over, for handlers that have to know when it ends.

use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
};

use hyper::{Request, body::Incoming, service::Service};
use tokio_util::sync::{CancellationToken, DropGuard};

static NEXT: AtomicU64 = AtomicU64::new(1);

/// A connection; the server puts one into the extensions of every request.
#[derive(Debug, Clone)]
pub struct Connection {
    number: u64,
    closed: CancellationToken,
}

impl Connection {
    /// Tells it from every other connection of this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Completes when the connection has ended, from either side.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        self.closed.clone().cancelled_owned()
    }
}

/// A service whose requests know their connection. Dropping it is the connection's end.
pub(super) struct Connected<S> {
    inner: S,
    connection: Connection,
    _closed_when_dropped: DropGuard,
}

impl<S> Connected<S> {
    pub(super) fn new(inner: S) -> Self {
        let closed = CancellationToken::new();
        let connection = Connection { number: NEXT.fetch_add(1, Ordering::Relaxed), closed: closed.clone() };
        Self { inner, connection, _closed_when_dropped: closed.drop_guard() }
    }
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for Connected<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        request.extensions_mut().insert(self.connection.clone());
        self.inner.call(request)
    }
}
