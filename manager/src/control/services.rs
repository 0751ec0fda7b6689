//! Services: create, update, roll back, remove. Writes `Service`.

use std::sync::Arc;

use skep_common::{
    clock::Timestamp,
    id::{Ids as _, RandomIds},
    random,
};
use skep_core::{job, made_up_name, rebalance, revision, update, validate_spec};
use skep_proto::v1::{
    CreateServiceRequest, GetObjectRequest, ListRevisionsReply, ListServicesReply, ListServicesRequest, ObjectKind,
    RebalanceServiceReply, RebalanceServiceRequest, RemoveServiceReply, RollBackServiceRequest, Service,
    ServiceWithStatus, Transaction, UpdateServiceRequest, list_revisions_reply, rebalance_service_reply,
    service_spec::Mode,
};
use skep_store::{StoreObject as _, TaskCounts, TxBuilder, View};
use tokio::task::spawn_blocking;
use tonic::{Code, Status};
use tracing::info;

use super::{filters, page::page};
use crate::{answer, swarm_state::SwarmState};

/// Names tried for a service that was given none.
const NAMES_TRIED: usize = 5;

pub(super) async fn create(swarm: &SwarmState, request: CreateServiceRequest) -> Result<Service, Status> {
    let mut spec = request.spec.ok_or_else(|| Status::invalid_argument("the service's spec is missing"))?;
    let is_unnamed = spec.annotations.as_ref().is_none_or(|annotations| annotations.name.is_empty());
    if is_unnamed {
        spec.annotations.get_or_insert_default().name = unused_name(&swarm.view());
    }
    validate_spec::service(&spec).map_err(|error| answer::invalid(&error))?;
    let id = RandomIds.next_id();
    for again in (0..NAMES_TRIED).rev() {
        let write = swarm.write(|view| {
            let mut tx = TxBuilder::new(view, swarm.now());
            update::write(&mut tx, update::created(view, id.clone(), spec.clone(), swarm.now()));
            Ok(tx.build())
        });
        match write.await {
            Ok(_) => break,
            // Somebody took the name meanwhile that was chosen here.
            Err(taken) if is_unnamed && again > 0 && taken.code() == Code::AlreadyExists => {
                spec.annotations.get_or_insert_default().name = unused_name(&swarm.view());
            }
            Err(error) => return Err(error),
        }
    }
    let service = stored(&swarm.view(), &id)?;
    info!(service = id, name = name(&service), "a service was created");
    Ok(service)
}

/// A name for a service that was given none.
fn unused_name(view: &View) -> String {
    made_up_name::unused(|| u64::from_be_bytes(random::bytes()), |name| view.service_by_name(name).is_some())
}

pub(super) async fn get(swarm: &SwarmState, request: GetObjectRequest) -> Result<Service, Status> {
    let view = swarm.read().await?;
    let service = view.find_service(&request.key).map_err(|error| answer::not_found(&error))?;
    Ok(Service::clone(service))
}

pub(super) async fn list(swarm: &SwarmState, request: ListServicesRequest) -> Result<ListServicesReply, Status> {
    let view = swarm.read().await?;
    let wanted = view.services().filter(|service| filters::service(&request, service));
    let (services, more) = page(wanted, request.after.as_deref(), |service| &service.id)?;
    Ok(ListServicesReply { services: services.into_iter().map(|service| with_status(&view, service)).collect(), more })
}

pub(super) async fn update(swarm: &SwarmState, request: UpdateServiceRequest) -> Result<Service, Status> {
    let mut id = String::new();
    let write = swarm.write(|view| {
        let service = view.find_service(&request.key).map_err(|error| answer::not_found(&error))?;
        if service.version() != request.version {
            return Err(answer::out_of_sequence());
        }
        let changed = if request.rollback {
            update::rolled_back(service, swarm.now()).ok_or_else(|| {
                Status::failed_precondition(format!("service {} does not have a previous spec", request.key))
            })?
        } else {
            let spec = request.spec.clone().ok_or_else(|| Status::invalid_argument("the service's spec is missing"))?;
            update::updated(view, service, spec, swarm.now())
        };
        id.clone_from(&service.id);
        changing(view, service, changed, swarm.now())
    });
    write.await?;
    info!(service = id, rollback = request.rollback, "a service was updated");
    stored(&swarm.view(), &id)
}

/// Takes a service back to a revision by its number.
pub(super) async fn roll_back(swarm: &SwarmState, request: RollBackServiceRequest) -> Result<Service, Status> {
    let view = swarm.read().await?;
    let service = view.find_service(&request.key).map_err(|error| answer::not_found(&error))?;
    if (service.version(), service.revision) == (request.version, request.to) {
        return Ok(Service::clone(service));
    }
    let id = service.id.clone();
    let write = swarm.write(|view| {
        let service = view.find_service(&id).map_err(|error| answer::not_found(&error))?;
        if service.version() != request.version {
            return Err(answer::out_of_sequence());
        }
        match update::rolled_back_to(view, service, request.to, swarm.now()) {
            Ok(changed) => changing(view, service, changed, swarm.now()),
            Err(error) => Err(Status::failed_precondition(error.to_string())),
        }
    });
    write.await?;
    info!(service = id, revision = request.to, "a service was rolled back");
    stored(&swarm.view(), &id)
}

/// The change of a service's spec, if it is one that may be.
fn changing(view: &View, old: &Service, new: Service, now: Timestamp) -> Result<Transaction, Status> {
    let (before, after) = (old.spec.clone().unwrap_or_default(), new.spec.clone().unwrap_or_default());
    validate_spec::service_update(&before, &after).map_err(|error| answer::invalid(&error))?;
    let mut tx = TxBuilder::new(view, now);
    update::write(&mut tx, new);
    Ok(tx.build())
}

/// The revisions of a service that are kept.
pub(super) async fn revisions(swarm: &SwarmState, request: GetObjectRequest) -> Result<ListRevisionsReply, Status> {
    let view = swarm.read().await?;
    let service = view.find_service(&request.key).map_err(|error| answer::not_found(&error))?;
    let revisions = revision::listed(&view, service).into_iter().map(|it| list_revisions_reply::Revision {
        number: it.number,
        created_at: it.created_at,
        image: it.image,
        running_tasks: it.running_tasks,
    });
    let previous = service.previous_spec.as_ref().map(|_| service.previous_revision);
    Ok(ListRevisionsReply { revisions: revisions.collect(), current: service.revision, previous })
}

pub(super) async fn remove(swarm: &SwarmState, request: GetObjectRequest) -> Result<RemoveServiceReply, Status> {
    let write = swarm.write(|view| {
        let service = view.find_service(&request.key).map_err(|error| answer::not_found(&error))?;
        let mut tx = TxBuilder::new(view, swarm.now());
        tx.remove(ObjectKind::Service, &service.id);
        Ok(tx.build())
    });
    write.await?;
    info!(service = request.key, "a service was removed");
    Ok(RemoveServiceReply {})
}

/// Begins a run of a job.
pub(super) async fn run(swarm: &SwarmState, request: GetObjectRequest) -> Result<Service, Status> {
    let mut id = String::new();
    let write = swarm.write(|view| {
        let service = view.find_service(&request.key).map_err(|error| answer::not_found(&error))?;
        id.clone_from(&service.id);
        let mut changed = Service::clone(service);
        job::run_now(&mut changed, swarm.now()).map_err(|error| {
            Status::failed_precondition(format!("service {} cannot be run now: {error}", name(service)))
        })?;
        let mut tx = TxBuilder::new(view, swarm.now());
        tx.update(changed);
        Ok(tx.build())
    });
    write.await?;
    info!(service = id, "a run of a job was asked for");
    stored(&swarm.view(), &id)
}

/// Says which tasks would run better elsewhere and, unless it is only asked what would be, has them moved.
pub(super) async fn rebalance(
    swarm: &SwarmState,
    request: RebalanceServiceRequest,
) -> Result<RebalanceServiceReply, Status> {
    let view = swarm.read().await?;
    let service = view.find_service(&request.key).map_err(|error| answer::not_found(&error))?;
    if !matches!(service.spec.as_ref().and_then(|spec| spec.mode.as_ref()), Some(Mode::Replicated(_))) {
        return Err(Status::failed_precondition("only a replicated service can be rebalanced"));
    }
    let (id, service, now) = (service.id.clone(), Arc::clone(service), swarm.now());
    // Each move is looked for among all nodes, which may take a moment where there are many of both.
    let moves = spawn_blocking(move || {
        let hostname = |id: &str| {
            let description = view.node(id).and_then(|node| node.description.as_ref());
            description.map_or_else(|| id.to_owned(), |description| description.hostname.clone())
        };
        let moves = rebalance::moves(&view, &service, now).into_iter().map(|it| rebalance_service_reply::Move {
            slot: it.slot,
            task_id: it.task_id,
            from_node: hostname(&it.from_node),
            to_node: hostname(&it.to_node),
        });
        moves.collect()
    });
    let moves = moves.await.map_err(|error| Status::internal(format!("the moves were not found: {error}")))?;
    let reply = RebalanceServiceReply { moves };
    if !request.dry_run && !reply.moves.is_empty() {
        let write = swarm.write(|view| {
            let service = view.find_service(&id).map_err(|error| answer::not_found(&error))?;
            let mut tx = TxBuilder::new(view, swarm.now());
            tx.update(Service { rebalance_requested_at: swarm.now().as_nanos(), ..Service::clone(service) });
            Ok(tx.build())
        });
        write.await?;
        info!(service = id, moves = reply.moves.len(), "a service is to be spread anew");
    }
    Ok(reply)
}

/// A service and how far it has come; of a job, how far the newest run has.
fn with_status(view: &View, service: &Service) -> ServiceWithStatus {
    let mode = service.spec.as_ref().and_then(|spec| spec.mode.as_ref());
    let run = service.job.as_ref().map_or(0, |job| job.iteration);
    let TaskCounts { wanted: mut desired, running, completed, .. } = view.task_counts(&service.id, run);
    // A global service wants as many as there are nodes for it, which its tasks say; the others say it themselves.
    match mode {
        Some(Mode::Replicated(replicated)) => desired = replicated.replicas,
        Some(Mode::ReplicatedJob(job)) if job.max_concurrent == 0 => desired = job.total_completions,
        Some(Mode::ReplicatedJob(job)) => desired = job.max_concurrent,
        Some(Mode::Global(_) | Mode::GlobalJob(_)) | None => {}
    }
    ServiceWithStatus {
        service: Some(service.clone()),
        running_tasks: running,
        desired_tasks: desired,
        completed_tasks: if run == 0 { 0 } else { completed },
    }
}

fn stored(view: &View, id: &str) -> Result<Service, Status> {
    let gone = || Status::not_found(format!("service {id} not found"));
    Ok(Service::clone(view.service(id).ok_or_else(gone)?))
}

fn name(service: &Service) -> &str {
    let annotations = service.spec.as_ref().and_then(|spec| spec.annotations.as_ref());
    annotations.map_or("", |annotations| annotations.name.as_str())
}
