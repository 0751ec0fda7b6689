//! Managers and scripted agents in one process, on loopback, with the TLS and the certificates of a real swarm.

pub(crate) mod agent;
pub(crate) mod cluster;

use std::{future::Future, time::Duration};

/// How long anything in these tests may take. Conditions are waited for, so only a broken one takes that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `look` finds something. `what` names it should it never come.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let wait = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(found) => found,
        Err(_) => panic!("never happened: {what}"),
    }
}

/// Shows what the managers log when `RUST_LOG` asks for it.
pub(crate) fn show_log() {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    // Another test of this process may have been first.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_test_writer().try_init();
}
