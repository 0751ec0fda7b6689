//! What the tests of this crate share.

mod fault_disk;

use openraft::{CommittedLeaderId, EntryPayload};
use skep_common::clock::Timestamp;
use skep_proto::{
    Message as _,
    v1::{Annotations, Cluster, Node, NodeSpec, RaftBatch, RaftProposal, Transaction},
};
use skep_store::{TxBuilder, View};

pub(crate) use self::fault_disk::{Fault, FaultDisk, Survives};
use crate::types::{Batch, Entry, LogId};

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

/// A blank entry.
pub(crate) fn entry(term: u64, index: u64) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Blank }
}

pub(crate) fn entry_with(term: u64, index: u64, batch: Batch) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(batch) }
}

/// Proposals, each with the term it is meant for.
pub(crate) fn batch(proposals: impl IntoIterator<Item = (Transaction, u64)>) -> Batch {
    let proposals = proposals
        .into_iter()
        .map(|(transaction, only_in_term)| RaftProposal { transaction: Some(transaction), only_in_term });
    Batch::new(RaftBatch { proposals: proposals.collect() }.encode_to_vec().into())
}

pub(crate) fn node(id: &str) -> Node {
    let annotations = Annotations { name: format!("name-of-{id}"), ..Annotations::default() };
    let spec = NodeSpec { annotations: Some(annotations), ..NodeSpec::default() };
    Node { id: id.to_owned(), spec: Some(spec), ..Node::default() }
}

pub(crate) fn create_node(id: &str) -> Transaction {
    let view = View::default();
    let mut builder = TxBuilder::new(&view, Timestamp::from_secs(1));
    builder.create(node(id));
    builder.build()
}

/// A cluster at a feature level.
pub(crate) fn create_cluster(feature_level: u32) -> Transaction {
    let view = View::default();
    let mut builder = TxBuilder::new(&view, Timestamp::from_secs(1));
    builder.create(Cluster { id: "cluster".to_owned(), feature_level, ..Cluster::default() });
    builder.build()
}

/// An update of a node as `view` has it.
pub(crate) fn update_node(view: &View, id: &str) -> Transaction {
    let mut builder = TxBuilder::new(view, Timestamp::from_secs(2));
    builder.update(Node::clone(view.node(id).unwrap()));
    builder.build()
}

/// A state with that many nodes.
pub(crate) fn view_of(nodes: u64) -> View {
    (1..=nodes).fold(View::default(), |view, index| view.apply(index, &create_node(&format!("node{index}"))).unwrap().0)
}
