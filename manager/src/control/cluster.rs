//! The cluster: its settings and its join tokens. Writes `Cluster.spec` and `Cluster.join_tokens`.

use skep_common::{random, secret::Secret, token::JoinToken};
use skep_core::validate_spec;
use skep_proto::v1::{Cluster, GetClusterRequest, RootCa, UpdateClusterRequest};
use skep_store::{TxBuilder, View};
use tonic::Status;

use crate::{answer, bootstrap, swarm_state::SwarmState};

pub(super) async fn get(swarm: &SwarmState, _request: GetClusterRequest) -> Result<Cluster, Status> {
    Ok(public(find(&swarm.read().await?)?))
}

pub(super) async fn update(swarm: &SwarmState, request: UpdateClusterRequest) -> Result<Cluster, Status> {
    let mut spec = request.spec;
    if let Some(spec) = &mut spec {
        bootstrap::fill(spec);
        validate_spec::cluster(spec).map_err(|error| answer::invalid(&error))?;
    }
    let write = swarm.write(|view| {
        let mut cluster = find(view)?.clone();
        if cluster.meta.as_ref().map(|meta| meta.version) != Some(request.version) {
            return Err(answer::out_of_sequence());
        }
        cluster.spec = spec.clone().or(cluster.spec);
        let root_pem = cluster.root_ca.as_ref().map(|root| root.certificate_pem.as_slice()).unwrap_or_default();
        let tokens = cluster.join_tokens.get_or_insert_default();
        if request.rotate_worker_token {
            tokens.worker = new_token(root_pem);
        }
        if request.rotate_manager_token {
            tokens.manager = new_token(root_pem);
        }
        let mut tx = TxBuilder::new(view, swarm.now());
        tx.update(cluster);
        Ok(tx.build())
    });
    write.await?;
    Ok(public(find(&swarm.view())?))
}

/// A fresh join token for the swarm with this root.
pub(crate) fn new_token(root_pem: &[u8]) -> String {
    JoinToken::generate(root_pem, Secret::new(random::bytes())).reveal()
}

/// The cluster without the key of its root.
pub(super) fn public(cluster: &Cluster) -> Cluster {
    let mut public = cluster.clone();
    public.root_ca = public.root_ca.map(|root| RootCa { key_pem: Vec::new(), ..root });
    public
}

fn find(view: &View) -> Result<&Cluster, Status> {
    view.cluster().map(AsRef::as_ref).ok_or_else(|| Status::not_found("there is no cluster yet"))
}
