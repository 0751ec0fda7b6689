//! Failure detector: whether the leader's process has ended.
//!
//! A closed connection is a reason to check; a refused connection to the leader's address is the proof. A process that
//! still listens may be slow or starting, and gets the whole election timeout.

use std::{io, sync::Arc, time::Duration};

use tokio::{net::TcpStream, time::timeout};

use crate::{
    health::Health,
    types::{Member, Raft},
};

/// How long to wait for the answer of the leader's machine.
const ANSWER: Duration = Duration::from_millis(100);

/// Looks for the leader as this member knows it. Clones look for the same.
#[derive(Clone)]
pub(crate) struct Lookout {
    pub(crate) raft: Raft,
    pub(crate) health: Arc<Health>,
}

impl Lookout {
    /// Checks whether the leader's address accepts connections, and notes it when they are refused.
    pub(crate) async fn look(&self) {
        let leader = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let leader = metrics.current_leader.filter(|leader| *leader != metrics.id);
            leader.and_then(|leader| metrics.membership_config.membership().get_node(&leader).cloned())
        };
        let Some(Member { addr, .. }) = leader else { return };
        let heard = self.health.heard();
        let connected = timeout(ANSWER, TcpStream::connect(addr)).await;
        if matches!(connected, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused) {
            self.health.note_ended(heard);
        }
    }
}
