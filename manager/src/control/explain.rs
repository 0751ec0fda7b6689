//! Why a service or a task waits, and what happened to it. Only reads.

use skep_common::limits::JOURNAL_AGE;
use skep_core::{explain, names};
use skep_proto::v1::{ExplainReply, ExplainRequest, NodeVerdict, explain_request::What};
use skep_store::View;
use tokio::task::spawn_blocking;
use tonic::Status;

use crate::{
    answer,
    journal::{About, Journal},
    swarm::Swarm,
};

/// Entries of history in a reply.
const HISTORY: usize = 50;

pub(super) async fn explain(swarm: &Swarm, journal: &Journal, request: ExplainRequest) -> Result<ExplainReply, Status> {
    let what = request.what.ok_or_else(|| Status::invalid_argument("neither a service nor a task is named"))?;
    let view = swarm.read().await?;
    let now = swarm.now();
    let (journal, newest) = (journal.clone(), view.clone());
    let (about, explain): (_, Box<dyn FnOnce() -> explain::Explanation + Send>) = match what {
        What::Service(key) => {
            let service = view.find_service(&key).map_err(|error| answer::not_found(&error))?.clone();
            (About::Service(service.id.clone()), Box::new(move || explain::service(&newest, &service, now)))
        }
        What::Task(key) => {
            let task = view.find_task(&key).map_err(|error| answer::not_found(&error))?.clone();
            let about = match (task.slot, task.node_id.as_str()) {
                (0, "") => About::Task(task.id.clone()),
                (slot, node) => About::Place { service: task.service_id.clone(), slot, node: node.to_owned() },
            };
            (about, Box::new(move || explain::task(&newest, &task, now)))
        }
    };
    // Both may take a moment: there may be many nodes, and a long journal.
    let found = spawn_blocking(move || (explain(), journal.newest(&about, now - JOURNAL_AGE, HISTORY)));
    let (explanation, history) =
        found.await.map_err(|error| Status::internal(format!("the explanation failed: {error}")))?;
    let mut text = explanation.text;
    let history = history.unwrap_or_else(|error| {
        text += &format!(" What happened before is not known: the journal cannot be read ({error}).");
        Vec::new()
    });
    let nodes = explanation.nodes.into_iter().map(|verdict| verdict_of(&view, verdict)).collect();
    Ok(ExplainReply { text, nodes, history })
}

fn verdict_of(view: &View, verdict: skep_core::scheduler::explain::Verdict) -> NodeVerdict {
    let hostname = view.node(&verdict.node_id).map_or("", |node| names::node(node));
    NodeVerdict {
        hostname: hostname.to_owned(),
        fits: verdict.misfit.is_none(),
        reason: verdict.misfit.unwrap_or_default(),
        recent_failures: verdict.failures,
        tasks_of_service: verdict.service_tasks,
        tasks: verdict.tasks,
        preferences: verdict.spread.into_iter().map(|(value, _)| value).collect(),
        node_id: verdict.node_id,
    }
}
