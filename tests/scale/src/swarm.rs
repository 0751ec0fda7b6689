//! What the run asks of the swarm: the control service, called over the network with the identity of the first manager.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use skep_common::{
    clock::nanos,
    limits::{MAX_REPLY_BYTES, RPC_DEADLINE},
    net::{
        dial::{Dialer, Expect},
        identity::{Identity, IdentityHandle},
    },
};
use skep_proto::v1::{
    Availability, Cluster, CreateServiceRequest, GetClusterRequest, GetObjectRequest, ListServicesRequest,
    ListTasksRequest, NodeSpec, Service, Task, TaskState, UpdateClusterRequest, UpdateNodeRequest,
    control_client::ControlClient,
};
use tonic::{Request, Status, transport::Channel};

use crate::spec;

/// The way to the control service.
#[derive(Clone)]
pub(crate) struct Swarm {
    dialer: Dialer,
}

impl Swarm {
    /// Speaks for the node whose identity is in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        Ok(Self { dialer: Dialer::new(IdentityHandle::new(Identity::load(dir)?)) })
    }

    fn control(&self, addr: &str) -> ControlClient<Channel> {
        ControlClient::new(self.dialer.channel(addr, Expect::Manager)).max_decoding_message_size(MAX_REPLY_BYTES)
    }

    pub(crate) async fn cluster(&self, addr: &str) -> Result<Cluster> {
        Ok(self.control(addr).get_cluster(within(GetClusterRequest {})).await?.into_inner())
    }

    pub(crate) async fn set_heartbeat(&self, addr: &str, period: Duration) -> Result<()> {
        let cluster = self.cluster(addr).await?;
        let mut spec = cluster.spec.unwrap_or_default();
        spec.heartbeat_period = nanos(period);
        let version = cluster.meta.unwrap_or_default().version;
        let request = UpdateClusterRequest { version, spec: Some(spec), ..UpdateClusterRequest::default() };
        self.control(addr).update_cluster(within(request)).await.context("the heartbeat period is refused")?;
        Ok(())
    }

    pub(crate) async fn create(&self, addr: &str, name: &str, replicas: u64) -> Result<(), Status> {
        let request = CreateServiceRequest { spec: Some(spec::service(name, replicas)) };
        self.control(addr).create_service(within(request)).await.map(drop)
    }

    /// How many tasks are wanted and RUNNING, in all services together, as the state has it.
    pub(crate) async fn running(&self, addr: &str) -> Result<u64> {
        let reply = self.control(addr).list_services(within(ListServicesRequest::default())).await?.into_inner();
        Ok(reply.services.iter().map(|service| service.running_tasks).sum())
    }

    /// What is missing of some service, of which there is to be one for each of `replicas`: itself, or how its tasks fare that
    /// are not all RUNNING, that is how many are in which state, with one of them.
    pub(crate) async fn what_is_missing(&self, addr: &str, replicas: &[u64]) -> Result<String> {
        let services = self.control(addr).list_services(within(ListServicesRequest::default())).await?.into_inner();
        let name = |service: &Service| service.spec.as_ref()?.annotations.as_ref().map(|it| it.name.clone());
        let named = services.services.iter().filter_map(|status| Some((name(status.service.as_ref()?)?, status)));
        let running: BTreeMap<String, u64> = named.map(|(name, status)| (name, status.running_tasks)).collect();
        let mut wanted = replicas.iter().enumerate().map(|(number, replicas)| (spec::name(number), *replicas));
        let missing = wanted.find(|(name, replicas)| running.get(name).is_none_or(|running| running < replicas));
        let Some((service, _)) = missing else { return Ok("every service has all its tasks".to_owned()) };
        if !running.contains_key(&service) {
            return Ok(format!("there is no service {service}"));
        }
        let request = ListTasksRequest { services: vec![service.clone()], ..ListTasksRequest::default() };
        let tasks = self.control(addr).list_tasks(within(request)).await?.into_inner().tasks;
        let mut by_state: BTreeMap<(&str, &str), Vec<&Task>> = BTreeMap::new();
        for task in &tasks {
            let state = task.status.as_ref().map_or(TaskState::New, |status| status.state());
            by_state.entry((state.as_str_name(), task.desired_state().as_str_name())).or_default().push(task);
        }
        let lines = by_state
            .iter()
            .map(|((state, desired), tasks)| format!("{} {state}, to be {desired}: {:?}", tasks.len(), tasks[0]));
        Ok(format!("of service {service}:\n{}", lines.collect::<Vec<_>>().join("\n")))
    }

    /// How many tasks are RUNNING on a node, wanted or not.
    pub(crate) async fn running_on(&self, addr: &str, node_id: &str) -> Result<usize> {
        let request = ListTasksRequest { nodes: vec![node_id.to_owned()], ..ListTasksRequest::default() };
        let tasks = self.control(addr).list_tasks(within(request)).await?.into_inner().tasks;
        let runs = |task: &&Task| task.status.as_ref().is_some_and(|status| status.state() == TaskState::Running);
        Ok(tasks.iter().filter(runs).count())
    }

    pub(crate) async fn drain(&self, addr: &str, node_id: &str) -> Result<()> {
        let mut control = self.control(addr);
        let node = control.get_node(within(GetObjectRequest { key: node_id.to_owned() })).await?.into_inner();
        let spec = NodeSpec { availability: Availability::Drain.into(), ..node.spec.unwrap_or_default() };
        let version = node.meta.unwrap_or_default().version;
        let request = UpdateNodeRequest { key: node_id.to_owned(), version, spec: Some(spec) };
        control.update_node(within(request)).await?;
        Ok(())
    }
}

fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(RPC_DEADLINE);
    request
}
