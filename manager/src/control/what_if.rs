//! `what-if`: a dry run on a copy of the state; nothing is proposed.

use std::sync::Arc;

use skep_core::{
    validate_spec,
    what_if::{self, Effect, Scenario},
};
use skep_proto::v1::{ServiceSpec, WhatIfReply, WhatIfRequest, what_if_reply, what_if_request::What};
use skep_store::View;
use tokio::{sync::Semaphore, task::spawn_blocking};
use tonic::Status;

use crate::{answer, swarm_state::SwarmState};

/// The one place where scenarios are played: one at a time, for each may keep a processor busy for a while.
pub(super) struct WhatIf(Arc<Semaphore>);

impl Default for WhatIf {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

impl WhatIf {
    pub(super) async fn play(&self, swarm: &SwarmState, request: WhatIfRequest) -> Result<WhatIfReply, Status> {
        let what = request.what.ok_or_else(|| Status::invalid_argument("nothing to imagine is named"))?;
        let view = swarm.read().await?;
        let scenario = scenario(&view, what)?;
        let busy = |_| Status::resource_exhausted("another scenario is being played; try again");
        let turn = self.0.clone().try_acquire_owned().map_err(busy)?;
        let now = swarm.now();
        let played = spawn_blocking(move || {
            // Held to the end, also when the caller stops waiting.
            let _turn = turn;
            what_if::play(&view, &scenario, now)
        });
        let forecast = played.await.map_err(|error| Status::internal(format!("the scenario failed: {error}")))?;
        Ok(WhatIfReply { effects: forecast.effects.into_iter().map(effect).collect(), summary: forecast.summary })
    }
}

/// What is asked, with the objects it names.
fn scenario(view: &View, what: What) -> Result<Scenario, Status> {
    let node =
        |key: &String| view.find_node(key).map(|node| node.id.clone()).map_err(|error| answer::not_found(&error));
    match what {
        What::Drain(key) => Ok(Scenario::Drain(node(&key)?)),
        What::Lose(nodes) => Ok(Scenario::Lose(nodes.keys.iter().map(node).collect::<Result<_, _>>()?)),
        What::LoseLabel(label) => match what_if::nodes_with_label(view, &label) {
            None => Err(Status::invalid_argument(format!("{label:?} is not a label and its value: key=value"))),
            Some(nodes) if nodes.is_empty() => Err(Status::not_found(format!("no node has the label {label}"))),
            Some(nodes) => Ok(Scenario::Lose(nodes)),
        },
        What::Deploy(spec) => {
            check(view, &spec).map_err(|error| answer::invalid(&error))?;
            Ok(Scenario::Deploy(Box::new(spec)))
        }
    }
}

/// Whether a spec would be admitted.
fn check(view: &View, spec: &ServiceSpec) -> Result<(), validate_spec::InvalidSpec> {
    let name = spec.annotations.as_ref().map_or("", |annotations| annotations.name.as_str());
    match view.service_by_name(name).and_then(|service| service.spec.as_ref()) {
        Some(old) => validate_spec::service_update(old, spec),
        None => validate_spec::service(spec),
    }
}

fn effect(effect: Effect) -> what_if_reply::Effect {
    what_if_reply::Effect {
        service: effect.service,
        slot: effect.slot,
        from_node: effect.from.unwrap_or_default(),
        to_node: effect.to.unwrap_or_default(),
        reason: effect.reason,
    }
}
