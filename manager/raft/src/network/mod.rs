//! Network of the Raft group: openraft's RPCs over the node's mTLS channels, and the service that receives them.

mod contacts;
mod peer;
mod receive;
mod roster;
mod send;
mod service;
mod transfers;

use std::{sync::Arc, time::Duration};

use openraft::network::RaftNetworkFactory;
use skep_common::net::dial::Dialer;

pub(crate) use self::{contacts::Contacts, peer::Peer, service::Parts, transfers::Transfers};
pub use self::{
    roster::{Roster, ToldMembers},
    service::RaftService,
};
use crate::types::{Member, TypeConfig};

/// Makes the way to each member.
#[derive(Clone)]
pub(crate) struct Network {
    dialer: Dialer,
    contacts: Arc<Contacts>,
    transfers: Arc<Transfers>,
    vote_deadline: Duration,
}

impl Network {
    /// A vote that takes longer than `vote_deadline` is not waited for.
    pub(crate) fn new(dialer: Dialer, contacts: Arc<Contacts>, vote_deadline: Duration) -> Self {
        Self { dialer, contacts, transfers: Arc::default(), vote_deadline }
    }

    pub(crate) fn transfers(&self) -> Arc<Transfers> {
        self.transfers.clone()
    }

    pub(crate) fn peer(&self, target: u64, member: &Member) -> Peer {
        Peer::new(self.clone(), target, member.clone())
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, member: &Member) -> Peer {
        self.peer(target, member)
    }
}
