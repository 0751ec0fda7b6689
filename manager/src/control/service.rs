//! The control service: each method is a line here and a function in the module of its object.

use skep_common::net::server::Caller;
use skep_proto::v1::{
    Cluster, CreateServiceRequest, ExplainReply, ExplainRequest, GetClusterRequest, GetObjectRequest, ListNodesReply,
    ListNodesRequest, ListRevisionsReply, ListServicesReply, ListServicesRequest, ListTasksReply, ListTasksRequest,
    Node, RebalanceServiceReply, RebalanceServiceRequest, RemoveNodeReply, RemoveNodeRequest, RemoveServiceReply,
    RollBackServiceRequest, Service, Task, UpdateClusterRequest, UpdateNodeRequest, UpdateServiceRequest, WatchRequest,
    WhatIfReply, WhatIfRequest, control_server::Control,
};
use tonic::{Request, Response, Status, async_trait};

use super::{
    cluster, explain, nodes, services, tasks,
    watch::{self, WatchStream},
    what_if::WhatIf,
};
use crate::{journal::Journal, swarm_state::SwarmState};

/// What people ask of the swarm.
pub(crate) struct ControlService {
    swarm: SwarmState,
    journal: Journal,
    what_if: WhatIf,
}

impl ControlService {
    pub(crate) fn new(swarm: SwarmState, journal: Journal) -> Self {
        Self { swarm, journal, what_if: WhatIf::default() }
    }
}

/// Delegates a unary method to a function of the state, as its caller writes it, and the request.
macro_rules! answer {
    ($self:ident, $request:ident, $function:path) => {{
        let swarm = $self.swarm.for_user(Caller::of(&$request)?)?;
        Ok(Response::new($function(&swarm, $request.into_inner()).await?))
    }};
}

#[async_trait]
impl Control for ControlService {
    async fn get_cluster(&self, request: Request<GetClusterRequest>) -> Result<Response<Cluster>, Status> {
        answer!(self, request, cluster::get)
    }

    async fn update_cluster(&self, request: Request<UpdateClusterRequest>) -> Result<Response<Cluster>, Status> {
        answer!(self, request, cluster::update)
    }

    async fn get_node(&self, request: Request<GetObjectRequest>) -> Result<Response<Node>, Status> {
        answer!(self, request, nodes::get)
    }

    async fn list_nodes(&self, request: Request<ListNodesRequest>) -> Result<Response<ListNodesReply>, Status> {
        answer!(self, request, nodes::list)
    }

    async fn update_node(&self, request: Request<UpdateNodeRequest>) -> Result<Response<Node>, Status> {
        answer!(self, request, nodes::update)
    }

    async fn remove_node(&self, request: Request<RemoveNodeRequest>) -> Result<Response<RemoveNodeReply>, Status> {
        answer!(self, request, nodes::remove)
    }

    async fn create_service(&self, request: Request<CreateServiceRequest>) -> Result<Response<Service>, Status> {
        answer!(self, request, services::create)
    }

    async fn get_service(&self, request: Request<GetObjectRequest>) -> Result<Response<Service>, Status> {
        answer!(self, request, services::get)
    }

    async fn list_services(
        &self,
        request: Request<ListServicesRequest>,
    ) -> Result<Response<ListServicesReply>, Status> {
        answer!(self, request, services::list)
    }

    async fn update_service(&self, request: Request<UpdateServiceRequest>) -> Result<Response<Service>, Status> {
        answer!(self, request, services::update)
    }

    async fn remove_service(&self, request: Request<GetObjectRequest>) -> Result<Response<RemoveServiceReply>, Status> {
        answer!(self, request, services::remove)
    }

    async fn roll_back_service(&self, request: Request<RollBackServiceRequest>) -> Result<Response<Service>, Status> {
        answer!(self, request, services::roll_back)
    }

    async fn list_revisions(&self, request: Request<GetObjectRequest>) -> Result<Response<ListRevisionsReply>, Status> {
        answer!(self, request, services::revisions)
    }

    async fn rebalance_service(
        &self,
        request: Request<RebalanceServiceRequest>,
    ) -> Result<Response<RebalanceServiceReply>, Status> {
        answer!(self, request, services::rebalance)
    }

    async fn run_job(&self, request: Request<GetObjectRequest>) -> Result<Response<Service>, Status> {
        answer!(self, request, services::run)
    }

    async fn get_task(&self, request: Request<GetObjectRequest>) -> Result<Response<Task>, Status> {
        answer!(self, request, tasks::get)
    }

    async fn list_tasks(&self, request: Request<ListTasksRequest>) -> Result<Response<ListTasksReply>, Status> {
        answer!(self, request, tasks::list)
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainReply>, Status> {
        Ok(Response::new(explain::explain(&self.swarm, &self.journal, request.into_inner()).await?))
    }

    async fn what_if(&self, request: Request<WhatIfRequest>) -> Result<Response<WhatIfReply>, Status> {
        Ok(Response::new(self.what_if.play(&self.swarm, request.into_inner()).await?))
    }

    type WatchStream = WatchStream;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<WatchStream>, Status> {
        Ok(Response::new(watch::open(&self.swarm, request.into_inner()).await?))
    }
}
