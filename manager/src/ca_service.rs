//! Certificate issuance: the root bundle for anyone, a first certificate for a join token, a renewal for a certificate.
//! [`TokenGate`](skep_ca::TokenGate) decides whether a join token is accepted or refused.
//!
//! Writes new nodes and `Node.certificate`. Invariants: a new node gets the token's role, a renewal the role in the state;
//! of the request only the key is used; the same key gets the same answer; every refused token gets the same error.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use skep_ca::{CaError, InvalidToken, TokenGate, public_key_of};
use skep_common::{
    authz::Peer,
    id::{Ids as _, RandomIds},
    net::{
        identity::IdentityHandle,
        server::{Caller, unknown_node},
    },
};
use skep_proto::v1::{
    Availability, Certificate, CertificateStatusReply, CertificateStatusRequest, Cluster, GetRootCaReply,
    GetRootCaRequest, IssueCertificateReply, IssueCertificateRequest, Node, NodeRole, NodeSpec, NodeState, NodeStatus,
    Transaction, ca_server::Ca,
};
use skep_store::{TxBuilder, View};
use tonic::{Request, Response, Status, async_trait};
use tracing::info;

use crate::{
    authority::{self, AuthorityError},
    swarm_state::SwarmState,
};

/// The certificate authority's service.
pub(crate) struct CaService {
    swarm: SwarmState,
    identity: IdentityHandle,
    gate: TokenGate,
    /// Keys whose first certificate is on its way.
    issuing: Mutex<HashSet<Vec<u8>>>,
}

impl CaService {
    pub(crate) fn new(swarm: SwarmState, identity: IdentityHandle) -> Self {
        Self { swarm, identity, gate: TokenGate::new(), issuing: Mutex::default() }
    }

    /// Creates a node for a caller with a join token. A caller with the key of an existing node is that node, even if its
    /// certificate is no longer valid.
    async fn admit(&self, caller: &Caller, request: IssueCertificateRequest) -> Result<String, Status> {
        let availability = Availability::try_from(request.availability)
            .map_err(|_| Status::invalid_argument("the availability of the node is not one there is"))?;
        // A caller without a valid token is refused here, before a quorum is asked below.
        let role = self.role_for(caller, &request.token, &self.swarm.view())?;
        let key = public_key_of(&request.csr_pem).map_err(malformed)?;

        let _turn = Turn::take(&self.issuing, &key)?;
        let is_meant = |id: &str| request.node_id.is_empty() || request.node_id == id;
        let node_id = RandomIds.next_id();
        let mut given = node_id.clone();
        let write = self.swarm.write(|view| {
            let role = self.role_for(caller, &request.token, view)?;
            if let Some(node) = view.node_by_public_key(&key).filter(|node| is_meant(&node.id)) {
                given.clone_from(&node.id);
                return self.renewal(view, node, &key);
            }
            if !request.node_id.is_empty() {
                return Err(Status::not_found(format!(
                    "node {} is not part of this swarm any more, or holds another key: leave the swarm and join it anew",
                    request.node_id
                )));
            }
            let mut tx = TxBuilder::new(view, self.swarm.now());
            let certificate = self.certify(view, &node_id, role, &key)?;
            tx.create(new_node(&node_id, role, availability, certificate, self.swarm.now().as_nanos()));
            Ok(tx.build())
        });
        write.await?;
        if given == node_id {
            info!(node = node_id, ?role, addr = %caller.original_addr.ip(), "a node has joined");
        } else {
            info!(node = given, addr = %caller.original_addr.ip(), "a node has come back with the key it holds");
        }
        Ok(given)
    }

    /// The role that a join token gives, or the refusal of the token.
    fn role_for(&self, caller: &Caller, token: &str, view: &View) -> Result<NodeRole, Status> {
        let tokens = cluster(view)?.join_tokens.clone().unwrap_or_default();
        let now = self.swarm.clock.monotonic();
        self.gate.admit(token, &tokens, caller.original_addr.ip(), now).map_err(refusal)
    }

    /// A new certificate for a node of the swarm, for the role it has now.
    async fn renew(&self, node_id: &str, request: IssueCertificateRequest) -> Result<String, Status> {
        let key = public_key_of(&request.csr_pem).map_err(malformed)?;
        let write = self.swarm.write(|view| {
            let node = view.node(node_id).ok_or_else(|| unknown_node(node_id))?;
            self.renewal(view, node, &key)
        });
        write.await?;
        info!(node = node_id, "a certificate was renewed");
        Ok(node_id.to_owned())
    }

    /// Whether the node already has a certificate for this key and its present role.
    fn holds(&self, node: &Node, key: &[u8]) -> bool {
        node.certificate.as_ref().is_some_and(|certificate| {
            certificate.public_key == key
                && certificate.role == node.role
                && authority::is_valid(certificate, self.swarm.now())
        })
    }

    /// The transaction that gives the node a certificate for `key` and its present role; empty when it has one.
    fn renewal(&self, view: &View, node: &Node, key: &[u8]) -> Result<Transaction, Status> {
        let mut tx = TxBuilder::new(view, self.swarm.now());
        if !self.holds(node, key) {
            let certificate = self.certify(view, &node.id, node.role(), key)?;
            tx.update(Node { certificate: Some(certificate), ..Node::clone(node) });
        }
        Ok(tx.build())
    }

    fn certify(&self, view: &View, node_id: &str, role: NodeRole, key: &[u8]) -> Result<Certificate, Status> {
        authority::certify(view, self.identity.current().node_id(), node_id, role, key, self.swarm.now()).map_err(
            |error| match error {
                AuthorityError::NoCluster => Status::unavailable("the swarm is just being made; try again"),
                error @ AuthorityError::Behind(..) => Status::unavailable(error.to_string()),
                error => Status::internal(format!("the swarm's certificate authority cannot issue: {error}")),
            },
        )
    }
}

fn new_node(id: &str, role: NodeRole, availability: Availability, certificate: Certificate, now: i64) -> Node {
    Node {
        id: id.to_owned(),
        spec: Some(NodeSpec { desired_role: role.into(), availability: availability.into(), ..NodeSpec::default() }),
        status: Some(NodeStatus { state: NodeState::Unknown.into(), since: now, ..NodeStatus::default() }),
        role: role.into(),
        certificate: Some(certificate),
        ..Node::default()
    }
}

fn cluster(view: &View) -> Result<&Cluster, Status> {
    view.cluster().map(AsRef::as_ref).ok_or_else(|| Status::unavailable("the swarm is just being made; try again"))
}

fn refusal(refused: InvalidToken) -> Status {
    Status::permission_denied(refused.to_string())
}

fn malformed(error: CaError) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Lock on a key being certified: two requests with one key at the same moment would otherwise create two nodes.
struct Turn<'a> {
    issuing: &'a Mutex<HashSet<Vec<u8>>>,
    key: &'a [u8],
}

impl<'a> Turn<'a> {
    fn take(issuing: &'a Mutex<HashSet<Vec<u8>>>, key: &'a [u8]) -> Result<Self, Status> {
        if issuing.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_vec()) {
            Ok(Self { issuing, key })
        } else {
            Err(Status::aborted("a certificate for this key is being issued; try again"))
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.issuing.lock().unwrap_or_else(PoisonError::into_inner).remove(self.key);
    }
}

#[async_trait]
impl Ca for CaService {
    async fn get_root_ca(&self, _: Request<GetRootCaRequest>) -> Result<Response<GetRootCaReply>, Status> {
        let view = self.swarm.view();
        let stored = view.cluster().and_then(|cluster| cluster.root_ca.as_ref());
        // A manager without state yet answers with the root it trusts itself.
        let certificate_pem = match stored {
            Some(root) => root.certificate_pem.clone(),
            None => self.identity.current().roots_pem().to_vec(),
        };
        Ok(Response::new(GetRootCaReply { certificate_pem }))
    }

    async fn issue_certificate(
        &self,
        request: Request<IssueCertificateRequest>,
    ) -> Result<Response<IssueCertificateReply>, Status> {
        let caller = Caller::of(&request)?.clone();
        let request = request.into_inner();
        let node_id = match &caller.original {
            Peer::Node { node_id, .. } if request.token.is_empty() => self.renew(node_id, request).await?,
            _ => self.admit(&caller, request).await?,
        };
        Ok(Response::new(IssueCertificateReply { node_id }))
    }

    async fn certificate_status(
        &self,
        request: Request<CertificateStatusRequest>,
    ) -> Result<Response<CertificateStatusReply>, Status> {
        let is_node = Caller::of(&request)?.node_id().is_ok();
        let CertificateStatusRequest { node_id } = request.into_inner();
        let mut node = self.swarm.view().node(&node_id).cloned();
        // A node that is missing here may exist on a quorum. A stranger is not worth asking them; it tries again.
        if node.is_none() && is_node {
            node = self.swarm.read().await?.node(&node_id).cloned();
        }
        let node = node.ok_or_else(|| match is_node {
            true => Status::not_found(format!("node {node_id} not found")),
            false => Status::unavailable(format!("node {node_id} is not known here")),
        })?;
        Ok(Response::new(CertificateStatusReply { certificate: node.certificate.clone() }))
    }
}
