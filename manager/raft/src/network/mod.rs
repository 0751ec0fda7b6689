//! Members talking to each other: what openraft wants to say, over the node's own mTLS channels, and the service that hears
//! it.

mod contacts;
mod peer;
mod receive;
mod send;
mod service;

use std::sync::Arc;

use openraft::network::RaftNetworkFactory;
use skep_common::net::dial::Dialer;

pub use self::service::RaftService;
pub(crate) use self::{contacts::Contacts, peer::Peer, service::Parts};
use crate::types::{Member, TypeConfig};

/// Makes the way to each member.
#[derive(Clone)]
pub(crate) struct Network {
    dialer: Dialer,
    contacts: Arc<Contacts>,
}

impl Network {
    pub(crate) fn new(dialer: Dialer, contacts: Arc<Contacts>) -> Self {
        Self { dialer, contacts }
    }

    pub(crate) fn peer(&self, target: u64, member: &Member) -> Peer {
        Peer::new(self.dialer.clone(), self.contacts.clone(), target, member.clone())
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, member: &Member) -> Peer {
        self.peer(target, member)
    }
}
