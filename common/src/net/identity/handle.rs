//! The present identity, shared by everything that does TLS handshakes.

use std::sync::Arc;

use tokio::sync::watch;

use super::Identity;

/// Shared, replaceable identity. Clones see the same one.
#[derive(Debug, Clone)]
pub struct IdentityHandle {
    identity: Arc<watch::Sender<Arc<Identity>>>,
}

impl IdentityHandle {
    /// A handle that starts with `identity`.
    pub fn new(identity: Identity) -> Self {
        Self { identity: Arc::new(watch::Sender::new(Arc::new(identity))) }
    }

    /// The identity in force.
    pub fn current(&self) -> Arc<Identity> {
        self.identity.borrow().clone()
    }

    /// Puts `identity` in force: the next handshake uses it. Open connections keep theirs.
    pub fn replace(&self, identity: impl Into<Arc<Identity>>) {
        self.identity.send_replace(identity.into());
    }

    /// Tells of replacements.
    pub fn changed(&self) -> watch::Receiver<Arc<Identity>> {
        self.identity.subscribe()
    }
}
