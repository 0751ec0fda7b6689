//! Who may call what: the authorization table as data.
//!
//! Every method of every service has one line in [`RPCS`]; a method without a line is refused, and a test that walks
//! the compiled proto descriptors fails for it. Identity comes from the certificate, the role from the store: the
//! server asks a `RoleSource` before it looks here. No certificate's role is believed by itself.

use std::time::Duration;

use skep_proto::v1::NodeRole;

use crate::limits::{MAX_REQUEST_BYTES, MAX_STRANGERS_REQUEST_BYTES, MEMBERSHIP_DEADLINE, RPC_DEADLINE};

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// No certificate was shown.
    Anonymous,
    /// A node of this swarm.
    Node {
        /// The certificate's common name.
        node_id: String,
        /// The role in force, which is the store's.
        role: NodeRole,
    },
}

impl Peer {
    /// The node's id, if it showed one.
    pub fn node_id(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Node { node_id, .. } => Some(node_id),
        }
    }

    /// Whether this is a manager.
    pub fn is_manager(&self) -> bool {
        matches!(self, Self::Node { role: NodeRole::Manager, .. })
    }
}

/// Which peers a method is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callers {
    /// Anyone who can connect, also without a certificate.
    Anyone,
    /// Every node of the swarm.
    Nodes,
    /// Managers, as the store knows them: a certificate alone does not do.
    Managers,
    /// Members of the managers' consensus, as it has them itself: who may speak there is settled before there is a store.
    Members,
}

impl Callers {
    /// Whether `peer` is among them; of members, those that are in force are called managers.
    pub fn include(self, peer: &Peer) -> bool {
        match self {
            Self::Anyone => true,
            Self::Nodes => peer.node_id().is_some(),
            Self::Managers | Self::Members => peer.is_manager(),
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rpc {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// Who may call it.
    pub callers: Callers,
    /// How long the server lets a handler take to begin its reply. `None`: the request is a stream that paces itself.
    pub deadline: Option<Duration>,
    /// Bytes of the request at most. `None`: it is a stream, and each of its messages is bounded.
    pub max_request: Option<usize>,
    /// Whether it changes nothing, so that it may be made again when its answer was lost.
    pub only_reads: bool,
}

impl Rpc {
    const fn reading(self) -> Self {
        Self { only_reads: true, ..self }
    }
}

const fn rpc(path: &'static str, callers: Callers) -> Rpc {
    let (deadline, max_request) = (Some(RPC_DEADLINE), Some(MAX_REQUEST_BYTES));
    Rpc { path, callers, deadline, max_request, only_reads: false }
}

/// For anyone: what a stranger sends is small.
const fn open(path: &'static str) -> Rpc {
    Rpc { max_request: Some(MAX_STRANGERS_REQUEST_BYTES), ..rpc(path, Callers::Anyone) }
}

const fn membership(path: &'static str, callers: Callers) -> Rpc {
    Rpc { deadline: Some(MEMBERSHIP_DEADLINE), ..rpc(path, callers) }
}

const fn upload(path: &'static str, callers: Callers) -> Rpc {
    Rpc { deadline: None, max_request: None, ..rpc(path, callers) }
}

/// The table.
pub const RPCS: &[Rpc] = &[
    open("/skep.v1.Ca/GetRootCa").reading(),
    open("/skep.v1.Ca/IssueCertificate"),
    open("/skep.v1.Ca/CertificateStatus").reading(),
    rpc("/skep.v1.Raft/Append", Callers::Members),
    rpc("/skep.v1.Raft/Vote", Callers::Members),
    rpc("/skep.v1.Raft/OfferSnapshot", Callers::Members),
    upload("/skep.v1.Raft/InstallSnapshot", Callers::Members),
    membership("/skep.v1.Membership/Join", Callers::Managers),
    membership("/skep.v1.Membership/Announce", Callers::Managers),
    membership("/skep.v1.Membership/Leave", Callers::Managers),
    rpc("/skep.v1.Dispatcher/Session", Callers::Nodes),
    rpc("/skep.v1.Dispatcher/Heartbeat", Callers::Nodes),
    rpc("/skep.v1.Dispatcher/Assignments", Callers::Nodes),
    rpc("/skep.v1.Dispatcher/UpdateTaskStatus", Callers::Nodes),
    rpc("/skep.v1.Control/GetCluster", Callers::Managers).reading(),
    rpc("/skep.v1.Control/UpdateCluster", Callers::Managers),
    rpc("/skep.v1.Control/GetNode", Callers::Managers).reading(),
    rpc("/skep.v1.Control/ListNodes", Callers::Managers).reading(),
    rpc("/skep.v1.Control/UpdateNode", Callers::Managers),
    rpc("/skep.v1.Control/RemoveNode", Callers::Managers),
    rpc("/skep.v1.Control/CreateService", Callers::Managers),
    rpc("/skep.v1.Control/GetService", Callers::Managers).reading(),
    rpc("/skep.v1.Control/ListServices", Callers::Managers).reading(),
    rpc("/skep.v1.Control/UpdateService", Callers::Managers),
    rpc("/skep.v1.Control/RemoveService", Callers::Managers),
    rpc("/skep.v1.Control/RollBackService", Callers::Managers),
    rpc("/skep.v1.Control/ListRevisions", Callers::Managers).reading(),
    rpc("/skep.v1.Control/RebalanceService", Callers::Managers),
    rpc("/skep.v1.Control/RunJob", Callers::Managers),
    rpc("/skep.v1.Control/GetTask", Callers::Managers).reading(),
    rpc("/skep.v1.Control/ListTasks", Callers::Managers).reading(),
    rpc("/skep.v1.Control/Watch", Callers::Managers),
    rpc("/skep.v1.Control/Explain", Callers::Managers).reading(),
    rpc("/skep.v1.Control/WhatIf", Callers::Managers).reading(),
    rpc("/skep.v1.Journal/Read", Callers::Managers).reading(),
    rpc("/skep.v1.Peer/Ping", Callers::Managers).reading(),
    rpc("/skep.v1.Peer/TaskLogs", Callers::Managers),
];

/// The line for a request path, if there is one.
pub fn rpc_of(path: &str) -> Option<&'static Rpc> {
    RPCS.iter().find(|rpc| rpc.path == path)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_types::FileDescriptorSet;
    use skep_proto::Message as _;

    use super::*;

    #[test]
    fn every_method_has_exactly_one_line_and_every_line_a_method() {
        let files = FileDescriptorSet::decode(skep_proto::FILE_DESCRIPTOR_SET).unwrap();
        let methods: BTreeSet<String> = files
            .file
            .iter()
            .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
            .flat_map(|(package, service)| {
                service.method.iter().map(move |method| format!("/{package}.{}/{}", service.name(), method.name()))
            })
            .collect();
        let lines: BTreeSet<String> = RPCS.iter().map(|rpc| rpc.path.to_owned()).collect();
        assert_eq!(methods, lines);
        assert_eq!(RPCS.len(), lines.len(), "a method has two lines");
    }

    #[test]
    fn only_the_three_ways_to_an_identity_are_open() {
        let open: Vec<_> =
            RPCS.iter().filter(|rpc| rpc.callers.include(&Peer::Anonymous)).map(|rpc| rpc.path).collect();
        assert_eq!(open, ["/skep.v1.Ca/GetRootCa", "/skep.v1.Ca/IssueCertificate", "/skep.v1.Ca/CertificateStatus"]);
        assert!(
            RPCS.iter()
                .filter(|rpc| rpc.callers.include(&Peer::Anonymous))
                .all(|rpc| rpc.max_request <= Some(64 << 10))
        );
    }

    #[test]
    fn only_calls_that_read_are_made_twice() {
        let twice: Vec<_> = RPCS.iter().filter(|rpc| rpc.only_reads).map(|rpc| rpc.path).collect();
        let expected = [
            "/skep.v1.Ca/GetRootCa",
            "/skep.v1.Ca/CertificateStatus",
            "/skep.v1.Control/GetCluster",
            "/skep.v1.Control/GetNode",
            "/skep.v1.Control/ListNodes",
            "/skep.v1.Control/GetService",
            "/skep.v1.Control/ListServices",
            "/skep.v1.Control/ListRevisions",
            "/skep.v1.Control/GetTask",
            "/skep.v1.Control/ListTasks",
            "/skep.v1.Control/Explain",
            "/skep.v1.Control/WhatIf",
            "/skep.v1.Journal/Read",
            "/skep.v1.Peer/Ping",
        ];
        assert_eq!(twice, expected);
    }

    #[test]
    fn workers_reach_nothing_but_the_ca_and_the_dispatcher() {
        let worker = Peer::Node { node_id: "w".into(), role: NodeRole::Worker };
        for rpc in RPCS {
            let expected = ["/skep.v1.Ca/", "/skep.v1.Dispatcher/"].iter().any(|open| rpc.path.starts_with(open));
            assert_eq!(rpc.callers.include(&worker), expected, "{}", rpc.path);
        }
    }

    #[test]
    fn managers_reach_everything_and_unknown_paths_have_no_line() {
        let manager = Peer::Node { node_id: "m".into(), role: NodeRole::Manager };
        assert!(RPCS.iter().all(|rpc| rpc.callers.include(&manager)));
        for path in ["", "/", "/skep.v1.Ca", "/skep.v1.Ca/getrootca", "/skep.v1.Ca/GetRootCa/"] {
            assert_eq!(rpc_of(path), None);
        }
    }
}
